//! Errors about our own packets, which had clients' in them.

use super::notice::Notice;
use super::{Around, Limits, made};
use crate::dataplane::lanes::{Outcome, Outcomes};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{IpPacket, Quote, merits_error, parse_quote};
use crate::snapshot::{Backend, Forwarding, Snapshot};
use crate::wire::encap;
use crate::wire::icmp_error::{FRAME_MAX, IcmpError};
use crate::wire::{ethernet, icmp, icmpv6};

/// The packet within the packet that an error quotes; `None` if there can be none. `frame` ends where the error does.
pub(super) fn inner(frame: &[u8], outer: &Quote, world: &Snapshot) -> Result<Option<Quote>, DropReason> {
    let is_later = outer.ip.fragment.is_some_and(|part| part.offset != 0);
    let at = usize::from(outer.ip.payload_offset);
    let payload = frame.get(at..).unwrap_or_default();
    if is_later || !encap::is_tunnel(outer.ip.protocol, payload) {
        return Ok(None);
    }
    match encap::inner_offset(outer.ip.protocol, payload)
        .and_then(|offset| parse_quote(frame, at + offset).ok())
    {
        Some(inner) => Ok(Some(inner)),
        None if world.local_at(outer.ip.source).is_some() => Err(DropReason::IcmpUnknownTunnel),
        None => Ok(None),
    }
}

/// Turns the frame into an error to the client whose packet was in the tunnel to `backend`, if it says what the client
/// needs to know.
pub(super) fn tell_client<F: Frame>(
    frame: &mut F,
    notice: &Notice,
    inner: &IpPacket,
    backend: &Backend,
    around: Around<'_>,
    limits: &mut Limits,
    outcomes: &mut Outcomes,
) -> Result<Outcome, DropReason> {
    const UNKNOWN: DropReason = DropReason::IcmpUnknownTunnel;
    let Forwarding::Tunnel(template) = &backend.forwarding else { return Err(UNKNOWN) };
    if backend.address != notice.quote.ip.destination {
        return Err(UNKNOWN);
    }
    let error = told(frame.bytes(), notice, inner, template.len()).ok_or(UNKNOWN)?;
    if !merits_error(frame.bytes(), inner, matches!(error, IcmpError::TooBig { .. })) {
        return Err(UNKNOWN);
    }
    let next_hop = around.world.routes.next_hop_to(inner.source);
    let hop = next_hop.hop;
    let source = around.world.own_address(hop.port, inner.destination).unwrap_or(inner.destination);
    let mut made = [0; FRAME_MAX];
    let end = inner.end().min(notice.ip.end());
    let quoted = frame.bytes().get(usize::from(inner.header_offset)..end).ok_or(UNKNOWN)?;
    let len = error.write(&mut made, hop.addresses, source, quoted).ok_or(UNKNOWN)?;
    if len > ethernet::HEADER_LEN + usize::from(hop.mtu) {
        if let Some((port, address)) = next_hop.wanted() {
            outcomes.want(port, address);
        }
        return Err(next_hop.refusal());
    }
    if !limits.errors.take(around.now) {
        return Err(DropReason::ErrorLimited);
    }
    if !made.get(..len).is_some_and(|made| frame.fill(made)) {
        return Err(DropReason::ExceedsMtu);
    }
    made::counter(around.counters, error).add(1);
    Ok(Outcome::Answer(hop.port))
}

/// What the error says, to whoever knows nothing of the tunnel (RFC 2003 section 4, RFC 2473 section 8.2): its MTU is
/// smaller by what the tunnel adds, and that something is amiss on its way means that the backend cannot be reached.
fn told(frame: &[u8], notice: &Notice, inner: &IpPacket, added: usize) -> Option<IcmpError> {
    let message =
        frame.get(usize::from(notice.ip.payload_offset)..)?.first_chunk::<{ icmp::HEADER_LEN }>()?;
    let [kind, code, _, _, a, b, c, d] = *message;
    let mtu = match (notice.ip.source.is_ipv4(), kind, code) {
        (true, icmp::TYPE_UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED) => u16::from_be_bytes([c, d]),
        (false, icmpv6::TYPE_PACKET_TOO_BIG, _) => u32::from_be_bytes([a, b, c, d]).try_into().ok()?,
        (true, icmp::TYPE_PARAMETER_PROBLEM, _) | (false, icmpv6::TYPE_PARAMETER_PROBLEM, _) => return None,
        _ => return Some(IcmpError::HostUnreachable),
    };
    let mtu_of_client = made::less(mtu, added, inner.source.is_ipv6());
    // One that the packet fitted is made up, or 0 from a router older than RFC 1191 (RFC 5927 section 7.2).
    (mtu != 0 && mtu < notice.quote.ip.total_len && mtu_of_client < inner.total_len)
        .then_some(IcmpError::TooBig { mtu: mtu_of_client })
}
