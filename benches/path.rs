//! The path of packets on in-memory frames, as a worker walks it: nanoseconds a packet, drivers apart.
//!
//! `path` prints figures; `path instructions CASE PACKETS` walks the path once, to be counted by callgrind.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod harness;

use std::time::{Duration, Instant};

use guideway::dataplane::Worker;
use harness::arena::ArenaQueues;
use harness::figure::{Figure, calibrate};
use harness::world::{INSIDE, OUTSIDE, Packet, Random, Traffic, worker};

/// Packets of one run.
const PACKETS: usize = 1 << 20;
const RUNS: usize = 5;

/// A worker and the time it thinks it is.
struct Bench {
    worker: Worker<ArenaQueues>,
    traffic: Traffic,
    random: Random,
    ring: usize,
    now: Duration,
}

impl Bench {
    fn new(ring: usize, flows: usize, port: guideway::io::PortId) -> Self {
        let (worker, _) = worker(ring, flows, port);
        Self { worker, traffic: Traffic::default(), random: Random::default(), ring, now: Duration::ZERO }
    }

    /// Fills the ring with packets of the flows that `next` names, walks them through, and returns how long
    /// the walk took.
    fn pass(&mut self, mut next: impl FnMut(&mut Random) -> (u32, Packet)) -> Duration {
        let (traffic, random) = (&self.traffic, &mut self.random);
        self.worker.queues_mut().refill(|frame| {
            let (flow, packet) = next(random);
            frame.fill(&traffic.frame(flow, packet));
        });
        let took = walk(&mut self.worker, self.now);
        assert_eq!(self.worker.queues_mut().sent().len(), self.ring, "every packet must get through");
        self.now += took;
        took
    }

    /// Makes all flows known and established. Not part of what is measured.
    fn establish(&mut self, flows: u32) {
        for packet in [Packet::Opening, Packet::Established] {
            let mut flow = 0..flows.max(self.ring as u32);
            while flow.start < flow.end {
                let traffic = &self.traffic;
                self.worker.queues_mut().refill(|frame| {
                    frame.fill(&traffic.frame(flow.next().unwrap_or(0) % flows, packet));
                });
                while self.worker.poll(self.now) > 0 {}
            }
        }
    }
}

/// What is measured. Not inlined, so that callgrind can be told to look at nothing else.
#[inline(never)]
fn walk(worker: &mut Worker<ArenaQueues>, now: Duration) -> Duration {
    let start = Instant::now();
    while worker.poll(now) > 0 {}
    start.elapsed()
}

fn per_packet(took: Duration, packets: usize) -> f64 {
    took.as_nanos() as f64 / packets as f64
}

fn hits(case: &str, flows: u32, ring: usize, draw: impl Fn(&mut Random) -> u32) -> Figure {
    let mut bench = Bench::new(ring, (flows as usize).max(1024), OUTSIDE);
    bench.establish(flows);
    let passes = PACKETS / ring;
    let runs = (0..RUNS).map(|_| {
        let took: Duration = (0..passes).map(|_| bench.pass(|r| (draw(r), Packet::Established))).sum();
        per_packet(took, passes * ring)
    });
    figure(case, flows, runs.collect())
}

fn figure(case: &str, flows: u32, runs: Vec<f64>) -> Figure {
    let calibration = calibrate();
    Figure { bench: "path", case: case.into(), flows: flows.into(), unit: "ns/packet", runs, calibration }
}

/// Tables from empty to full, all packets new.
fn new_flows(flows: u32, ring: usize) -> Figure {
    let tables = (PACKETS / flows as usize).clamp(1, 64);
    let runs = (0..RUNS).map(|_| {
        let mut took = Duration::ZERO;
        let mut packets = 0;
        for _ in 0..tables {
            let mut bench = Bench::new(ring, flows as usize, OUTSIDE);
            let order = bench.random.shuffled(flows);
            for chunk in order.chunks_exact(ring) {
                let mut flows = chunk.iter();
                took += bench.pass(|_| (*flows.next().unwrap(), Packet::Opening));
                packets += ring;
            }
        }
        per_packet(took, packets)
    });
    figure("new flow", flows, runs.collect())
}

/// Ever new flows into a table that is full of half-open ones.
fn flood(flows: u32, ring: usize) -> Figure {
    let mut bench = Bench::new(ring, flows as usize, OUTSIDE);
    let mut flow = 0u32;
    let mut next = move || {
        flow = flow.wrapping_add(1);
        (flow.wrapping_mul(0x9e37_79b1), Packet::Opening)
    };
    for _ in 0..3 * flows as usize / ring + 1 {
        bench.pass(|_| next());
    }
    let passes = PACKETS / ring;
    let runs = (0..RUNS).map(|_| {
        let took: Duration = (0..passes).map(|_| bench.pass(|_| next())).sum();
        per_packet(took, passes * ring)
    });
    figure("flood", flows, runs.collect())
}

fn responses(flows: u32, ring: usize) -> Figure {
    let mut bench = Bench::new(ring, 1024, INSIDE);
    let passes = PACKETS / ring;
    let runs = (0..RUNS).map(|_| {
        let took: Duration = (0..passes).map(|_| bench.pass(|r| (r.below(flows), Packet::Response))).sum();
        per_packet(took, passes * ring)
    });
    figure("response", flows, runs.collect())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let ring = std::env::var("RING").map_or(512, |r| r.parse().unwrap());
    if let [mode, case] = &args[..]
        && mode == "instructions"
    {
        instructions(case);
        return;
    }
    for flows in std::env::var("FLOWS").unwrap_or("1 1000 10000 100000 1000000".into()).split(" ").map(|f| f.parse::<u32>().unwrap()) {
        println!("{}", hits("hit, uniform", flows, ring, |r| r.below(flows)).json());
    }
    for flows in [1_000, 100_000, 1_000_000] {
        println!("{}", new_flows(flows, ring).json());
    }
    println!("{}", flood(1_000_000, ring).json());
    println!("{}", responses(1_000_000, ring).json());
}

/// Walks 2^15 packets of one kind, after the same preparation.
fn instructions(case: &str) {
    const FLOWS: u32 = 1000;
    let mut bench = Bench::new(512, 65_536, if case == "response" { INSIDE } else { OUTSIDE });
    if case == "hit" {
        bench.establish(FLOWS);
    }
    let mut fresh = 0;
    for _ in 0..64 {
        bench.pass(|random| match case {
            "hit" => (random.below(FLOWS), Packet::Established),
            "response" => (random.below(FLOWS), Packet::Response),
            "new" => {
                fresh += 1;
                (fresh, Packet::Opening)
            }
            other => panic!("no such case: {other}"),
        });
    }
}
