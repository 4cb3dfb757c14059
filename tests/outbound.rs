//! Connections that backends open themselves: whom they come from, who may answer, which ports they have, and how they
//! end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod outbound_bed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use common::{INSIDE, OUTSIDE, assert_balanced, counts, model};
use outbound_bed::{Bed, EGRESS, Kind, Packet, at, config};

const SERVERS: [&str; 2] = ["192.0.2.7", "2001:db8:2::7"];

#[test]
fn a_connection_leaves_from_a_frontend_and_its_answers_come_back() {
    for family in [0, 1] {
        for kind in [Kind::Tcp("S"), Kind::Udp, Kind::Echo] {
            for workers in [1, 3] {
                let mut bed = Bed::new(&config(1, EGRESS), workers);
                let backend = bed.backend(family, 4);
                let server = at(SERVERS[family], if kind == Kind::Echo { 5000 } else { 80 });
                let sent = bed.out(&Packet::new(kind, backend, server));
                assert_eq!((sent.from.ip(), sent.to), (bed.frontend(family, 0), server), "{kind:?}");
                assert!(sent.from.port() >= 1024);
                assert_eq!(sent.hops, 63);
                let answer = sent.answer();
                let got = bed.back(&answer);
                assert_eq!((got.from, got.to, got.hops), (answer.from, backend, 63));
                // And so on, in both directions, by the same port.
                let more = Packet { kind: kind.later(), ..Packet::new(kind, backend, server) };
                assert_eq!(bed.out(&more).from, sent.from);
                assert_eq!(bed.flows(family, 4, kind), (1, 0, 1, 1, 0));
                assert_balanced(&bed.replay);
            }
        }
    }
}

#[test]
fn whoever_was_not_asked_is_not_let_in() {
    for kind in [Kind::Tcp("S"), Kind::Udp] {
        let mut bed = Bed::new(&config(1, EGRESS), 2);
        let sent = bed.out(&Packet::new(kind, bed.backend(0, 4), at("192.0.2.7", 80)));
        for from in [at("192.0.2.7", 81), at("192.0.2.8", 80)] {
            let stranger = Packet { from, ..sent.answer() };
            assert_eq!(bed.refused(OUTSIDE, &stranger), "outbound-filtered+1", "{from}");
        }
        // A port of the backend's that has no flow, and one that is nobody's.
        let other = Packet { to: (sent.from.ip(), sent.from.port() ^ 1).into(), ..sent.answer() };
        assert_eq!(bed.refused(OUTSIDE, &other), "outbound-filtered+1");
        let nobody = Packet { to: (sent.from.ip(), 65_000).into(), ..sent.answer() };
        assert_eq!(bed.refused(OUTSIDE, &nobody), "no-rule+1");
        bed.back(&sent.answer());
        assert_balanced(&bed.replay);
    }
}

#[test]
fn a_backends_endpoint_has_one_port_for_all_destinations() {
    for kind in [Kind::Tcp("S"), Kind::Udp] {
        let mut bed = Bed::new(&config(3, EGRESS), 3);
        let backend = bed.backend(0, 5);
        let servers: Vec<SocketAddr> = (0..200).map(|n| at("192.0.2.7", 1000 + n)).collect();
        let ports: BTreeSet<SocketAddr> =
            servers.iter().map(|server| bed.out(&Packet::new(kind, backend, *server)).from).collect();
        assert_eq!(ports.len(), 1, "{ports:?}");
        // Another of the same backend has another.
        let other = SocketAddr::new(backend.ip(), backend.port() + 1);
        let port = bed.out(&Packet::new(kind, other, servers[0])).from;
        assert!(!ports.contains(&port));
    }
}

#[test]
fn ports_run_out_and_that_is_counted() {
    for (kind, at_kind) in [(Kind::Tcp("S"), 0), (Kind::Udp, 1)] {
        for workers in [1, 3] {
            // One frontend, all of whose ports are handed out: 1,000 to each of 64 and 512 that nobody has, 64 blocks.
            let mut bed =
                Bed::new(&config(64, "frontends = [\"203.0.113.11\"]\nports_per_backend = 1000"), workers);
            let server = at("192.0.2.7", 443);
            let mut seen = BTreeSet::new();
            let mut dropped = 0;
            for port in 2000..4000 {
                let packet = Packet::new(kind, (bed.backend(0, 4).ip(), port).into(), server);
                match bed.try_out(&packet) {
                    Some(sent) => assert!(seen.insert(sent.from), "{} twice", sent.from),
                    None => dropped += 1,
                }
            }
            assert_eq!((seen.len(), dropped), (1512, 488));
            assert_eq!(counts(&bed.replay)["outbound-no-port"], 488);
            assert_eq!(bed.flows(0, 4, kind), (1512, 1512, 1512, 0, 488));
            // The ports that others have for themselves are theirs.
            let sent = bed.out(&Packet::new(kind, bed.backend(0, 5), server));
            assert!(!seen.contains(&sent.from));
            // To another destination TCP has them all again.
            let packet = Packet::new(kind, (bed.backend(0, 4).ip(), 9000).into(), at("192.0.2.8", 443));
            assert_eq!(bed.try_out(&packet).is_some(), kind != Kind::Udp);
            let told = bed.told(0, 4);
            let ports = told.ports.values().next().unwrap()[at_kind];
            assert_eq!((ports.allocated, ports.used, ports.on_demand), (1512, 1512, 512));
            assert_balanced(&bed.replay);
        }
    }
}

#[test]
fn no_two_flows_to_one_destination_share_a_port() {
    for workers in [1, 3] {
        let mut bed = Bed::new(&config(3, "frontends = [\"203.0.113.11\"]\nports_per_backend = 16"), workers);
        let mut live: BTreeMap<(SocketAddr, SocketAddr), SocketAddr> = BTreeMap::new();
        for port in 5000..5400 {
            for host in 4..7 {
                for server in 0..5 {
                    let backend: SocketAddr = (bed.backend(0, host).ip(), port).into();
                    let server = at("192.0.2.7", 80 + server);
                    let sent = bed.out(&Packet::new(Kind::Tcp("S"), backend, server));
                    let other = live.insert((sent.from, server), backend);
                    assert_eq!(other, None, "{} to {server}", sent.from);
                }
            }
        }
        for ((outside, server), backend) in live {
            let answer = Packet::new(Kind::Tcp("SA"), server, outside);
            assert_eq!(bed.back(&answer).to, backend);
        }
    }
}

#[test]
fn the_number_of_workers_is_not_seen() {
    let run = |workers| {
        let mut bed = Bed::new(&config(5, "frontends = [\"203.0.113.11\"]\nports_per_backend = 8"), workers);
        let mut frames = Vec::new();
        for round in 0..40u16 {
            for host in 4..9 {
                let backend = SocketAddr::new(bed.backend(0, host).ip(), 3000 + round);
                let kind = [Kind::Tcp("S"), Kind::Udp][usize::from(round % 2)];
                let packet = Packet::new(kind, backend, at("192.0.2.7", 80 + round % 3));
                frames.extend(bed.frames(INSIDE, packet.frame(bed.macs_in(backend))));
            }
            bed.now += 7.0;
        }
        frames
    };
    let one = run(1);
    assert!(one.len() >= 200);
    assert!(one == run(3) && one == run(2));
}

#[test]
fn a_pool_that_grows_breaks_nothing() {
    for workers in [1, 3] {
        let mut bed =
            Bed::new(&config(3, "frontends = [\"203.0.113.11\"]\nports_per_backend = 20000"), workers);
        let server = at("192.0.2.7", 443);
        let flows: Vec<(Packet, Packet)> = (0..3000u16)
            .map(|n| {
                let backend = SocketAddr::new(bed.backend(0, 4 + (n % 3) as u8).ip(), 2000 + n);
                let packet = Packet::new(Kind::Tcp("S"), backend, server);
                let sent = bed.out(&packet);
                (packet, sent)
            })
            .collect();
        // Sixty backends share what three had.
        bed.replay.reload(&model(&config(60, "frontends = [\"203.0.113.11\"]"))).unwrap();
        for (packet, sent) in &flows {
            assert_eq!(bed.back(&sent.answer()).to, packet.from);
            let more = Packet { kind: Kind::Tcp("A"), ..packet.clone() };
            assert_eq!(bed.out(&more).from, sent.from);
        }
        bed.now += 1.0;
        let known: BTreeSet<SocketAddr> = flows.iter().map(|(_, sent)| sent.from).collect();
        for host in 4..64 {
            for port in 8000..8040 {
                let backend = SocketAddr::new(bed.backend(0, host).ip(), port);
                let sent = bed.out(&Packet::new(Kind::Tcp("S"), backend, server));
                assert!(!known.contains(&sent.from));
            }
        }
        // And shrinks: the flows of those that are gone go on.
        bed.replay.reload(&model(&config(1, "frontends = [\"203.0.113.11\"]"))).unwrap();
        for (packet, sent) in &flows {
            assert_eq!(bed.back(&sent.answer()).to, packet.from);
            let more = Packet { kind: Kind::Tcp("A"), ..packet.clone() };
            assert_eq!(bed.out(&more).from, sent.from);
        }
        let gone = Packet::new(Kind::Tcp("S"), (bed.backend(0, 5).ip(), 60_000).into(), server);
        assert_eq!(bed.refused(INSIDE, &gone), "not-ours+1");
        assert_balanced(&bed.replay);
    }
}
