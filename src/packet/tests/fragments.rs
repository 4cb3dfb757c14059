use super::*;
use crate::drop_reason::DropReason;
use crate::packet::{FragmentPart, IpPacket, Parsed, first_fragment, parse};
use crate::wire::l4::TcpFlags;

fn fragment(frame: &[u8]) -> IpPacket {
    match parse(frame) {
        Ok(Parsed::Fragment(ip)) => ip,
        other => panic!("{other:?}"),
    }
}

/// The first 24 bytes of a segment and of a datagram.
fn firsts() -> [(u8, Vec<u8>); 2] {
    [(6, segment()[..24].to_vec()), (17, datagram()[..24].to_vec())]
}

#[test]
fn parts_of_a_datagram_are_told_in_both_families() {
    for (protocol, payload) in firsts() {
        let whole =
            |next_header, offset, len, more, id| Some(FragmentPart { id, offset, len, more, next_header });
        let frame = v4_part(protocol, 0, true, &payload);
        let ip = fragment(&frame);
        assert_eq!(ip.fragment, whole(protocol, 0, 24, true, 0x0908));
        assert_eq!((ip.protocol, ip.payload_offset), (protocol, 34));
        let packet = first_fragment(&frame, &ip).unwrap();
        assert_eq!((packet.ip, packet.source_port), (ip, 40_000));
        let is_open = packet.tcp_flags == TcpFlags(TcpFlags::SYN);
        assert_eq!(is_open, protocol == 6);

        let later = v4_part(protocol, 65_496, false, &payload[..19]);
        let ip = fragment(&later);
        assert_eq!(ip.fragment, whole(protocol, 65_496, 19, false, 0x0908));
        assert_eq!(first_fragment(&later, &ip), None);

        // Behind the fragment header there can be more headers, and the first fragment has them all.
        let frame = v6_frame(&[padding(0, 1), part(0, true), padding(60, 1)], protocol, &payload);
        let ip = fragment(&frame);
        assert_eq!(ip.fragment, whole(60, 0, 32, true, 0x0102_0304));
        assert_eq!((ip.protocol, ip.payload_offset), (protocol, 78));
        assert_eq!(first_fragment(&frame, &ip).unwrap().source_port, 40_000);
        let later = v6_frame(&[part(32, false)], 60, &payload[..3]);
        let ip = fragment(&later);
        assert_eq!(ip.fragment, whole(60, 32, 3, false, 0x0102_0304));
        assert_eq!((ip.protocol, ip.payload_offset), (60, 62));
    }
}

#[test]
fn a_datagram_in_one_part_is_whole() {
    let Ok(Parsed::Transport(packet)) = parse(&v6_frame(&[part(0, false)], 17, &datagram())) else {
        panic!("no transport")
    };
    let part = packet.ip.fragment.unwrap();
    assert!(part.is_all());
    assert_eq!((packet.source_port, part.id), (40_000, 0x0102_0304));
    let message = parse(&v6_frame(&[super::part(0, false)], 58, &[128, 0, 0, 0, 0, 0, 0, 0]));
    assert!(matches!(message, Ok(Parsed::Icmp(_))));
}

#[test]
fn what_hides_headers_is_dropped_by_name() {
    use DropReason::*;
    let (tcp, udp) = (segment(), datagram());
    let mut long_header = tcp[..24].to_vec();
    long_header[12] = 0x70;
    let mut nonsense = tcp[..24].to_vec();
    nonsense[13] = 3;
    let mut complete = udp[..24].to_vec();
    complete[5] = 24;
    // By protocol, offset, "more", and data.
    type Case<'a> = (&'a str, u8, u16, bool, &'a [u8], DropReason);
    let cases: [Case<'_>; 13] = [
        ("TCP header in two", 6, 0, true, &tcp[..16], FragmentTiny),
        ("TCP options in two", 6, 0, true, &long_header, FragmentTiny),
        ("ports alone", 6, 0, true, &tcp[..8], FragmentTiny),
        ("flags that make no sense", 6, 0, true, &nonsense, TcpBadFlags),
        ("over the flags", 6, 8, true, &tcp[..8], FragmentInHeader),
        ("over the checksum", 6, 16, false, &tcp[..8], FragmentInHeader),
        ("UDP that is all there", 17, 0, true, &complete, UdpBadLength),
        ("askew", 17, 24, true, &udp[..9], FragmentBadLength),
        ("empty", 17, 24, false, &[], FragmentBadLength),
        ("empty in the middle", 17, 24, true, &[], FragmentBadLength),
        ("beyond the longest datagram", 17, 65_528, false, &udp[..16], FragmentBadLength),
        ("later, but of what is not TCP", 17, 8, false, &[], FragmentBadLength),
        ("the longest datagram and one more", 17, 65_528, false, &udp[..8], FragmentBadLength),
    ];
    for (name, protocol, offset, more, data, reason) in cases {
        assert_eq!(parse(&v4_part(protocol, offset, more, data)), Err(reason), "{name}, IPv4");
        assert_eq!(parse(&v6_frame(&[part(offset, more)], protocol, data)), Err(reason), "{name}, IPv6");
    }
    let ends_at = |len: usize| parse(&v4_part(17, 65_512, false, &udp[..len]));
    assert!(matches!(ends_at(3), Ok(Parsed::Fragment(_))));
    assert_eq!(ends_at(4), Err(FragmentBadLength), "the header counts");
    let ends_at = |len: usize| parse(&v6_frame(&[padding(0, 1), part(65_520, false)], 17, &udp[..len]));
    assert!(matches!(ends_at(7), Ok(Parsed::Fragment(_))));
    assert_eq!(ends_at(8), Err(FragmentBadLength), "headers in front count, the fixed one does not");
    assert!(
        matches!(parse(&v4_part(17, 8, false, &udp[..3])), Ok(Parsed::Fragment(_))),
        "UDP's is over at 8"
    );
    assert!(matches!(parse(&v4_part(6, 24, false, &udp[..3])), Ok(Parsed::Fragment(_))));
}

#[test]
fn the_first_fragment_of_ipv6_holds_the_whole_chain() {
    let tiny = |extensions: &[(u8, Vec<u8>)], number, data: &[u8]| {
        assert_eq!(parse(&v6_frame(extensions, number, data)), Err(DropReason::FragmentTiny));
    };
    // Options that go on in the second fragment, ICMP without its header, nothing but headers.
    tiny(&[part(0, true)], 60, &[6, 1, 0, 0, 0, 0, 0, 0]);
    tiny(&[part(0, true), padding(60, 1)], 58, &[]);
    tiny(&[part(0, true), padding(60, 1)], 132, &[]);
    let sctp = parse(&v6_frame(&[part(0, true), padding(60, 1)], 132, &[0; 8]));
    assert!(matches!(sctp, Ok(Parsed::Fragment(ip)) if ip.protocol == 132));
}
