//! Network address translation in IPv6: an address and a port replaced, one hop less, one checksum.

use super::nat::Refusal;
use crate::packet::{IpPacket, Parsed, parse};
use crate::snapshot::{Hop, Rewrite6};
use crate::wire::{ethernet, ipv4, ipv6, l4};

/// Where the parts of a packet lie in its frame.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of the packet.
    pub(super) total_len: u16,
    /// Where the segment or datagram begins.
    pub(super) segment_at: usize,
}

/// The frame's offset of the fixed header.
const AT: usize = ethernet::HEADER_LEN;

impl Layout {
    /// Of a parsed packet: behind the fixed header nearly always.
    #[inline(always)]
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let header = ipv6::Header(frame.get(AT..)?.first_chunk()?);
        let total_len = (header.payload_len() + ipv6::HEADER_LEN) as u16;
        match header.next_header() {
            ipv4::PROTOCOL_TCP | ipv4::PROTOCOL_UDP => {
                Some(Self { total_len, segment_at: AT + ipv6::HEADER_LEN })
            }
            _ => Self::behind_extensions(frame),
        }
    }

    #[cold]
    fn behind_extensions(frame: &[u8]) -> Option<Self> {
        let ip: IpPacket = match parse(frame).ok()? {
            Parsed::Transport(packet) => packet.ip,
            Parsed::Fragment(ip) => ip,
            _ => return None,
        };
        Some(Self { total_len: ip.total_len, segment_at: ip.payload_offset.into() })
    }
}

/// Which address and port are replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Rewrites the packet for its next hop.
#[inline(always)]
pub(super) fn translate(
    frame: &mut [u8],
    layout: Layout,
    hop: &Hop,
    rewrite: &Rewrite6,
    side: Side,
) -> Result<(), Refusal> {
    let Layout { total_len, segment_at } = layout;
    let (fixed, rest) = frame.split_at_mut_checked(AT + ipv6::HEADER_LEN).ok_or(Refusal::Mtu)?;
    let segment = rest.get_mut(segment_at - AT - ipv6::HEADER_LEN..).ok_or(Refusal::Mtu)?;
    let hop_limit = fixed.get_mut(AT + ipv6::HOP_LIMIT_OFFSET).ok_or(Refusal::Mtu)?;
    if *hop_limit <= 1 {
        return Err(Refusal::Ttl);
    }
    if total_len > hop.mtu {
        return Err(Refusal::Mtu);
    }
    *hop_limit -= 1;
    let (address_at, port_at) = match side {
        Side::Source => (ipv6::SOURCE_OFFSET, l4::SOURCE_PORT_OFFSET),
        Side::Destination => (ipv6::DESTINATION_OFFSET, l4::DESTINATION_PORT_OFFSET),
    };
    write(fixed, 0, &hop.addresses.0);
    write(fixed, AT + address_at, &rewrite.address);
    write(segment, port_at, &rewrite.port);
    // UDP without a checksum is not IPv6 (RFC 8200 section 8.1), but who lets it be has his reasons (RFC 6936).
    if let Some(field) = segment.get_mut(rewrite.checksum_at.into()..).and_then(|rest| rest.first_chunk_mut())
        && !(rewrite.is_udp && *field == [0, 0])
    {
        *field = rewrite.l4.apply(*field);
        if *field == [0, 0] {
            *field = rewrite.zero_checksum;
        }
    }
    Ok(())
}

#[inline(always)]
fn write<const N: usize>(bytes: &mut [u8], at: usize, new: &[u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = *new;
    }
}
