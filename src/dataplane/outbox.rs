//! The worker's way out: every frame to where its outcome says, and everything counted.

use std::sync::Arc;

use super::WorkerPort;
use super::counters::WorkerCounters;
use super::cut::{Cut, Cutter};
use super::fragments::PLACES;
use super::lanes::{Outcome, Outcomes, Source, WorkerId};
use super::mesh::{ControlFrame, FrameKind, Handed, Seat};
use super::watched::Recorder;
use super::worker::wall_clock;
use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, Frame, PortId, Queues};
use crate::snapshot::Snapshot;

/// Frames on their way out, and the counting of all of them.
pub(super) struct Outbox<F> {
    /// By position in `ports`, then by `FrameKind`.
    buffers: Vec<[Vec<F>; 3]>,
    pub(super) ports: Vec<WorkerPort>,
    pub(super) seat: Seat<F>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) recorder: Recorder,
    /// Fragments that wait for the first of their datagram, by their places.
    pub(super) held: Box<[Option<F>]>,
    cutter: Cutter<F>,
}

impl<F: Frame> Outbox<F> {
    pub(super) fn new(ports: Vec<WorkerPort>, seat: Seat<F>, counters: Arc<WorkerCounters>) -> Self {
        let buffers = ports.iter().map(|_| std::array::from_fn(|_| Vec::with_capacity(2 * BURST_MAX)));
        let recorder = Recorder::new(seat.me().0);
        let held = (0..PLACES).map(|_| None).collect();
        Self { buffers: buffers.collect(), ports, seat, counters, recorder, held, cutter: Cutter::default() }
    }

    /// Sends every frame of `burst` to where its outcome says.
    pub(super) fn dispatch<Q: Queues<Frame = F>>(
        &mut self,
        burst: &mut Vec<F>,
        outcomes: &Outcomes,
        source: Source,
        (queues, world): (&mut Q, &Snapshot),
    ) {
        if let Some(port) = outcomes.all_forwarded_to()
            && self.send_all(port, burst)
        {
            return;
        }
        for (frame, outcome) in burst.drain(..).zip(outcomes.by_lane()) {
            match outcome {
                Outcome::Forward(port) => self.send(port, FrameKind::Forwarded, frame),
                Outcome::Answer(port) => self.send(port, FrameKind::Answer, frame),
                Outcome::Control => self.counters.other.controlled.add(1),
                Outcome::HandUp if self.seat.hand_up(source.port(), frame.bytes()) => {
                    self.counters.other.controlled.add(1);
                }
                Outcome::HandUp => self.drop_frame(&frame, DropReason::ControlFull),
                Outcome::HandOver(worker) => {
                    self.hand_over(worker, Handed::Process(source.port(), u8::MAX, frame));
                }
                Outcome::Ask(worker) => {
                    let looked = source.looked().saturating_add(1);
                    self.hand_over(worker, Handed::Process(source.port(), looked, frame));
                }
                Outcome::Hold(place) => self.hold(place, frame),
                Outcome::ForwardInParts(index) => {
                    if let Some(cut) = outcomes.cut_at(index) {
                        self.send_in_parts(frame, cut, queues, world);
                    }
                }
                Outcome::Drop(reason) => self.counters.dropped(reason),
            }
        }
        outcomes.events().iter().for_each(|event| self.seat.tell(*event));
    }

    #[cold]
    fn hold(&mut self, place: u16, frame: F) {
        if let Some(place) = self.held.get_mut(usize::from(place)) {
            *place = Some(frame);
            self.counters.other.held.add(1);
        }
    }

    /// The first part takes the packet's place in the sums; the others are frames of our own.
    #[cold]
    fn send_in_parts<Q: Queues<Frame = F>>(
        &mut self,
        mut frame: F,
        cut: &Cut,
        queues: &mut Q,
        world: &Snapshot,
    ) {
        match self.cutter.cut(&mut frame, cut, queues, world) {
            Ok(others) => {
                self.counters.parts.packets.add(1);
                self.counters.parts.made.add(1 + others as u64);
                self.send(cut.port, FrameKind::Forwarded, frame);
                while let Some(part) = self.cutter.next() {
                    if !self.has_room(cut.port, FrameKind::Originated) {
                        self.flush(queues, world);
                    }
                    self.send(cut.port, FrameKind::Originated, part);
                }
                // Nothing that came behind it leaves between its parts.
                self.flush(queues, world);
            }
            Err(reason) => self.drop_frame(&frame, reason),
        }
    }

    /// Whether another frame can be buffered.
    fn has_room(&self, port: PortId, kind: FrameKind) -> bool {
        let buffer = self.buffers.get(port.index()).and_then(|b| b.get(kind as usize));
        buffer.is_some_and(|buffer| buffer.len() < buffer.capacity())
    }

    /// Buffers a whole burst, where this worker can and there is room for it.
    #[inline]
    fn send_all(&mut self, port: PortId, burst: &mut Vec<F>) -> bool {
        let is_mine = self.ports.get(port.index()).is_some_and(|at| at.transmitter == self.seat.me());
        let buffer =
            self.buffers.get_mut(port.index()).and_then(|b| b.get_mut(FrameKind::Forwarded as usize));
        match buffer {
            Some(buffer) if is_mine && buffer.capacity() - buffer.len() >= burst.len() => {
                buffer.append(burst);
                true
            }
            _ => false,
        }
    }

    /// Buffers the frame, or gives it to the worker that can send it.
    #[inline]
    pub(super) fn send(&mut self, port: PortId, kind: FrameKind, frame: F) {
        let Some(at) = self.ports.get(port.index()) else {
            self.drop_frame(&frame, DropReason::NoRoute);
            return;
        };
        if at.transmitter != self.seat.me() {
            let handed = Handed::Transmit(port, kind, frame);
            if kind == FrameKind::Originated {
                // One that finds no room is lost, as on the wire; it is in no sum of received frames.
                let _ = self.seat.hand_over(at.transmitter, handed);
            } else {
                self.hand_over(at.transmitter, handed);
            }
        } else if let Some(buffer) = self.buffers.get_mut(port.index()).and_then(|b| b.get_mut(kind as usize))
        {
            if buffer.len() < buffer.capacity() {
                buffer.push(frame);
            } else if kind != FrameKind::Originated {
                self.drop_frame(&frame, DropReason::TransmitFull);
            }
        }
    }

    /// Sends frames that nobody has sent us. One for which there is no memory is lost, as on the wire.
    #[inline]
    pub(super) fn originate<Q: Queues<Frame = F>>(
        &mut self,
        frames: &[ControlFrame],
        queues: &mut Q,
        world: &Snapshot,
    ) {
        for control in frames {
            if let Some(frame) = queues.new_frame(control.bytes()) {
                if !world.watches.is_empty() {
                    self.recorder.originated(control, wall_clock(), world);
                }
                self.send(control.port, FrameKind::Originated, frame);
            }
        }
    }

    fn hand_over(&mut self, to: WorkerId, handed: Handed<F>) {
        match self.seat.hand_over(to, handed) {
            Ok(()) => self.counters.other.handed_over.add(1),
            Err(Handed::Process(_, _, frame) | Handed::Transmit(_, _, frame)) => {
                self.drop_frame(&frame, DropReason::HandoverFull);
            }
        }
    }

    #[cold]
    fn drop_frame(&mut self, frame: &F, reason: DropReason) {
        self.counters.dropped(reason);
        self.recorder.lost(frame, reason);
    }

    /// Transmits what is buffered. What a queue does not take is dropped: to wait for it would hold up
    /// everything else.
    pub(super) fn flush<Q: Queues<Frame = F>>(&mut self, queues: &mut Q, world: &Snapshot) {
        for (buffers, at) in self.buffers.iter_mut().zip(&self.ports) {
            for (kind, buffer) in buffers.iter_mut().enumerate() {
                if buffer.is_empty() {
                    continue;
                }
                let before = buffer.len();
                queues.transmit(at.port, buffer);
                let sent = (before - buffer.len()) as u64;
                match kind {
                    0 => self.counters.transmitted[at.port.index()].add(sent),
                    1 => self.counters.other.answered.add(sent),
                    _ => self.counters.other.originated.add(sent),
                }
                if !buffer.is_empty() {
                    // Frames of our own are in no sum of received frames.
                    if kind < 2 {
                        self.counters.dropped_many(DropReason::TransmitFull, buffer.len() as u64);
                        if !world.watches.is_empty() {
                            self.recorder.refused(buffer, at.port, wall_clock(), world);
                        }
                    }
                    buffer.clear();
                }
            }
        }
    }
}
