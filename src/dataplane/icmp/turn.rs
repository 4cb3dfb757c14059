//! Translation of an ICMP error: an address of the packet that brings it, the same address and a port of the packet that
//! it quotes, and the checksums of all four layers (RFC 5508 sections 4.2 and 4.3).

use std::net::IpAddr;

use super::echo::{put, write_checksum};
use super::notice::Notice;
use crate::dataplane::nat::Refusal;
use crate::dataplane::nat6::Side;
use crate::packet::QuotedEnds;
use crate::snapshot::Hop;
use crate::wire::checksum::Delta;
use crate::wire::{Protocol, ipv4, ipv6, l4};

/// What takes the place of the `quoted` side's address and port in the quoted packet. In the packet around it, the
/// address takes the other side's place.
pub(super) struct Turn<const N: usize> {
    pub(super) quoted: Side,
    pub(super) address: [u8; N],
    pub(super) port: [u8; 2],
}

/// A family's addresses: where they lie in a header.
struct Places {
    source: usize,
    destination: usize,
    hop_limit: usize,
}

const V4: Places = Places {
    source: ipv4::SOURCE_OFFSET,
    destination: ipv4::DESTINATION_OFFSET,
    hop_limit: ipv4::TTL_OFFSET,
};
const V6: Places = Places {
    source: ipv6::SOURCE_OFFSET,
    destination: ipv6::DESTINATION_OFFSET,
    hop_limit: ipv6::HOP_LIMIT_OFFSET,
};

impl<const N: usize> Turn<N> {
    const IS_V4: bool = N == 4;

    /// Rewrites the error for its next hop. What it says besides, an MTU for instance, holds on both sides.
    pub(super) fn take(&self, frame: &mut [u8], notice: &Notice, hop: &Hop) -> Result<(), Refusal> {
        const { assert!(N == 4 || N == 16, "an address of either family") };
        let Notice { ip, quote, .. } = notice;
        if ip.hop_limit <= 1 {
            return Err(Refusal::Ttl);
        }
        if ip.total_len > hop.mtu {
            return Err(Refusal::Mtu);
        }
        let frame = frame.get_mut(..ip.end()).ok_or(Refusal::Mtu)?;
        let ends = quote.ends.ok_or(Refusal::Mtu)?;
        self.rewrite_quote(frame, notice, ends).ok_or(Refusal::Mtu)?;

        put(frame, 0, &hop.addresses.0);
        let (at, message_at) = (usize::from(ip.header_offset), usize::from(ip.payload_offset));
        let places = if Self::IS_V4 { V4 } else { V6 };
        let (source, destination) = match self.quoted {
            Side::Source => {
                put(frame, at + places.destination, &self.address);
                (ip.source, self.ip())
            }
            Side::Destination => {
                put(frame, at + places.source, &self.address);
                (self.ip(), ip.destination)
            }
        };
        put(frame, at + places.hop_limit, &[ip.hop_limit - 1]);
        if Self::IS_V4 {
            ipv4::write_checksum(frame.get_mut(at..message_at).unwrap_or_default());
        }
        write_checksum(frame.get_mut(message_at..).unwrap_or_default(), source, destination);
        Ok(())
    }

    fn rewrite_quote(&self, frame: &mut [u8], notice: &Notice, ends: QuotedEnds) -> Option<()> {
        let quoted = &notice.quote.ip;
        let (at, payload_at) = (usize::from(quoted.header_offset), usize::from(quoted.payload_offset));
        let places = if Self::IS_V4 { V4 } else { V6 };
        let (address_at, port_at) = match self.quoted {
            Side::Source => (places.source, l4::SOURCE_PORT_OFFSET),
            Side::Destination => (places.destination, l4::DESTINATION_PORT_OFFSET),
        };
        let address = frame.get_mut(at + address_at..)?.first_chunk_mut::<N>()?;
        let old_address = std::mem::replace(address, self.address);
        let port = frame.get_mut(payload_at + port_at..)?.first_chunk_mut::<2>()?;
        let old_port = std::mem::replace(port, self.port);
        if Self::IS_V4 {
            ipv4::write_checksum(frame.get_mut(at..payload_at)?);
        }
        let Some(checksum_at) = ends.checksum_offset else { return Some(()) };
        let is_udp = ends.protocol == Protocol::Udp;
        let field = frame.get_mut(usize::from(checksum_at)..)?.first_chunk_mut::<2>()?;
        if is_udp && *field == [0, 0] {
            return Some(());
        }
        let words = |bytes: &[u8; N]| crate::wire::checksum::sum(bytes);
        let delta =
            Delta::NONE.replace_sum(words(&old_address), words(&self.address)).replace(old_port, self.port);
        *field = delta.apply(*field);
        if is_udp && *field == [0, 0] {
            *field = [0xff, 0xff];
        }
        Some(())
    }

    fn ip(&self) -> IpAddr {
        let v4 = self.address.first_chunk::<4>().copied().unwrap_or_default();
        self.address.first_chunk::<16>().map_or(IpAddr::from(v4), |v6| IpAddr::from(*v6))
    }
}
