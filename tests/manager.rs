//! The management thread's decisions, with a worker on memory beside it: neighbours under load,
//! announcements, changes, and the ids of what is removed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;
mod managed;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use common::*;
use etherparse::ArpOperation;
use guideway::dataplane::Event;
use guideway::wire::MacAddr;
use managed::Bed;

const BACKEND_MAC: [u8; 6] = [0, 0, 0x5e, 0, 0x53, 4];

fn one_arm(frontends: &str) -> String {
    format!(
        "[dataplane]\nflows_per_worker = 1024\n[[port]]\nname = \"only\"\naddresses = [\"10.0.0.1/16\"]\n\
         gateway = \"10.0.0.254\"\n[[pool]]\nname = \"web\"\nbackends = [{{ address = \"10.0.0.4\" }}]\n{frontends}"
    )
}

fn rule(name: &str, frontend: &str, backend_port: u16) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nfrontend = \"{frontend}\"\npool = \"web\"\nbackend_port = {backend_port}\n"
    )
}

/// An ARP request for the sender's own address: RFC 5227's announcement.
fn announced(frame: &[u8]) -> Option<[u8; 4]> {
    let is_arp = frame.len() >= 42 && frame[12..14] == [8, 6];
    (is_arp && frame[28..32] == frame[38..42]).then(|| frame[28..32].try_into().unwrap())
}

#[test]
fn a_neighbours_answer_is_heard_among_any_number_of_packets_that_wait_for_it() {
    let mut bed = Bed::new(&one_arm(&rule("dns", "203.0.113.10:53/udp", 5353)));
    let reply =
        arp(ArpOperation::REPLY, (BACKEND_MAC, [10, 0, 0, 4]), (OUTSIDE_MAC, [10, 0, 0, 1]), OUTSIDE_MAC);
    for i in 0..60u16 {
        bed.push(OUTSIDE, Spec { from: (CLIENT, 1024 + i), ..Spec::udp() }.frame());
    }
    bed.push(OUTSIDE, reply);
    bed.turn(0.0, OUTSIDE);
    // The gateway is missing still.
    assert_eq!(bed.manager.neighbours_missing(), 1);
    bed.push(OUTSIDE, Spec::udp().frame());
    bed.turn(0.1, OUTSIDE);
    let totals = bed.totals();
    assert_eq!((totals.transmitted, totals.controlled, totals.dropped()), (1, 1, 60), "{totals:?}");
}

#[test]
fn a_flood_of_events_does_not_hold_the_management_thread() {
    let config = one_arm(&rule("dns", "203.0.113.10:53/udp", 5353)).replace(
        "backends = [{ address = \"10.0.0.4\" }]",
        "addresses = \"10.0.1.1-10.0.16.0\"\ninstances = 3000",
    );
    let mut bed = Bed::new(&config);
    let events = bed.mesh.events();
    for i in 0..10_000u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_8000 + i).into();
        events.push(Event::Neighbour { port: OUTSIDE, address, mac: MacAddr(BACKEND_MAC), is_reply: false });
        events.push(Event::Wanted { port: OUTSIDE, address: [10, 0, 1, 4].into() });
    }
    let began = Instant::now();
    bed.manager.advance(seconds(0.0));
    // Some milliseconds; before events were bounded and entries counted, over fifty.
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn all_addresses_are_announced_twice_however_many_there_are() {
    let frontend =
        |i: u16| rule(&format!("r{i}"), &format!("10.0.{}.{}:53/udp", 1 + i / 200, 1 + i % 200), 1000 + i);
    let mut bed = Bed::new(&one_arm(&(0..1500).map(frontend).collect::<String>()));
    let mut seen: Vec<[u8; 4]> = Vec::new();
    for tick in 0..500 {
        seen.extend(bed.turn(f64::from(tick) / 100.0, OUTSIDE).iter().filter_map(|frame| announced(frame)));
    }
    assert_eq!(seen.len(), 2 * 1501);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 1501);
    assert_eq!((bed.totals().received, bed.totals().dropped()), (0, 0));
}

const SIX: &str = "[dataplane]\nflows_per_worker = 1024\n\
    [[port]]\nname = \"only\"\naddresses = [\"2001:db8:1::1/64\"]\ngateway6 = \"fe80::fe\"\n\
    [[route]]\ndestination = \"2001:db8:9::/48\"\nvia = \"2001:db8:1::9\"\n\
    [[pool]]\nname = \"web\"\nbackends = [{ address = \"2001:db8:1::4\" }, { address = \"2001:db8:9::4\" }]\n\
    [[rule]]\nname = \"web\"\nfrontend = \"[2001:db8:1::10]:443/tcp\"\npool = \"web\"\n";

/// The target of a neighbour's solicitation (type 135) or advertisement (136), and where its packet goes.
fn discovery(frame: &[u8]) -> Option<(u8, Ipv6Addr, Ipv6Addr)> {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    let (Some(etherparse::NetSlice::Ipv6(ip)), Some(etherparse::TransportSlice::Icmpv6(icmp))) =
        (&sliced.net, &sliced.transport)
    else {
        return None;
    };
    let header = ip.header();
    assert!(icmp.is_checksum_valid(header.source(), header.destination()));
    if header.hop_limit() != 255 {
        // A report of groups, which stays on its link.
        assert_eq!((header.hop_limit(), icmp.slice()[0]), (1, 143));
        return None;
    }
    let target: [u8; 16] = icmp.slice().get(8..24)?.try_into().ok()?;
    Some((icmp.slice()[0], target.into(), header.destination_addr()))
}

#[test]
fn neighbours_of_ipv6_are_solicited_and_our_addresses_advertised() {
    let mut bed = Bed::new(SIX);
    let seen: Vec<_> = bed.turn(0.0, OUTSIDE).iter().filter_map(|frame| discovery(frame)).collect();
    let of = |kind: u8| -> BTreeSet<(Ipv6Addr, Ipv6Addr)> {
        seen.iter().filter(|(k, ..)| *k == kind).map(|(_, target, to)| (*target, *to)).collect()
    };
    let at = |text: &str| -> Ipv6Addr { text.parse().unwrap() };
    // The gateway, the router, and the backend on the link; each by the group it listens to.
    let asked = [
        (at("fe80::fe"), at("ff02::1:ff00:fe")),
        (at("2001:db8:1::9"), at("ff02::1:ff00:9")),
        (at("2001:db8:1::4"), at("ff02::1:ff00:4")),
        // Our own: whether it is anybody's.
        (at("2001:db8:1::1"), at("ff02::1:ff00:1")),
    ];
    assert_eq!(of(135), BTreeSet::from(asked));
    let told = [(at("2001:db8:1::1"), at("ff02::1")), (at("2001:db8:1::10"), at("ff02::1"))];
    assert_eq!(of(136), BTreeSet::from(told));
    assert_eq!(bed.manager.neighbours_missing(), 3);
    let again: Vec<_> = bed.turn(1.0, OUTSIDE).iter().filter_map(|frame| discovery(frame)).collect();
    assert_eq!(again.iter().filter(|(kind, ..)| *kind == 135).count(), 3, "unanswered: once a second");
}

/// The group that a listener's report (type 143) is about.
fn reported(frame: &[u8]) -> Option<Ipv6Addr> {
    let is_report = frame.len() == 90 && frame[62] == 143;
    is_report.then(|| <[u8; 16]>::try_from(&frame[74..90]).unwrap().into())
}

#[test]
fn groups_are_joined_before_an_own_address_is_asked_for_and_both_before_it_is_announced() {
    let mut bed = Bed::new(SIX);
    let kinds: Vec<(u8, bool)> = bed
        .turn(0.0, OUTSIDE)
        .iter()
        .filter_map(|frame| {
            if reported(frame).is_some() {
                return Some((143, true));
            }
            let (kind, target, _) = discovery(frame)?;
            let is_own = target == "2001:db8:1::1".parse::<Ipv6Addr>().unwrap();
            is_own.then_some((kind, frame[22..38] == [0; 16]))
        })
        .collect();
    // Two groups: the port's own address's and the frontend's. Who probes has no address yet.
    assert_eq!(kinds, [(143, true), (143, true), (135, true), (136, false)]);
}

#[test]
fn groups_are_reported_from_the_links_own_address_again_and_again_and_new_ones_at_once() {
    let config = SIX.replace("\"2001:db8:1::1/64\"", "\"2001:db8:1::1/64\", \"fe80::1/64\"");
    let mut bed = Bed::new(&config);
    let group = |last: &str| -> Ipv6Addr { format!("ff02::1:ff00:{last}").parse().unwrap() };
    let mut seen = Vec::new();
    for second in 0..150 {
        for frame in bed.turn(f64::from(second), OUTSIDE) {
            if let Some(group) = reported(&frame) {
                let source: [u8; 16] = frame[22..38].try_into().unwrap();
                assert_eq!(Ipv6Addr::from(source), "fe80::1".parse::<Ipv6Addr>().unwrap());
                seen.push((second, group));
            }
        }
    }
    // Both own addresses end alike, and are of one group.
    let wanted: Vec<_> = [0, 2, 102].iter().flat_map(|at| [(*at, group("1")), (*at, group("10"))]).collect();
    assert_eq!(seen, wanted);
    bed.manager.change(model(&config.replace("::10]", "::11]")), seconds(150.0)).unwrap();
    let now: Vec<_> = bed.turn(150.0, OUTSIDE).iter().filter_map(|frame| reported(frame)).collect();
    assert_eq!(now, [group("1"), group("11")]);
}

#[test]
fn what_is_given_up_is_not_announced_any_more_and_what_is_new_is() {
    let old = rule("dns", "10.0.0.100:53/udp", 5353);
    let mut bed = Bed::new(&one_arm(&old));
    let first: Vec<_> = bed.turn(0.0, OUTSIDE).iter().filter_map(|frame| announced(frame)).collect();
    assert!(first.contains(&[10, 0, 0, 100]));
    bed.manager.change(model(&one_arm(&old.replace("0.100", "0.101"))), seconds(1.0)).unwrap();
    let later: BTreeSet<_> = (100..400)
        .flat_map(|tick| bed.turn(f64::from(tick) / 100.0, OUTSIDE))
        .filter_map(|frame| announced(&frame))
        .collect();
    assert_eq!(later, BTreeSet::from([[10, 0, 0, 1], [10, 0, 0, 101]]));
}

#[test]
fn a_change_of_ports_is_refused_and_changes_nothing() {
    let config = one_arm(&rule("dns", "203.0.113.10:53/udp", 5353));
    let mut bed = Bed::new(&config);
    let before = bed.manager.generation();
    for other in [
        config.replace("\"only\"", "\"another\""),
        format!("{config}[[port]]\nname = \"second\"\naddresses = [\"10.9.0.1/24\"]\n"),
        config.replace("gateway", "mtu = 1400\ngateway"),
    ] {
        let error = bed.manager.change(model(&other), seconds(1.0)).unwrap_err();
        assert!(error.to_string().contains("restart"), "{error}");
        assert_eq!(bed.manager.generation(), before);
    }
    // What is fixed from start to stop stays as it was; the rest is taken.
    let settings = config.replace("flows_per_worker = 1024", "flows_per_worker = 2048");
    bed.manager.change(model(&settings), seconds(1.0)).unwrap();
    assert_eq!(bed.manager.model().dataplane.flows_per_worker, 1024);
    assert_eq!(bed.manager.generation(), before + 1);
}

/// The id of a removed backend goes to another only when no flow refers to it any more.
#[test]
fn a_removed_backend_is_released_with_its_last_flow() {
    let static_ = "[[neighbour]]\naddress = \"10.0.0.4\"\nmac = \"02:00:00:00:00:04\"\n";
    let old = one_arm(&rule("dns", "203.0.113.10:53/udp", 5353)) + static_;
    let new = old.replace("{ address = \"10.0.0.4\" }", "{ address = \"10.0.0.5\" }");
    let mut bed = Bed::new(&old);
    bed.turn(0.0, OUTSIDE);
    bed.push(OUTSIDE, Spec::udp().frame());
    assert_eq!(bed.turn(0.0, OUTSIDE).iter().filter(|frame| frame[12..14] == [8, 0]).count(), 1);
    bed.manager.change(model(&new), seconds(1.0)).unwrap();
    let served = |bed: &Bed| -> Vec<(String, u64)> {
        let backends = bed.manager.backends();
        backends.iter().map(|(identity, totals)| (identity.address.to_string(), totals.flows)).collect()
    };
    for second in [1.0, 100.0, 200.0] {
        bed.turn(second, OUTSIDE);
        assert_eq!(served(&bed), [("10.0.0.4".into(), 1), ("10.0.0.5".into(), 0)], "{second}");
    }
    // Its four minutes are over; the sweep takes it out, then the manager.
    for tick in 0..20 {
        bed.turn(241.0 + f64::from(tick) / 10.0, OUTSIDE);
    }
    assert_eq!(served(&bed), [("10.0.0.5".into(), 0)]);
    // The next newcomer has the id, and begins at zero.
    bed.manager.change(model(&old), seconds(250.0)).unwrap();
    let totals = bed.manager.backends();
    assert!(totals.iter().all(|(_, t)| (t.flows_total, t.packets_in) == (0, 0)), "{totals:?}");
}

/// Its flows go on, so its address is still asked for, long after a stranger's would be forgotten.
#[test]
fn the_next_hop_of_a_removed_backend_is_kept_while_its_flows_live() {
    let old = one_arm(&rule("dns", "203.0.113.10:53/udp", 5353));
    let new = old.replace("{ address = \"10.0.0.4\" }", "{ address = \"10.0.0.5\" }");
    let mut bed = Bed::new(&old);
    let reply =
        arp(ArpOperation::REPLY, (BACKEND_MAC, [10, 0, 0, 4]), (OUTSIDE_MAC, [10, 0, 0, 1]), OUTSIDE_MAC);
    bed.turn(0.0, OUTSIDE);
    for second in 1..600u32 {
        if second == 2 {
            bed.manager.change(model(&new), seconds(2.0)).unwrap();
        }
        bed.push(OUTSIDE, reply.clone());
        bed.push(OUTSIDE, Spec::udp().frame());
        bed.turn(f64::from(second), OUTSIDE);
    }
    // All but the first, which was sent before the answer had been learnt.
    assert_eq!((bed.totals().transmitted, bed.totals().dropped()), (598, 1));
}
