//! The maximum segment size (RFC 9293 section 3.7.1) that the ends of a connection tell each other in their first
//! segments: never raised, and lowered where a rule says so, for ways on which path-MTU discovery does not work.

use super::encapsulate::added_by;
use super::lanes::{Lane, Lanes, Source};
use crate::io::{Frame, PortId};
use crate::packet::{Packet, Parsed, parse};
use crate::snapshot::{Backend, MssClamp, Snapshot};
use crate::wire::checksum::Delta;
use crate::wire::l4::{self, TCP_CHECKSUM_OFFSET, TCP_HEADER_LEN, TcpFlags};
use crate::wire::{ethernet, ipv4, ipv6, tcp_options};

/// The option's length, which is always the same (RFC 9293 section 3.2).
const LEN_MSS: usize = 4;

impl Lanes {
    /// Lowers what SYN and SYN-ACK ask for, of rules that say so. Packets are still as they came in.
    #[inline(always)]
    pub(super) fn clamp_mss<F: Frame>(&self, burst: &mut [F], source: Source, world: &Snapshot) {
        if world.clamps_mss {
            self.clamp_all(burst, source, world);
        }
    }

    #[inline(never)]
    fn clamp_all<F: Frame>(&self, burst: &mut [F], source: Source, world: &Snapshot) {
        let responses = self.responses.with(self.wide_responses);
        for lane in self.clients.with(self.wide).with(responses) {
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            if may_be_syn(frame.bytes()) {
                let client_port = if responses.has(lane) { None } else { Some(source.port()) };
                self.clamp_one(lane, frame.bytes_mut(), client_port, world);
            }
        }
    }

    #[cold]
    fn clamp_one(
        &self,
        lane: Lane,
        frame: &mut [u8],
        client_port: Option<PortId>,
        world: &Snapshot,
    ) -> Option<()> {
        let backend = world.backend(self.backends[lane.index()])?;
        let clamp = world.frontend(backend.frontend)?.mss_clamp?;
        let Ok(Parsed::Transport(Packet { ip, tcp_flags, .. })) = parse(frame) else { return None };
        // One that ends here is quoted to its sender as it came.
        if !tcp_flags.any(TcpFlags::SYN) || ip.hop_limit <= 1 {
            return None;
        }
        let client_port = client_port.unwrap_or_else(|| world.routes.next_hop_to(ip.destination).hop.port);
        let most = match clamp {
            MssClamp::To(most) => most,
            MssClamp::FromMtu => from_mtu(client_port, backend, world)?,
        };
        clamp_to(frame.get_mut(usize::from(ip.payload_offset)..ip.end())?, most)
    }
}

/// The same of a packet that is at hand, on its way to or from `client_port`.
#[cold]
pub(super) fn clamp_whole(
    frame: &mut [u8],
    packet: &Packet,
    clamp: MssClamp,
    client_port: PortId,
    backend: &Backend,
    world: &Snapshot,
) -> Option<()> {
    let Packet { ip, tcp_flags, .. } = packet;
    if !tcp_flags.any(TcpFlags::SYN) {
        return None;
    }
    let most = match clamp {
        MssClamp::To(most) => most,
        MssClamp::FromMtu => from_mtu(client_port, backend, world)?,
    };
    clamp_to(frame.get_mut(usize::from(ip.payload_offset)..ip.end())?, most)
}

/// What fits both ports on the way. Headers count without options (RFC 6691 section 2).
fn from_mtu(client_port: PortId, backend: &Backend, world: &Snapshot) -> Option<u16> {
    let there = world.port(backend.next_hop.hop.port)?.mtu;
    let there = there.saturating_sub(added_by(&backend.forwarding) as u16);
    let mtu = world.port(client_port)?.mtu.min(there);
    // Of either direction: one of the two families may be the client's.
    let client_is_v6 = world.frontend(backend.frontend)?.endpoint.address.is_ipv6();
    let ip_len = if client_is_v6 || backend.address.is_ipv6() { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
    Some(mtu.saturating_sub((ip_len + TCP_HEADER_LEN) as u16))
}

/// False only for what is no SYN: nearly all packets, without reading all of their headers.
#[inline(always)]
fn may_be_syn(frame: &[u8]) -> bool {
    let packet = frame.get(ethernet::HEADER_LEN..).unwrap_or_default();
    let (protocol_at, header_len) = match packet.first() {
        Some(first) if first >> 4 == 4 => (ipv4::PROTOCOL_OFFSET, usize::from(first & 15) * 4),
        _ => (ipv6::NEXT_HEADER_OFFSET, ipv6::HEADER_LEN),
    };
    match packet.get(protocol_at) {
        Some(&ipv4::PROTOCOL_TCP) => packet
            .get(header_len..)
            .and_then(|segment| segment.first_chunk())
            .is_some_and(|header| l4::tcp_flags(header).any(TcpFlags::SYN)),
        Some(&ipv4::PROTOCOL_UDP) | None => false,
        // Extension headers.
        Some(_) => true,
    }
}

/// Lowers the option in `segment` to `most`, if it has one that asks for more. At most forty bytes of options are passed.
fn clamp_to(segment: &mut [u8], most: u16) -> Option<()> {
    let header_len = l4::tcp_header_len(segment.first_chunk()?);
    let (at, len) = tcp_options::find(segment.get(TCP_HEADER_LEN..header_len)?, tcp_options::KIND_MSS)?;
    if len != LEN_MSS {
        return None;
    }
    let value_at = TCP_HEADER_LEN + at + 2;
    let asked = u16::from_be_bytes(*segment.get(value_at..)?.first_chunk()?);
    if asked <= most {
        return None;
    }
    // The checksum counts words, and an option may begin at an odd byte; it may also be the last of the segment.
    let is_odd = value_at & 1;
    let words = segment.get_mut(value_at - is_odd..value_at + 2 + is_odd)?;
    let (mut old, mut new) = ([0; 4], [0; 4]);
    old.get_mut(..words.len())?.copy_from_slice(words);
    words.get_mut(is_odd..)?.first_chunk_mut::<2>()?.copy_from_slice(&most.to_be_bytes());
    new.get_mut(..words.len())?.copy_from_slice(words);
    let delta = Delta::NONE.replace(old, new);
    let field = segment.get_mut(TCP_CHECKSUM_OFFSET..)?.first_chunk_mut::<2>()?;
    *field = delta.apply(*field);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;
    use proptest::prelude::*;

    fn segment(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x11; TCP_HEADER_LEN];
        segment.extend(options);
        segment.resize(TCP_HEADER_LEN + options.len().next_multiple_of(4), 0);
        segment[12] = (segment.len() / 4) as u8 * 16;
        segment.extend(*b"data!");
        segment
    }

    fn clamped(options: &[u8], most: u16) -> Vec<u8> {
        let mut segment = segment(options);
        let sum = checksum::sum(&segment);
        let _ = clamp_to(&mut segment, most);
        assert_eq!(checksum::sum(&segment), sum, "the checksum makes up for it");
        let end = segment.len() - 5;
        segment[TCP_HEADER_LEN..end].to_vec()
    }

    #[test]
    fn it_is_lowered_wherever_it_stands_and_never_raised() {
        assert_eq!(clamped(&[2, 4, 5, 180], 1400), [2, 4, 5, 120]);
        let mut bare = segment(&[2, 4, 5, 180]);
        bare.truncate(TCP_HEADER_LEN + 4);
        assert!(clamp_to(&mut bare, 1400).is_some(), "the last bytes of a segment without data");
        assert_eq!(clamped(&[2, 4, 5, 180], 1460), [2, 4, 5, 180]);
        assert_eq!(clamped(&[2, 4, 5, 180], 9000), [2, 4, 5, 180]);
        assert_eq!(clamped(&[1, 2, 4, 5, 180, 3, 3, 7], 1400), [1, 2, 4, 5, 120, 3, 3, 7]);
        assert_eq!(
            clamped(&[4, 2, 8, 3, 0, 2, 4, 255, 255, 0, 0, 0], 64),
            [4, 2, 8, 3, 0, 2, 4, 0, 64, 0, 0, 0]
        );
        // Behind the end of options, too long, or too short.
        for other in
            [&[0, 2, 4, 5, 180, 0, 0, 0][..], &[2, 5, 5, 180], &[1, 1, 2, 4], &[3, 0, 2, 4, 5, 180, 0, 0]]
        {
            assert_eq!(clamped(other, 64), other);
        }
    }

    proptest! {
        #[test]
        fn no_options_make_it_panic(options in proptest::collection::vec(any::<u8>(), 0..40), header_len in 0u8..16) {
            clamped(&options, 536);
            let mut segment = segment(&options);
            segment[12] = header_len << 4;
            let _ = clamp_to(&mut segment, 536);
        }
    }
}
