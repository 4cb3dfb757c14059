//! What is watched: that records are what came and went, each with its end, and that watching changes nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use guideway::control::REPLAY_KEY;
use guideway::dataplane::{
    ControlFrame, FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort, WorkerTotals,
};
use guideway::drop_reason::DropReason;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::io::{PortId, Queues};
use guideway::snapshot::{BackendIdentity, Compiler, Conditions, Neighbours, PortLink, Publisher};
use guideway::watch::{About, Direction, DropSet, End, Filter, FlowState, Watch};
use guideway::wire::MacAddr;
use proptest::prelude::*;

/// Memory queues of which the transmit side can be full.
#[derive(Default)]
struct Bounded {
    queues: MemoryQueues,
    room: usize,
}

impl Queues for Bounded {
    type Frame = HeapFrame;

    fn receive(&mut self, port: PortId, burst: &mut Vec<HeapFrame>) -> u64 {
        self.queues.receive(port, burst)
    }

    fn transmit(&mut self, port: PortId, burst: &mut Vec<HeapFrame>) {
        let taken = burst.len().min(self.room);
        self.room -= taken;
        let mut taken: Vec<HeapFrame> = burst.drain(..taken).collect();
        self.queues.transmit(port, &mut taken);
    }

    fn can_transmit(&self, _port: PortId) -> bool {
        true
    }

    fn new_frame(&mut self, bytes: &[u8]) -> Option<HeapFrame> {
        self.queues.new_frame(bytes)
    }
}

/// Some workers that share the ports: flows are spread in software, and one of them sends what leaves inside.
struct Bed {
    workers: Vec<Worker<Bounded>>,
    counters: Vec<Arc<WorkerCounters>>,
    mesh: Mesh<HeapFrame>,
    publisher: Publisher,
    compiler: Compiler,
    conditions: Conditions,
}

type Sent = Vec<(PortId, Vec<u8>)>;

impl Bed {
    fn new(workers: usize) -> Self {
        let links =
            [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: true, mtu: 1500 });
        let neighbours = Neighbours { synthetic: true, ..Neighbours::default() };
        let conditions = Conditions { links: links.to_vec(), neighbours };
        let mut compiler = Compiler::new(REPLAY_KEY);
        let first = compiler.compile(&model(&config()), &conditions).unwrap();
        let (publisher, readers) = Publisher::new(first, workers);
        let mesh = Mesh::new(workers);
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        let made = readers.into_iter().zip(0u8..).map(|(reader, id)| {
            let own = |port, transmitter| WorkerPort {
                port,
                keeps_flows: false,
                transmitter: WorkerId(transmitter),
            };
            let ports = vec![own(OUTSIDE, id), own(INSIDE, 0)];
            let queues = Bounded { queues: MemoryQueues::new(2), room: usize::MAX };
            let counters = counters[usize::from(id)].clone();
            let flows = FlowTable::new(1024).unwrap();
            Worker::new(mesh.seat(WorkerId(id)), workers, ports, queues, reader, flows, counters)
        });
        let workers = made.collect();
        Self { workers, counters, mesh, publisher, compiler, conditions }
    }

    fn watch(&mut self, filter: Filter, snaplen: usize) -> Arc<Watch> {
        let watch = Arc::new(Watch::new(filter, snaplen, true));
        self.publish(vec![watch.clone()]);
        watch
    }

    fn publish(&mut self, watches: Vec<Arc<Watch>>) {
        self.publisher.set_watches(watches);
        let next = self.compiler.compile(&model(&config()), &self.conditions).unwrap();
        self.publisher.publish(next);
    }

    /// Has `frames` arrive at a worker at once, lets all work, and returns what left.
    fn burst(&mut self, worker: usize, port: PortId, frames: &[Vec<u8>]) -> Sent {
        let queues = self.workers[worker].queues_mut();
        frames.iter().for_each(|frame| queues.queues.push(port, frame.clone()));
        while self.workers.iter_mut().map(|worker| worker.poll(seconds(0.0))).sum::<usize>() > 0 {}
        let mut sent = Vec::new();
        for worker in &mut self.workers {
            for port in [OUTSIDE, INSIDE] {
                sent.extend(worker.queues_mut().queues.sent(port).map(|frame| (port, frame)));
            }
        }
        sent
    }

    fn totals(&self) -> WorkerTotals {
        let mut sum = WorkerTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.totals()));
        sum
    }
}

fn config() -> String {
    with_backends(&numbered(4..=9, ""), "")
}

fn records(watch: &Watch) -> Vec<(About, Vec<u8>)> {
    let take = || {
        let record = watch.next()?;
        let taken = (record.about, record.bytes().to_vec());
        watch.give_back(record);
        Some(taken)
    };
    std::iter::from_fn(take).collect()
}

/// A frame of any kind: of clients, backends and neighbours, good and bad.
fn any_frame(kind: u8, flow: u8) -> (PortId, Vec<u8>) {
    let spec = |flags| Spec { from: ([192, 0, 2, flow % 16], 5000), ..Spec::tcp(flags) };
    let response = |to| Spec { flags: Some("SA"), ..spec("S").at_backend([10, 0, 0, to], 8443).reversed() };
    let mut frame = match kind % 12 {
        0..3 => spec("S"),
        3..5 => spec("A"),
        5..7 => return (INSIDE, response(4 + flow % 8).frame()),
        7 => Spec { ttl: 1, ..spec("A") },
        8 => Spec { to: (FRONTEND, 81), ..spec("S") },
        9 => Spec { macs: (ROUTER_MAC, [2, 1, 1, 1, 1, 1]), ..spec("S") },
        10 => return (OUTSIDE, echo_request(CLIENT, FRONTEND, b"ping")),
        _ => Spec { flags: None, to: (FRONTEND, 53), ..spec("") },
    }
    .frame();
    if kind >= 240 {
        frame.truncate(usize::from(flow) % 60);
    }
    (OUTSIDE, frame)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With everything watched: records are what was received and what was sent, byte for byte, ends are the counters, and
    /// what leaves is what leaves unwatched.
    #[test]
    fn an_unfiltered_watch_sees_all_and_changes_nothing(
        workers in 1usize..=2,
        bursts in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec((any::<u8>(), any::<u8>()), 1..90)), 1..6),
    ) {
        let (mut watched, mut plain) = (Bed::new(workers), Bed::new(workers));
        let watch = watched.watch(Filter::default(), 2048);
        let (mut came, mut left) = (Vec::new(), Vec::new());
        for (by, kinds) in bursts {
            let by = usize::from(by) % workers;
            for port in [OUTSIDE, INSIDE] {
                let all = kinds.iter().map(|(kind, flow)| any_frame(*kind, *flow));
                let frames: Vec<_> = all.filter(|(at, _)| *at == port).map(|(_, frame)| frame).collect();
                came.extend(frames.iter().map(|frame| (port, frame.clone())));
                let sent = watched.burst(by, port, &frames);
                prop_assert_eq!(&sent, &plain.burst(by, port, &frames));
                left.extend(sent);
            }
        }
        let (a, b) = (watched.totals(), plain.totals());
        prop_assert_eq!(format!("{:?}", (&a.drops, a.transmitted, a.answered, a.flows_created)),
            format!("{:?}", (&b.drops, b.transmitted, b.answered, b.flows_created)));
        let mut seen = [Vec::new(), Vec::new()];
        let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
        for (about, bytes) in records(&watch) {
            prop_assert_eq!(about.len, bytes.len());
            seen[about.direction as usize].push((about.port, bytes));
            if let End::Dropped(reason) = about.end {
                *drops.entry(reason.label()).or_default() += 1;
            }
        }
        for (mut seen, mut was) in seen.into_iter().zip([came, left]) {
            seen.sort();
            was.sort();
            prop_assert_eq!(seen, was);
        }
        let counted = a.drops.iter().filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.label(), *count));
        prop_assert_eq!(drops, counted.collect::<BTreeMap<_, _>>());
        prop_assert_eq!(watch.lost(OUTSIDE) + watch.lost(INSIDE), 0);
    }
}

#[test]
fn a_client_is_seen_on_both_sides_both_ways_and_nobody_else() {
    let mut bed = Bed::new(1);
    let client = Some((CLIENT.into(), Some(40_000)));
    let watch = bed.watch(Filter { client, ..Filter::default() }, 64);
    let other = Spec { from: (CLIENT, 40_001), ..Spec::tcp("S") };
    let sent = bed.burst(0, OUTSIDE, &[other.frame(), Spec::tcp("S").frame(), other.frame()]);
    let backend = [10, 0, 0, sent[1].1[33]];
    bed.burst(0, OUTSIDE, &[Spec::tcp("A").frame(), Spec::tcp("A").frame()]);
    let response = Spec { flags: Some("SA"), ..Spec::tcp("S").at_backend(backend, 8443).reversed() };
    bed.burst(0, INSIDE, &[response.frame()]);
    let all = records(&watch);
    let ways: Vec<_> = all.iter().map(|(about, _)| (about.direction, about.port)).collect();
    let there = [(Direction::Received, OUTSIDE), (Direction::Sent, INSIDE)];
    let back = [(Direction::Received, INSIDE), (Direction::Sent, OUTSIDE)];
    assert_eq!(ways, [there, there, there, back].concat());
    assert!(all.iter().all(|(about, bytes)| about.len == 64 && bytes.len() == 64));
    // What the worker did with each, and by which backend.
    let flow = |i: usize| all[i].0.flow.unwrap();
    let state = |i: usize| (flow(i).before.map(|e| e.state), flow(i).after.map(|e| e.state));
    assert_eq!(state(0), (None, Some(FlowState::HalfOpen)));
    assert_eq!(state(2), (Some(FlowState::HalfOpen), Some(FlowState::Established)));
    let expected = format!("10.0.0.{}:8443", backend[3]);
    for i in 0..8 {
        assert_eq!(flow(i).backend.unwrap().to_string(), expected);
        assert_eq!(flow(i).is_response, i >= 6);
    }
    assert_eq!(flow(0).choice.unwrap().backend, flow(0).backend);
    let rewritten = all[0].0.rewritten.unwrap();
    assert_eq!(rewritten.destination.to_string(), expected);
    assert_eq!((rewritten.to_mac.0, rewritten.ttl), ([2, 0, 10, 0, 0, backend[3]], 63));
    assert_eq!(all[6].0.flow.unwrap().next_hop.unwrap().to_string(), "198.51.100.1");
}

#[test]
fn backend_rule_and_reason_narrow_it_down() {
    let mut bed = Bed::new(1);
    let client = |n: u16| Spec { from: (CLIENT, n), ..Spec::tcp("S") }.frame();
    let sent = bed.burst(0, OUTSIDE, &(1..60).map(client).collect::<Vec<_>>());
    let to_five = sent.iter().filter(|(_, frame)| frame[33] == 5).count();
    assert!(to_five > 0 && to_five < 59);
    let filters = [
        (
            Filter { backends: Some(vec![([10, 0, 0, 5].into(), Some(8443))]), ..Filter::default() },
            2 * to_five,
        ),
        (Filter { backends: Some(vec![([10, 0, 0, 5].into(), Some(1))]), ..Filter::default() }, 0),
        (Filter { frontend: Some(model(&config()).rules[1].frontend), ..Filter::default() }, 2),
        (Filter { drops: Some(DropSet::ALL), ..Filter::default() }, 2),
        (Filter { drops: Some(DropSet::default().with(DropReason::NoRule)), ..Filter::default() }, 1),
    ];
    let mut frames: Vec<_> = (1..60).map(client).collect();
    let mut last_hop = Spec { ttl: 1, ..Spec::tcp("S") }.frame();
    // From a group of stations, which is told nothing.
    last_hop[6] |= 1;
    frames.extend([Spec::udp().frame(), last_hop]);
    frames.push(Spec { to: (FRONTEND, 81), ..Spec::tcp("S") }.frame());
    for (filter, expected) in filters {
        let what = format!("{filter:?}");
        let watch = bed.watch(filter, 2048);
        bed.burst(0, OUTSIDE, &frames);
        assert_eq!(records(&watch).len(), expected, "{what}");
        watch.end();
        bed.burst(0, OUTSIDE, &frames);
        assert!(records(&watch).is_empty(), "it has ended");
    }
}

/// Whom a full queue refuses is told as dropped, once, and as not sent.
#[test]
fn what_a_queue_does_not_take_is_told_as_dropped() {
    let mut bed = Bed::new(1);
    let watch = bed.watch(Filter::default(), 2048);
    bed.workers[0].queues_mut().room = 3;
    bed.burst(0, OUTSIDE, &vec![Spec::udp().frame(); 10]);
    let all = records(&watch);
    let count = |end: &dyn Fn(&About) -> bool| all.iter().filter(|(about, _)| end(about)).count();
    assert_eq!(count(&|about| about.end == End::Dropped(DropReason::TransmitFull)), 7);
    assert_eq!(count(&|about| about.direction == Direction::Sent), 3);
    assert_eq!(all.len(), 13);
    assert_eq!(bed.totals().dropped(), 7);
    // Of the frames that another worker gave it to send, the sender writes that down.
    let mut bed = Bed::new(2);
    let drops = Filter { drops: Some(DropSet::ALL), ..Filter::default() };
    let watch = bed.watch(drops, 2048);
    bed.workers[0].queues_mut().room = 0;
    let client = |n: u16| Spec { from: (CLIENT, n), ..Spec::tcp("S") }.frame();
    bed.burst(1, OUTSIDE, &(1..41).map(client).collect::<Vec<_>>());
    assert_eq!((records(&watch).len(), bed.totals().dropped()), (40, 40));
}

#[test]
fn frames_of_our_own_are_seen_leaving() {
    let mut bed = Bed::new(1);
    let watch = bed.watch(Filter::default(), 2048);
    let request =
        arp(etherparse::ArpOperation::REQUEST, (INSIDE_MAC, [10, 0, 0, 1]), ([0; 6], BACKEND), [0xff; 6]);
    bed.mesh.originated().push(ControlFrame::new(INSIDE, &request).unwrap()).ok().unwrap();
    let sent = bed.burst(0, OUTSIDE, &[]);
    let all = records(&watch);
    let [(about, bytes)] = &all[..] else { panic!("{}", all.len()) };
    assert_eq!((about.end, about.direction, about.port), (End::Originated, Direction::Sent, INSIDE));
    assert_eq!(sent, [(INSIDE, bytes.clone())]);
}

/// A drain that is over its time: what the ends say goes no further, and both get a reset.
#[test]
fn resets_are_seen_with_their_flow_whoever_speaks() {
    let mut bed = Bed::new(1);
    let sent =
        bed.burst(0, OUTSIDE, &[Spec::tcp("S").frame(), Spec::tcp("A").frame(), Spec::tcp("A").frame()]);
    let last = sent[0].1[33];
    let frontend = model(&config()).rules[0].frontend;
    let address = [10, 0, 0, last].into();
    bed.compiler.reset_flows_of([BackendIdentity { frontend, address, port: 8443 }].into());
    let watch = bed.watch(Filter { frontend: Some(frontend), ..Filter::default() }, 128);
    let response = Spec { flags: Some("A"), ..Spec::tcp("S").at_backend([10, 0, 0, last], 8443).reversed() };
    for (port, frame, is_response) in
        [(OUTSIDE, Spec::tcp("A").frame(), false), (INSIDE, response.frame(), true)]
    {
        let sent = bed.burst(0, port, &[frame]);
        assert_eq!(sent.len(), 2);
        let all = records(&watch);
        let answers: Vec<_> = all.iter().filter(|(about, _)| about.end == End::Answered(port, 0)).collect();
        let [(received, _), (answered, bytes)] = answers[..] else { panic!("{}", answers.len()) };
        assert_eq!((received.direction, answered.direction), (Direction::Received, Direction::Sent));
        assert!(sent.contains(&(port, bytes.clone())), "what was written down is what left");
        for about in [received, answered] {
            let flow = about.flow.unwrap();
            assert_eq!((flow.frontend, flow.is_response), (frontend, is_response));
            assert_eq!(flow.backend.unwrap().to_string(), format!("10.0.0.{last}:8443"));
        }
    }
    // The reset for the other end is nobody's answer.
    let watch = bed.watch(Filter::default(), 128);
    bed.burst(0, OUTSIDE, &[Spec::tcp("A").frame()]);
    let own: Vec<_> = records(&watch).into_iter().filter(|(about, _)| about.end == End::Originated).collect();
    let [(about, reset)] = &own[..] else { panic!("{}", own.len()) };
    assert_eq!((about.port, about.direction, reset[47] & 4), (INSIDE, Direction::Sent, 4));
}

#[test]
fn several_watch_at_once_each_for_itself_and_nothing_stays_behind() {
    let mut bed = Bed::new(1);
    let make = |client: [u8; 4]| {
        let client = Some((client.into(), None));
        Arc::new(Watch::new(Filter { client, ..Filter::default() }, 128, true))
    };
    let watches: Vec<_> = [CLIENT, [192, 0, 2, 8], [192, 0, 2, 9]].into_iter().map(make).collect();
    bed.publish(watches.clone());
    let from = |last| Spec { from: ([192, 0, 2, last], 1), ..Spec::tcp("S") }.frame();
    bed.burst(0, OUTSIDE, &[from(7), from(8), from(8)]);
    assert_eq!(watches.iter().map(|watch| records(watch).len()).collect::<Vec<_>>(), [2, 4, 0]);
    bed.publish(Vec::new());
    bed.burst(0, OUTSIDE, &[from(7)]);
    bed.publisher.free_passed();
    for watch in watches {
        assert!(records(&watch).is_empty());
        assert_eq!(Arc::strong_count(&watch), 1, "no snapshot and no worker holds it");
    }
}

/// A reader that is too slow loses records, and those are counted; a worker neither waits nor allocates.
#[test]
fn a_slow_reader_loses_records_and_nothing_on_the_way_allocates() {
    let mut bed = Bed::new(1);
    let watch = bed.watch(Filter::default(), 9000);
    // What the memory queues allocate is theirs.
    bed.burst(0, OUTSIDE, &vec![Spec::udp().frame(); 64]);
    assert_eq!(records(&watch).len(), 128);
    let mut plain = Bed::new(1);
    plain.burst(0, OUTSIDE, &vec![Spec::udp().frame(); 64]);
    let frames = vec![Spec::udp().frame(); 64];
    let cost = |bed: &mut Bed| {
        frames.iter().for_each(|frame| bed.workers[0].queues_mut().queues.push(OUTSIDE, frame.clone()));
        allocation_counter::measure(|| {
            bed.workers[0].poll(seconds(0.0));
        })
        .count_total
    };
    let mut lost = 0;
    for _ in 0..20 {
        assert_eq!(cost(&mut bed), cost(&mut plain));
        lost = watch.lost(OUTSIDE) + watch.lost(INSIDE);
    }
    let kept = records(&watch).len() as u64;
    assert_eq!(kept + lost, 20 * 128);
    assert!(lost > 0 && kept > 500, "{kept} {lost}");
}
