use super::*;
use crate::drop_reason::DropReason;
use crate::packet::{Packet, Parsed, parse};
use crate::wire::Protocol;
use crate::wire::l4::TcpFlags;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use proptest::sample::select;

fn with(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    changes.iter().for_each(|(at, value)| frame[*at] = *value);
    frame
}

fn tcp() -> Vec<u8> {
    v6_frame(&[], 6, &segment())
}

fn transport(frame: &[u8]) -> Packet {
    match parse(frame) {
        Ok(Parsed::Transport(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_is_read_with_all_that_is_told_of_it() {
    let packet = transport(&with(tcp(), &[(14, 0x6a), (15, 0xb7)]));
    assert_eq!((packet.source_port, packet.destination_port), (40_000, 443));
    assert_eq!((packet.protocol, packet.tcp_flags), (Protocol::Tcp, TcpFlags(TcpFlags::SYN)));
    let ip = packet.ip;
    assert_eq!((ip.source, ip.destination), (CLIENT.into(), FRONTEND.into()));
    assert_eq!((ip.header_offset, ip.payload_offset, ip.total_len, ip.end()), (14, 54, 65, 79));
    assert_eq!((ip.protocol, ip.hop_limit, ip.traffic_class, ip.fragment), (6, 64, 0xab, None));
    assert_eq!(ip.v4(), None);
}

#[test]
fn each_thing_that_can_be_wrong_has_its_name() {
    use DropReason::*;
    let udp = v6_frame(&[], 17, &datagram());
    let behind = |extensions: &[(u8, Vec<u8>)]| v6_frame(extensions, 6, &segment());
    let mut forbidden = padding(43, 1);
    forbidden.1[2] = 0;
    let mut unfinished = padding(43, 3);
    unfinished.1[3] = 1;
    let cases = [
        ("39 bytes", tcp()[..53].to_vec(), Ipv6Truncated),
        ("payload beyond the frame", with(tcp(), &[(19, 26)]), Ipv6Truncated),
        ("version 4", with(tcp(), &[(14, 0x45)]), Ipv6BadHeader),
        ("jumbogram", with(behind(&[padding(0, 1)]), &[(18, 0), (19, 0)]), Ipv6BadHeader),
        ("hop-by-hop second", behind(&[padding(60, 1), padding(0, 1)]), Ipv6BadExtension),
        ("beyond the packet", with(behind(&[padding(60, 1)]), &[(55, 9)]), Ipv6BadExtension),
        ("extension cut", v6_frame(&[], 60, &[6, 0, 0, 0, 0, 0, 0]), Ipv6BadExtension),
        ("two fragment headers", behind(&[part(0, false), part(0, false)]), Ipv6BadExtension),
        ("nine extensions", behind(&vec![padding(60, 1); 9]), Ipv6LongExtensions),
        ("264 bytes of them", behind(&[padding(60, 20), padding(60, 13)]), Ipv6LongExtensions),
        ("routing type 0", behind(&[forbidden]), Ipv6SourceRoute),
        ("segments left", behind(&[unfinished]), Ipv6SourceRoute),
        ("TCP cut", with(tcp(), &[(19, 19)]), TcpTruncated),
        ("no TCP", with(tcp(), &[(19, 0)]), TcpTruncated),
        ("data offset 4", with(tcp(), &[(66, 0x40)]), TcpBadOffset),
        ("data offset past the end", with(tcp(), &[(66, 0x70)]), TcpBadOffset),
        ("SYN and FIN", with(tcp(), &[(67, 3)]), TcpBadFlags),
        ("UDP cut", with(udp.clone(), &[(19, 7)]), UdpTruncated),
        ("UDP length 0", with(udp, &[(58, 0), (59, 0)]), UdpBadLength),
        ("ICMP cut", v6_frame(&[], 58, &[128, 0, 0, 0, 0, 0, 0]), IcmpMalformed),
        (
            "authentication without its own fields",
            v6_frame(&[(51, vec![0; 8])], 6, &segment()),
            Ipv6BadExtension,
        ),
        ("TCP behind a VLAN tag", with(tcp(), &[(12, 0x81), (13, 0), (15, 1)]), VlanTagged),
        ("TCP behind a tag of VLAN 0", with(tcp(), &[(12, 0x81), (13, 0)]), VlanMissing),
    ];
    for (name, frame, reason) in cases {
        assert_eq!(parse(&frame), Err(reason), "{name}");
    }
}

#[test]
fn a_packet_as_long_as_can_be_is_read_and_a_longer_one_refused() {
    let datagram = |len: usize| {
        let mut bytes = vec![0; len];
        bytes[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        v6_frame(&[], 17, &bytes)
    };
    assert_eq!(transport(&datagram(65_495)).ip.total_len, 65_535);
    assert_eq!(parse(&datagram(65_496)), Err(DropReason::Ipv6BadHeader));
}

#[test]
fn what_carries_no_ports_is_told_apart() {
    let kind = |protocol| parse(&v6_frame(&[padding(60, 1)], protocol, &[128; 8]));
    assert!(matches!(kind(58), Ok(Parsed::Icmp(ip)) if ip.protocol == 58 && ip.payload_offset == 62));
    // ICMP of the other family, SCTP, GRE, ESP, and what is for experiments (RFC 3692).
    for protocol in [1, 132, 47, 50, 253] {
        assert!(matches!(kind(protocol), Ok(Parsed::Other(ip)) if ip.protocol == protocol), "{protocol}");
    }
    let nothing = parse(&v6_frame(&[], 59, &[]));
    assert!(matches!(nothing, Ok(Parsed::Other(ip)) if ip.protocol == 59 && ip.total_len == 40));
}

#[test]
fn extension_headers_are_passed_over_as_far_as_the_bounds_go() {
    let many = vec![padding(60, 1); 8];
    let long = [padding(0, 16), padding(43, 8), padding(60, 8)];
    let all = [padding(0, 1), padding(60, 2), padding(43, 1), (51, vec![0; 24]), padding(135, 1)];
    let rare = [padding(139, 1), padding(140, 1)];
    let mut all = all;
    // The length of an authentication header counts words of four bytes, less two.
    all[3].1[1] = 4;
    for chain in [&many[..], &long, &all, &rare] {
        let len: usize = chain.iter().map(|(_, bytes)| bytes.len()).sum();
        let packet = transport(&v6_frame(chain, 6, &segment()));
        assert_eq!(usize::from(packet.ip.payload_offset), 54 + len);
        assert_eq!((packet.source_port, packet.ip.protocol), (40_000, 6));
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused_and_a_padded_one_is_not() {
    let chain = [padding(0, 1), part(0, false), padding(60, 2)];
    for frame in [tcp(), v6_frame(&chain, 17, &datagram()), v6_frame(&[part(0, true)], 6, &[0x50; 24])] {
        for len in 0..frame.len() {
            assert!(parse(&frame[..len]).is_err(), "{len} bytes");
        }
        let mut padded = frame.clone();
        padded.resize(frame.len() + 9, 0xee);
        assert_eq!(parse(&padded), parse(&frame));
    }
}

/// An extension header that etherparse knows, too.
fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        (select(vec![0u8, 43, 60]), 1u8..5).prop_map(|(number, units)| padding(number, units)),
        Just((51, vec![0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])),
        Just(part(0, false)),
    ]
}

proptest! {
    #[test]
    fn what_it_accepts_etherparse_reads_alike(
        chain in proptest::collection::vec(extension(), 0..5), is_udp in any::<bool>(),
        flips in proptest::collection::vec((0usize..200, any::<u8>()), 0..3),
    ) {
        let (protocol, payload) = if is_udp { (17, datagram()) } else { (6, segment()) };
        let mut frame = v6_frame(&chain, protocol, &payload);
        let len = frame.len();
        flips.iter().for_each(|(at, value)| frame[at % len] = *value);
        let Ok(parsed) = parse(&frame) else { return Ok(()) };
        let (Parsed::Transport(Packet { ip, .. }) | Parsed::Icmp(ip) | Parsed::Other(ip) | Parsed::Fragment(ip)) = parsed
        else { return Ok(()) };
        prop_assert!(usize::from(ip.payload_offset) <= ip.end() && ip.end() <= frame.len());
        let Ok(sliced) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        let Some(NetSlice::Ipv6(other)) = &sliced.net else { return Ok(()) };
        prop_assert_eq!((other.header().source_addr(), other.header().destination_addr()), match (ip.source, ip.destination) {
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => (source, destination),
            mixed => panic!("{mixed:?}"),
        });
        let carried = other.payload();
        // It goes on along the headers behind a later fragment's, which are none.
        let is_later = ip.fragment.is_some_and(|part| part.offset != 0);
        // Mobility, HIP and shim6 it does not pass over.
        let is_unknown = [135, 139, 140].contains(&carried.ip_number.0);
        if is_unknown {
            return Ok(());
        }
        if !is_later {
            prop_assert_eq!(carried.ip_number.0, ip.protocol);
            prop_assert_eq!(carried.payload, &frame[ip.payload_offset.into()..ip.end()]);
        }
        if let Parsed::Transport(packet) = parsed {
            let ports = match sliced.transport.unwrap() {
                TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
                TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(ports, (packet.source_port, packet.destination_port));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), first in any::<u8>()) {
        let mut frame = v6_frame(&[], first, &bytes);
        let _ = parse(&frame);
        frame[18..].iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        let _ = parse(&frame);
    }
}
