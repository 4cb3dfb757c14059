//! Connections that backends open themselves: errors about them, packets that do not fit, and fragments.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod outbound_bed;

use std::net::SocketAddr;

use common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, assert_balanced, counts, moved};
use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, PacketBuilder, SlicedPacket, TransportSlice};
use outbound_bed::errors::{mtu_told, read_error, unreachable};
use outbound_bed::{Bed, EGRESS, Kind, Packet, at, config};

const SERVERS: [&str; 2] = ["192.0.2.7", "2001:db8:2::7"];
const ROUTERS: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];

#[test]
fn errors_find_their_way_in_and_out() {
    for family in [0, 1] {
        for kind in [Kind::Tcp("S"), Kind::Udp, Kind::Echo] {
            for workers in [1, 3] {
                let mut bed = Bed::new(&config(2, EGRESS), workers);
                let backend = bed.backend(family, 5);
                let server = at(SERVERS[family], if kind == Kind::Echo { 40_000 } else { 80 });
                let packet = Packet::new(kind, backend, server);
                let frames = bed.frames(INSIDE, packet.frame(bed.macs_in(backend)));
                let sent = Packet::read(&frames[0].1, &packet);
                // A router's about what the backend has sent.
                let error =
                    unreachable((ROUTER_MAC, OUTSIDE_MAC), ROUTERS[family], sent.from.ip(), &frames[0].1);
                let before = counts(&bed.replay);
                let told = bed.frames(OUTSIDE, error.clone());
                assert_eq!(told.len(), 1, "{kind:?} {:?}", moved(&before, &counts(&bed.replay)));
                let (from, to, quoted) = read_error(&told[0].1);
                assert_eq!(
                    (told[0].0, from.to_string(), to),
                    (INSIDE, ROUTERS[family].to_owned(), backend.ip())
                );
                let got = Packet::read(&quoted, &packet);
                assert_eq!((got.from, got.to), (backend, server), "{kind:?}");
                // The backend's about what it was answered.
                let answer = sent.answer();
                let back = bed.frames(OUTSIDE, answer.frame((ROUTER_MAC, OUTSIDE_MAC)));
                let error =
                    unreachable(bed.macs_in(backend), &backend.ip().to_string(), server.ip(), &back[0].1);
                let before = counts(&bed.replay);
                let told = bed.frames(INSIDE, error);
                assert_eq!(told.len(), 1, "{kind:?} {:?}", moved(&before, &counts(&bed.replay)));
                let (from, to, quoted) = read_error(&told[0].1);
                assert_eq!((told[0].0, from, to), (OUTSIDE, sent.from.ip(), server.ip()));
                let got = Packet::read(&quoted, &answer);
                assert_eq!((got.from, got.to), (answer.from, answer.to));
                // The flow lives, and about what was never sent nothing is told.
                bed.back(&answer);
                let other = Packet { to: SocketAddr::new(at(SERVERS[family], 0).ip(), 81), ..sent.clone() };
                if kind != Kind::Echo {
                    let quoted = other.frame((OUTSIDE_MAC, ROUTER_MAC));
                    let error =
                        unreachable((ROUTER_MAC, OUTSIDE_MAC), ROUTERS[family], sent.from.ip(), &quoted);
                    assert_eq!(bed.frames(OUTSIDE, error), []);
                }
                assert_balanced(&bed.replay);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    for family in [0, 1] {
        let text = config(1, EGRESS).replacen("name = \"outside\"", "name = \"outside\"\nmtu = 1300", 1);
        let mut bed = Bed::new(&text, 1);
        let (backend, server) = (bed.backend(family, 4), at(SERVERS[family], 80));
        let long = Packet { data: vec![7; 1400], ..Packet::new(Kind::Udp, backend, server) };
        let mut frame = long.frame(bed.macs_in(backend));
        if family == 0 {
            frame[20] = 0x40;
            common::fix_ip_checksum(&mut frame);
        }
        let told = bed.frames(INSIDE, frame);
        assert_eq!(mtu_told(&told[0].1), 1300);
        assert_eq!(told[0].0, INSIDE);
        // It has taken no port.
        assert_eq!(bed.flows(family, 4, Kind::Udp), (0, 0, 0, 0, 0));
        let last = Packet { hops: 1, ..Packet::new(Kind::Udp, backend, server) };
        let told = bed.frames(INSIDE, last.frame(bed.macs_in(backend)));
        let packet = SlicedPacket::from_ethernet(&told[0].1).unwrap();
        let is_exceeded = match packet.transport.unwrap() {
            TransportSlice::Icmpv4(icmp) => matches!(icmp.icmp_type(), Icmpv4Type::TimeExceeded(_)),
            TransportSlice::Icmpv6(icmp) => matches!(icmp.icmp_type(), Icmpv6Type::TimeExceeded(_)),
            other => panic!("{other:?}"),
        };
        assert!(is_exceeded);
        assert_balanced(&bed.replay);
    }
}

/// The IPv4 packet of `frame` in parts of 400 bytes.
fn in_parts(frame: &[u8]) -> Vec<Vec<u8>> {
    let payload = &frame[34..];
    let count = payload.len().div_ceil(400);
    let parts = payload.chunks(400).enumerate().map(|(index, part)| {
        let mut made = frame[..34].to_vec();
        made[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        let more = if index + 1 < count { 0x2000u16 } else { 0 };
        made[18..20].copy_from_slice(&77u16.to_be_bytes());
        made[20..22].copy_from_slice(&(more | (index * 50) as u16).to_be_bytes());
        made.extend(part);
        common::fix_ip_checksum(&mut made);
        made
    });
    parts.collect()
}

#[test]
fn fragments_follow_their_first() {
    for kind in [Kind::Udp, Kind::Echo] {
        for workers in [1, 3] {
            for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
                let mut bed = Bed::new(&config(1, EGRESS), workers);
                let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 40_000));
                let long = Packet {
                    data: (0..1000).map(|n| n as u8).collect(),
                    ..Packet::new(kind, backend, server)
                };
                let parts = in_parts(&long.frame((bed.macs_in(backend).0, INSIDE_MAC)));
                let mut sent = Vec::new();
                for index in order {
                    sent.extend(bed.frames(INSIDE, parts[index].clone()));
                }
                let whole = together(&sent, OUTSIDE);
                let got = Packet::read(&whole, &long);
                assert_eq!(
                    (got.from.ip(), got.to, got.data),
                    (bed.frontend(0, 0), server, long.data.clone()),
                    "{kind:?}"
                );
                let answer = Packet { from: got.to, to: got.from, ..Packet::read(&whole, &long).answer() };
                let mut back = Vec::new();
                for index in order {
                    let parts = in_parts(&answer.frame((ROUTER_MAC, OUTSIDE_MAC)));
                    back.extend(bed.frames(OUTSIDE, parts[index].clone()));
                }
                let got = Packet::read(&together(&back, INSIDE), &answer);
                assert_eq!((got.from, got.to, got.data), (server, backend, long.data), "{kind:?}");
                assert_balanced(&bed.replay);
            }
        }
    }
}

/// The datagram whose parts have left by `port`.
fn together(sent: &[(guideway::io::PortId, Vec<u8>)], port: guideway::io::PortId) -> Vec<u8> {
    assert_eq!(sent.len(), 3);
    let mut parts: Vec<(u16, &Vec<u8>)> = sent
        .iter()
        .map(|(out, frame)| {
            assert_eq!(*out, port);
            (u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff, frame)
        })
        .collect();
    parts.sort_unstable();
    let mut whole = parts[0].1[..34].to_vec();
    parts.iter().for_each(|(_, part)| whole.extend(&part[34..]));
    let len = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&len.to_be_bytes());
    whole[20..22].copy_from_slice(&[0, 0]);
    common::fix_ip_checksum(&mut whole);
    whole
}

#[test]
fn other_protocols_are_not_translated() {
    let mut bed = Bed::new(&config(1, EGRESS), 1);
    let mut frame = Vec::new();
    let builder =
        PacketBuilder::ethernet2([2, 0, 10, 0, 0, 4], INSIDE_MAC).ipv4([10, 0, 0, 4], [192, 0, 2, 7], 64);
    builder.write(&mut frame, IpNumber(50), &[0; 40]).unwrap();
    let before = counts(&bed.replay);
    assert_eq!(bed.frames(INSIDE, frame), []);
    assert_eq!(moved(&before, &counts(&bed.replay)).join(" "), "not-ours+1");
}
