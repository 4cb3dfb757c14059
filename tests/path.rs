//! The path by itself, burst by burst and sweep by sweep: what is seen only before the sweep comes by, or while a
//! worker is busy.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use guideway::control::REPLAY_KEY;
use guideway::dataplane::{
    Event, FlowTable, Mesh, Outcome, Path, Source, Worker, WorkerCounters, WorkerId, WorkerPort,
};
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink, Publisher, Snapshot};
use guideway::tick::Tick;
use guideway::wire::MacAddr;

const SOURCE: Source = Source::Port { port: OUTSIDE, keeps_flows: true };

fn conditions(synthetic: bool) -> Conditions {
    let links =
        [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: false, mtu: 1500 });
    Conditions { links: links.to_vec(), neighbours: Neighbours { synthetic, ..Neighbours::default() } }
}
fn worlds(texts: &[String]) -> Vec<Snapshot> {
    let mut compiler = Compiler::new(REPLAY_KEY);
    texts.iter().map(|text| compiler.compile(&model(text), &conditions(true)).unwrap()).collect()
}
fn path() -> (Path, Arc<WorkerCounters>) {
    let counters: Arc<WorkerCounters> = Arc::default();
    (Path::new(WorkerId(0), 1, FlowTable::new(1024).unwrap(), counters.clone()), counters)
}
fn send(path: &mut Path, world: &Snapshot, frame: Vec<u8>, at: f64) -> (Outcome, Vec<u8>) {
    let mut burst = [HeapFrame(frame)];
    let outcome =
        path.process_burst(&mut burst, SOURCE, world, Tick::at(seconds(at))).by_lane().next().unwrap();
    let [HeapFrame(frame)] = burst;
    (outcome, frame)
}
fn short_lived(backends: &str) -> String {
    with_backends(backends, "").replacen(
        "backend_port = 8443",
        "backend_port = 8443\nidle_timeout = \"5s\"",
        1,
    )
}

#[test]
fn a_flow_that_is_over_is_over_before_the_sweep_comes_by() {
    let worlds = worlds(&[short_lived(&numbered([4], "")), short_lived(&numbered([5], ""))]);
    for (wait, backend) in [(5.0, 4), (6.0, 5)] {
        let (mut path, _) = path();
        for flags in ["S", "A", "A"] {
            send(&mut path, &worlds[0], Spec::tcp(flags).frame(), 0.0);
        }
        assert_eq!(send(&mut path, &worlds[1], Spec::tcp("A").frame(), wait).1[33], backend, "{wait}");
    }
}

#[test]
fn each_rules_flows_are_swept_after_their_own_timeout_and_a_removed_rules_at_once() {
    let whole = short_lived(&numbered([4], ""));
    let at = whole.find("[[rule]]\nname = \"https\"").unwrap();
    let end = whole.find("[[rule]]\nname = \"dns\"").unwrap();
    let without = format!("{}{}", &whole[..at], &whole[end..]);
    let worlds = worlds(&[whole, without]);
    for (world, wait, expired) in [(0, 5.0, 0), (0, 5.5, 1), (1, 0.5, 1)] {
        let (mut path, counters) = path();
        for flags in ["S", "A"] {
            send(&mut path, &worlds[0], Spec::tcp(flags).frame(), 0.0);
        }
        send(&mut path, &worlds[0], Spec::udp().frame(), 0.0);
        path.sweep(1024, &worlds[world], Tick::at(seconds(wait)));
        assert_eq!(counters.totals().flows_expired, expired, "{world} {wait}");
    }
}

#[test]
fn a_flows_backend_does_not_depend_on_the_shape_of_its_packets() {
    let worlds = worlds(&[with_backends(&numbered(4..=9, ""), "")]);
    for i in 0..50 {
        let spec = |len| Spec { from: (CLIENT, 1000 + i), payload: vec![0; len], ..Spec::udp() };
        let mut options = spec(40).frame();
        options.splice(34..34, [1; 4]);
        options[14] = 0x46;
        options[17] += 4;
        fix_ip_checksum(&mut options);
        let to = |frame: Vec<u8>, at| send(&mut path().0, &worlds[0], frame, 0.0).1[at];
        assert_eq!(to(spec(0).frame(), 33), to(spec(40).frame(), 33));
        assert_eq!(to(options, 33), to(spec(40).frame(), 33));
    }
}

#[test]
fn a_busy_worker_sweeps_on_and_owes_what_it_did_not_get_to() {
    let world = worlds(&[with_backends(&numbered([4], ""), "")]).remove(0);
    let (_publisher, readers) = Publisher::new(world, 1);
    let mesh = Mesh::new(1);
    let counters: Arc<WorkerCounters> = Arc::default();
    let own = |port| WorkerPort { port, keeps_flows: true, transmitter: WorkerId(0) };
    let reader = readers.into_iter().next().unwrap();
    let mut worker = Worker::new(
        mesh.seat(WorkerId(0)),
        1,
        vec![own(OUTSIDE), own(INSIDE)],
        MemoryQueues::new(2),
        reader,
        FlowTable::new(1024).unwrap(),
        counters.clone(),
    );
    for i in 0..200 {
        worker.queues_mut().push(OUTSIDE, Spec { from: (CLIENT, 1000 + i), ..Spec::tcp("S") }.frame());
    }
    while worker.poll(Duration::ZERO) > 0 {}
    // 427 lines, 8 after each of these.
    for _ in 0..54 {
        worker.queues_mut().push(OUTSIDE, Spec::udp().frame());
        worker.poll(seconds(31.0));
    }
    assert_eq!(counters.totals().flows_expired, 200);
}

#[test]
fn an_unknown_neighbour_is_wanted() {
    let world = Compiler::new(REPLAY_KEY)
        .compile(&model(&with_backends(&numbered([4], ""), "")), &conditions(false))
        .unwrap();
    let (mut path, _) = path();
    let mut burst = vec![HeapFrame(Spec::tcp("S").frame()); 3];
    let outcomes = path.process_burst(&mut burst, SOURCE, &world, Tick::at(Duration::ZERO));
    assert_eq!(outcomes.events(), [Event::Wanted { port: INSIDE, address: BACKEND.into() }]);
}

#[test]
fn plain_packets_are_dropped_by_name() {
    let mut balancer = balancer(&with_backends(&numbered([4], ""), ""), 1);
    let response = Spec { to: (CLIENT, 0), ..Spec::tcp("S").at_backend(BACKEND, 8443).reversed() };
    assert!(balancer.frame(seconds(0.0), INSIDE, response.frame()).is_empty());
    assert!(balancer.frame(seconds(0.0), OUTSIDE, Spec::tcp("SF").frame()).is_empty());
    assert_eq!((counts(&balancer)["martian-destination"], counts(&balancer)["tcp-bad-flags"]), (1, 1));
}

#[test]
fn of_what_a_neighbour_says_twice_the_later_is_told_later() {
    let world = worlds(&[with_backends(&numbered([4], ""), "")]).remove(0);
    let (mut path, _) = path();
    let says = |last| {
        let sender = ([0, 0, 0x5e, 0, 0x53, last], [198, 51, 100, 77]);
        HeapFrame(arp(etherparse::ArpOperation::REQUEST, sender, ([0; 6], [198, 51, 100, 2]), [0xff; 6]))
    };
    let mut burst = [says(1), says(2)];
    let outcomes = path.process_burst(&mut burst, SOURCE, &world, Tick::at(Duration::ZERO));
    let last = |event: &Event| match event {
        Event::Neighbour { mac, .. } => mac.0[5],
        Event::Wanted { .. } | Event::Conflict { .. } => 0,
    };
    assert_eq!(outcomes.events().iter().map(last).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_flow_that_is_over_makes_room_before_one_that_lives() {
    let world = worlds(&[short_lived(&numbered([4], ""))]).remove(0);
    let counters: Arc<WorkerCounters> = Arc::default();
    // Two lines: every flow has both.
    let mut path = Path::new(WorkerId(0), 1, FlowTable::new(4).unwrap(), counters.clone());
    let flow = |port, flags| Spec { from: (CLIENT, port), ..Spec::tcp(flags) }.frame();
    for port in 1000..1008 {
        for flags in ["S", "A", "A"] {
            send(&mut path, &world, flow(port, flags), 0.0);
        }
    }
    for port in 2000..2008 {
        send(&mut path, &world, flow(port, "S"), 3600.0);
    }
    let totals = counters.totals();
    assert!(totals.flows_expired >= 4, "{totals:?}");
}
