//! Fragments, as whole frames: what leaves is put together by another implementation, and is the datagram that was
//! sent, with the ends that it should have.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::net::IpAddr;

use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, TWO_FAMILIES};
use common::{assert_balanced, balancer, counts, model, seconds};
use etherparse::defrag::IpDefragPool;
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, NetSlice,
    PacketBuilder, SlicedPacket,
};
use guideway::io::PortId;
use guideway::replay::Replay;
use proptest::prelude::*;

const CLIENTS: [&str; 2] = ["192.0.2.7", "2001:db8:2::7"];
const FRONTENDS: [&str; 2] = ["203.0.113.10", "2001:db8:1::10"];
/// The last bytes of the backends' addresses, and of their MACs.
const NUMBERS: std::ops::RangeInclusive<u8> = 4..=9;

/// Six backends behind UDP and TCP 443 of either family, at port 8443; or what `rule` says.
fn config(family: usize, protocol: &str, backends: &str, rule: &str) -> String {
    let frontend =
        if family == 1 { format!("[{}]", FRONTENDS[family]) } else { FRONTENDS[family].to_owned() };
    format!(
        r#"{TWO_FAMILIES}[[pool]]
name = "web"
backends = [{backends}]
[[rule]]
name = "web"
frontend = "{frontend}:{protocol}"
pool = "web"
{rule}
"#
    )
}

fn backends(family: usize, numbers: impl IntoIterator<Item = u8>) -> String {
    let one = |n: u8| format!("{{ address = \"{}\" }}", backend(family, n));
    numbers.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

fn backend(family: usize, number: u8) -> String {
    format!("{}{number}", ["10.0.0.", "2001:db8:10::"][family])
}

fn all(family: usize) -> String {
    backends(family, NUMBERS)
}

const NAT: &str = "backend_port = 8443";

/// A UDP datagram or a TCP segment, however long.
#[derive(Clone)]
struct Datagram {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    is_tcp: bool,
    payload: Vec<u8>,
    id: u32,
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Datagram {
    fn new(family: usize, len: usize) -> Self {
        Self {
            from: (address(CLIENTS[family]), 40_000),
            to: (address(FRONTENDS[family]), 443),
            is_tcp: false,
            payload: (0..len).map(|i| (i * 7 + i / 256) as u8).collect(),
            id: 0x1234_5678,
        }
    }

    fn at(&self, to: &str, port: u16) -> Self {
        Self { to: (address(to), port), ..self.clone() }
    }

    /// From whom it came to, to whom it is from.
    fn answer(&self) -> Self {
        let payload = self.payload.iter().rev().copied().collect();
        Self { from: self.to, to: self.from, payload, ..self.clone() }
    }

    fn number(&self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    /// What the IP packet carries.
    fn carried(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([0; 6], [0; 6]);
        let (builder, skipped) = match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (builder.ipv4(from.octets(), to.octets(), 64), 34),
            (IpAddr::V6(from), IpAddr::V6(to)) => (builder.ipv6(from.octets(), to.octets(), 64), 54),
            _ => panic!("two families"),
        };
        let mut frame = Vec::new();
        if self.is_tcp {
            builder.tcp(self.from.1, self.to.1, 1000, 512).ack(7).write(&mut frame, &self.payload).unwrap();
        } else {
            builder.udp(self.from.1, self.to.1).write(&mut frame, &self.payload).unwrap();
        }
        frame.split_off(skipped)
    }

    /// The frame of the bytes from `start` on, `data`.
    fn part(&self, macs: ([u8; 6], [u8; 6]), start: usize, data: &[u8], more: bool) -> Vec<u8> {
        let offset = IpFragOffset::try_new((start / 8) as u16).unwrap();
        let mut frame = Vec::new();
        let ether_type = if self.from.0.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        Ethernet2Header { source: macs.0, destination: macs.1, ether_type }.write(&mut frame).unwrap();
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let number = IpNumber(self.number());
                let mut header =
                    Ipv4Header::new(data.len() as u16, 64, number, from.octets(), to.octets()).unwrap();
                header.dont_fragment = false;
                header.identification = self.id as u16;
                header.more_fragments = more;
                header.fragment_offset = offset;
                header.header_checksum = header.calc_header_checksum();
                header.write(&mut frame).unwrap();
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    payload_length: data.len() as u16 + 8,
                    next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
                    hop_limit: 64,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Ipv6Header::default()
                };
                header.write(&mut frame).unwrap();
                let part = Ipv6FragmentHeader::new(IpNumber(self.number()), offset, more, self.id);
                part.write(&mut frame).unwrap();
            }
            _ => panic!("two families"),
        }
        frame.extend(data);
        frame
    }

    /// In parts of `each` bytes, from the client's router or from a backend.
    fn parts(&self, each: usize) -> Vec<Vec<u8>> {
        let macs = match self.to.0.to_string() {
            to if FRONTENDS.contains(&to.as_str()) => (ROUTER_MAC, OUTSIDE_MAC),
            _ => (ROUTER_MAC, INSIDE_MAC),
        };
        let carried = self.carried();
        let starts = (0..carried.len()).step_by(each);
        starts
            .map(|start| {
                let end = (start + each).min(carried.len());
                self.part(macs, start, &carried[start..end], end < carried.len())
            })
            .collect()
    }
}

/// What etherparse puts together, and how many frames that took: exactly these, all of one pair of addresses.
fn put_together(frames: &[Vec<u8>]) -> (IpAddr, IpAddr, Vec<u8>) {
    let mut pool = IpDefragPool::<(), ()>::new();
    let mut done = None;
    let mut ends = Vec::new();
    for frame in frames {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        ends.push(match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(header.time_to_live, 63);
                (IpAddr::from(header.source), IpAddr::from(header.destination))
            }
            NetSlice::Ipv6(ip) => {
                assert_eq!(ip.header().hop_limit(), 63);
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            NetSlice::Arp(_) => panic!("ARP"),
        });
        if let Some(payload) = pool.process_sliced_packet(&packet, (), ()).unwrap() {
            assert!(done.replace(payload.payload).is_none(), "twice");
        }
    }
    ends.dedup();
    assert_eq!(ends.len(), 1, "{ends:?}");
    (ends[0].0, ends[0].1, done.expect("a whole datagram"))
}

/// What leaves for the frames, each a burst of its own, all by `port`.
fn send(replay: &mut Replay, at: f64, by: PortId, frames: &[Vec<u8>], port: PortId) -> Vec<Vec<u8>> {
    let mut left = Vec::new();
    for frame in frames {
        left.extend(replay.frame(seconds(at), by, frame.clone()));
    }
    assert_balanced(replay);
    assert!(left.iter().all(|(to, _)| *to == port));
    left.into_iter().map(|(_, frame)| frame).collect()
}

/// Which have moved since a new replay.
fn drops(replay: &Replay) -> Vec<(String, u64)> {
    let names = ["received", "transmitted", "answered", "controlled"];
    counts(replay).into_iter().filter(|(name, n)| *n > 0 && !names.contains(&name.as_str())).collect()
}

fn dropped(name: &str, count: u64) -> Vec<(String, u64)> {
    vec![(name.to_owned(), count)]
}

/// In order, back to front, and as `keys` have it.
fn shuffled(parts: &[Vec<u8>], keys: &[u64]) -> Vec<Vec<u8>> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|i| keys.get(*i).copied().unwrap_or_default());
    order.into_iter().map(|i| parts[i].clone()).collect()
}

/// The backend that a frame went to.
fn backend_of(frame: &[u8]) -> u8 {
    frame[5]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_datagram_arrives_whole_both_ways_in_any_order(
        family in 0usize..2,
        is_tcp in any::<bool>(),
        workers in prop_oneof![Just(1usize), Just(2), Just(7)],
        len in 1500usize..12_000,
        each in (24usize..180).prop_map(|words| words * 8),
        mut keys in proptest::collection::vec(any::<u64>(), 64),
        order in 0..3,
        in_one_burst in any::<bool>(),
    ) {
        match order {
            0 => keys.sort_unstable(),
            1 => keys.sort_unstable_by(|a, b| b.cmp(a)),
            _ => {}
        }
        let protocol = if is_tcp { "443/tcp" } else { "443/udp" };
        let mut replay = balancer(&config(family, protocol, &all(family), NAT), workers);
        let request = Datagram { is_tcp, ..Datagram::new(family, len) };
        let parts = request.parts(each);
        prop_assume!(parts.len() <= 64);
        let frames = shuffled(&parts, &keys);
        let left: Vec<_> = if in_one_burst {
            replay.burst(seconds(1.0), OUTSIDE, frames.clone()).into_iter().map(|(_, frame)| frame).collect()
        } else {
            send(&mut replay, 1.0, OUTSIDE, &frames, INSIDE)
        };
        prop_assert_eq!(left.len(), parts.len(), "{:?}", drops(&replay));
        let number = backend_of(&left[0]);
        prop_assert!(left.iter().all(|frame| frame[..5] == [[2, 0, 10, 0, 0], [2, 0, 0, 0, 0]][family]));
        let at_backend = request.at(&backend(family, number), 8443);
        let (from, to, carried) = put_together(&left);
        prop_assert_eq!((from, to), (at_backend.from.0, at_backend.to.0));
        prop_assert!(carried == at_backend.carried());

        let answer = at_backend.answer();
        let parts = answer.parts(each);
        let left = send(&mut replay, 1.0, INSIDE, &shuffled(&parts, &keys), OUTSIDE);
        prop_assert_eq!(left.len(), parts.len(), "{:?}", drops(&replay));
        let (from, to, carried) = put_together(&left);
        prop_assert_eq!((from, to), (request.to.0, request.from.0));
        let at_client = Datagram { from: request.to, ..answer };
        prop_assert!(carried == at_client.carried());
        prop_assert_eq!(replay.totals().held, 0);
        prop_assert_eq!(replay.totals().dropped(), 0);
        let totals = replay.backends().into_iter().find(|(who, _)| who.address == at_backend.to.0).unwrap().1;
        prop_assert_eq!(totals.packets_in, frames.len() as u64);
        prop_assert_eq!(totals.packets_out, left.len() as u64);
    }

    #[test]
    fn what_leaves_does_not_depend_on_the_number_of_workers(
        sent in proptest::collection::vec((0usize..2, 0u16..6, 0u32..3, 0usize..7, 0u32..4), 1..120),
    ) {
        let text = [0, 1].map(|family| config(family, "443/udp", &all(family), NAT));
        let run = |family: usize, workers: usize| {
            let mut replay = balancer(&text[family], workers);
            let mut at = 0.0;
            let left: Vec<_> = sent.iter().map(|(of, port, id, part, wait)| {
                if *of != family { return Vec::new(); }
                at += f64::from(*wait) * 0.3;
                let datagram = Datagram { id: *id, ..Datagram::new(family, 8000) };
                let from = (datagram.from.0, 40_000 + port);
                let parts = Datagram { from, ..datagram }.parts(1200);
                replay.frame(seconds(at), OUTSIDE, parts[*part % parts.len()].clone())
            }).collect();
            assert_balanced(&replay);
            (left, drops(&replay), replay.totals().held)
        };
        for family in [0, 1] {
            let one = run(family, 1);
            prop_assert!(one == run(family, 2));
            prop_assert!(one == run(family, 5));
        }
    }
}

#[test]
fn fragments_go_where_their_flow_is() {
    for (family, workers) in [(0, 1), (1, 1), (0, 4), (1, 4)] {
        let mut moved = 0;
        for port in 1000..1020 {
            let mut replay = balancer(&config(family, "443/udp", &backends(family, [4]), NAT), workers);
            let datagram = Datagram { from: (address(CLIENTS[family]), port), ..Datagram::new(family, 8192) };
            let short = Datagram { payload: vec![1; 10], ..datagram.clone() };
            let mut whole = Vec::new();
            let macs = PacketBuilder::ethernet2(ROUTER_MAC, OUTSIDE_MAC);
            let ip = match (short.from.0, short.to.0) {
                (IpAddr::V4(from), IpAddr::V4(to)) => macs.ipv4(from.octets(), to.octets(), 64),
                (IpAddr::V6(from), IpAddr::V6(to)) => macs.ipv6(from.octets(), to.octets(), 64),
                _ => panic!("two families"),
            };
            ip.udp(port, 443).write(&mut whole, &short.payload).unwrap();
            assert_eq!(backend_of(&send(&mut replay, 1.0, OUTSIDE, &[whole], INSIDE)[0]), 4);
            // New flows may go elsewhere now.
            replay.reload(&model(&config(family, "443/udp", &all(family), NAT))).unwrap();
            let left = send(&mut replay, 1.0, OUTSIDE, &datagram.parts(1200), INSIDE);
            assert!(left.len() == 7 && left.iter().all(|frame| backend_of(frame) == 4));
            assert_eq!(replay.totals().flows_created, 1);
            let new = Datagram { from: (datagram.from.0, port + 100), ..datagram };
            moved +=
                u32::from(backend_of(&send(&mut replay, 1.0, OUTSIDE, &new.parts(1200), INSIDE)[0]) != 4);
        }
        assert!(moved > 10, "{moved}");
    }
}

#[test]
fn every_way_to_forward_takes_fragments() {
    // What stands in front of the packet, beside the Ethernet header.
    let cases = [
        ("forward = \"dsr\"", 0, 0),
        ("forward = \"ipip\"", 20, 40),
        ("forward = \"gre\"", 24, 44),
        ("forward = \"gue\"", 32, 52),
        ("forward = \"gue\"\ngue_variant = 1\ntunnel_port = 9000", 28, 48),
        ("forward = \"vxlan\"", 50, 70),
    ];
    for (rule, behind_v4, behind_v6) in cases {
        for (inner, outer) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let front = if outer == 0 { behind_v4 } else { behind_v6 };
            if front == 0 && inner != outer {
                continue;
            }
            for workers in [1, 3] {
                let mut replay = balancer(&config(inner, "443/udp", &all(outer), rule), workers);
                let datagram = Datagram::new(inner, 8192);
                let mut parts = datagram.parts(1200);
                let left = send(&mut replay, 1.0, OUTSIDE, &parts, INSIDE);
                let packets = |frames: &[Vec<u8>], skip: usize| -> Vec<Vec<u8>> {
                    frames.iter().map(|frame| frame[14 + skip..].to_vec()).collect()
                };
                assert_eq!(packets(&left, front), packets(&parts, 0), "{rule} {inner} in {outer}");
                let number = backend_of(&left[0]);
                assert!(left.iter().all(|frame| backend_of(frame) == number));
                // UDP's source port is the flow's.
                if rule.contains("gue") || rule.contains("vxlan") {
                    let port_at = if outer == 0 { 34 } else { 54 };
                    assert!(
                        left.iter().all(|frame| frame[port_at..port_at + 2] == left[0][port_at..port_at + 2])
                    );
                }
                if outer == 0 && inner == 0 && front > 0 {
                    let mut ids: Vec<_> = left.iter().map(|frame| [frame[18], frame[19]]).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    assert_eq!(ids.len(), 7, "an outer packet may be cut up as well");
                }
                // Another datagram of the flow, back to front.
                let next = Datagram { id: 99, ..datagram };
                parts = next.parts(1200);
                parts.reverse();
                let left = send(&mut replay, 1.0, OUTSIDE, &parts, INSIDE);
                assert_eq!(left.len(), 7, "{rule} {inner} in {outer}, {workers}: {:?}", drops(&replay));
                assert!(left.iter().all(|frame| backend_of(frame) == number));
                let mut expected = packets(&parts[..6], 0);
                expected.insert(0, packets(&parts[6..], 0).remove(0));
                assert_eq!(packets(&left, front), expected, "right behind the first, as they came");
                assert_eq!(drops(&replay), []);
            }
        }
    }
}

#[test]
fn frontends_of_many_ports_take_fragments() {
    for family in [0, 1] {
        let mut replay = balancer(&config(family, "400-500/udp", &all(family), ""), 3);
        let datagram = Datagram::new(family, 8192);
        let left = send(&mut replay, 1.0, OUTSIDE, &datagram.parts(1200), INSIDE);
        let at_backend = datagram.at(&backend(family, backend_of(&left[0])), 443);
        assert!(put_together(&left).2 == at_backend.carried());
        let answer = at_backend.answer();
        let left = send(&mut replay, 1.0, INSIDE, &answer.parts(1200), OUTSIDE);
        let (from, to, carried) = put_together(&left);
        assert_eq!((from, to), (datagram.to.0, datagram.from.0));
        assert!(carried == Datagram { from: datagram.to, ..answer }.carried());
    }
}

#[test]
fn protocols_without_ports_need_no_first_fragment() {
    let mut replay = balancer(&config(0, "0/sctp", &all(0), "forward = \"dsr\""), 3);
    let mut later = Datagram::new(0, 4000).parts(1200)[1].clone();
    later[23] = 132;
    common::fix_ip_checksum(&mut later);
    assert_eq!(send(&mut replay, 1.0, OUTSIDE, &[later], INSIDE).len(), 1);
}

#[test]
fn a_part_that_comes_twice_goes_once() {
    for workers in [1, 3] {
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        let parts = Datagram::new(0, 8192).parts(1200);
        let twice: Vec<_> = [3, 3, 0, 0, 1, 3, 1, 2, 4, 5, 6].iter().map(|i| parts[*i].clone()).collect();
        let left = send(&mut replay, 1.0, OUTSIDE, &twice, INSIDE);
        assert_eq!(left.len(), 7);
        put_together(&left);
        assert_eq!(drops(&replay), dropped("fragment-duplicate", 4));
    }
}

#[test]
fn a_name_serves_again_once_its_datagram_is_through() {
    for workers in [1, 3] {
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        for len in [8192, 5000, 9000] {
            let left = send(&mut replay, 1.0, OUTSIDE, &Datagram::new(0, len).parts(1200), INSIDE);
            put_together(&left);
        }
        assert_eq!(drops(&replay), []);
    }
}

#[test]
fn parts_that_overlap_give_the_datagram_up() {
    for family in [0, 1] {
        for workers in [1, 3] {
            let datagram = Datagram::new(family, 8192);
            let parts = datagram.parts(1200);
            let carried = datagram.carried();
            let macs = (ROUTER_MAC, OUTSIDE_MAC);
            let bad = [
                datagram.part(macs, 1192, &carried[1192..2392], true),
                datagram.part(macs, 0, &carried[..800], true),
                datagram.part(macs, 1208, &carried[1208..1216], true),
                datagram.part(macs, 1200, &carried[1200..2400], false),
            ];
            for bad in bad {
                // Of those before nothing can be called back; of those after, the first included, none goes on.
                for (before, goes) in [(vec![0, 1], 2), (vec![1, 0], 2), (vec![1], 0), (vec![0, 3, 1], 3)] {
                    if goes == 0 && bad == datagram.part(macs, 0, &carried[..800], true) {
                        continue;
                    }
                    let mut replay = balancer(&config(family, "443/udp", &all(family), NAT), workers);
                    let mut frames: Vec<_> = before.iter().map(|i| parts[*i].clone()).collect();
                    frames.push(bad.clone());
                    frames.extend([0, 2, 4, 5, 6].map(|i| parts[i].clone()));
                    let left = send(&mut replay, 1.0, OUTSIDE, &frames, INSIDE);
                    assert_eq!(left.len(), goes);
                    assert_eq!(drops(&replay), dropped("fragment-overlap", (frames.len() - goes) as u64));
                    assert_eq!(replay.totals().held, 0);
                    // The name is free again after a while.
                    let left = send(&mut replay, 4.0, OUTSIDE, &parts, INSIDE);
                    put_together(&left);
                }
            }
        }
    }
}

#[test]
fn without_the_first_none_goes_and_none_stays() {
    for workers in [1, 3] {
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        let parts = Datagram::new(0, 8192).parts(1200);
        assert!(send(&mut replay, 1.0, OUTSIDE, &parts[1..4], INSIDE).is_empty());
        assert_eq!((replay.totals().held, drops(&replay)), (3, vec![]));
        // Two seconds are not over yet.
        assert!(send(&mut replay, 3.0, OUTSIDE, &parts[4..5], INSIDE).is_empty());
        assert_eq!(replay.totals().held, 4);
        assert_eq!(send(&mut replay, 3.25, OUTSIDE, &parts[..1], INSIDE).len(), 1);
        assert_eq!((replay.totals().held, drops(&replay)), (0, dropped("fragment-timed-out", 4)));
    }
}

#[test]
fn what_becomes_of_the_first_becomes_of_all() {
    for workers in [1, 3] {
        let mut replay =
            balancer(&config(0, "443/udp", "{ address = \"10.0.0.4\", state = \"down\" }", NAT), workers);
        let mut parts = Datagram::new(0, 8192).parts(1200);
        parts.rotate_left(2);
        assert!(send(&mut replay, 1.0, OUTSIDE, &parts, INSIDE).is_empty());
        assert_eq!(drops(&replay), dropped("no-backend-available", 7));
        let unknown = Datagram { to: (address(FRONTENDS[0]), 80), ..Datagram::new(0, 8192) };
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        assert!(send(&mut replay, 1.0, OUTSIDE, &unknown.parts(1200), INSIDE).is_empty());
        assert_eq!(drops(&replay), dropped("no-rule", 7));
        // A backend's, by a port where it is not.
        let response = Datagram::new(0, 8192).at("10.0.0.4", 8443).answer();
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        assert!(send(&mut replay, 1.0, OUTSIDE, &response.parts(1200), INSIDE).is_empty());
        assert_eq!(drops(&replay), dropped("wrong-port", 7));
        // The first comes by the right one.
        let mut parts = response.parts(1200);
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        let late = parts.pop().unwrap();
        assert_eq!(send(&mut replay, 1.0, INSIDE, &parts, OUTSIDE).len(), 6);
        assert!(send(&mut replay, 1.0, OUTSIDE, &[late], INSIDE).is_empty());
        assert_eq!(drops(&replay), dropped("wrong-port", 1));
    }
}

#[test]
fn fragments_of_icmp_and_of_made_up_sources_go_nowhere() {
    let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), 1);
    let mut part = Datagram::new(0, 4000).parts(1200)[1].clone();
    part[23] = 1;
    // To nobody of ours: an echo request to us would wait for its first part.
    part[33] = 200;
    common::fix_ip_checksum(&mut part);
    assert!(send(&mut replay, 1.0, OUTSIDE, &[part], INSIDE).is_empty());
    assert_eq!(drops(&replay), dropped("fragment", 1));
    let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), 1);
    let from_us = Datagram { from: (address(FRONTENDS[0]), 7), ..Datagram::new(0, 4000) };
    assert!(send(&mut replay, 1.0, OUTSIDE, &from_us.parts(1200)[1..], INSIDE).is_empty());
    assert_eq!(drops(&replay), dropped("martian-source", 3));
    assert_eq!(replay.totals().held, 0);
}

#[test]
fn too_many_parts_give_the_datagram_up() {
    let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), 1);
    let parts = Datagram::new(0, 8192 - 8).parts(8 * 15);
    assert_eq!(parts.len(), 69);
    assert_eq!(send(&mut replay, 1.0, OUTSIDE, &parts, INSIDE).len(), 64);
    assert_eq!(drops(&replay), dropped("fragment-too-many", 5));
}

#[test]
fn a_full_table_gives_up_the_oldest_and_serves_the_youngest() {
    for workers in [1, 2] {
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        let datagram = |id: u32| Datagram { id, ..Datagram::new(0, 3000) };
        // Later parts alone: a place for each frame is what there is least of.
        let flood: Vec<_> = (0..2000).map(|id| datagram(id).parts(1200).remove(1)).collect();
        assert!(send(&mut replay, 1.0, OUTSIDE, &flood, INSIDE).is_empty());
        let held = replay.totals().held;
        assert!(held > 100 && held <= 256 * workers as u64, "{held}");
        assert_eq!(drops(&replay), dropped("fragment-table-full", 2000 - held));
        let left = send(&mut replay, 1.0, OUTSIDE, &datagram(1999).parts(1200)[..1], INSIDE);
        assert_eq!(left.len(), 2, "the youngest is held still");
        // First ones alone: they hold nothing, and the oldest is forgotten.
        let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), workers);
        let firsts: Vec<_> = (0..9000).map(|id| datagram(id).parts(1200).remove(0)).collect();
        assert_eq!(send(&mut replay, 1.0, OUTSIDE, &firsts, INSIDE).len(), 9000);
        assert_eq!(send(&mut replay, 1.0, OUTSIDE, &datagram(8999).parts(1200)[1..], INSIDE).len(), 2);
        assert!(send(&mut replay, 1.0, OUTSIDE, &datagram(0).parts(1200)[1..], INSIDE).is_empty());
        assert_eq!(replay.totals().held, 2);
    }
}

#[test]
fn beyond_so_many_a_second_fragments_are_dropped_and_nothing_else() {
    let mut replay = balancer(&config(0, "443/udp", &all(0), NAT), 1);
    let flood = vec![Datagram::new(0, 3000).parts(1200).remove(1); 400_000];
    assert!(send(&mut replay, 1.0, OUTSIDE, &flood, INSIDE).is_empty());
    assert_eq!(drops(&replay), dropped("fragment-duplicate", 399_999));
    let other = Datagram { id: 77, ..Datagram::new(0, 3000) }.parts(1200);
    assert!(send(&mut replay, 1.0, OUTSIDE, &other, INSIDE).is_empty());
    assert_eq!(drops(&replay)[1..], dropped("fragment-limit", 3));
    let whole = Datagram::new(0, 100).parts(1200);
    assert_eq!(send(&mut replay, 1.0, OUTSIDE, &whole, INSIDE).len(), 1);
    assert_eq!(send(&mut replay, 1.25, OUTSIDE, &other, INSIDE).len(), 3);
}
