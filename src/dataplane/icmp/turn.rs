//! Translation of an ICMP error: an address of the packet that brings it, the same address and a port of the packet that
//! it quotes, and the checksums of all four layers (RFC 5508 sections 4.2 and 4.3).

use std::net::{IpAddr, SocketAddr};

use super::echo::{put, write_checksum};
use super::notice::Notice;
use crate::dataplane::nat::Refusal;
use crate::dataplane::nat6::Side;
use crate::packet::QuotedEnds;
use crate::snapshot::Hop;
use crate::wire::checksum::{self, Delta};
use crate::wire::{Protocol, ipv4, ipv6, l4};

/// What takes the place of the `quoted` side's address and port in the quoted packet. In the packet around it, the
/// address takes the other side's place.
pub(super) struct Turn {
    pub(super) quoted: Side,
    pub(super) to: SocketAddr,
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

impl Turn {
    /// Rewrites the error for its next hop. What it says besides, an MTU for instance, holds on both sides.
    pub(super) fn take(&self, frame: &mut [u8], notice: &Notice, hop: &Hop) -> Result<(), Refusal> {
        let Notice { ip, quote, .. } = notice;
        let is_v4 = ip.source.is_ipv4();
        if is_v4 != self.to.is_ipv4() || is_v4 != quote.ip.source.is_ipv4() {
            return Err(Refusal::Mtu);
        }
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
        let places = if is_v4 { V4 } else { V6 };
        let (place, source, destination) = match self.quoted {
            Side::Source => (places.destination, ip.source, self.to.ip()),
            Side::Destination => (places.source, self.to.ip(), ip.destination),
        };
        put_address(frame, at + place, self.to.ip());
        put(frame, at + places.hop_limit, &[ip.hop_limit - 1]);
        if is_v4 {
            ipv4::write_checksum(frame.get_mut(at..message_at).unwrap_or_default());
        }
        write_checksum(frame.get_mut(message_at..).unwrap_or_default(), source, destination);
        Ok(())
    }

    fn rewrite_quote(&self, frame: &mut [u8], notice: &Notice, ends: QuotedEnds) -> Option<()> {
        let quoted = &notice.quote.ip;
        let (at, payload_at) = (usize::from(quoted.header_offset), usize::from(quoted.payload_offset));
        let places = if quoted.source.is_ipv4() { V4 } else { V6 };
        let (address_at, old_address, port_at) = match self.quoted {
            Side::Source => (places.source, quoted.source, l4::SOURCE_PORT_OFFSET),
            Side::Destination => (places.destination, quoted.destination, l4::DESTINATION_PORT_OFFSET),
        };
        put_address(frame, at + address_at, self.to.ip());
        let new_port = self.to.port().to_be_bytes();
        let port = frame.get_mut(payload_at + port_at..)?.first_chunk_mut::<2>()?;
        let old_port = std::mem::replace(port, new_port);
        if quoted.source.is_ipv4() {
            ipv4::write_checksum(frame.get_mut(at..payload_at)?);
        }
        let Some(checksum_at) = ends.checksum_offset else { return Some(()) };
        let is_udp = ends.protocol == Protocol::Udp;
        let field = frame.get_mut(usize::from(checksum_at)..)?.first_chunk_mut::<2>()?;
        if is_udp && *field == [0, 0] {
            return Some(());
        }
        let addresses = Delta::NONE.replace_sum(sum_of(old_address), sum_of(self.to.ip()));
        *field = addresses.replace(old_port, new_port).apply(*field);
        if is_udp && *field == [0, 0] {
            *field = [0xff, 0xff];
        }
        Some(())
    }
}

fn put_address(frame: &mut [u8], at: usize, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(frame, at, &address.octets()),
        IpAddr::V6(address) => put(frame, at, &address.octets()),
    }
}

fn sum_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}
