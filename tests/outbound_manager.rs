//! Connections that backends open themselves, as the management thread sees them come and go.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;
mod managed;
mod outbound_bed;

use std::net::IpAddr;

use common::{INSIDE, INSIDE_MAC, OUTSIDE, TWO_ARMS, model, seconds};
use managed::Bed;
use outbound_bed::{Kind, Packet, at};

const STATIC: &str = "
[[neighbour]]
address = \"198.51.100.1\"
mac = \"02:00:c6:33:64:01\"
";

/// A pool from `first` on.
fn config(first: &str, instances: usize, frontends: &str, more: &str) -> String {
    let last = format!("{}.255.254", &first[..first.len() - 4]);
    format!(
        "{TWO_ARMS}{STATIC}
[[pool]]
name = \"web\"
addresses = \"{first}-{last}\"
instances = {instances}
[[outbound_rule]]
name = \"egress\"
pool = \"web\"
frontends = [{frontends}]
{more}
"
    )
    .replacen("10.0.0.1/24", "10.0.0.1/8", 1)
}

/// What leaves of a datagram of a backend's.
fn datagram(bed: &mut Bed, second: f64, from: (&str, u16)) -> Option<Packet> {
    let packet = Packet::new(Kind::Udp, at(from.0, from.1), at("192.0.2.7", 53));
    bed.push(INSIDE, packet.frame(([2, 0, 10, 0, 0, 4], INSIDE_MAC)));
    let sent = bed.turn(second, OUTSIDE);
    let ours = sent.iter().find(|frame| frame[12..14] == [8, 0] && frame[23] == 17);
    ours.map(|frame| Packet::read(frame, &packet))
}

/// For so long that sweeps have seen all there is.
fn settle(bed: &mut Bed, second: f64) {
    for tick in 0..100 {
        bed.turn(second + f64::from(tick) / 4.0, OUTSIDE);
    }
}

#[test]
fn what_lingered_is_handed_out_again_when_its_flows_have_ended() {
    // All but 32 ports of each kind belong to a rule.
    let rest = "ports_per_backend = 32
[[rule]]\nname = \"s\"\nfrontend = \"203.0.113.11:1056-65535/udp\"\npool = \"none\"
[[pool]]\nname = \"none\"\nbackends = []";
    let old = config("10.0.0.4", 1, "\"203.0.113.11\"", rest);
    let new = config("10.0.0.5", 1, "\"203.0.113.11\"", rest);
    let mut bed = Bed::new(&old);
    bed.turn(0.0, OUTSIDE);
    for port in 0..32 {
        assert!(datagram(&mut bed, 0.5, ("10.0.0.4", 7000 + port)).is_some(), "{port}");
    }
    bed.manager.change(model(&new), seconds(1.0)).unwrap();
    bed.turn(1.0, OUTSIDE);
    assert_eq!(datagram(&mut bed, 2.0, ("10.0.0.5", 7000)), None);
    let ports = |bed: &Bed| -> Vec<(IpAddr, u64, u64)> {
        let all = bed.manager.outbound().into_iter();
        all.map(|backend| {
            let udp = backend.ports.values().next().map_or_else(Default::default, |ports| ports[1]);
            (backend.address, udp.allocated, udp.on_demand)
        })
        .collect()
    };
    let (before, after): (IpAddr, IpAddr) = ("10.0.0.4".parse().unwrap(), "10.0.0.5".parse().unwrap());
    assert_eq!(ports(&bed), [(before, 32, 32), (after, 0, 0)]);
    // Four minutes on nobody has said anything, and all of it is as it should be.
    settle(&mut bed, 242.0);
    assert_eq!(ports(&bed), [(after, 32, 0)]);
    assert!(datagram(&mut bed, 275.0, ("10.0.0.5", 7000)).is_some());
    let generation = bed.manager.generation();
    settle(&mut bed, 280.0);
    assert_eq!(bed.manager.generation(), generation, "and that is that");
}

#[test]
fn an_address_that_was_given_up_is_ours_until_its_last_flow() {
    let mut bed = Bed::new(&config("10.0.0.4", 1, "\"203.0.113.11\"", ""));
    bed.turn(0.0, OUTSIDE);
    assert!(datagram(&mut bed, 0.5, ("10.0.0.4", 7000)).is_some());
    bed.manager.change(model(&config("10.0.0.4", 1, "\"203.0.113.12\"", "")), seconds(1.0)).unwrap();
    bed.turn(1.0, OUTSIDE);
    let frontends = |bed: &Bed| -> usize { bed.manager.outbound()[0].ports.len() };
    assert_eq!(frontends(&bed), 2);
    // What was counted before is not forgotten.
    assert_eq!(bed.manager.outbound()[0].flows[1].opened, 1);
    let asked = Packet::new(Kind::Echo, at("192.0.2.7", 7), at("203.0.113.11", 7));
    let is_there = |bed: &mut Bed, second| {
        bed.push(OUTSIDE, asked.frame((common::ROUTER_MAC, [2, 0xff, 0, 0, 0, 0])));
        bed.turn(second, OUTSIDE).iter().any(|frame| frame[12..14] == [8, 0] && frame[23] == 1)
    };
    assert!(is_there(&mut bed, 100.0));
    settle(&mut bed, 242.0);
    assert!(!is_there(&mut bed, 275.0));
    assert_eq!(frontends(&bed), 1);
}

#[test]
fn who_gets_a_number_that_another_had_begins_at_zero() {
    let frontends: Vec<String> = (11..15).map(|host| format!("\"203.0.113.{host}\"")).collect();
    let config = |first: &str, instances| config(first, instances, &frontends.join(", "), "");
    let mut bed = Bed::new(&config("10.0.0.4", 4));
    bed.turn(0.0, OUTSIDE);
    assert!(datagram(&mut bed, 0.5, ("10.0.0.4", 7000)).is_some());
    let opened = |bed: &Bed| -> u64 {
        bed.manager.outbound().iter().map(|backend| backend.flows[1].opened + backend.out.0).sum()
    };
    assert_eq!(opened(&bed), 2);
    let mut second = 250.0;
    // Until all numbers have been given.
    for first in ["10.64.0.4", "10.65.0.4", "10.66.0.4"] {
        bed.manager.change(model(&config(first, 8000)), seconds(second)).unwrap();
        settle(&mut bed, second);
        second += 100.0;
    }
    assert_eq!(bed.manager.outbound().len(), 8000);
    assert!(bed.manager.outbound().iter().any(|backend| backend.number == 0));
    assert_eq!(opened(&bed), 0);
}
