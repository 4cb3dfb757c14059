//! The poll loop around the path: frames in, frames out, and everything counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::counters::WorkerCounters;
use super::lanes::{Source, WorkerId};
use super::mesh::{FrameKind, Handed, Seat};
use super::outbox::Outbox;
use super::survey::Surveyor;
use super::watched::Scene;
use super::{FlowTable, Path};
use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, PortId, Queues};
use crate::snapshot::Reader;
use crate::tick::Tick;

/// A port, as one worker has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerPort {
    /// The port.
    pub port: PortId,
    /// Whether all of a flow's packets come by this worker's queue.
    pub keeps_flows: bool,
    /// Who sends this worker's frames out of the port: itself, where it has a transmit queue.
    pub transmitter: WorkerId,
}

/// What a worker does while nothing arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdlePolicy {
    /// Polls again at once.
    Spin,
    /// Polls again after some `pause` instructions.
    Pause,
    /// Sleeps between polls once nothing has arrived for a while.
    Sleep,
}

/// Pauses between two polls.
const PAUSES: u32 = 32;
/// Empty polls before the first sleep: a pause between two bursts should not put a worker to sleep.
const POLLS_BEFORE_SLEEP: u32 = 1000;
/// What one sleep adds to a packet's way, at most, give or take the timer's slack.
const SLEEP: Duration = Duration::from_micros(50);

/// The sweep goes round the flow table in this time, so that a flow's end is seen soon after its timeout.
const SWEEP_ROUND: Duration = Duration::from_millis(500);
/// Lines swept after an empty poll, at most, so that no packet waits long for the sweep.
const SWEEP_LINES_IDLE: u64 = 512;
/// And after one with packets. At ten million packets a second in full bursts that is a round in half a second
/// for a million and a half flows; of larger tables a round takes longer, while the load lasts.
const SWEEP_LINES_BUSY: u64 = 8;

/// One worker: the path, its queues, and its ends of the rings.
pub struct Worker<Q: Queues> {
    path: Path,
    queues: Q,
    reader: Reader,
    burst: Vec<Q::Frame>,
    out: Outbox<Q::Frame>,
    surveyor: Surveyor,
    swept_at: Duration,
    sweep_debt: u64,
}

impl<Q: Queues> Worker<Q> {
    /// The worker at `seat` of `workers`.
    pub fn new(
        seat: Seat<Q::Frame>,
        workers: usize,
        ports: Vec<WorkerPort>,
        queues: Q,
        reader: Reader,
        flows: FlowTable,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        let path = Path::new(seat.me(), workers, flows, counters.clone());
        let surveyor = seat.surveyor();
        let out = Outbox::new(ports, seat, counters);
        let burst = Vec::with_capacity(BURST_MAX);
        Self { path, queues, reader, burst, out, surveyor, swept_at: Duration::ZERO, sweep_debt: 0 }
    }

    /// Works until `stop` is set.
    pub fn run(&mut self, stop: &AtomicBool, idle: IdlePolicy) {
        let start = Instant::now();
        let mut empty_polls = 0u32;
        while !stop.load(Ordering::Relaxed) {
            if self.poll(start.elapsed()) > 0 {
                empty_polls = 0;
                continue;
            }
            empty_polls = empty_polls.saturating_add(1);
            match idle {
                IdlePolicy::Spin => {}
                IdlePolicy::Pause => (0..PAUSES).for_each(|_| std::hint::spin_loop()),
                IdlePolicy::Sleep if empty_polls > POLLS_BEFORE_SLEEP => std::thread::sleep(SLEEP),
                IdlePolicy::Sleep => std::hint::spin_loop(),
            }
        }
    }

    /// Asks every queue once and takes what comes to its end. Returns how many frames there were. `now`
    /// counts from the start and never goes back.
    pub fn poll(&mut self, now: Duration) -> usize {
        self.reader.refresh();
        let tick = Tick::at(now);
        let mut frames = 0;
        for i in 0..self.out.ports.len() {
            let WorkerPort { port, keeps_flows, .. } = self.out.ports[i];
            let unusable = self.queues.receive(port, &mut self.burst);
            if unusable > 0 {
                self.out.counters.received[port.index()].add(unusable);
                self.out.counters.dropped_many(DropReason::Segmented, unusable);
            }
            if !self.burst.is_empty() {
                frames += self.burst.len();
                self.out.counters.received[port.index()].add(self.burst.len() as u64);
                self.process(Source::Port { port, keeps_flows }, tick);
            }
        }
        frames += self.take_over(tick);
        if self.out.seat.has_originated() {
            self.originate();
        }
        self.out.flush(&mut self.queues, self.reader.current());
        self.out.counters.other.polls.add(1);
        self.out.counters.other.busy_polls.add(u64::from(frames > 0));
        self.sweep(now, tick, frames > 0);
        if self.surveyor.is_asked() {
            self.path.survey(&mut self.surveyor, frames > 0, self.reader.current(), tick);
        }
        frames
    }

    /// Sends frames of the management thread, as many as there is room for, so that none is lost.
    #[cold]
    #[inline(never)]
    fn originate(&mut self) {
        for _ in 0..BURST_MAX {
            let Some(control) = self.out.seat.originated() else { break };
            self.out.originate(&[control], &mut self.queues, self.reader.current());
        }
    }

    /// Frames that other workers have for this one.
    fn take_over(&mut self, tick: Tick) -> usize {
        let mut frames = 0;
        let mut from = None;
        while frames < BURST_MAX {
            let Some(handed) = self.out.seat.take_over() else { break };
            frames += 1;
            // Frames of our own are in no sum of received frames.
            let is_own = matches!(handed, Handed::Transmit(_, FrameKind::Originated, _));
            self.out.counters.other.taken_over.add(u64::from(!is_own));
            match handed {
                Handed::Transmit(port, kind, frame) => self.out.send(port, kind, frame),
                Handed::Process(port, looked, frame) => {
                    let source = Source::Worker { port, looked };
                    // A burst has one source.
                    if let Some(other) = from.replace(source).filter(|other| *other != source) {
                        self.process(other, tick);
                    }
                    self.burst.push(frame);
                }
            }
        }
        if let Some(source) = from {
            self.process(source, tick);
        }
        frames
    }

    fn process(&mut self, source: Source, tick: Tick) {
        self.out.counters.other.bursts.add(1);
        self.process_burst(source, tick);
        if self.path.has_released() {
            self.process_released(tick);
        }
    }

    /// Fragments that waited for the first of their datagram, and wait no longer.
    #[cold]
    fn process_released(&mut self, tick: Tick) {
        while let Some(port) = self.path.take_released(&mut self.out.held, &mut self.burst) {
            self.out.counters.other.held.subtract(self.burst.len() as u64);
            self.process_burst(Source::Held(port), tick);
        }
    }

    fn process_burst(&mut self, source: Source, tick: Tick) {
        let world = self.reader.current();
        if !world.watches.is_empty() {
            return self.process_watched(source, tick);
        }
        let outcomes = self.path.process_burst(&mut self.burst, source, world, tick);
        self.out.dispatch(&mut self.burst, outcomes, source, (&mut self.queues, world));
        self.out.originate(outcomes.originated(), &mut self.queues, world);
        self.out.flush(&mut self.queues, world);
    }

    /// The same, and for those who watch it is written down.
    #[cold]
    fn process_watched(&mut self, source: Source, now: Tick) {
        let Self { path, queues, reader, burst, out, .. } = self;
        let world = reader.current();
        let scene = Scene { world, source, now, at: wall_clock() };
        out.recorder.begin(path, burst, scene);
        path.process_burst(burst, source, world, now);
        let transmitter = |port: PortId| out.ports.get(port.index()).map_or(0, |at| at.transmitter.0);
        out.recorder.decided(path, burst, scene, transmitter);
        out.dispatch(burst, path.outcomes(), source, (queues, world));
        out.originate(path.outcomes().originated(), queues, world);
        out.flush(queues, world);
        out.recorder.commit(world);
    }

    /// A share of the table in proportion to the time that has gone by.
    fn sweep(&mut self, now: Duration, tick: Tick, is_busy: bool) {
        let elapsed = now.saturating_sub(self.swept_at).min(SWEEP_ROUND);
        self.swept_at = now;
        self.sweep_debt += elapsed.as_nanos() as u64 * self.path.lines() as u64;
        let due = self.sweep_debt / SWEEP_ROUND.as_nanos() as u64;
        let lines = due.min(if is_busy { SWEEP_LINES_BUSY } else { SWEEP_LINES_IDLE });
        if lines > 0 {
            // What is left stays due, but for more than a round.
            let left = (due - lines).min(self.path.lines() as u64);
            self.sweep_debt =
                self.sweep_debt % SWEEP_ROUND.as_nanos() as u64 + left * SWEEP_ROUND.as_nanos() as u64;
            let world = self.reader.current();
            let asks = self.path.sweep(lines as usize, world, tick);
            self.out.originate(asks, &mut self.queues, world);
            if self.path.has_released() {
                self.process_released(tick);
            }
        }
    }

    /// Forgets all flows that are over at `now`, however long that takes, and sends what is to be sent on account of it:
    /// for a clock that jumps.
    pub fn sweep_all(&mut self, now: Duration) {
        self.reader.refresh();
        let world = self.reader.current();
        let all = self.path.lines();
        // There is room to send for all flows of so many lines of both tables.
        let slice = if world.tracks || world.resets_flows { SWEEP_LINES_BUSY as usize / 2 } else { all };
        for start in (0..all).step_by(slice) {
            let asks = self.path.sweep(slice.min(all - start), world, Tick::at(now));
            self.out.originate(asks, &mut self.queues, world);
            self.out.flush(&mut self.queues, world);
        }
        loop {
            let (asks, is_all) = self.path.sweep_rest(world, Tick::at(now));
            self.out.originate(asks, &mut self.queues, world);
            self.out.flush(&mut self.queues, world);
            if is_all {
                break;
            }
        }
        self.process_released(Tick::at(now));
    }

    /// The queues, to look at what left by them.
    pub fn queues_mut(&mut self) -> &mut Q {
        &mut self.queues
    }
}

/// Since 1970.
pub(super) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
