//! Frame → packet. Nothing a sender wrote is trusted: every length is held against what is there.

use super::ip::{Extent, FragmentPart, IpPacket, read_ipv4};
use super::ipv6::read_ipv6;
use crate::drop_reason::DropReason;
use crate::wire::l4::{self, TCP_HEADER_LEN, TcpFlags, UDP_HEADER_LEN};
use crate::wire::vlan::Vlan;
use crate::wire::{Protocol, ethernet, icmp, ipv4, ipv6};

/// What a well-formed frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// TCP or UDP.
    Transport(Packet),
    /// A whole ICMP message in IPv4, or ICMPv6 in IPv6, its checksum not looked at.
    Icmp(IpPacket),
    /// Another protocol.
    Other(IpPacket),
    /// A part of a datagram. Its ports were not looked at; see [`first_fragment`].
    Fragment(IpPacket),
    /// ARP, not looked into.
    Arp,
}

/// A TCP or UDP packet: its headers lie whole within the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The packet around the segment or datagram.
    pub ip: IpPacket,
    /// 0 in packets that nobody sends in good faith; see [`flaw_of_source`](super::flaw_of_source).
    pub source_port: u16,
    /// As above.
    pub destination_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// All clear for UDP.
    pub tcp_flags: TcpFlags,
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
/// header, whose checksum is verified (RFC 1812 section 5.2.2), and IPv6 extension headers, which are bounded.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Parsed, DropReason> {
    let (header, _) =
        frame.split_first_chunk::<{ ethernet::HEADER_LEN }>().ok_or(DropReason::EthernetTruncated)?;
    let (ip, payload) = match ethernet::ether_type(header) {
        ethernet::TYPE_IPV4 => read_ipv4(frame, ethernet::HEADER_LEN, Extent::Whole)?,
        ethernet::TYPE_IPV6 => read_ipv6(frame, ethernet::HEADER_LEN, Extent::Whole)?,
        other => return other_ether_type(other, frame),
    };
    match ip.fragment {
        Some(part) if !part.is_all() => parse_fragment(ip, part, payload),
        _ => parse_upper(ip, payload),
    }
}

#[cold]
fn other_ether_type(ether_type: u16, frame: &[u8]) -> Result<Parsed, DropReason> {
    match ether_type {
        ethernet::TYPE_ARP => Ok(Parsed::Arp),
        ethernet::TYPE_VLAN | ethernet::TYPE_QINQ => Err(match Vlan::of_frame(frame) {
            Some((Vlan::NONE | Vlan::NOWHERE, _)) => DropReason::VlanMissing,
            _ => DropReason::VlanTagged,
        }),
        _ => Err(DropReason::NotIp),
    }
}

#[inline]
fn parse_upper(ip: IpPacket, payload: &[u8]) -> Result<Parsed, DropReason> {
    match ip.protocol {
        ipv4::PROTOCOL_TCP => {
            let header = payload.first_chunk().ok_or(DropReason::TcpTruncated)?;
            if l4::tcp_header_len(header) > payload.len() {
                return Err(DropReason::TcpBadOffset);
            }
            tcp(ip, header).map(Parsed::Transport)
        }
        ipv4::PROTOCOL_UDP => {
            let header = payload.first_chunk().ok_or(DropReason::UdpTruncated)?;
            if l4::udp_len(header) != payload.len() {
                return Err(DropReason::UdpBadLength);
            }
            Ok(Parsed::Transport(udp(ip, header)))
        }
        _ if !is_icmp(&ip) => Ok(Parsed::Other(ip)),
        _ if payload.len() < icmp::HEADER_LEN => Err(DropReason::IcmpMalformed),
        _ => Ok(Parsed::Icmp(ip)),
    }
}

/// The first fragment must hold all that a filter goes by, and no other may write over it: RFC 1858 sections 3 and 4,
/// RFC 3128, RFC 7112 section 5.
#[cold]
fn parse_fragment(ip: IpPacket, part: FragmentPart, payload: &[u8]) -> Result<Parsed, DropReason> {
    if part.offset == 0 {
        let is_tiny = match ip.protocol {
            ipv4::PROTOCOL_TCP => first_tcp(ip, payload)?.is_none(),
            ipv4::PROTOCOL_UDP => first_udp(ip, payload)?.is_none(),
            _ if is_icmp(&ip) => payload.len() < icmp::HEADER_LEN,
            _ => payload.is_empty(),
        };
        if is_tiny {
            return Err(DropReason::FragmentTiny);
        }
    } else if ip.protocol == ipv4::PROTOCOL_TCP && usize::from(part.offset) < TCP_HEADER_LEN {
        return Err(DropReason::FragmentInHeader);
    }
    Ok(Parsed::Fragment(ip))
}

/// What the first fragment of a TCP segment or UDP datagram says of all of it. `ip` is of [`Parsed::Fragment`], in the
/// same `frame`; `None` for later fragments, and for other protocols.
pub fn first_fragment(frame: &[u8], ip: &IpPacket) -> Option<Packet> {
    let payload = frame.get(usize::from(ip.payload_offset)..ip.end())?;
    ip.fragment.filter(|part| part.offset == 0)?;
    match ip.protocol {
        ipv4::PROTOCOL_TCP => first_tcp(*ip, payload).ok()?,
        ipv4::PROTOCOL_UDP => first_udp(*ip, payload).ok()?,
        _ => None,
    }
}

/// `None` if the header does not lie whole within the fragment.
fn first_tcp(ip: IpPacket, payload: &[u8]) -> Result<Option<Packet>, DropReason> {
    let Some(header) = payload.first_chunk() else { return Ok(None) };
    let packet = tcp(ip, header)?;
    Ok((l4::tcp_header_len(header) <= payload.len()).then_some(packet))
}

/// The same of UDP, whose length is that of the whole datagram, of which there is more.
fn first_udp(ip: IpPacket, payload: &[u8]) -> Result<Option<Packet>, DropReason> {
    let Some(header) = payload.first_chunk() else { return Ok(None) };
    if l4::udp_len(header) <= payload.len() {
        return Err(DropReason::UdpBadLength);
    }
    Ok(Some(udp(ip, header)))
}

/// Whether it carries the ICMP of its own family.
fn is_icmp(ip: &IpPacket) -> bool {
    let own = if ip.source.is_ipv4() { ipv4::PROTOCOL_ICMP } else { ipv6::PROTOCOL_ICMPV6 };
    ip.protocol == own
}

#[inline]
fn tcp(ip: IpPacket, header: &[u8; TCP_HEADER_LEN]) -> Result<Packet, DropReason> {
    if l4::tcp_header_len(header) < TCP_HEADER_LEN {
        return Err(DropReason::TcpBadOffset);
    }
    let tcp_flags = l4::tcp_flags(header);
    if tcp_flags.is_nonsense() {
        return Err(DropReason::TcpBadFlags);
    }
    let [a, b, c, d, ..] = *header;
    let (source_port, destination_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ok(Packet { ip, source_port, destination_port, protocol: Protocol::Tcp, tcp_flags })
}

/// A checksum of zero is let by in IPv6 too: whether it is one that tunnels may send, the receiver knows (RFC 6936 section 5).
#[inline]
fn udp(ip: IpPacket, header: &[u8; UDP_HEADER_LEN]) -> Packet {
    let (source_port, destination_port) = l4::ports(header);
    let tcp_flags = TcpFlags::default();
    Packet { ip, source_port, destination_port, protocol: Protocol::Udp, tcp_flags }
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
            ("IPv4 that says it is IPv6", with(tcp_frame(), &[(12, 0x86), (13, 0xdd)]), Ipv6BadHeader),
            ("LLDP", with(tcp_frame(), &[(12, 0x88), (13, 0xcc)]), NotIp),
            ("802.1Q", with(tcp_frame(), &[(12, 0x81), (13, 0)]), VlanTagged),
            ("802.1ad", with(tcp_frame(), &[(12, 0x88), (13, 0xa8)]), VlanTagged),
            ("VLAN 0", with(tcp_frame(), &[(12, 0x81), (13, 0), (14, 0xe0)]), VlanMissing),
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
