//! Addresses that backends have for themselves: ping, other protocols, and errors, which go by the address alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod outbound_bed;

use std::net::{IpAddr, SocketAddr};

use common::{
    INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, TWO_FAMILIES, assert_balanced, counts, moved,
};
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, SlicedPacket};
use outbound_bed::errors::{mtu_told, read_error, unreachable};
use outbound_bed::{Bed, Kind, Packet};

const OWN: [&str; 2] = ["203.0.113.20", "2001:db8:1::20"];
const CLIENTS: [&str; 2] = ["192.0.2.7", "2001:db8:2::7"];
const OTHERS: [&str; 2] = ["192.0.2.99", "2001:db8:2::99"];
/// As a replay makes them up.
const ROUTER_MACS: [[u8; 6]; 2] = [ROUTER_MAC, [2, 0, 0, 0, 0, 1]];
const TO_OUTSIDE: ([u8; 6], [u8; 6]) = (ROUTER_MAC, OUTSIDE_MAC);

/// Backend 4 has an address of its own in each family; 4 and 5 are in outbound rules besides.
fn config(keys: &str) -> String {
    format!(
        "{TWO_FAMILIES}
[[pool]]
name = \"web\"
backends = [{{ address = \"10.0.0.4\" }}, {{ address = \"10.0.0.5\" }}]
[[outbound_rule]]
name = \"egress\"
pool = \"web\"
frontends = [\"203.0.113.11\"]
[[acl]]
name = \"friends\"
rules = [\"permit 192.0.2.0/26\", \"permit 2001:db8:2::/121\"]
[[nat_rule]]
name = \"own\"
frontend = \"203.0.113.20:0/any\"
backend = \"10.0.0.4\"
{keys}
[[nat_rule]]
name = \"own6\"
frontend = \"[2001:db8:1::20]:0/any\"
backend = \"2001:db8:10::4\"
{keys}
"
    )
}

fn bed(keys: &str, workers: usize) -> Bed {
    Bed::new(&config(keys), workers)
}

/// An echo's ends: the identifier stands for both ports.
fn echo(kind: Kind, from: &str, to: &str) -> Packet {
    let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 7);
    Packet::new(kind, at(from), at(to))
}

fn inside(family: usize) -> &'static str {
    ["10.0.0.4", "2001:db8:10::4"][family]
}

#[test]
fn a_ping_to_an_own_address_reaches_the_backend_and_its_own_leave_from_there() {
    for (family, workers) in [(0, 1), (1, 1), (0, 3), (1, 3)] {
        let mut bed = bed("", workers);
        let (own, backend, client) = (OWN[family], inside(family), CLIENTS[family]);
        for (ask, answer) in [(Kind::Echo, Kind::EchoReply), (Kind::EchoReply, Kind::Echo)] {
            let asked = echo(ask, client, own);
            assert_eq!(bed.back(&asked), Packet { hops: 63, ..echo(ask, client, backend) });
            let answered = echo(answer, backend, client);
            assert_eq!(bed.out(&answered), Packet { hops: 63, ..echo(answer, own, client) });
        }
        // Who has no address of its own has a port of the outbound rule's, or none.
        let other = ["10.0.0.5", "2001:db8:10::5"][family];
        let neighbours = echo(Kind::Echo, other, client);
        if family == 0 {
            assert_eq!(bed.out(&neighbours).from.ip(), bed.frontend(0, 0));
        } else {
            assert_eq!(bed.refused(INSIDE, &neighbours), "not-ours+1");
        }
        assert_balanced(&bed.replay);
    }
}

#[test]
fn who_may_not_comes_in_by_no_protocol() {
    for family in [0, 1] {
        let (own, backend) = (OWN[family], inside(family));
        let mut bed = bed("acl = \"friends\"\nicmp_echo = false", 1);
        assert_eq!(bed.refused(OUTSIDE, &echo(Kind::EchoReply, OTHERS[family], own)), "acl-denied+1");
        assert_eq!(bed.refused(OUTSIDE, &echo(Kind::Echo, CLIENTS[family], own)), "echo-off+1");
        bed.back(&echo(Kind::EchoReply, CLIENTS[family], own));
        let mine = ["198.51.100.2", "2001:db8::2"][family];
        assert_eq!(bed.refused(OUTSIDE, &echo(Kind::EchoReply, mine, own)), "martian-source+1");
        assert_eq!(bed.refused(INSIDE, &echo(Kind::Echo, backend, own)), "hairpin+1");
        let martian = ["127.0.0.1", "fe80::1"][family];
        assert_eq!(bed.refused(INSIDE, &echo(Kind::Echo, backend, martian)), "martian-destination+1");
        // From where the backend is not.
        assert_eq!(bed.refused(OUTSIDE, &echo(Kind::Echo, backend, CLIENTS[family])), "wrong-port+1");
        assert_balanced(&bed.replay);
    }
}

/// A packet of a protocol with that number.
fn packet_of(
    macs: ([u8; 6], [u8; 6]),
    (from, to, hops): (&str, &str, u8),
    protocol: u8,
    carried: &[u8],
) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0, macs.1);
    let builder = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), hops),
        (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), hops),
        _ => panic!("two families"),
    };
    let mut frame = Vec::new();
    builder.write(&mut frame, IpNumber(protocol), carried).unwrap();
    frame
}

/// Forty bytes, with a checksum over the addresses where the protocol has one.
fn carried(protocol: u8, from: &str, to: &str) -> Vec<u8> {
    let mut carried: Vec<u8> = (0..40).collect();
    if [33, 136].contains(&protocol) {
        carried[6..8].copy_from_slice(&[0, 0]);
        let sum = Sum16BitWords::new().add_2bytes([0, protocol]).add_2bytes([0, 40]).add_slice(&carried);
        let add = |mut sum: Sum16BitWords, address: &str| match address.parse().unwrap() {
            IpAddr::V4(address) => sum.add_4bytes(address.octets()),
            IpAddr::V6(address) => sum.add_16bytes(address.octets()),
        };
        let sum = add(add(sum, from), to);
        carried[6..8].copy_from_slice(&sum.ones_complement().to_ne_bytes());
    }
    carried
}

#[test]
fn other_protocols_go_by_the_address_alone() {
    const GRE: u8 = 47;
    const ESP: u8 = 50;
    const SCTP: u8 = 132;
    const UDP_LITE: u8 = 136;
    const DCCP: u8 = 33;
    for (family, workers) in [(0, 1), (1, 3)] {
        let mut bed = bed("", workers);
        let (own, backend, client) = (OWN[family], inside(family), CLIENTS[family]);
        let at_backend = bed.macs_in(SocketAddr::new(backend.parse().unwrap(), 0));
        for protocol in [GRE, ESP, SCTP, UDP_LITE, DCCP] {
            let of = |macs, from, to, hops| {
                packet_of(macs, (from, to, hops), protocol, &carried(protocol, from, to))
            };
            let there = bed.frames(OUTSIDE, of(TO_OUTSIDE, client, own, 64));
            let macs = (at_backend.1, at_backend.0);
            assert_eq!(there, [(INSIDE, of(macs, client, backend, 63))], "{protocol}");
            let back = bed.frames(INSIDE, of(at_backend, backend, client, 64));
            assert_eq!(
                back,
                [(OUTSIDE, of((OUTSIDE_MAC, ROUTER_MACS[family]), own, client, 63))],
                "{protocol}"
            );
        }
        let before = counts(&bed.replay);
        let other = ["10.0.0.5", "2001:db8:10::5"][family];
        let stranger = packet_of(at_backend, (other, client, 64), GRE, &carried(GRE, other, client));
        assert_eq!(bed.frames(INSIDE, stranger), []);
        assert_eq!(moved(&before, &counts(&bed.replay)), ["not-ours+1"]);
        assert_balanced(&bed.replay);
    }
}

#[test]
fn a_checksum_of_udp_lite_is_never_none() {
    let mut bed = bed("", 1);
    for checksum in 1..=u16::MAX {
        let mut carried = carried(136, CLIENTS[0], OWN[0]);
        carried[6..8].copy_from_slice(&checksum.to_be_bytes());
        let there = bed.frames(OUTSIDE, packet_of(TO_OUTSIDE, (CLIENTS[0], OWN[0], 64), 136, &carried));
        assert_ne!(there[0].1[40..42], [0, 0]);
    }
}

#[test]
fn errors_about_pings_and_other_protocols_find_their_way() {
    for (family, workers) in [(0, 1), (1, 1), (0, 3), (1, 3)] {
        let mut bed = bed("acl = \"friends\"", workers);
        let (own, backend, client) = (OWN[family], inside(family), CLIENTS[family]);
        let router = [["192.0.2.99", "2001:db8:2::99"], ["10.0.0.9", "2001:db8:10::9"]];
        let at_backend = bed.macs_in(SocketAddr::new(backend.parse().unwrap(), 0));
        // About what the backend has sent, by a router outside; the list is about whom it was sent to.
        let asked = echo(Kind::Echo, own, client);
        let error = |quoted: &[u8]| unreachable(TO_OUTSIDE, router[0][family], own.parse().unwrap(), quoted);
        let told = bed.frames(OUTSIDE, error(&asked.frame((OUTSIDE_MAC, ROUTER_MAC))));
        let (from, to, quoted) = read_error(&told[0].1);
        assert_eq!(
            (told[0].0, from.to_string(), to.to_string()),
            (INSIDE, router[0][family].into(), backend.into())
        );
        assert_eq!(Packet::read(&quoted, &asked), echo(Kind::Echo, backend, client));
        let gre = |from, to| packet_of(TO_OUTSIDE, (from, to, 64), 47, &carried(47, from, to));
        let told = bed.frames(OUTSIDE, error(&gre(own, client)));
        assert_eq!(read_error(&told[0].1).2[14..], gre(backend, client)[14..]);
        let before = counts(&bed.replay);
        assert_eq!(bed.frames(OUTSIDE, error(&gre(own, OTHERS[family]))), []);
        assert_eq!(moved(&before, &counts(&bed.replay)), ["acl-denied+1"]);
        // About what it got, by a router inside: in its name.
        let got = echo(Kind::Echo, client, backend);
        let error =
            |quoted: &[u8]| unreachable(at_backend, router[1][family], client.parse().unwrap(), quoted);
        let told = bed.frames(INSIDE, error(&got.frame((INSIDE_MAC, at_backend.0))));
        let (from, to, quoted) = read_error(&told[0].1);
        assert_eq!((told[0].0, from.to_string(), to.to_string()), (OUTSIDE, own.into(), client.into()));
        assert_eq!(Packet::read(&quoted, &got), echo(Kind::Echo, client, own));
        // Of UDP and TCP too, as of all flows.
        let udp = Packet { kind: Kind::Udp, ..echo(Kind::Udp, client, own) };
        let at = bed.back(&udp);
        let told = bed.frames(INSIDE, error(&at.frame((INSIDE_MAC, at_backend.0))));
        assert_eq!(Packet::read(&read_error(&told[0].1).2, &udp), Packet { hops: 63, ..udp });
        assert_balanced(&bed.replay);
    }
}

/// The packet in a frame, in parts of so many bytes.
fn in_parts(frame: &[u8], len: usize) -> Vec<Vec<u8>> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let is_v4 = frame[14] >> 4 == 4;
    let header_len = if is_v4 { 20 } else { 40 };
    let carried = &frame[14 + header_len..];
    assert!(packet.transport.is_some());
    let parts = carried.chunks(len).enumerate().map(|(index, chunk)| {
        let (offset, more) = ((index * len / 8) as u16, (index + 1) * len < carried.len());
        let mut part = frame[..14].to_vec();
        if is_v4 {
            let mut header = Ipv4Header::from_slice(&frame[14..]).unwrap().0;
            (header.identification, header.dont_fragment) = (77, false);
            header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
            header.more_fragments = more;
            header.total_len = (20 + chunk.len()) as u16;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut part).unwrap();
        } else {
            let mut header = Ipv6Header::from_slice(&frame[14..]).unwrap().0;
            let next = std::mem::replace(&mut header.next_header, IpNumber::IPV6_FRAGMENTATION_HEADER);
            header.payload_length = (8 + chunk.len()) as u16;
            header.write(&mut part).unwrap();
            let word = offset << 3 | u16::from(more);
            part.extend([next.0, 0]);
            part.extend(word.to_be_bytes());
            part.extend([0, 0, 0, 77]);
        }
        part.extend(chunk);
        part
    });
    parts.collect()
}

#[test]
fn parts_of_a_ping_go_each_by_itself() {
    for (family, workers) in [(0, 1), (1, 1), (0, 3), (1, 3)] {
        let mut bed = bed("", workers);
        let (own, backend, client) = (OWN[family], inside(family), CLIENTS[family]);
        let at_backend = bed.macs_in(SocketAddr::new(backend.parse().unwrap(), 0));
        let long = |kind, from, to| Packet { data: vec![0xab; 3000], ..echo(kind, from, to) };
        let there = in_parts(&long(Kind::Echo, client, own).frame(TO_OUTSIDE), 1400);
        let arrived = Packet { hops: 63, ..long(Kind::Echo, client, backend) };
        let arrived = in_parts(&arrived.frame((at_backend.1, at_backend.0)), 1400);
        // In whatever order.
        for (part, arrived) in there.into_iter().zip(arrived).rev() {
            assert_eq!(bed.frames(OUTSIDE, part), [(INSIDE, arrived)]);
        }
        let back = in_parts(&long(Kind::EchoReply, backend, client).frame(at_backend), 1400);
        let seen = Packet { hops: 63, ..long(Kind::EchoReply, own, client) };
        let seen = in_parts(&seen.frame((OUTSIDE_MAC, ROUTER_MACS[family])), 1400);
        for (part, seen) in back.into_iter().zip(seen) {
            assert_eq!(bed.frames(INSIDE, part), [(OUTSIDE, seen)]);
        }
        // An error in parts is not passed on.
        let quoted = long(Kind::Echo, own, client).frame(TO_OUTSIDE);
        let error = unreachable(TO_OUTSIDE, OTHERS[family], own.parse().unwrap(), &quoted);
        assert_eq!(bed.frames(OUTSIDE, in_parts(&error, 1400).remove(0)), []);
        assert_balanced(&bed.replay);
    }
}

#[test]
fn what_cannot_go_on_is_told_or_cut_up() {
    for family in [0, 1] {
        let text = config("").replacen("name = \"outside\"", "name = \"outside\"\nmtu = 1300", 1);
        let mut bed = Bed::new(&text, 1);
        let (backend, client) = (inside(family), CLIENTS[family]);
        let at_backend = bed.macs_in(SocketAddr::new(backend.parse().unwrap(), 0));
        let long = |kind| Packet { data: vec![1; 1400], ..echo(kind, backend, client) }.frame(at_backend);
        let told = bed.frames(INSIDE, long(Kind::Echo));
        assert_eq!((told.len(), told[0].0), (1, INSIDE));
        assert_eq!(mtu_told(&told[0].1), 1300);
        if family == 0 {
            // One that routers may cut up.
            let mut frame = long(Kind::Echo);
            let mut header = Ipv4Header::from_slice(&frame[14..]).unwrap().0;
            header.dont_fragment = false;
            header.header_checksum = header.calc_header_checksum();
            frame[14..34].copy_from_slice(&header.to_bytes());
            let sent = bed.frames(INSIDE, frame);
            let lens: Vec<usize> = sent.iter().map(|(_, frame)| frame.len() - 14).collect();
            assert_eq!(lens, [1300, 148]);
            assert!(sent.iter().all(|(port, frame)| *port == OUTSIDE && frame[26..30] == [203, 0, 113, 20]));
        }
        let last = Packet { hops: 1, ..echo(Kind::Echo, CLIENTS[family], OWN[family]) };
        let told = bed.frames(OUTSIDE, last.frame(TO_OUTSIDE));
        assert_eq!((told.len(), told[0].0), (1, OUTSIDE));
        assert_eq!(bed.replay.totals().time_exceeded_sent, 1);
        assert_balanced(&bed.replay);
    }
}
