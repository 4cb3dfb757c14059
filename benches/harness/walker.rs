//! A worker on frames in memory, given packets pass by pass; what is timed is its polls alone.

use std::ops::Range;
use std::time::{Duration, Instant};

use guideway::dataplane::Worker;
use guideway::io::PortId;

use super::arena::ArenaQueues;
use super::traffic::{Packet, Traffic};
use super::world::{NAT, OUTSIDE, Random, Way, scatter, workers};

/// What a packet takes by the worker's own clock, which decides how much it sweeps: the same in every run,
/// so that instructions can be counted.
const PACKET: Duration = Duration::from_nanos(20);

/// A worker and the time it thinks it is.
pub struct Bench {
    worker: Worker<ArenaQueues>,
    traffic: Traffic,
    random: Random,
    ring: usize,
    now: Duration,
    /// How many new flows there have been.
    pub fresh: u32,
    /// What is timed.
    pub walk: fn(&mut Worker<ArenaQueues>, Duration, usize),
}

impl Bench {
    /// With a table for so many flows.
    pub fn new(way: Way, ring: usize, flows: u32, port: PortId) -> Self {
        Self::of(way, workers(way, 1, ring, flows as usize, port).remove(0), ring)
    }

    /// Of a worker with an empty table and such a ring.
    fn of(way: Way, worker: Worker<ArenaQueues>, ring: usize) -> Self {
        let (traffic, random) = (Traffic::new(way), Random::default());
        Self { worker, traffic, random, ring, now: Duration::ZERO, fresh: 0, walk }
    }

    /// With so many established flows, in a table made for them.
    pub fn with_flows(way: Way, ring: usize, flows: u32) -> Self {
        let mut bench = Self::new(way, ring, flows.max(1024), OUTSIDE);
        bench.establish(0..flows);
        bench
    }

    /// Two beside each other, with so many established flows each, none of them the other's.
    pub fn pair_with_flows(ring: usize, flows: u32) -> [Self; 2] {
        let mut start = 0;
        let pair = workers(NAT, 2, ring, flows.max(1024) as usize, OUTSIDE).into_iter().map(|worker| {
            let mut bench = Self::of(NAT, worker, ring);
            bench.establish(start..start + flows);
            start += flows;
            bench
        });
        let pair: Vec<Self> = pair.collect();
        pair.try_into().unwrap_or_else(|_| panic!("there are two workers"))
    }

    /// Fills `packets` frames of the ring with what `next` names, walks them through once `wait` returns, and returns
    /// how long the walk took.
    pub fn pass(
        &mut self,
        packets: usize,
        mut next: impl FnMut(&mut Random) -> (u32, Packet),
        wait: impl FnOnce(),
    ) -> Duration {
        let (traffic, random) = (&self.traffic, &mut self.random);
        let bursts = self.worker.queues_mut().refill(packets, |frame| {
            let (flow, packet) = next(random);
            traffic.frame(flow, packet, |bytes| frame.fill(bytes));
        });
        wait();
        let start = Instant::now();
        (self.walk)(&mut self.worker, self.now, bursts);
        let took = start.elapsed();
        assert_eq!(self.worker.queues_mut().at_rest(), self.ring, "every packet must get through");
        self.now += PACKET * packets as u32;
        took
    }

    /// As many passes as `packets` take. Nanoseconds a packet.
    pub fn run(&mut self, packets: usize, mut next: impl FnMut(&mut Random) -> (u32, Packet)) -> f64 {
        let mut took = Duration::ZERO;
        let mut left = packets;
        while left > 0 {
            let some = left.min(self.ring);
            took += self.pass(some, &mut next, || ());
            left -= some;
        }
        took.as_nanos() as f64 / packets as f64
    }

    /// As [`Bench::run`], with packets of flows that were never seen before.
    pub fn run_new(&mut self, packets: usize) -> f64 {
        self.run_new_of(packets, Packet::Opening)
    }

    /// The same with such packets.
    pub fn run_new_of(&mut self, packets: usize, packet: Packet) -> f64 {
        let mut fresh = self.fresh;
        let result = self.run(packets, |_| {
            fresh = fresh.wrapping_add(1);
            (scatter(fresh), packet)
        });
        self.fresh = fresh;
        result
    }

    /// Makes all of `flows` known and established.
    fn establish(&mut self, flows: Range<u32>) {
        for packet in [Packet::Opening, Packet::Established] {
            let mut flow = flows.clone();
            self.run(flows.len(), |_| (flow.next().unwrap_or(0), packet));
        }
    }

    /// Lets time go by, and has the table forget what is over by then.
    pub fn wait(&mut self, how_long: Duration) {
        self.now += how_long;
        self.worker.sweep_all(self.now);
        // The next poll makes up for the time with a large share of the sweep; that is not a packet's cost.
        walk(&mut self.worker, self.now, 1);
    }
}

/// What is measured.
pub fn walk(worker: &mut Worker<ArenaQueues>, now: Duration, polls: usize) {
    for _ in 0..polls {
        worker.poll(now);
    }
}
