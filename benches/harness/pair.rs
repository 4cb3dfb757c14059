//! Two workers, each on a CPU of its own: how many packets both move together, against one of them alone.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;

use super::traffic::Packet;
use super::walker::Bench;
use super::world::Random;

/// Packets of a worker in a window: some milliseconds, in which nothing else runs on its CPU.
const PACKETS: usize = 1 << 17;
/// Windows of each kind in a run, in turns, and the rest that the machine has between two of them.
const WINDOWS: usize = 6;
const REST: Duration = Duration::from_millis(10);
/// Longer than any pass: the other worker is gone, and nobody may wait for it at real-time priority.
const GONE: Duration = Duration::from_millis(500);

/// Where workers wait for each other, without letting go of their CPUs.
struct Gate {
    parties: usize,
    arrived: AtomicUsize,
}

impl Gate {
    /// Returns when all have come for the `nth` time, counted from 1.
    fn pass(&self, nth: usize) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let start = Instant::now();
        while self.arrived.load(Ordering::Acquire) < nth * self.parties {
            assert!(start.elapsed() < GONE, "the other worker is gone");
            std::hint::spin_loop();
        }
    }
}

/// Two workers that sleep until they are told to work.
pub struct Pair {
    workers: [(Sender<Arc<Gate>>, Receiver<f64>); 2],
}

impl Pair {
    /// With so many established flows each, on these CPUs.
    pub fn new(ring: usize, flows: u32, cpus: [CoreId; 2]) -> Self {
        let benches = Bench::pair_with_flows(ring, flows);
        let mut first = 0;
        let workers = benches.into_iter().zip(cpus).map(|(bench, cpu)| {
            let own = first..first + flows;
            first += flows;
            start(bench, ring, own, cpu)
        });
        let workers: Vec<_> = workers.collect();
        Self { workers: workers.try_into().unwrap_or_else(|_| panic!("there are two workers")) }
    }

    /// The best window of both, in packets a second, against the best window of the faster one alone.
    pub fn ratio(&self) -> f64 {
        let (mut alone, mut together) = (0f64, 0f64);
        for _ in 0..WINDOWS {
            for worker in &self.workers {
                alone = alone.max(window(&[worker]));
            }
            together = together.max(window(&self.workers.each_ref()));
        }
        together / alone
    }
}

/// Packets a nanosecond, of these together.
fn window(workers: &[&(Sender<Arc<Gate>>, Receiver<f64>)]) -> f64 {
    thread::sleep(REST);
    let gate = Arc::new(Gate { parties: workers.len(), arrived: AtomicUsize::new(0) });
    for (orders, _) in workers {
        orders.send(gate.clone()).unwrap();
    }
    workers.iter().map(|(_, rates)| rates.recv().unwrap()).sum()
}

/// A thread that walks a window of packets for each gate it is sent, and answers with its rate.
///
/// It comes to the gate before each pass, so that both are timed in the same moments: to fill frames is not timed.
fn start(
    mut bench: Bench,
    ring: usize,
    flows: Range<u32>,
    cpu: CoreId,
) -> (Sender<Arc<Gate>>, Receiver<f64>) {
    let (orders, inbox) = channel::<Arc<Gate>>();
    let (outbox, rates) = channel();
    thread::spawn(move || {
        assert!(core_affinity::set_for_current(cpu), "cannot pin a thread to CPU {}", cpu.id);
        let (first, len) = (flows.start, flows.end - flows.start);
        for gate in inbox {
            let passes = PACKETS / ring;
            let mut took = Duration::ZERO;
            for nth in 1..=passes {
                let next = |random: &mut Random| (first + random.below(len), Packet::Established);
                took += bench.pass(ring, next, || gate.pass(nth));
            }
            let rate = (passes * ring) as f64 / took.as_nanos() as f64;
            if outbox.send(rate).is_err() {
                break;
            }
        }
    });
    (orders, rates)
}
