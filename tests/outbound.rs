//! Connections that backends open themselves: whom they come from, who may answer, which ports they have, and how they
//! end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod outbound_bed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use common::{INSIDE, OUTSIDE, assert_balanced, counts, model};
use guideway::config::{ConfigFlags, load_text};
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

/// A TCP connection that both ends believe in.
fn connect(bed: &mut Bed, backend: SocketAddr, server: SocketAddr) -> Packet {
    let sent = bed.out(&Packet::new(Kind::Tcp("S"), backend, server));
    bed.back(&sent.answer());
    bed.out(&Packet { sequence: 1001, ..Packet::new(Kind::Tcp("A"), backend, server) });
    sent
}

#[test]
fn flows_end_when_they_should() {
    let server = at("192.0.2.7", 80);
    for workers in [1, 3] {
        // What has been said, how long it lives, and what the backend and the other end get after that.
        let cases: [(&[(&str, bool)], f64); 6] = [
            (&[], 240.0),
            (&[("FA", true)], 240.0),
            (&[("FA", false)], 240.0),
            (&[("FA", true), ("FA", false)], 240.0),
            (&[("R", true)], 15.0),
            (&[("R", false)], 15.0),
        ];
        for (said, lifetime) in cases {
            for (after, is_there) in [(lifetime - 1.0, true), (lifetime + 1.0, false)] {
                let mut bed = Bed::new(&config(1, "frontends = [\"203.0.113.11\"]"), workers);
                let backend = bed.backend(0, 4);
                let sent = connect(&mut bed, backend, server);
                for (flags, is_out) in said {
                    if *is_out {
                        bed.out(&Packet::new(Kind::Tcp(flags), backend, server));
                    } else {
                        bed.back(&Packet { kind: Kind::Tcp(flags), sequence: 2000, ..sent.answer() });
                    }
                }
                bed.now += after;
                let answer = Packet { kind: Kind::Tcp("A"), ..sent.answer() };
                if is_there {
                    bed.back(&answer);
                } else {
                    assert_eq!(bed.refused(OUTSIDE, &answer), "outbound-filtered+1");
                    let more = Packet::new(Kind::Tcp("A"), backend, server);
                    assert_eq!(bed.refused(INSIDE, &more), "outbound-no-flow+1", "{said:?}");
                    assert_eq!(bed.flows(0, 4, Kind::Tcp("")), (0, 0, 1, 1, 0));
                }
            }
        }
        for (kind, lifetime) in [(Kind::Tcp("S"), 30.0), (Kind::Udp, 240.0), (Kind::Echo, 60.0)] {
            for (after, is_there) in [(lifetime - 1.0, true), (lifetime + 1.0, false)] {
                let mut bed = Bed::new(&config(1, "frontends = [\"203.0.113.11\"]"), workers);
                let sent = bed.out(&Packet::new(kind, bed.backend(0, 4), server));
                if kind != Kind::Tcp("S") {
                    // What comes from outside keeps nothing.
                    bed.now += lifetime / 2.0;
                    bed.back(&sent.answer());
                    bed.now -= lifetime / 2.0;
                }
                bed.now += after;
                if is_there {
                    bed.back(&sent.answer());
                } else {
                    assert_eq!(bed.refused(OUTSIDE, &sent.answer()), "outbound-filtered+1", "{kind:?}");
                }
                assert_balanced(&bed.replay);
            }
        }
    }
}

#[test]
fn an_end_that_goes_on_has_not_taken_a_reset() {
    let mut bed = Bed::new(&config(1, EGRESS), 1);
    let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 80));
    let sent = connect(&mut bed, backend, server);
    bed.back(&Packet { kind: Kind::Tcp("R"), sequence: 2000, ..sent.answer() });
    bed.out(&Packet::new(Kind::Tcp("A"), backend, server));
    bed.now += 100.0;
    bed.back(&Packet { kind: Kind::Tcp("A"), ..sent.answer() });
    // A connection that is over gives its port to the next of the same ends.
    bed.back(&Packet { kind: Kind::Tcp("R"), sequence: 2000, ..sent.answer() });
    assert_eq!(bed.out(&Packet::new(Kind::Tcp("S"), backend, server)).from, sent.from);
    assert_eq!(bed.flows(0, 4, Kind::Tcp("")), (1, 1, 2, 1, 0));
}

#[test]
fn both_ends_of_an_idle_connection_are_reset() {
    for family in [0, 1] {
        for workers in [1, 3] {
            let mut bed =
                Bed::new(&config(1, &format!("{EGRESS}\ntcp_reset = true\nidle_timeout = \"10s\"")), workers);
            let (backend, server) = (bed.backend(family, 4), at(SERVERS[family], 80));
            let sent = connect(&mut bed, backend, server);
            let data = Packet {
                sequence: 1001,
                acknowledgement: 2001,
                ..Packet::new(Kind::Tcp("A"), backend, server)
            };
            bed.out(&data);
            bed.now += 11.0;
            // Any frame moves the clock.
            let other = Packet::new(Kind::Udp, backend, server);
            let frames = bed.frames(INSIDE, other.frame(bed.macs_in(backend)));
            let resets: Vec<_> =
                frames.iter().filter(|(_, frame)| frame[if family == 0 { 23 } else { 20 }] == 6).collect();
            assert_eq!(resets.len(), 2);
            for (port, frame) in resets {
                let got = Packet::read(frame, &data);
                let (ends, sequence) =
                    if *port == OUTSIDE { ((sent.from, server), 1011) } else { ((server, backend), 2001) };
                assert_eq!(((got.from, got.to), got.sequence, got.kind), (ends, sequence, Kind::Tcp("RA")));
            }
            // What was on its way is answered.
            let (port, frame) = bed.frames(INSIDE, data.frame(bed.macs_in(backend))).remove(0);
            let got = Packet::read(&frame, &data);
            assert_eq!((port, got.from, got.to, got.sequence), (INSIDE, server, backend, 2001));
            let late =
                Packet { kind: Kind::Tcp("A"), sequence: 2001, acknowledgement: 1011, ..sent.answer() };
            let (port, frame) =
                bed.frames(OUTSIDE, late.frame((common::ROUTER_MAC, common::OUTSIDE_MAC))).remove(0);
            let got = Packet::read(&frame, &late);
            assert_eq!((port, got.from, got.to, got.sequence), (OUTSIDE, sent.from, server, 1011));
            assert_balanced(&bed.replay);
        }
    }
}

#[test]
fn a_backend_keeps_its_address() {
    for family in [0, 1] {
        let mut bed = Bed::new(&config(6, EGRESS), 3);
        let mut addresses = BTreeSet::new();
        for host in 4..10 {
            let own: BTreeSet<_> = (0..900)
                .map(|n| {
                    let backend = SocketAddr::new(bed.backend(family, host).ip(), 2000 + n);
                    let kind = [Kind::Tcp("S"), Kind::Udp][usize::from(n % 2)];
                    bed.out(&Packet::new(kind, backend, at(SERVERS[family], 80))).from.ip()
                })
                .collect();
            assert_eq!(own.len(), 1, "{own:?}");
            addresses.extend(own);
        }
        assert_eq!(addresses.len(), 2, "all frontends are used");
    }
}

#[test]
fn both_ends_may_open_at_once() {
    let mut bed = Bed::new(&config(1, EGRESS), 2);
    let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 80));
    let sent = bed.out(&Packet::new(Kind::Tcp("S"), backend, server));
    let theirs = Packet { kind: Kind::Tcp("S"), ..sent.answer() };
    assert_eq!(bed.back(&theirs).to, backend);
    assert_eq!(bed.out(&Packet::new(Kind::Tcp("SA"), backend, server)).from, sent.from);
    bed.back(&sent.answer());
}

#[test]
fn what_backends_send_to_each_others_outside_is_named() {
    let mut bed = Bed::new(&config(2, EGRESS), 1);
    let server = at("192.0.2.7", 80);
    let sent = bed.out(&Packet::new(Kind::Udp, bed.backend(0, 4), server));
    let across = Packet::new(Kind::Udp, bed.backend(0, 5), sent.from);
    assert_eq!(bed.refused(INSIDE, &across), "outbound-hairpin+1");
    // Nor does anybody else's packet come in by the wrong port, or from an address of ours.
    let wrong = Packet::new(Kind::Udp, bed.backend(0, 5), server);
    assert_eq!(bed.refused(OUTSIDE, &wrong), "wrong-port+1");
    let ours = Packet::new(Kind::Udp, SocketAddr::new(bed.frontend(0, 1), 5), sent.from);
    assert_eq!(bed.refused(OUTSIDE, &ours), "martian-source+1");
    let martian = Packet::new(Kind::Udp, bed.backend(0, 5), at("127.0.0.1", 80));
    assert_eq!(bed.refused(INSIDE, &martian), "martian-destination+1");
    let zero = Packet::new(Kind::Tcp("S"), bed.backend(0, 5), at("192.0.2.7", 0));
    assert_eq!(bed.refused(INSIDE, &zero), "port-zero+1");
}

#[test]
fn responses_stay_responses_and_blocks_of_rules_are_kept() {
    let rules = "protocol = \"tcp\"\nfrontends = [\"203.0.113.11\"]\nports_per_backend = 8
[[rule]]\nname = \"r\"\nfrontend = \"203.0.113.11:1024/tcp\"\npool = \"web\"\nbackend_port = 8443
[[rule]]\nname = \"s\"\nfrontend = \"203.0.113.11:1040-65535/tcp\"\npool = \"web\"\nforward = \"full-nat\"
source_addresses = [\"10.0.0.200\"]";
    let mut bed = Bed::new(&config(1, rules), 1);
    let server = at("192.0.2.7", 80);
    // The endpoint of a backend of NAT.
    let response = Packet::new(Kind::Tcp("S"), SocketAddr::new(bed.backend(0, 4).ip(), 8443), server);
    assert_eq!(bed.out(&response).from, at("203.0.113.11", 1024));
    // One block is left.
    let ports: BTreeSet<u16> = (2000..2008)
        .map(|port| {
            let backend = SocketAddr::new(bed.backend(0, 4).ip(), port);
            bed.out(&Packet::new(Kind::Tcp("S"), backend, server)).from.port()
        })
        .collect();
    assert_eq!(ports, (1032..1040).collect());
    let one_more = Packet::new(Kind::Tcp("S"), bed.backend(0, 4), server);
    assert_eq!(bed.refused(INSIDE, &one_more), "outbound-no-port+1");
    // Neither UDP nor ping are the rule's.
    assert_eq!(bed.refused(INSIDE, &Packet { kind: Kind::Udp, ..one_more.clone() }), "not-ours+1");
    assert_eq!(bed.refused(INSIDE, &Packet { kind: Kind::Echo, ..one_more }), "not-ours+1");
}

#[test]
fn flows_live_on_through_reloads() {
    for workers in [1, 3] {
        let mut bed = Bed::new(&config(2, EGRESS), workers);
        let server = at("192.0.2.7", 80);
        let backend = bed.backend(0, 4);
        let tcp = connect(&mut bed, backend, server);
        let udp = bed.out(&Packet::new(Kind::Udp, backend, server));
        // Another frontend, another timeout, other rules.
        for rule in [
            "frontends = [\"203.0.113.20\"]",
            "frontends = [\"203.0.113.20\", \"203.0.113.11\"]\nidle_timeout = \"20m\"",
            "name = \"other\"\nprotocol = \"tcp\"\nfrontends = [\"203.0.113.20\"]\nidle_timeout = \"20m\"",
        ] {
            bed.replay.reload(&model(&config(2, rule))).unwrap();
            bed.now += 2.0;
            assert_eq!(bed.back(&tcp.answer()).to, backend);
            assert_eq!(bed.back(&udp.answer()).to, backend);
            assert_eq!(bed.out(&Packet::new(Kind::Tcp("A"), backend, server)).from, tcp.from);
            assert_eq!(bed.out(&Packet::new(Kind::Udp, backend, server)).from, udp.from);
        }
        // What is new leaves from the new one; what the rule has no more opens nothing.
        let other = SocketAddr::new(backend.ip(), 9000);
        let new = bed.out(&Packet::new(Kind::Tcp("S"), other, server));
        assert_eq!(new.from.ip(), at("203.0.113.20", 0).ip());
        assert_eq!(bed.refused(INSIDE, &Packet::new(Kind::Udp, other, server)), "not-ours+1");
        // With the old flows the old address goes.
        bed.now += 1300.0;
        bed.replay.reload(&model(&config(2, "frontends = [\"203.0.113.20\"]"))).unwrap();
        bed.out(&Packet::new(Kind::Udp, other, server));
        bed.replay.reload(&model(&config(2, "frontends = [\"203.0.113.20\"]"))).unwrap();
        assert_eq!(bed.refused(OUTSIDE, &tcp.answer()), "not-ours+1");
        assert_balanced(&bed.replay);
    }
}

#[test]
fn a_rules_blocks_come_back_when_their_flows_are_over() {
    let mut bed = Bed::new(&config(2, "frontends = [\"203.0.113.11\"]\nports_per_backend = 8"), 3);
    let server = at("192.0.2.7", 80);
    for port in 2000..2100 {
        bed.out(&Packet::new(Kind::Udp, SocketAddr::new(bed.backend(0, 4).ip(), port), server));
    }
    let ports = |bed: &Bed| bed.told(0, 4).ports.values().next().unwrap()[1];
    assert_eq!((ports(&bed).allocated, ports(&bed).on_demand, ports(&bed).used), (104, 96, 100));
    bed.now += 241.0;
    bed.out(&Packet::new(Kind::Tcp("S"), bed.backend(0, 5), server));
    assert_eq!((ports(&bed).allocated, ports(&bed).on_demand, ports(&bed).used), (8, 0, 0));
    assert_eq!(bed.flows(0, 4, Kind::Udp), (0, 0, 100, 0, 0));
}

#[test]
fn a_reset_from_outside_begins_its_time_anew() {
    let mut bed = Bed::new(&config(1, EGRESS), 2);
    let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 80));
    let sent = connect(&mut bed, backend, server);
    bed.now += 100.0;
    let reset = Packet { kind: Kind::Tcp("R"), sequence: 2000, ..sent.answer() };
    bed.back(&reset);
    for _ in 0..2 {
        bed.now += 7.0;
        bed.back(&reset);
    }
    // Only the first of them does.
    bed.now += 2.0;
    assert_eq!(bed.refused(OUTSIDE, &reset), "outbound-filtered+1");
}

#[test]
fn the_last_block_is_one_like_the_others() {
    let rules = "protocol = \"tcp\"\nfrontends = [\"203.0.113.11\"]
[[rule]]\nname = \"s\"\nfrontend = \"203.0.113.11:1024-65527/tcp\"\npool = \"web\"\nforward = \"full-nat\"
source_addresses = [\"10.0.0.200\"]";
    let mut bed = Bed::new(&config(1, rules), 1);
    for server in 0..20 {
        let ports: BTreeSet<u16> = (0..8)
            .map(|port| {
                let backend = SocketAddr::new(bed.backend(0, 4).ip(), 2000 + 100 * server + port);
                bed.out(&Packet::new(Kind::Tcp("S"), backend, at("192.0.2.7", 80 + server))).from.port()
            })
            .collect();
        assert_eq!(ports, (65_528..=65_535).collect());
    }
    assert_eq!(
        bed.refused(INSIDE, &Packet::new(Kind::Tcp("S"), bed.backend(0, 4), at("192.0.2.7", 80))),
        "outbound-no-port+1"
    );
    assert_eq!(bed.flows(0, 4, Kind::Tcp("")), (160, 160, 160, 0, 1));
}

/// Fifty backends by each of two rules, which leave from one frontend.
fn two_rules(first: &str, second: &str) -> String {
    let backends: Vec<String> = (54..104).map(|n| format!("{{ address = \"10.0.0.{n}\" }}")).collect();
    let rest = format!(
        "frontends = [\"203.0.113.11\"]\n{first}
[[pool]]\nname = \"more\"\nbackends = [{}]
[[outbound_rule]]\nname = \"more\"\npool = \"more\"\nfrontends = [\"203.0.113.11\"]\n{second}",
        backends.join(", ")
    );
    config(50, &rest)
}

#[test]
fn rules_share_the_ports_of_a_frontend() {
    let cases = [
        ("", "", (640, 640)),
        ("ports_per_backend = 1200", "", (1200, 88)),
        ("", "ports_per_backend = 1200", (88, 1200)),
        ("protocol = \"tcp\"", "protocol = \"udp\"\nports_per_backend = 1200", (1024, 0)),
    ];
    for (first, second, (of_first, of_second)) in cases {
        let bed = Bed::new(&two_rules(first, second), 2);
        let ports = |host: u8| bed.told(0, host).ports.values().map(|ports| ports[0].allocated).sum::<u64>();
        for host in 4..54 {
            assert_eq!((ports(host), ports(host + 50)), (of_first, of_second), "{first} {second} {host}");
        }
    }
}

#[test]
fn rules_that_want_more_than_their_frontends_have_together_are_told() {
    let told = |first: &str, second: &str| {
        let text = two_rules(first, second);
        let found = load_text("test.toml", &text, &ConfigFlags::default());
        found.err().map(|findings| findings.to_string()).unwrap_or_default()
    };
    let both = told("ports_per_backend = 1000", "ports_per_backend = 1000");
    let expected = "outbound rule more has 1000 ports for each of 50 backends, 50000 in all, and its 1 frontends of \
                    their family have 14000 beside the 50000 of other outbound rules; add frontends, or set \
                    ports_per_backend to 280 or less";
    assert!(both.contains(expected) && both.matches("outbound rule").count() == 2, "{both}");
    assert!(told("ports_per_backend = 1280", "").contains("outbound rule egress has 1280 ports"));
    assert_eq!(told("ports_per_backend = 1000", "ports_per_backend = 280"), "");
    let tcp = "protocol = \"tcp\"\nports_per_backend = 1000";
    assert_eq!(told(tcp, "protocol = \"udp\"\nports_per_backend = 1000"), "");
}

#[test]
fn a_packet_just_before_the_reset_is_not_its_end() {
    for workers in [1, 3] {
        let rule = |timeout| config(1, &format!("{EGRESS}\ntcp_reset = true\nidle_timeout = \"{timeout}s\""));
        let mut bed = Bed::new(&rule(10), workers);
        let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 80));
        let sent = connect(&mut bed, backend, server);
        bed.now += 5.0;
        bed.out(&Packet::new(Kind::Udp, backend, server));
        // Over at once, and not swept yet.
        bed.replay.reload(&model(&rule(2))).unwrap();
        let late = Packet { sequence: 1011, ..Packet::new(Kind::Tcp("A"), backend, server) };
        assert_eq!(bed.refused(INSIDE, &late), "outbound-no-flow+1");
        bed.now += 1.0;
        let other = Packet::new(Kind::Udp, backend, server);
        let frames = bed.frames(INSIDE, other.frame(bed.macs_in(backend)));
        let resets = frames.iter().filter(|(_, frame)| frame[23] == 6).map(|(port, frame)| {
            let got = Packet::read(frame, &late);
            (*port, (got.kind, got.from, got.to))
        });
        let reset = Kind::Tcp("RA");
        let expected = [(OUTSIDE, (reset, sent.from, server)), (INSIDE, (reset, server, backend))];
        assert_eq!(resets.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
        assert_balanced(&bed.replay);
    }
}

#[test]
fn frontends_that_nothing_is_left_of_count_no_more() {
    let rule = |backends: u8, hosts: std::ops::Range<u8>| {
        let all: Vec<String> = hosts.map(|host| format!("\"203.0.113.{host}\"")).collect();
        model(&config(backends, &format!("frontends = [{}]", all.join(", "))))
    };
    let mut bed = Bed::new(&config(1, "frontends = [\"203.0.113.20\"]"), 3);
    let server = at("192.0.2.7", 80);
    // Two backends have ports of two of forty.
    bed.replay.reload(&rule(2, 20..60)).unwrap();
    bed.out(&Packet::new(Kind::Udp, bed.backend(0, 4), server));
    bed.replay.reload(&rule(2, 100..140)).unwrap();
    bed.replay.reload(&rule(40, 100..140)).unwrap();
    // Of all: workers give ports of the old ones away until they have heard of the new ones.
    let refused = bed.replay.reload(&rule(40, 150..190)).unwrap_err().to_string();
    assert!(refused.contains("remove old ones by a reload before"), "{refused}");
    bed.replay.reload(&rule(40, 150..151)).unwrap();
    bed.now += 300.0;
    bed.out(&Packet::new(Kind::Udp, bed.backend(0, 5), server));
    bed.replay.reload(&rule(40, 150..190)).unwrap();
    for host in [4, 5] {
        let sent = bed.out(&Packet::new(Kind::Tcp("S"), bed.backend(0, host), server));
        assert_eq!(bed.back(&sent.answer()).to, bed.backend(0, host));
    }
    assert_balanced(&bed.replay);
}

#[test]
fn a_reset_that_is_made_up_ends_nothing() {
    // How far from where the connection is, and whether it is taken.
    for (off, is_taken) in
        [(0u32, true), (40_000, true), (65_536, false), (1 << 31, false), (u32::MAX, false)]
    {
        let mut bed = Bed::new(&config(1, EGRESS), 2);
        let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 80));
        let sent = connect(&mut bed, backend, server);
        let reset = Packet { kind: Kind::Tcp("R"), sequence: 2000u32.wrapping_add(off), ..sent.answer() };
        // It is the backend's to judge.
        assert_eq!(bed.back(&reset).kind, Kind::Tcp("R"));
        bed.now += 16.0;
        let more = Packet { kind: Kind::Tcp("A"), ..sent.answer() };
        if is_taken {
            assert_eq!(bed.refused(OUTSIDE, &more), "outbound-filtered+1", "{off}");
        } else {
            bed.back(&more);
        }
    }
}

#[test]
fn what_opens_again_leaves_from_where_it_may() {
    for workers in [1, 3] {
        let mut bed = Bed::new(&config(1, "frontends = [\"203.0.113.11\"]"), workers);
        let (backend, server) = (bed.backend(0, 4), at("192.0.2.7", 80));
        let sent = connect(&mut bed, backend, server);
        for flags in ["FA", "A"] {
            bed.out(&Packet::new(Kind::Tcp(flags), backend, server));
            bed.back(&Packet { kind: Kind::Tcp(flags), ..sent.answer() });
        }
        bed.replay.reload(&model(&config(1, "frontends = [\"203.0.113.20\"]"))).unwrap();
        let again = bed.out(&Packet::new(Kind::Tcp("S"), backend, server));
        assert_eq!(again.from.ip(), at("203.0.113.20", 0).ip());
        assert_eq!(bed.back(&again.answer()).to, backend);
        assert_eq!(bed.refused(OUTSIDE, &sent.answer()), "no-rule+1");
        assert_eq!(bed.flows(0, 4, Kind::Tcp("")), (1, 0, 2, 2, 0));
        // Where it may leave from the same, it does.
        bed.back(&Packet { kind: Kind::Tcp("FA"), ..again.answer() });
        bed.out(&Packet::new(Kind::Tcp("FA"), backend, server));
        assert_eq!(bed.out(&Packet::new(Kind::Tcp("S"), backend, server)).from, again.from);
        assert_balanced(&bed.replay);
    }
}

#[test]
fn a_hunt_for_a_port_tries_some_for_each_packet_and_goes_on_where_it_was() {
    // All but 512 ports of the address belong to a rule.
    let rule = "protocol = \"tcp\"\nfrontends = [\"203.0.113.11\"]
[[rule]]\nname = \"s\"\nfrontend = \"203.0.113.11:1536-65535/tcp\"\npool = \"web\"\nforward = \"full-nat\"
source_addresses = [\"10.0.0.200\"]";
    let mut bed = Bed::new(&config(1, rule), 1);
    let from = |bed: &Bed, port| SocketAddr::new(bed.backend(0, 4).ip(), port);
    let (server, other) = (at("192.0.2.7", 80), at("192.0.2.8", 80));
    let mut live = Vec::new();
    for port in 2000..2512 {
        let packet = Packet::new(Kind::Tcp("S"), from(&bed, port), server);
        live.push((packet.clone(), bed.out(&packet)));
    }
    // All of them for another destination too, each at once: one is tried behind the other.
    let others = (3000..3512).map(|port| Packet::new(Kind::Tcp("S"), from(&bed, port), other));
    let others: Vec<Packet> = others.collect();
    others.iter().for_each(|packet| _ = bed.out(packet));
    let mut tries = Vec::new();
    for (turn, at) in [3, 400, 77, 250].into_iter().enumerate() {
        let (opened, sent) = &live[at];
        bed.back(&sent.answer());
        bed.out(&Packet { kind: Kind::Tcp("RA"), ..opened.clone() });
        bed.now += 15.5;
        // Its half-open neighbours live on.
        let neighbours = live.iter().map(|(packet, _)| packet).filter(|packet| *packet != opened);
        neighbours.chain(&others).for_each(|packet| _ = bed.out(packet));
        let asking = Packet::new(Kind::Tcp("S"), from(&bed, 9000 + turn as u16), server);
        let tried = (1..20).find(|_| bed.try_out(&asking).is_some_and(|found| found.from == sent.from));
        tries.push(tried.unwrap());
        live[at].0 = asking;
    }
    // Each has 64 of 512 looked at.
    assert!(tries.iter().all(|tries| *tries <= 9) && tries.iter().any(|tries| *tries > 1), "{tries:?}");
    let failed: u64 = tries.iter().map(|tries| tries - 1).sum();
    assert_eq!(counts(&bed.replay)["outbound-no-port"], failed);
    assert_balanced(&bed.replay);
}

#[test]
fn a_hunt_for_a_port_leaves_blocks_alone_that_went_to_another_backend() {
    // Three blocks of eight ports: one for each backend, and one for who runs short.
    let rule = "protocol = \"tcp\"\nfrontends = [\"203.0.113.11\"]\nports_per_backend = 8
[[rule]]\nname = \"s\"\nfrontend = \"203.0.113.11:1048-65535/tcp\"\npool = \"web\"\nforward = \"full-nat\"
source_addresses = [\"10.0.0.200\"]";
    let mut bed = Bed::new(&config(2, rule), 1);
    let (server, other) = (at("192.0.2.7", 80), at("192.0.2.8", 80));
    let opening = |bed: &Bed, host, port, to| {
        Packet::new(Kind::Tcp("S"), SocketAddr::new(bed.backend(0, host).ip(), port), to)
    };
    let block = |sent: &Packet| (sent.from.port() - 1024) / 8;
    let mut live = Vec::new();
    let mut open = |bed: &mut Bed, host, port, to| {
        let packet = opening(bed, host, port, to);
        let sent = bed.out(&packet);
        live.push((packet, sent.clone()));
        sent
    };
    // The first takes its own and what is nobody's, and then shares until the next to be tried is that.
    let blocks: Vec<u16> = (2000..2016).map(|port| block(&open(&mut bed, 4, port, server))).collect();
    let (own, further) = (blocks[0], blocks[15]);
    assert_ne!(own, further);
    (3000..3009).find(|port| block(&open(&mut bed, 4, *port, other)) == own).unwrap();
    // That comes free, and the second takes it.
    let (gone, stay): (Vec<_>, Vec<_>) = live.into_iter().partition(|(_, sent)| block(sent) == further);
    for (packet, sent) in &gone {
        bed.back(&sent.answer());
        bed.out(&Packet { kind: Kind::Tcp("RA"), ..packet.clone() });
    }
    bed.now += 15.5;
    stay.iter().for_each(|(packet, _)| _ = bed.out(packet));
    let theirs: Vec<u16> =
        (2000..2009).map(|port| block(&bed.out(&opening(&bed, 5, port, server)))).collect();
    assert_eq!(theirs[8], further);
    let asking = opening(&bed, 4, 4000, other);
    let sent = bed.out(&asking);
    assert_eq!(block(&sent), own);
    assert_eq!(bed.back(&sent.answer()).to, asking.from);
    assert_balanced(&bed.replay);
}
