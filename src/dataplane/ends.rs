//! Translation of both ends of a packet, worked out packet by packet: where ports or addresses are known only then, and
//! from one family to the other (RFC 7915).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::nat::Refusal;
use crate::io::Frame;
use crate::packet::{IpPacket, Packet};
use crate::snapshot::Hop;
use crate::wire::checksum::{self, Delta};
use crate::wire::{Protocol, ethernet, ipv4, ipv6, l4};

/// The ends that a packet is given, of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NewEnds {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Where the IP header begins.
const AT: usize = ethernet::HEADER_LEN;

/// Rewrites the parsed `packet` for its next hop and returns its new length. Of another family than it was, extension
/// headers and options do not come along.
pub(super) fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    hop: &Hop,
    ends: &NewEnds,
) -> Result<u16, Refusal> {
    let ip = &packet.ip;
    if ip.hop_limit <= 1 {
        return Err(Refusal::Ttl);
    }
    let payload_len = ip.end().checked_sub(ip.payload_offset.into()).ok_or(Refusal::Mtu)?;
    let is_other_family = ip.source.is_ipv4() != ends.source.is_ipv4();
    let header_len = match ends.source {
        _ if !is_other_family => usize::from(ip.payload_offset) - AT,
        SocketAddr::V4(_) => ipv4::HEADER_LEN,
        SocketAddr::V6(_) => ipv6::HEADER_LEN,
    };
    let total_len = u16::try_from(header_len + payload_len).map_err(|_| Refusal::Mtu)?;
    if total_len > hop.mtu {
        return Err(Refusal::Mtu);
    }
    write_segment(frame.bytes_mut(), packet, ends).ok_or(Refusal::Mtu)?;
    if is_other_family {
        // Padding would count where the header says more than it did.
        frame.truncate(ip.end());
        let old = usize::from(ip.payload_offset) - AT;
        let has_room =
            if header_len > old { frame.grow(header_len - old) } else { frame.shrink(old - header_len) };
        if !has_room {
            return Err(Refusal::Headroom);
        }
    }
    let head = frame.bytes_mut().get_mut(..AT + header_len).ok_or(Refusal::Mtu)?;
    let (ethernet, header) = head.split_first_chunk_mut::<AT>().ok_or(Refusal::Mtu)?;
    ethernet[..12].copy_from_slice(&hop.addresses.0);
    if is_other_family {
        ethernet[12..].copy_from_slice(&new_header(header, packet, total_len, ends).to_be_bytes());
    } else {
        rewrite_header(header, ends);
    }
    Ok(total_len)
}

/// Ports, and the checksum by what they and the addresses change.
fn write_segment(frame: &mut [u8], packet: &Packet, ends: &NewEnds) -> Option<()> {
    let Packet { ip, source_port, destination_port, protocol, .. } = *packet;
    let segment = frame.get_mut(usize::from(ip.payload_offset)..ip.end())?;
    let (source, destination) = (ends.source.port().to_be_bytes(), ends.destination.port().to_be_bytes());
    let checksum_at = match protocol {
        Protocol::Tcp => l4::TCP_CHECKSUM_OFFSET,
        Protocol::Udp => l4::UDP_CHECKSUM_OFFSET,
    };
    *segment.get_mut(l4::SOURCE_PORT_OFFSET..)?.first_chunk_mut()? = source;
    *segment.get_mut(l4::DESTINATION_PORT_OFFSET..)?.first_chunk_mut()? = destination;
    let old: [u8; 2] = *segment.get(checksum_at..)?.first_chunk()?;
    let is_udp = protocol == Protocol::Udp;
    let new = if is_udp && old == [0, 0] {
        if ends.source.is_ipv4() || ip.source.is_ipv6() {
            return Some(());
        }
        // IPv6 has none without (RFC 7915 section 4.5).
        checksum::field(checksum::with_pseudo(
            ends.source.ip(),
            ends.destination.ip(),
            protocol.number(),
            segment,
        ))
    } else {
        Delta::NONE
            .replace_sum(address_sum(ip.source), address_sum(ends.source.ip()))
            .replace_sum(address_sum(ip.destination), address_sum(ends.destination.ip()))
            .replace(source_port.to_be_bytes(), source)
            .replace(destination_port.to_be_bytes(), destination)
            .apply(old)
    };
    let new = if is_udp && new == [0, 0] { [0xff, 0xff] } else { new };
    *segment.get_mut(checksum_at..)?.first_chunk_mut()? = new;
    Some(())
}

fn address_sum(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}

/// Gives a later fragment new addresses of its family, and returns its length.
pub(super) fn readdress(
    frame: &mut [u8],
    ip: &IpPacket,
    hop: &Hop,
    source: IpAddr,
    destination: IpAddr,
) -> Result<u16, Refusal> {
    if ip.hop_limit <= 1 {
        return Err(Refusal::Ttl);
    }
    let is_same_family = [source, destination].iter().all(|new| new.is_ipv4() == ip.source.is_ipv4());
    if ip.total_len > hop.mtu || !is_same_family {
        return Err(Refusal::Mtu);
    }
    let head = frame.get_mut(..ip.payload_offset.into()).ok_or(Refusal::Mtu)?;
    let (ethernet, header) = head.split_first_chunk_mut::<AT>().ok_or(Refusal::Mtu)?;
    ethernet[..12].copy_from_slice(&hop.addresses.0);
    rewrite_header(header, &NewEnds { source: (source, 0).into(), destination: (destination, 0).into() });
    Ok(ip.total_len)
}

/// New addresses in a header of their family, and one hop less.
fn rewrite_header(header: &mut [u8], ends: &NewEnds) {
    match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            write(header, ipv4::SOURCE_OFFSET, source.octets());
            write(header, ipv4::DESTINATION_OFFSET, destination.octets());
            if let Some(ttl) = header.get_mut(ipv4::TTL_OFFSET) {
                *ttl = ttl.saturating_sub(1);
            }
            ipv4::write_checksum(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            write(header, ipv6::SOURCE_OFFSET, source.octets());
            write(header, ipv6::DESTINATION_OFFSET, destination.octets());
            if let Some(hop_limit) = header.get_mut(ipv6::HOP_LIMIT_OFFSET) {
                *hop_limit = hop_limit.saturating_sub(1);
            }
        }
        _ => {}
    }
}

/// A header of the other family in place of the packet's own, and its EtherType.
fn new_header(header: &mut [u8], packet: &Packet, total_len: u16, ends: &NewEnds) -> u16 {
    let IpPacket { hop_limit, traffic_class, .. } = packet.ip;
    let protocol = packet.protocol.number();
    match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            // "Don't fragment", as IPv6 always means it (RFC 7915 section 5.1 has it for all that is long).
            let fields =
                ipv4::Fields { type_of_service: traffic_class, total_len, protocol, source, destination };
            let mut bytes = fields.to_bytes();
            bytes[ipv4::TTL_OFFSET] = hop_limit.saturating_sub(1);
            ipv4::write_checksum(&mut bytes);
            write(header, 0, bytes);
            ethernet::TYPE_IPV4
        }
        (source, destination) => {
            let address = |ip| if let IpAddr::V6(address) = ip { address } else { Ipv6Addr::UNSPECIFIED };
            let fields = ipv6::Fields {
                traffic_class,
                flow_label: 0,
                payload_len: total_len.saturating_sub(ipv6::HEADER_LEN as u16),
                next_header: protocol,
                hop_limit: hop_limit.saturating_sub(1),
                source: address(source),
                destination: address(destination),
            };
            write(header, 0, fields.to_bytes());
            ethernet::TYPE_IPV6
        }
    }
}

fn write<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = new;
    }
}
