//! Translation of both ends of a packet, worked out packet by packet: where ports or addresses are known only then, and
//! from one family to the other (RFC 7915).

use std::net::{IpAddr, SocketAddr};

use super::family::NewHeader;
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

/// What a packet will be behind its new headers.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    /// The header that it is given; `None` where it keeps its own, with other addresses.
    header: Option<NewHeader>,
    header_len: usize,
    /// Bytes of the packet then.
    pub(super) total_len: u16,
}

/// Whether a packet that leads on behind new headers can go to `hop`, with `added` bytes more than it has.
pub(super) fn fit(
    ip: &IpPacket,
    hop: &Hop,
    source: IpAddr,
    destination: IpAddr,
    added: usize,
) -> Result<Fit, Refusal> {
    if ip.hop_limit <= 1 {
        return Err(Refusal::Ttl);
    }
    let payload_len = ip.end().checked_sub(ip.payload_offset.into()).ok_or(Refusal::Mtu)? + added;
    let header = if ip.source.is_ipv4() == source.is_ipv4() {
        None
    } else {
        let header = NewHeader::of(ip, source, destination, payload_len).ok_or(Refusal::Fragment)?;
        Some(NewHeader { hop_limit: ip.hop_limit - 1, ..header })
    };
    let own_len = usize::from(ip.payload_offset).saturating_sub(AT);
    let header_len = header.map_or(own_len, |header| header.len());
    let total_len = u16::try_from(header_len + payload_len).map_err(|_| Refusal::Mtu)?;
    if total_len > hop.mtu { Err(Refusal::Mtu) } else { Ok(Fit { header, header_len, total_len }) }
}

/// Rewrites the parsed `packet`, whole or the first of a datagram, for its next hop and returns its new length. Of another
/// family than it was, extension headers and options do not come along.
pub(super) fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    hop: &Hop,
    ends: &NewEnds,
) -> Result<u16, Refusal> {
    let mut fit = fit(&packet.ip, hop, ends.source.ip(), ends.destination.ip(), 0)?;
    if fit.header.is_some() && lacks_checksum(frame.bytes(), packet) {
        // It covers what has not come yet (RFC 7915 section 4.5).
        return Err(Refusal::Fragment);
    }
    let checksum = write_segment(frame.bytes_mut(), packet, ends).ok_or(Refusal::Mtu)?;
    fit.header = fit.header.map(|header| header.named_by(checksum));
    write_headers(frame, &packet.ip, hop, &fit, ends)?;
    Ok(fit.total_len)
}

/// Whether the packet is a part of a UDP datagram without a checksum.
fn lacks_checksum(frame: &[u8], packet: &Packet) -> bool {
    let at = usize::from(packet.ip.payload_offset) + l4::UDP_CHECKSUM_OFFSET;
    packet.protocol == Protocol::Udp
        && packet.ip.fragment.is_some_and(|part| !part.is_all())
        && frame.get(at..at + 2) == Some(&[0, 0])
}

/// Ethernet's header and the packet's.
fn write_headers<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    hop: &Hop,
    fit: &Fit,
    ends: &NewEnds,
) -> Result<(), Refusal> {
    if fit.header.is_some() {
        // Padding would count where the header says more than it did.
        frame.truncate(ip.end());
        let old = usize::from(ip.payload_offset) - AT;
        let has_room = if fit.header_len > old {
            frame.grow(fit.header_len - old)
        } else {
            frame.shrink(old - fit.header_len)
        };
        if !has_room {
            return Err(Refusal::Headroom);
        }
    }
    let head = frame.bytes_mut().get_mut(..AT + fit.header_len).ok_or(Refusal::Mtu)?;
    let (ethernet, header) = head.split_first_chunk_mut::<AT>().ok_or(Refusal::Mtu)?;
    ethernet[..12].copy_from_slice(&hop.addresses.0);
    match fit.header {
        Some(new) => {
            let ether_type = new.write(header).ok_or(Refusal::Mtu)?;
            ethernet[12..].copy_from_slice(&ether_type.to_be_bytes());
        }
        None => rewrite_header(header, ends),
    }
    Ok(())
}

/// Ports, and the checksum by what they and the addresses change, which it returns.
fn write_segment(frame: &mut [u8], packet: &Packet, ends: &NewEnds) -> Option<[u8; 2]> {
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
            return Some(old);
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
    Some(new)
}

fn address_sum(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}

/// Gives a later fragment new addresses, of either family, and returns its length.
pub(super) fn readdress<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    hop: &Hop,
    source: IpAddr,
    destination: IpAddr,
) -> Result<u16, Refusal> {
    let fit = fit(ip, hop, source, destination, 0)?;
    let ends = NewEnds { source: (source, 0).into(), destination: (destination, 0).into() };
    write_headers(frame, ip, hop, &fit, &ends)?;
    Ok(fit.total_len)
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

fn write<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = new;
    }
}
