//! Flows over time: they stay with their backends through every change, end after their timeouts, and new
//! ones are spread by weight.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use guideway::replay::Replay;

const FLOWS: u16 = 2000;

fn client(i: u16) -> ([u8; 4], u16) {
    ([192, 0, (i >> 8) as u8, i as u8], 1024 + i)
}

/// Sends one packet of flow `i` at `second`, and returns the last byte of its backend's address.
fn backend_of(balancer: &mut Replay, i: u16, spec: &Spec, second: f64) -> Option<u8> {
    let spec = Spec { from: client(i), ..spec.clone() };
    let sent = balancer.frame(seconds(second), OUTSIDE, spec.frame());
    let (port, frame) = sent.first()?;
    assert_eq!((*port, &frame[30..33]), (INSIDE, &[10, 0, 0][..]));
    Some(frame[33])
}

fn backends_of(balancer: &mut Replay, spec: &Spec, second: f64) -> Vec<Option<u8>> {
    (0..FLOWS).map(|i| backend_of(balancer, i, spec, second)).collect()
}

/// Opens all flows by SYN and confirms them by ACK.
fn establish(balancer: &mut Replay, second: f64) -> Vec<Option<u8>> {
    let opened = backends_of(balancer, &Spec::tcp("S"), second);
    assert_eq!(backends_of(balancer, &Spec::tcp("A"), second), opened);
    opened
}

fn roomy(backends: &str, rule: &str) -> String {
    with_backends(backends, rule).replace("flows_per_worker = 1024", "flows_per_worker = 8192")
}

#[test]
fn established_flows_stay_through_every_change_of_the_pool() {
    for workers in [1, 3] {
        let mut balancer =
            balancer(&roomy(&numbered(1..=9, ""), "").replace("10.0.0.1/24", "10.0.0.100/24"), workers);
        let before = establish(&mut balancer, 0.0);
        let changes = [
            numbered(3..=12, ""),
            numbered(3..=12, ", weight = 7"),
            numbered(1..=1, ""),
            numbered(1..=9, ", state = \"drain\""),
            numbered(20..=40, ""),
            numbered(1..=9, ", state = \"down\""),
            numbered(1..=9, ""),
        ];
        for (i, backends) in changes.iter().enumerate() {
            let config = roomy(backends, "").replace("10.0.0.1/24", "10.0.0.100/24");
            balancer.reload(&model(&config)).unwrap();
            let after = backends_of(&mut balancer, &Spec::tcp("A"), 1.0 + i as f64);
            assert_eq!(after, before, "{workers} workers, change {i}");
        }
        assert_balanced(&balancer);
    }
}

#[test]
fn responses_of_a_removed_backend_are_translated_while_its_flows_live() {
    let mut balancer = balancer(&with_backends(&numbered([4], ""), ""), 1);
    let syn = Spec::tcp("S");
    balancer.frame(seconds(0.0), OUTSIDE, syn.frame());
    balancer.frame(seconds(0.0), OUTSIDE, Spec::tcp("A").frame());
    balancer.reload(&model(&with_backends(&numbered([5], ""), ""))).unwrap();
    let response = Spec { flags: Some("PA"), ..syn.at_backend(BACKEND, 8443).reversed() };
    let sent = balancer.frame(seconds(1.0), INSIDE, response.frame());
    let expected =
        Spec { macs: (OUTSIDE_MAC, ROUTER_MAC), from: (FRONTEND, 443), ttl: 63, ..response.clone() };
    assert_eq!(sent, [(OUTSIDE, expected.frame())]);
}

#[test]
fn udp_leaves_a_backend_that_is_down_and_tcp_does_not() {
    let mut balancer = balancer(&roomy(&numbered(4..=6, ""), ""), 2);
    let tcp = establish(&mut balancer, 0.0);
    let udp = backends_of(&mut balancer, &Spec::udp(), 0.0);
    let one_down = roomy(&format!("{}, {}", numbered([4], ", state = \"down\""), numbered([5, 6], "")), "");
    balancer.reload(&model(&one_down)).unwrap();
    assert_eq!(backends_of(&mut balancer, &Spec::tcp("A"), 1.0), tcp);
    for (i, (before, after)) in udp.iter().zip(backends_of(&mut balancer, &Spec::udp(), 1.0)).enumerate() {
        match before {
            Some(4) => assert!(matches!(after, Some(5 | 6)), "flow {i} went to {after:?}"),
            other => assert_eq!(after, *other, "flow {i}"),
        }
    }
}

#[test]
fn while_all_are_down_new_flows_are_dropped_or_spread_over_all() {
    let down = numbered(4..=6, ", state = \"down\"");
    let mut dropping = balancer(&with_backends(&down, ""), 1);
    assert!(backends_of(&mut dropping, &Spec::tcp("S"), 0.0).iter().all(Option::is_none));
    assert_eq!(counts(&dropping)["no-backend-available"], u64::from(FLOWS));
    let mut spreading = balancer(&with_backends(&down, "no_healthy_backends = \"all\""), 1);
    let used: BTreeSet<_> = backends_of(&mut spreading, &Spec::tcp("S"), 0.0).into_iter().collect();
    assert_eq!(used, BTreeSet::from([Some(4), Some(5), Some(6)]));
    // As if they were up: flows stay with them.
    let created = spreading.totals().flows_created;
    for _ in 0..10 {
        backend_of(&mut spreading, 0, &Spec::udp(), 0.0);
    }
    assert_eq!(spreading.totals().flows_created, created + 1);
}

#[test]
fn a_backend_that_is_removed_while_it_is_down_keeps_tcp_and_loses_udp() {
    let pair = format!("{}, {}", numbered([4], ""), numbered([5], ""));
    let one_down = format!("{}, {}", numbered([4], ", state = \"down\""), numbered([5], ""));
    let mut balancer = balancer(&roomy(&pair, ""), 1);
    let tcp = establish(&mut balancer, 0.0);
    backends_of(&mut balancer, &Spec::udp(), 0.0);
    for (second, backends) in [(1.0, one_down), (2.0, numbered([5], ""))] {
        balancer.reload(&model(&roomy(&backends, ""))).unwrap();
        assert_eq!(backends_of(&mut balancer, &Spec::tcp("A"), second), tcp);
        assert!(backends_of(&mut balancer, &Spec::udp(), second).iter().all(|b| *b == Some(5)));
    }
    // Nor does a client that asks for a connection again stay with it.
    assert!(backends_of(&mut balancer, &Spec::tcp("S"), 3.0).iter().all(|b| *b == Some(5)));
}

#[test]
fn an_endpoint_that_another_rule_takes_over_serves_that_rule_only() {
    let two = |web: u8, other: u8| {
        format!(
            "{TWO_ARMS}\n[[pool]]\nname = \"a\"\nbackends = [{}]\n[[pool]]\nname = \"b\"\nbackends = [{}]\n\
             [[rule]]\nname = \"https\"\nfrontend = \"203.0.113.10:443/tcp\"\npool = \"a\"\nbackend_port = 8443\n\
             [[rule]]\nname = \"other\"\nfrontend = \"203.0.113.20:443/tcp\"\npool = \"b\"\nbackend_port = 8443\n",
            numbered([web], ""),
            numbered([other], "")
        )
    };
    let mut balancer = balancer(&two(4, 5), 1);
    for flags in ["S", "A"] {
        assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp(flags), 0.0), Some(4));
    }
    balancer.reload(&model(&two(5, 4))).unwrap();
    // 10.0.0.4 answers in the other rule's name now: a connection to it would hang without end.
    assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp("A"), 1.0), Some(5));
    assert_balanced(&balancer);
}

/// After `confirm` packets, the flow lives on the last second and not on the next: seen by a change of the
/// pool in between, which only a new flow follows.
fn lives_until(spec: &Spec, packets: &[&'static str], rule: &str, lives: f64, ends: f64) {
    for (wait, is_kept) in [(lives, true), (ends, false)] {
        let mut balancer = balancer(&with_backends(&numbered([4], ""), rule), 1);
        for flags in packets {
            let flags = spec.flags.map(|_| *flags);
            backend_of(&mut balancer, 0, &Spec { flags, ..spec.clone() }, 0.3);
        }
        balancer.reload(&model(&with_backends(&numbered([5], ""), rule))).unwrap();
        let flags = spec.flags.map(|_| "A");
        let after = backend_of(&mut balancer, 0, &Spec { flags, ..spec.clone() }, 0.3 + wait);
        assert_eq!(after, Some(if is_kept { 4 } else { 5 }), "{packets:?} after {wait} s");
        assert_balanced(&balancer);
    }
}

#[test]
fn flows_end_after_the_timeout_of_their_state() {
    let (tcp, udp) = (Spec::tcp("S"), Spec::udp());
    lives_until(&tcp, &["S", "A"], "", 240.0, 241.0);
    lives_until(&tcp, &["S", "A"], "idle_timeout = \"10m\"", 600.0, 601.0);
    lives_until(&tcp, &["A"], "", 240.0, 241.0);
    lives_until(&tcp, &["S"], "", 30.0, 31.0);
    lives_until(&tcp, &["S"], "idle_timeout = \"5s\"", 5.0, 6.0);
    lives_until(&tcp, &["S", "A", "FA"], "", 60.0, 61.0);
    lives_until(&tcp, &["S", "A", "R"], "", 60.0, 61.0);
    lives_until(&udp, &[""], "", 240.0, 241.0);
    lives_until(&udp, &["", ""], "idle_timeout = \"1s\"", 1.0, 2.0);
}

#[test]
fn a_packet_now_and_then_keeps_a_flow_alive_and_the_sweep_counts_it_out_in_the_end() {
    let mut balancer = balancer(&with_backends(&numbered([4], ""), ""), 1);
    for (second, flags) in [(0.0, "S"), (0.1, "A"), (239.0, "A"), (478.0, "A")] {
        backend_of(&mut balancer, 0, &Spec::tcp(flags), second);
    }
    assert_eq!(balancer.totals().flows_created, 1);
    balancer.reload(&model(&with_backends(&numbered([5], ""), ""))).unwrap();
    assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp("A"), 717.0), Some(4));
    // Others come by; the sweep goes round twice a second.
    for tenth in 0..60 {
        backend_of(&mut balancer, 1, &Spec::udp(), 957.0 + f64::from(tenth) / 10.0);
    }
    assert_eq!(balancer.totals().flows_expired, 1);
    assert_balanced(&balancer);
}

#[test]
fn a_client_that_uses_its_port_again_begins_a_new_flow() {
    let mut balancer = balancer(&with_backends(&numbered([4], ""), ""), 1);
    for flags in ["S", "A", "FA"] {
        assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp(flags), 0.0), Some(4));
    }
    balancer.reload(&model(&with_backends(&numbered([5], ""), ""))).unwrap();
    assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp("A"), 1.0), Some(4), "the last ACK");
    assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp("S"), 2.0), Some(5), "a new SYN");
}

#[test]
fn a_made_up_syn_does_not_move_an_established_flow() {
    let mut balancer = balancer(&with_backends(&numbered([4], ""), ""), 1);
    for flags in ["S", "A"] {
        backend_of(&mut balancer, 0, &Spec::tcp(flags), 0.0);
    }
    balancer.reload(&model(&with_backends(&numbered([5], ""), ""))).unwrap();
    assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp("S"), 1.0), Some(4));
    assert_eq!(backend_of(&mut balancer, 0, &Spec::tcp("A"), 1.0), Some(4));
}

#[test]
fn flows_end_by_the_clock_whatever_the_number_of_workers() {
    for workers in [1, 2, 4, 7] {
        let mut balancer = balancer(&roomy(&numbered([4], ""), "idle_timeout = \"10s\""), workers);
        backends_of(&mut balancer, &Spec::tcp("S"), 0.0);
        backend_of(&mut balancer, 0, &Spec::udp(), 10.0);
        assert_eq!(balancer.totals().flows_expired, 0, "{workers} workers");
        backend_of(&mut balancer, 1, &Spec::udp(), 10.5);
        assert_eq!(balancer.totals().flows_expired, u64::from(FLOWS), "{workers} workers");
        assert_balanced(&balancer);
    }
}

/// A table for a thousand flows, hundreds of them established, under a flood of SYNs.
#[test]
fn a_flood_neither_evicts_an_established_flow_nor_stops_service() {
    let mut balancer = balancer(&with_backends(&numbered(4..=9, ""), ""), 1);
    let established: Vec<_> = (0..500)
        .map(|i| {
            let backend = backend_of(&mut balancer, i, &Spec::tcp("S"), 0.0);
            backend_of(&mut balancer, i, &Spec::tcp("A"), 0.0);
            backend
        })
        .collect();
    let flood = Spec::tcp("S");
    for i in 0..20_000u16 {
        let from = ([100, 64, (i >> 8) as u8, i as u8], 7);
        let sent = balancer.frame(seconds(1.0), OUTSIDE, Spec { from, ..flood.clone() }.frame());
        assert_eq!(sent.len(), 1, "packet {i} of the flood");
    }
    let totals = balancer.totals();
    assert!(totals.flows_reclaimed > 10_000, "{totals:?}");
    assert_balanced(&balancer);
    // With none of their backends left, only those that are still recorded are where they were.
    balancer.reload(&model(&with_backends(&numbered(20..=21, ""), ""))).unwrap();
    for (i, before) in established.iter().enumerate() {
        assert_eq!(backend_of(&mut balancer, i as u16, &Spec::tcp("A"), 2.0), *before, "flow {i}");
    }
}

#[test]
fn a_table_full_of_established_flows_leaves_new_ones_to_the_hash() {
    let mut balancer = balancer(&with_backends(&numbered(4..=9, ""), ""), 1);
    let mut open = |i| {
        let opened = backend_of(&mut balancer, i, &Spec::tcp("S"), 0.0);
        assert_eq!(backend_of(&mut balancer, i, &Spec::tcp("A"), 0.0), opened);
        opened
    };
    let before: Vec<_> = (0..FLOWS).map(&mut open).collect();
    assert!(balancer.totals().untracked > 0);
    assert_eq!(backends_of(&mut balancer, &Spec::tcp("A"), 1.0), before);
}

fn share(counts: &BTreeMap<u8, usize>, backend: u8) -> f64 {
    counts.get(&backend).copied().unwrap_or(0) as f64 / f64::from(FLOWS)
}

#[test]
fn new_flows_are_spread_by_weight_and_none_go_to_those_that_drain() {
    let backends = [
        numbered([4], ""),
        numbered([5], ", weight = 3"),
        numbered([6], ", weight = 0"),
        numbered([7], ", state = \"drain\""),
        numbered([8], ", state = \"down\""),
    ];
    let mut balancer = balancer(&with_backends(&backends.join(", "), ""), 2);
    let mut counts = BTreeMap::new();
    for backend in backends_of(&mut balancer, &Spec::tcp("S"), 0.0) {
        *counts.entry(backend.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [4, 5]);
    // Four standard deviations of a binomial of 2000 are 0.039.
    assert!((share(&counts, 5) - 0.75).abs() < 0.039, "{counts:?}");
}

#[test]
fn each_distribution_hashes_exactly_its_fields() {
    let spread = |rule: &str, vary: &dyn Fn(u16) -> Spec| {
        let mut balancer = balancer(&with_backends(&numbered(4..=9, ""), rule), 1);
        let sent = |i| balancer.frame(seconds(0.0), OUTSIDE, vary(i).frame()).first().map(|(_, f)| f[33]);
        (0..200).map(sent).collect::<BTreeSet<_>>().len()
    };
    let port = |i| Spec { from: (CLIENT, 1024 + i), ..Spec::tcp("S") };
    let address = |i| Spec { from: client(i), ..Spec::tcp("S") };
    let protocol = |i: u16| {
        let spec = if i.is_multiple_of(2) { Spec::tcp("S") } else { Spec::udp() };
        // Forty clients, each with two protocols and several ports.
        Spec { from: ([192, 0, 2, (i / 2 % 40) as u8], 1024 + i), ..spec }
    };
    assert_eq!(spread("", &port), 6);
    assert_eq!(spread("distribution = \"source-ip\"", &port), 1);
    assert_eq!(spread("distribution = \"source-ip-protocol\"", &port), 1);
    for rule in ["", "distribution = \"source-ip\"", "distribution = \"source-ip-protocol\""] {
        assert_eq!(spread(rule, &address), 6);
    }
    let pairs_that_agree = |rule: &str| {
        let mut balancer = balancer(&with_backends(&numbered(4..=9, ""), rule), 1);
        let mut sent = |i| balancer.frame(seconds(0.0), OUTSIDE, protocol(i).frame())[0].1[33];
        (0..40).filter(|i| sent(2 * i) == sent(2 * i + 1)).count()
    };
    assert_eq!(pairs_that_agree("distribution = \"source-ip\""), 40);
    let by_chance = pairs_that_agree("distribution = \"source-ip-protocol\"");
    assert!((1..25).contains(&by_chance), "{by_chance} of 40");
}

#[test]
fn removing_one_of_a_hundred_moves_its_own_flows_and_few_others() {
    let all = roomy(&numbered(101..=200, ""), "");
    let without = roomy(&numbered((101..=200).filter(|n| *n != 150), ""), "");
    let before = backends_of(&mut balancer(&all, 1), &Spec::tcp("S"), 0.0);
    let after = backends_of(&mut balancer(&without, 1), &Spec::tcp("S"), 0.0);
    let moved = before.iter().zip(&after).filter(|(b, a)| **b != Some(150) && b != a).count();
    assert!(moved <= usize::from(FLOWS) / 100, "{moved} of {FLOWS} others moved");
}

#[test]
fn the_order_of_backends_and_the_number_of_workers_mean_nothing() {
    let order: Vec<u8> = (4..=60).collect();
    let shuffled: Vec<u8> = order.iter().rev().copied().skip(20).chain(41..=60).collect();
    let one = backends_of(&mut balancer(&roomy(&numbered(order, ""), ""), 1), &Spec::tcp("S"), 0.0);
    let other = backends_of(&mut balancer(&roomy(&numbered(shuffled, ""), ""), 4), &Spec::tcp("S"), 0.0);
    assert_eq!(one, other);
}
