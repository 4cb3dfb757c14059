//! ICMP errors about packets, and what they quote.

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// "Port unreachable" about the packet in `quoted`, from `from` to whoever sent it.
pub fn unreachable(macs: ([u8; 6], [u8; 6]), from: &str, to: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0, macs.1);
    let mut frame = Vec::new();
    match (from.parse().unwrap(), to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => builder
            .ipv4(from.octets(), to.octets(), 60)
            .icmpv4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port))
            .write(&mut frame, &quoted[14..])
            .unwrap(),
        (IpAddr::V6(from), IpAddr::V6(to)) => builder
            .ipv6(from.octets(), to.octets(), 60)
            .icmpv6(Icmpv6Type::DestinationUnreachable(etherparse::icmpv6::DestUnreachableCode::Port))
            .write(&mut frame, &quoted[14..])
            .unwrap(),
        _ => panic!("two families"),
    }
    frame
}

/// Source and destination of an error, and the frame of what it quotes.
pub fn read_error(frame: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let payload = match packet.transport.as_ref().unwrap() {
        TransportSlice::Icmpv4(icmp) => {
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            icmp.payload()
        }
        TransportSlice::Icmpv6(icmp) => {
            let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { panic!("two families") };
            assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
            icmp.payload()
        }
        other => panic!("{other:?}"),
    };
    let mut quoted = frame[..14].to_vec();
    quoted.extend(payload);
    (from, to, quoted)
}

/// The MTU that an error asks for.
pub fn mtu_told(frame: &[u8]) -> u32 {
    use DestUnreachableHeader::FragmentationNeeded;
    match SlicedPacket::from_ethernet(frame).unwrap().transport.unwrap() {
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu }) => next_hop_mtu.into(),
            other => panic!("{other:?}"),
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::PacketTooBig { mtu } => mtu,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
