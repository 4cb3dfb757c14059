//! What a flood of fragments costs, and what it costs packets that are whole. Bursts of either come in turn, and those of one
//! sort are timed: what the others have done to the caches counts, what they cost themselves does not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use guideway::dataplane::Worker;
use guideway::io::{BURST_MAX, PortId, Queues};
use guideway::wire::ipv4;

use super::arena::{ArenaFrame, STRIDE};
use super::traffic::{Packet, Traffic};
use super::world::{FRONTENDS, NAT, OUTSIDE, Random, worker_on};

/// Bursts of each sort that wait at once: with both the ring has as many frames as elsewhere.
const BURSTS: usize = 4;
/// Fragments that a worker takes in a second (docs/FRAGMENTS.md).
const LIMIT: usize = 400_000;

/// Memory for a frame of its own: fragments are held, and dropped. It is used again then, as a driver's is.
pub struct Slot(Option<Box<Lines>>);

#[repr(align(64))]
struct Lines([u8; STRIDE]);

static EMPTY: [u8; STRIDE] = [0; STRIDE];

thread_local! {
    #[allow(clippy::vec_box, reason = "memory stays where it is")]
    static SPARE: RefCell<Vec<Box<Lines>>> = const { RefCell::new(Vec::new()) };
}

impl Slot {
    fn new() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self(Some(spare.unwrap_or_else(|| Box::new(Lines([0; STRIDE])))))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        SPARE.with_borrow_mut(|spare| spare.extend(self.0.take()));
    }
}

impl Deref for Slot {
    type Target = [u8; STRIDE];

    #[inline(always)]
    fn deref(&self) -> &[u8; STRIDE] {
        self.0.as_ref().map_or(&EMPTY, |lines| &lines.0)
    }
}

impl DerefMut for Slot {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8; STRIDE] {
        &mut self.0.as_mut().unwrap().0
    }
}

type FloodFrame = ArenaFrame<Slot>;

/// Bursts that wait at the port of clients, and frames that left.
#[derive(Default)]
pub struct FloodQueues {
    waiting: VecDeque<Vec<FloodFrame>>,
    done: Vec<FloodFrame>,
}

impl Queues for FloodQueues {
    type Frame = FloodFrame;

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<FloodFrame>) -> u64 {
        if port == OUTSIDE
            && let Some(mut frames) = self.waiting.pop_front()
        {
            burst.append(&mut frames);
        }
        0
    }

    #[inline]
    fn transmit(&mut self, _port: PortId, burst: &mut Vec<FloodFrame>) {
        self.done.append(burst);
    }

    fn can_transmit(&self, _port: PortId) -> bool {
        true
    }

    fn new_frame(&mut self, _bytes: &[u8]) -> Option<FloodFrame> {
        None
    }
}

/// How fast all of it comes, by the worker's own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// A packet in 20 ns: of fragments, far more than a worker takes.
    Flood,
    /// As many fragments as a worker takes, or fewer.
    Slow,
}

impl Pace {
    fn packet(self) -> Duration {
        match self {
            Self::Flood => Duration::from_nanos(20),
            // One in two is a fragment.
            Self::Slow => Duration::from_secs(1) / (2 * LIMIT) as u32,
        }
    }
}

/// Which packets are timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timed {
    Hits,
    Between,
}

/// What comes between packets of known flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Between {
    /// More of the same.
    Hits,
    /// First packets of new flows of TCP: how much a flood of another kind does.
    New,
    /// First and later fragments of UDP, in turn, each of another datagram, client and flow.
    Fragments,
    /// Later fragments alone: all are held, and dropped by and by.
    LaterFragments,
}

/// A worker with flows, and what comes in.
pub struct FloodBench {
    worker: Worker<FloodQueues>,
    traffic: Traffic,
    random: Random,
    flows: u32,
    spare: Vec<FloodFrame>,
    now: Duration,
}

impl FloodBench {
    pub fn new(flows: u32) -> Self {
        let worker = worker_on(NAT, flows as usize, FloodQueues::default());
        let (traffic, random) = (Traffic::new(NAT), Random::default());
        let mut bench = Self { worker, traffic, random, flows, spare: Vec::new(), now: Duration::ZERO };
        for packet in [Packet::Opening, Packet::Established] {
            for start in (0..flows).step_by(BURST_MAX) {
                let burst = (start..(start + BURST_MAX as u32).min(flows))
                    .map(|flow| bench.frame(flow, packet))
                    .collect();
                bench.worker.queues_mut().waiting.push_back(burst);
                bench.poll();
            }
        }
        bench
    }

    fn frame(&mut self, flow: u32, packet: Packet) -> FloodFrame {
        let mut frame = self.spare.pop().unwrap_or_else(|| ArenaFrame::new(Slot::new()));
        self.traffic.frame(flow, packet, |bytes| frame.fill(bytes));
        frame
    }

    /// One in two is the first of its datagram.
    fn fragment(&mut self, is_first: bool) -> FloodFrame {
        // The last frontend is one of UDP.
        let client = self.random.below(1 << 28);
        let mut frame = self.frame(client * FRONTENDS + FRONTENDS - 1, Packet::Opening);
        let bytes = guideway::io::Frame::bytes_mut(&mut frame);
        let (identification, offset) =
            (self.random.below(1 << 16) as u16, if is_first { 0 } else { 1 + self.random.below(100) });
        bytes[17] = (ipv4::HEADER_LEN + 24) as u8;
        bytes[18..20].copy_from_slice(&identification.to_be_bytes());
        bytes[20..22].copy_from_slice(&(0x2000 | offset as u16).to_be_bytes());
        bytes[38..40].copy_from_slice(&1400u16.to_be_bytes());
        ipv4::write_checksum(&mut bytes[14..34]);
        frame
    }

    fn burst(&mut self, between: Between) -> Vec<FloodFrame> {
        let one = |bench: &mut Self, i: usize| match between {
            Between::Hits => {
                let flow = bench.random.below(bench.flows);
                bench.frame(flow, Packet::Established)
            }
            Between::New => {
                let client = bench.random.below(1 << 28);
                bench.frame(client * FRONTENDS, Packet::Opening)
            }
            Between::Fragments => bench.fragment(i.is_multiple_of(2)),
            Between::LaterFragments => bench.fragment(false),
        };
        (0..BURST_MAX).map(|i| one(self, i)).collect()
    }

    /// Nanoseconds a packet takes, of known flows right after a burst of something else or the other way round.
    pub fn run(&mut self, packets: usize, between: Between, pace: Pace, timed: Timed) -> f64 {
        if self.now.is_zero() && pace == Pace::Flood {
            // What may come at once has come.
            self.rounds(LIMIT, between, pace, timed);
        }
        self.rounds(packets, between, pace, timed)
    }

    fn rounds(&mut self, packets: usize, between: Between, pace: Pace, timed: Timed) -> f64 {
        let mut took = Duration::ZERO;
        let rounds = packets / (BURSTS * BURST_MAX);
        for _ in 0..rounds {
            for _ in 0..BURSTS {
                let (before, hits) = (self.burst(between), self.burst(Between::Hits));
                self.worker.queues_mut().waiting.extend([before, hits]);
            }
            for _ in 0..BURSTS {
                let others = self.poll();
                let before = self.worker.queues_mut().done.len();
                let hits = self.poll();
                let sent = self.worker.queues_mut().done.len() - before;
                assert_eq!(sent, BURST_MAX, "every whole packet must get through");
                took += if timed == Timed::Hits { hits } else { others };
            }
            self.now += pace.packet() * (2 * BURSTS * BURST_MAX) as u32;
            self.spare.append(&mut self.worker.queues_mut().done);
        }
        took.as_nanos() as f64 / (rounds * BURSTS * BURST_MAX) as f64
    }

    fn poll(&mut self) -> Duration {
        let start = Instant::now();
        self.worker.poll(self.now);
        start.elapsed()
    }
}
