//! ICMP errors about full NAT's flows, fragments of them, and what is said of packets that do not fit; in and between both
//! families.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod full_nat_bed;

use std::net::{IpAddr, SocketAddr};

use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, assert_balanced, counts};
use etherparse::{
    Icmpv4Slice, Icmpv6Slice, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, NetSlice,
    PacketBuilder, SlicedPacket, TransportSlice, UdpHeader,
};
use full_nat_bed::{BACKEND_MACS, Bed, FRONTENDS, PAIRS, ROUTER_MACS, Segment, at};

const V4_ROUTER: &str = "198.18.0.1";
const V6_ROUTER: &str = "2001:db8:99::1";

fn router(family: usize) -> IpAddr {
    [V4_ROUTER, V6_ROUTER][family].parse().unwrap()
}

/// An ICMP error in a frame.
fn error(
    macs: ([u8; 6], [u8; 6]),
    from: IpAddr,
    to: IpAddr,
    (kind, code, word): (u8, u8, [u8; 4]),
    quoted: &[u8],
) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0, macs.1);
    let mut frame = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => builder
            .ipv4(from.octets(), to.octets(), 60)
            .icmpv4_raw(kind, code, word)
            .write(&mut frame, quoted),
        (IpAddr::V6(from), IpAddr::V6(to)) => builder
            .ipv6(from.octets(), to.octets(), 60)
            .icmpv6_raw(kind, code, word)
            .write(&mut frame, quoted),
        _ => panic!("two families"),
    }
    .unwrap();
    frame
}

#[derive(PartialEq, Eq, Debug)]
struct Told {
    from: IpAddr,
    to: IpAddr,
    hops: u8,
    what: (u8, u8, [u8; 4]),
    quoted: Vec<u8>,
}

fn told(frame: &[u8]) -> Told {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let read = |bytes: &[u8]| ((bytes[0], bytes[1], bytes[4..8].try_into().unwrap()), bytes[8..].to_vec());
    match (packet.net.unwrap(), packet.transport.unwrap()) {
        (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), frame.len() - 14);
            let sum = Icmpv4Slice::from_slice(icmp.slice()).unwrap();
            assert_eq!(sum.icmp_type().calc_checksum(sum.payload()), sum.checksum());
            let (what, quoted) = read(icmp.slice());
            Told {
                from: header.source.into(),
                to: header.destination.into(),
                hops: header.time_to_live,
                what,
                quoted,
            }
        }
        (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
            let header = ip.header().to_header();
            assert_eq!(usize::from(header.payload_length), frame.len() - 54);
            assert!(
                Icmpv6Slice::from_slice(icmp.slice())
                    .unwrap()
                    .is_checksum_valid(header.source, header.destination)
            );
            let (what, quoted) = read(icmp.slice());
            Told {
                from: header.source.into(),
                to: header.destination.into(),
                hops: header.hop_limit,
                what,
                quoted,
            }
        }
        other => panic!("{other:?}"),
    }
}

/// A packet of 1,200 bytes of data between two ends, as it is some hops further: behind no Ethernet header.
fn packet(from: SocketAddr, to: SocketAddr, is_tcp: bool, sequence: u32, hops: u8, df: bool) -> Vec<u8> {
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mut ip = Ipv4Header::new(0, hops, IpNumber(0), a.octets(), b.octets()).unwrap();
            ip.dont_fragment = df;
            PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => PacketBuilder::ipv6(a.octets(), b.octets(), hops),
        _ => panic!("two families"),
    };
    let mut bytes = Vec::new();
    let data: Vec<u8> = (0..1200u16).map(|n| n as u8).collect();
    if is_tcp {
        builder.tcp(from.port(), to.port(), sequence, 512).ack(77).write(&mut bytes, &data).unwrap();
    } else {
        builder.udp(from.port(), to.port()).write(&mut bytes, &data).unwrap();
    }
    bytes
}

fn bed(front: usize, back: usize, is_tcp: bool, more: &str, workers: usize) -> Bed {
    let address = FRONTENDS[front];
    let address = if front == 1 { format!("[{address}]") } else { address.to_owned() };
    let protocol = if is_tcp { "tcp" } else { "udp" };
    let rule = format!("frontend = \"{address}:443/{protocol}\"\nbackend_port = 8443\n{more}");
    let mut bed = Bed::new(front, back, &rule, workers);
    let mut call = [OUTSIDE_MAC, ROUTER_MACS[front]].concat();
    call.extend([[8, 0], [0x86, 0xdd]][front]);
    call.extend(packet(bed.client(), bed.frontend(), is_tcp, 1000, 64, true));
    let sent = bed.frames(OUTSIDE, call);
    assert_eq!(sent.len(), 1, "{:?}", counts(&bed.replay));
    let left = SlicedPacket::from_ethernet(&sent[0].1).unwrap();
    let (source, port) = match (left.net.unwrap(), left.transport.unwrap()) {
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            (IpAddr::V4(ip.header().source_addr()), tcp.source_port())
        }
        (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
            (IpAddr::V4(ip.header().source_addr()), udp.source_port())
        }
        (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
            (IpAddr::V6(ip.header().source_addr()), tcp.source_port())
        }
        (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
            (IpAddr::V6(ip.header().source_addr()), udp.source_port())
        }
        other => panic!("{other:?}"),
    };
    bed.source = Some(SocketAddr::new(source, port));
    bed
}

type What = (u8, u8, [u8; 4]);

/// What is told in IPv4, and what of it in IPv6 (RFC 7915 section 4.2).
const IN_V6: [(What, Option<What>); 16] = [
    ((3, 0, [0; 4]), Some((1, 0, [0; 4]))),
    ((3, 1, [0; 4]), Some((1, 0, [0; 4]))),
    ((3, 2, [0; 4]), Some((4, 1, [0, 0, 0, 6]))),
    ((3, 3, [0; 4]), Some((1, 4, [0; 4]))),
    ((3, 4, [0, 0, 0x05, 0x78]), Some((2, 0, [0, 0, 0x05, 0x8c]))),
    // No link of IPv6 takes less than 1280 bytes.
    ((3, 4, [0, 0, 0x02, 0x40]), Some((2, 0, [0, 0, 5, 0]))),
    // Routers that say nothing: the plateau below the packet's length, 1006, and that is too little as well.
    ((3, 4, [0; 4]), Some((2, 0, [0, 0, 5, 0]))),
    ((3, 10, [0; 4]), Some((1, 1, [0; 4]))),
    ((3, 13, [0; 4]), Some((1, 1, [0; 4]))),
    ((3, 14, [0; 4]), None),
    ((3, 15, [0; 4]), Some((1, 1, [0; 4]))),
    ((11, 0, [0; 4]), Some((3, 0, [0; 4]))),
    ((11, 1, [0; 4]), Some((3, 1, [0; 4]))),
    ((12, 0, [9, 0, 0, 0]), Some((4, 0, [0, 0, 0, 6]))),
    ((12, 0, [10, 0, 0, 0]), None),
    ((12, 1, [0; 4]), None),
];

/// The other way (section 5.2).
const IN_V4: [(What, Option<What>); 13] = [
    ((1, 0, [0; 4]), Some((3, 1, [0; 4]))),
    ((1, 1, [0; 4]), Some((3, 10, [0; 4]))),
    ((1, 2, [0; 4]), Some((3, 1, [0; 4]))),
    ((1, 3, [0; 4]), Some((3, 1, [0; 4]))),
    ((1, 4, [0; 4]), Some((3, 3, [0; 4]))),
    ((1, 5, [0; 4]), None),
    ((2, 0, [0, 0, 5, 0]), Some((3, 4, [0, 0, 0x04, 0xec]))),
    ((2, 0, [0, 1, 0, 0]), Some((3, 4, [0, 0, 0x05, 0xc8]))),
    ((3, 0, [0; 4]), Some((11, 0, [0; 4]))),
    ((4, 0, [0, 0, 0, 7]), Some((12, 0, [8, 0, 0, 0]))),
    ((4, 0, [0, 0, 0, 2]), None),
    ((4, 1, [0, 0, 0, 6]), Some((3, 2, [0; 4]))),
    ((4, 2, [0; 4]), None),
];

fn kinds(from: usize, to: usize) -> Vec<(What, Option<What>)> {
    let of = [&IN_V6[..], &IN_V4[..]][from];
    if from == to { of.iter().map(|(what, _)| (*what, Some(*what))).collect() } else { of.to_vec() }
}

/// As much as an error of this family may be long, where it was of the other one.
fn most(family: usize, is_other: bool) -> usize {
    if family == 1 {
        1280 - 48
    } else if is_other {
        576 - 28
    } else {
        9999
    }
}

/// The IPv4 header of a quoted packet that was IPv6 has no identification; that of one that was IPv4 keeps its own.
fn cut(mut quoted: Vec<u8>, len: usize) -> Vec<u8> {
    quoted.truncate(len);
    quoted
}

#[test]
fn errors_about_requests_reach_the_client_in_its_own_terms() {
    for (front, back) in PAIRS {
        for is_tcp in [true, false] {
            for workers in [1, 3] {
                let mut bed = bed(front, back, is_tcp, "", workers);
                let source = bed.source.unwrap();
                let sent = packet(source, bed.backend(), is_tcp, 1000, 50, true);
                let known = packet(bed.client(), bed.frontend(), is_tcp, 1000, 50, true);
                // Whole, and no more than must be quoted.
                for len in [usize::MAX, [20, 40][back] + 8] {
                    for (what, wanted) in kinds(back, front) {
                        let quoted = cut(sent.clone(), len);
                        let macs = (BACKEND_MACS[back], INSIDE_MAC);
                        let frame = error(macs, router(back), source.ip(), what, &quoted);
                        let left = bed.frames(INSIDE, frame);
                        let Some(wanted) = wanted else {
                            assert!(left.is_empty(), "{what:?}");
                            continue;
                        };
                        assert_eq!(left.len(), 1, "{what:?} {:?}", counts(&bed.replay));
                        let headers = [20, 40][front];
                        let len = (quoted.len() - [20, 40][back] + headers).min(most(front, front != back));
                        let (from, to) = (bed.frontend().ip(), bed.client().ip());
                        let quoted = cut(known.clone(), len);
                        assert_eq!(told(&left[0].1), Told { from, to, hops: 59, what: wanted, quoted });
                        assert_eq!((left[0].0, &left[0].1[..6]), (OUTSIDE, &ROUTER_MACS[front][..]));
                    }
                }
                assert_balanced(&bed.replay);
            }
        }
    }
}

#[test]
fn errors_about_responses_reach_the_backend_in_its_own_terms() {
    for (front, back) in PAIRS {
        for is_tcp in [true, false] {
            for workers in [1, 3] {
                let mut bed = bed(front, back, is_tcp, "", workers);
                let source = bed.source.unwrap();
                let sent = packet(bed.frontend(), bed.client(), is_tcp, 1000, 50, true);
                let known = packet(bed.backend(), source, is_tcp, 1000, 50, true);
                for (what, wanted) in kinds(front, back) {
                    let macs = (ROUTER_MACS[front], OUTSIDE_MAC);
                    let frame = error(macs, router(front), bed.frontend().ip(), what, &sent);
                    let left = bed.frames(OUTSIDE, frame);
                    let Some(wanted) = wanted else {
                        assert!(left.is_empty(), "{what:?}");
                        continue;
                    };
                    assert_eq!(left.len(), 1, "{what:?} {:?}", counts(&bed.replay));
                    let len = (known.len()).min(most(back, front != back));
                    let (from, to) = (source.ip(), bed.backend().ip());
                    let quoted = cut(known.clone(), len);
                    assert_eq!(told(&left[0].1), Told { from, to, hops: 59, what: wanted, quoted });
                    assert_eq!(left[0].0, INSIDE);
                }
                assert_balanced(&bed.replay);
            }
        }
    }
}

#[test]
fn errors_that_nobody_can_have_sent_go_nowhere() {
    let mut bed = bed(0, 0, true, "", 1);
    let source = bed.source.unwrap();
    let other = SocketAddr::new(source.ip(), source.port() ^ 1);
    let macs = (BACKEND_MACS[0], INSIDE_MAC);
    let port_unreachable = (3, 3, [0; 4]);
    for (from, to, reason) in [
        (other, bed.backend(), "no-rule"),
        (source, at("10.0.0.5", 8443), "not-ours"),
        (source, at("10.0.0.4", 8444), "not-ours"),
    ] {
        let quoted = packet(from, to, true, 1000, 50, true);
        let before = counts(&bed.replay);
        assert!(
            bed.frames(INSIDE, error(macs, router(0), source.ip(), port_unreachable, &quoted)).is_empty()
        );
        assert_eq!(common::moved(&before, &counts(&bed.replay)), [format!("{reason}+1")]);
    }
    // From where the backend is not.
    let quoted = packet(source, bed.backend(), true, 1000, 50, true);
    let macs = (ROUTER_MACS[0], OUTSIDE_MAC);
    assert!(bed.frames(OUTSIDE, error(macs, router(0), source.ip(), port_unreachable, &quoted)).is_empty());
    assert_eq!(counts(&bed.replay)["wrong-port"], 1);
    // About a flow that there is not.
    let quoted = packet(bed.frontend(), at("192.0.2.99", 1), true, 1000, 50, true);
    assert!(
        bed.frames(OUTSIDE, error(macs, router(0), bed.frontend().ip(), port_unreachable, &quoted))
            .is_empty()
    );
    assert_eq!(counts(&bed.replay)["icmp-unhandled"], 1);
}

#[test]
fn a_quote_of_a_shifted_stream_has_the_clients_number() {
    let mut bed = Bed::new(0, 0, "client_address = [\"proxy-v2\"]", 1);
    bed.request(&bed.of_client("S", 999, 0, b""));
    bed.request(&bed.of_client("A", 1000, 5000, b""));
    bed.respond(&bed.of_backend("A", 5000, 1028, b""));
    let source = bed.source.unwrap();
    let quoted = packet(source, bed.backend(), true, 2028, 50, true);
    let macs = (BACKEND_MACS[0], INSIDE_MAC);
    let left = bed.frames(INSIDE, error(macs, router(0), source.ip(), (3, 4, [0, 0, 5, 0]), &quoted));
    let known = packet(bed.client(), bed.frontend(), true, 2000, 50, true);
    assert_eq!(told(&left[0].1).quoted, known);
}

#[test]
fn extensions_of_errors_are_left_off_between_families() {
    // RFC 4884: the quote is 128 bytes long, which the length says, and something follows.
    for (front, back) in [(0, 1), (1, 0)] {
        let mut bed = bed(front, back, true, "", 1);
        let source = bed.source.unwrap();
        let mut quoted = cut(packet(source, bed.backend(), true, 1000, 50, true), 128);
        quoted.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 1]);
        let what = [(11, 0, [0, 32, 0, 0]), (3, 0, [16, 0, 0, 0])][back];
        let macs = (BACKEND_MACS[back], INSIDE_MAC);
        let left = bed.frames(INSIDE, error(macs, router(back), source.ip(), what, &quoted));
        let known = packet(bed.client(), bed.frontend(), true, 1000, 50, true);
        let got = told(&left[0].1);
        assert_eq!(got.what, [(11, 0, [0; 4]), (3, 0, [0; 4])][front]);
        assert_eq!(got.quoted, cut(known, 128 - [20, 40][back] + [20, 40][front]));
    }
}

#[test]
fn senders_of_what_does_not_fit_are_told_how_much_does() {
    for (front, back) in PAIRS {
        let mut bed = Bed::new(front, back, "", 1);
        bed.request(&bed.of_client("S", 999, 0, b""));
        // As it counts: headers of IPv6 are longer.
        let there = 1500 + [0usize, 20][front] - [0, 20][back];
        let headers = [40, 60];
        // Ports take 1500 bytes: a longer one comes from elsewhere only.
        for (fits, len) in [(true, there - headers[front]), (false, there - headers[front] + 1)] {
            let segment = bed.of_client("A", 1000, 5000, &vec![7; len]);
            let mut frame = segment.frame((ROUTER_MACS[front], OUTSIDE_MAC));
            if front == 0 {
                frame[20] |= 0x40;
                common::fix_ip_checksum(&mut frame);
            }
            let sent = bed.frames(OUTSIDE, frame);
            assert_eq!(sent[0].0, if fits { INSIDE } else { OUTSIDE });
            if !fits {
                let mtu = (there as u32).to_be_bytes();
                let got = told(&sent[0].1);
                assert_eq!(got.what, if front == 0 { (3, 4, mtu) } else { (2, 0, mtu) });
                assert_eq!(got.to, bed.client().ip());
            }
        }
        // And the other way round.
        let back_there = 1500 + [0usize, 20][back] - [0, 20][front];
        let answer = bed.of_backend("A", 5000, 1000, &vec![7; back_there - headers[back] + 1]);
        let mut frame = answer.frame((BACKEND_MACS[back], INSIDE_MAC));
        if back == 0 {
            frame[20] |= 0x40;
            common::fix_ip_checksum(&mut frame);
        }
        let sent = bed.frames(INSIDE, frame);
        let mtu = (back_there as u32).to_be_bytes();
        assert_eq!(
            (sent[0].0, told(&sent[0].1).what),
            (INSIDE, if back == 0 { (3, 4, mtu) } else { (2, 0, mtu) })
        );
        assert_eq!(told(&sent[0].1).to, bed.backend().ip());
        assert_balanced(&bed.replay);
    }
}

/// A datagram in pieces: frames, by their macs.
fn pieces(macs: ([u8; 6], [u8; 6]), from: SocketAddr, to: SocketAddr, id: u16, hops: u8) -> Vec<Vec<u8>> {
    let whole = packet(from, to, false, 0, hops, false);
    let body = &whole[[20, 40][usize::from(from.is_ipv6())]..];
    assert_eq!(body.len(), UdpHeader::LEN + 1200);
    let parts = [(0usize, 512usize), (512, 1024), (1024, body.len())];
    let part = |(start, end): (usize, usize)| {
        let offset = IpFragOffset::try_new((start / 8) as u16).unwrap();
        let more = end < body.len();
        let mut frame = [&macs.1[..], &macs.0].concat();
        match (from.ip(), to.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mut ip =
                    Ipv4Header::new((end - start) as u16, hops, IpNumber::UDP, a.octets(), b.octets())
                        .unwrap();
                (ip.identification, ip.fragment_offset, ip.more_fragments) = (id, offset, more);
                ip.dont_fragment = false;
                ip.header_checksum = ip.calc_header_checksum();
                frame.extend([8, 0]);
                frame.extend(ip.to_bytes());
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let ip = Ipv6Header {
                    payload_length: (end - start + 8) as u16,
                    next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
                    hop_limit: hops,
                    source: a.octets(),
                    destination: b.octets(),
                    ..Ipv6Header::default()
                };
                frame.extend([0x86, 0xdd]);
                frame.extend(ip.to_bytes());
                frame.extend(Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, id.into()).to_bytes());
            }
            _ => panic!("two families"),
        }
        frame.extend(&body[start..end]);
        frame
    };
    parts.into_iter().map(part).collect()
}

#[test]
fn fragments_follow_the_first_of_their_datagram_both_ways() {
    for (front, back) in PAIRS {
        for workers in [1, 2, 3] {
            for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
                let mut bed = bed(front, back, false, "", workers);
                let source = bed.source.unwrap();
                let (client, frontend, backend) = (bed.client(), bed.frontend(), bed.backend());
                let came = pieces((ROUTER_MACS[front], OUTSIDE_MAC), client, frontend, 7, 64);
                let wanted = pieces((INSIDE_MAC, BACKEND_MACS[back]), source, backend, 7, 63);
                let left: Vec<_> =
                    order.iter().flat_map(|at| bed.frames(OUTSIDE, came[*at].clone())).collect();
                assert_same(&left, &wanted, INSIDE);
                let came = pieces((BACKEND_MACS[back], INSIDE_MAC), backend, source, 8, 64);
                let wanted = pieces((OUTSIDE_MAC, ROUTER_MACS[front]), frontend, client, 8, 63);
                let left: Vec<_> =
                    order.iter().flat_map(|at| bed.frames(INSIDE, came[*at].clone())).collect();
                assert_same(&left, &wanted, OUTSIDE);
                assert_balanced(&bed.replay);
            }
        }
    }
}

fn assert_same(left: &[(guideway::io::PortId, Vec<u8>)], wanted: &[Vec<u8>], port: guideway::io::PortId) {
    assert!(left.iter().all(|(at, _)| *at == port));
    let mut left: Vec<_> = left.iter().map(|(_, frame)| frame.clone()).collect();
    let mut wanted = wanted.to_vec();
    left.sort();
    wanted.sort();
    assert_eq!(left, wanted);
}

#[test]
fn a_datagram_in_pieces_without_a_checksum_stays_in_its_family() {
    for (back, sent) in [(0, 1), (1, 0)] {
        let mut bed = bed(0, back, false, "", 1);
        let mut first = pieces((ROUTER_MACS[0], OUTSIDE_MAC), bed.client(), bed.frontend(), 7, 64).remove(0);
        first[40..42].fill(0);
        assert_eq!(bed.frames(OUTSIDE, first).len(), sent);
        assert_eq!(counts(&bed.replay)["fragment"], 1 - sent as u64);
    }
}

#[test]
fn a_segment_in_pieces_goes_behind_a_header_of_its_own() {
    let mut bed = Bed::new(0, 0, "client_address = [\"proxy-v2\"]", 1);
    bed.request(&bed.of_client("S", 999, 0, b""));
    let whole = bed.of_client("PA", 1000, 5000, &[7; 400]).frame((ROUTER_MACS[0], OUTSIDE_MAC));
    let mut first = whole[..34 + 200].to_vec();
    first[16..18].copy_from_slice(&220u16.to_be_bytes());
    first[20] = 0x20;
    common::fix_ip_checksum(&mut first);
    let left = bed.frames(OUTSIDE, first);
    let header: Vec<_> = left.iter().filter(|(_, frame)| frame[20] & 0x20 == 0).collect();
    assert_eq!((left.len(), header.len()), (2, 1));
    let header = Segment::read(&header[0].1);
    assert_eq!((header.sequence, header.data.len()), (1000, 28));
}

/// In one family an error keeps what its header says beside the ends: identification, flags, and flow label.
#[test]
fn an_error_keeps_its_own_header_in_its_family() {
    for family in [0, 1] {
        let mut bed = bed(family, family, false, "", 1);
        let source = bed.source.unwrap();
        let quoted = packet(source, bed.backend(), false, 0, 1, true);
        let macs = (BACKEND_MACS[family], INSIDE_MAC);
        let what = [(3, 3, [0; 4]), (1, 4, [0; 4])][family];
        let mut frame = error(macs, router(family), source.ip(), what, &quoted[..200]);
        if family == 0 {
            frame[18..22].copy_from_slice(&[0x12, 0x34, 0, 0]);
            common::fix_ip_checksum(&mut frame);
        } else {
            frame[15..18].copy_from_slice(&[0x01, 0x23, 0x45]);
        }
        let sent = bed.frames(INSIDE, frame.clone()).remove(0).1;
        assert_eq!(told(&sent).to, bed.client().ip());
        let kept = [18..22, 14..18][family].clone();
        assert_eq!(sent[kept.clone()], frame[kept]);
    }
}
