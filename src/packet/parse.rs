//! Frame → packet. Nothing a sender wrote is trusted: every length is held against what is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::drop_reason::DropReason;
use crate::wire::l4::{self, TcpFlags};
use crate::wire::{Protocol, ethernet, icmp, ipv4};

/// What a well-formed frame is.
#[derive(Clone, Copy, Debug)]
pub enum Parsed {
    /// TCP or UDP in IPv4.
    Transport(Packet),
    /// A whole ICMP message in IPv4, its checksum not looked at.
    Icmp(Ipv4Packet),
    /// Another protocol in IPv4.
    OtherIpv4(Ipv4Packet),
    /// ARP, not looked into.
    Arp,
}

/// A TCP or UDP packet: its headers lie whole within the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The packet around the segment or datagram.
    pub ip: Ipv4Packet,
    /// 0 in packets that nobody sends in good faith; see [`flaw_of_source`].
    pub source_port: u16,
    /// As above.
    pub destination_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// All clear for UDP.
    pub tcp_flags: TcpFlags,
}

/// An IPv4 packet that lies whole within the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Packet {
    /// Who sent it, or so it says; see [`flaw_of_source`].
    pub source: Ipv4Addr,
    /// Whom it is for.
    pub destination: Ipv4Addr,
    /// Where the payload begins, in bytes from the start of the frame.
    pub payload_offset: u16,
    /// Bytes of the packet, its header included.
    pub total_len: u16,
    /// Hops left.
    pub ttl: u8,
}

/// Why no packet can come from there, if that is so: an address of "this network", loopback, multicast,
/// reserved or broadcast (RFC 1122 section 3.2.1.3, RFC 6890), or port 0.
///
/// Not part of parsing: only packets that begin a flow, or belong to none, need be asked.
#[inline(always)]
pub fn flaw_of_source(address: Ipv4Addr, port: u16) -> Option<DropReason> {
    if is_martian(address) {
        Some(DropReason::MartianSource)
    } else if port == 0 {
        Some(DropReason::PortZero)
    } else {
        None
    }
}

/// The same for addresses of both families. Of IPv6: unspecified, loopback, multicast, link-local, and IPv4 addresses
/// mapped (RFC 4291 section 2.5, RFC 4861 section 7.1).
pub fn flaw_of_ip_source(address: IpAddr, port: u16) -> Option<DropReason> {
    match address {
        IpAddr::V4(address) => flaw_of_source(address, port),
        IpAddr::V6(address) if is_martian_ipv6(address) => Some(DropReason::MartianSource),
        IpAddr::V6(_) if port == 0 => Some(DropReason::PortZero),
        IpAddr::V6(_) => None,
    }
}

/// Whether an address can stand for no single host beyond a link.
pub fn is_martian_ipv6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some()
}

/// Whether an address can stand for no single host: neither as a source nor as a destination.
#[inline(always)]
pub fn is_martian(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    // 1 to 223, in one comparison.
    first.wrapping_sub(1) >= 223 || first == 127
}

impl std::fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// Reads the headers of `frame`.
///
/// # Errors
/// The first thing found wrong, from the outside in. Constant time but for the options of the IPv4
/// header, whose checksum is verified (RFC 1812 section 5.2.2).
#[inline]
pub fn parse(frame: &[u8]) -> Result<Parsed, DropReason> {
    let (header, rest) =
        frame.split_first_chunk::<{ ethernet::HEADER_LEN }>().ok_or(DropReason::EthernetTruncated)?;
    match ethernet::ether_type(header) {
        ethernet::TYPE_IPV4 => parse_ipv4(rest),
        other => other_ether_type(other),
    }
}

#[cold]
fn other_ether_type(ether_type: u16) -> Result<Parsed, DropReason> {
    match ether_type {
        ethernet::TYPE_ARP => Ok(Parsed::Arp),
        ethernet::TYPE_VLAN | ethernet::TYPE_QINQ => Err(DropReason::VlanTagged),
        _ => Err(DropReason::NotIpv4),
    }
}

#[inline]
fn parse_ipv4(bytes: &[u8]) -> Result<Parsed, DropReason> {
    let fixed = bytes.first_chunk::<{ ipv4::HEADER_LEN }>().ok_or(DropReason::Ipv4Truncated)?;
    let header = ipv4::Header(fixed);
    let (header_len, total_len) = (header.header_len(), header.total_len());
    if header.version() != 4 || header_len < ipv4::HEADER_LEN || total_len < header_len {
        return Err(DropReason::Ipv4BadHeader);
    }
    // Ethernet pads short frames: there may be more bytes than the packet has, never fewer.
    let packet = bytes.get(..total_len).ok_or(DropReason::Ipv4Truncated)?;
    let (whole_header, payload) = packet.split_at_checked(header_len).ok_or(DropReason::Ipv4Truncated)?;
    let checksum_is_right = if header_len == ipv4::HEADER_LEN {
        ipv4::checksum_is_right(fixed)
    } else {
        ipv4::checksum_is_right(whole_header)
    };
    if !checksum_is_right {
        return Err(DropReason::Ipv4BadChecksum);
    }
    if header.is_fragment() {
        return Err(DropReason::Ipv4Fragment);
    }
    let ip = Ipv4Packet {
        source: header.source(),
        destination: header.destination(),
        payload_offset: (ethernet::HEADER_LEN + header_len) as u16,
        total_len: total_len as u16,
        ttl: header.ttl(),
    };
    match header.protocol() {
        ipv4::PROTOCOL_TCP => parse_tcp(ip, payload),
        ipv4::PROTOCOL_UDP => parse_udp(ip, payload),
        ipv4::PROTOCOL_ICMP if payload.len() < icmp::HEADER_LEN => Err(DropReason::IcmpMalformed),
        ipv4::PROTOCOL_ICMP => Ok(Parsed::Icmp(ip)),
        _ => Ok(Parsed::OtherIpv4(ip)),
    }
}

#[inline]
fn parse_tcp(ip: Ipv4Packet, segment: &[u8]) -> Result<Parsed, DropReason> {
    let header = segment.first_chunk::<{ l4::TCP_HEADER_LEN }>().ok_or(DropReason::TcpTruncated)?;
    let header_len = l4::tcp_header_len(header);
    if header_len < l4::TCP_HEADER_LEN || header_len > segment.len() {
        return Err(DropReason::TcpBadOffset);
    }
    let tcp_flags = l4::tcp_flags(header);
    if tcp_flags.is_nonsense() {
        return Err(DropReason::TcpBadFlags);
    }
    let (ports, _) = header.split_first_chunk().ok_or(DropReason::TcpTruncated)?;
    transport(ip, ports, Protocol::Tcp, tcp_flags)
}

#[inline]
fn parse_udp(ip: Ipv4Packet, datagram: &[u8]) -> Result<Parsed, DropReason> {
    let header = datagram.first_chunk::<{ l4::UDP_HEADER_LEN }>().ok_or(DropReason::UdpTruncated)?;
    if l4::udp_len(header) != datagram.len() {
        return Err(DropReason::UdpBadLength);
    }
    transport(ip, header, Protocol::Udp, TcpFlags::default())
}

#[inline]
fn transport(
    ip: Ipv4Packet,
    ports: &[u8; l4::UDP_HEADER_LEN],
    protocol: Protocol,
    tcp_flags: TcpFlags,
) -> Result<Parsed, DropReason> {
    let (source_port, destination_port) = l4::ports(ports);
    Ok(Parsed::Transport(Packet { ip, source_port, destination_port, protocol, tcp_flags }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket};
    use proptest::prelude::*;

    const CLIENT: [u8; 4] = [192, 0, 2, 7];
    const FRONTEND: [u8; 4] = [203, 0, 113, 10];

    fn tcp_frame() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(CLIENT, FRONTEND, 64)
            .tcp(40_000, 443, 1, 1024)
            .syn();
        let mut frame = Vec::new();
        builder.write(&mut frame, b"hello").unwrap();
        frame
    }

    fn udp_frame() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(CLIENT, FRONTEND, 64)
            .udp(40_000, 53);
        let mut frame = Vec::new();
        builder.write(&mut frame, b"hello, nameserver").unwrap();
        frame
    }

    /// `frame` with some bytes replaced and the IPv4 checksum made right again.
    fn with(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
        for (offset, value) in changes {
            frame[*offset] = *value;
        }
        let header_len = usize::from(frame[14] & 15) * 4;
        if let Some(header) = frame.get_mut(14..14 + header_len) {
            ipv4::write_checksum(header);
        }
        frame
    }

    #[test]
    fn each_thing_that_can_be_wrong_has_its_name() {
        use DropReason::*;
        let cases: Vec<(&str, Vec<u8>, DropReason)> = vec![
            ("13 bytes", vec![0; 13], EthernetTruncated),
            ("IPv6", with(tcp_frame(), &[(12, 0x86), (13, 0xdd)]), NotIpv4),
            ("802.1Q", with(tcp_frame(), &[(12, 0x81), (13, 0)]), VlanTagged),
            ("IP version 6", with(tcp_frame(), &[(14, 0x65)]), Ipv4BadHeader),
            ("IHL 4", with(tcp_frame(), &[(14, 0x44)]), Ipv4BadHeader),
            ("total length below header length", with(tcp_frame(), &[(16, 0), (17, 19)]), Ipv4BadHeader),
            ("total length beyond the frame", with(tcp_frame(), &[(16, 1), (17, 0)]), Ipv4Truncated),
            ("IHL 15 without options", with(tcp_frame(), &[(14, 0x4f)]), Ipv4BadHeader),
            (
                "wrong checksum",
                {
                    let mut f = tcp_frame();
                    f[24] ^= 1;
                    f
                },
                Ipv4BadChecksum,
            ),
            ("first fragment", with(tcp_frame(), &[(20, 0x20)]), Ipv4Fragment),
            ("later fragment", with(tcp_frame(), &[(21, 1)]), Ipv4Fragment),
            ("TCP cut", with(tcp_frame(), &[(17, 39)]), TcpTruncated),
            ("data offset 4", with(tcp_frame(), &[(46, 0x40)]), TcpBadOffset),
            ("data offset past the end", with(tcp_frame(), &[(46, 0x70)]), TcpBadOffset),
            ("SYN and FIN", with(tcp_frame(), &[(47, 0x03)]), TcpBadFlags),
            ("no flags", with(tcp_frame(), &[(47, 0)]), TcpBadFlags),
            ("UDP cut", with(udp_frame(), &[(17, 27)]), UdpTruncated),
            ("UDP length too long", with(udp_frame(), &[(39, 26)]), UdpBadLength),
            ("UDP length too short", with(udp_frame(), &[(39, 7)]), UdpBadLength),
            ("ICMP cut", with(udp_frame(), &[(23, 1), (17, 27)]), IcmpMalformed),
        ];
        for (name, frame, reason) in cases {
            assert_eq!(parse(&frame).err(), Some(reason), "{name}");
        }
    }

    #[test]
    fn some_sources_cannot_be() {
        let flaw = |address: [u8; 4], port| flaw_of_source(address.into(), port);
        for first in [0, 127, 224, 239, 240, 255] {
            assert_eq!(flaw([first, 1, 2, 3], 9), Some(DropReason::MartianSource), "{first}");
        }
        for first in [1, 10, 126, 128, 192, 223] {
            assert_eq!(flaw([first, 1, 2, 3], 9), None, "{first}");
        }
        assert_eq!(flaw(CLIENT, 0), Some(DropReason::PortZero));
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused_and_a_padded_one_is_not() {
        for frame in [tcp_frame(), udp_frame()] {
            for len in 0..frame.len() {
                assert!(parse(&frame[..len]).is_err(), "{len} bytes");
            }
            let mut padded = frame.clone();
            padded.resize(64, 0);
            assert!(matches!(parse(&padded), Ok(Parsed::Transport(_))));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_it_accepts_etherparse_reads_alike(
            bytes in proptest::collection::vec(any::<u8>(), 0..128),
            flips in proptest::collection::vec((0usize..64, any::<u8>()), 0..4),
        ) {
            let _ = parse(&bytes);
            for base in [tcp_frame(), udp_frame()] {
                let len = base.len();
                let flips: Vec<_> = flips.iter().map(|(at, value)| (at % len, *value)).collect();
                let frame = with(base, &flips);
                let Ok(Parsed::Transport(packet)) = parse(&frame) else { continue };
                let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
                let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4") };
                prop_assert_eq!(ip.header().source_addr(), packet.ip.source);
                prop_assert_eq!(ip.header().destination_addr(), packet.ip.destination);
                let ports = match sliced.transport.unwrap() {
                    etherparse::TransportSlice::Tcp(t) => (t.source_port(), t.destination_port()),
                    etherparse::TransportSlice::Udp(u) => (u.source_port(), u.destination_port()),
                    _ => panic!("neither TCP nor UDP"),
                };
                prop_assert_eq!(ports, (packet.source_port, packet.destination_port));
            }
        }
    }
}
