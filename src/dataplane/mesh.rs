//! The rings between threads: worker to worker, worker to management, management to worker.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::lanes::{Event, WorkerId};
use super::survey::{Surveyor, Surveys};
use crate::io::PortId;

/// Frames that wait for one worker, at most: a few milliseconds of what a worker can do in software spread.
const INBOX_LEN: usize = 4096;

/// Neighbours that have shown themselves, at most: what is lost comes again a second later.
const SHOWN_LEN: usize = 4096;

/// Neighbours that are wanted, at most. A ring of their own, so that a flood of packets that cannot be sent
/// does not keep the answer out for which they wait.
const WANTED_LEN: usize = 256;

/// Answers to probes that wait for the management thread, at most: what it takes within a millisecond or two, and more
/// than its connections can have on their way.
const ANSWERS_LEN: usize = 1024;

/// Frames of the management thread that wait to be sent, at most.
const ORIGINATED_LEN: usize = 1024;

/// A frame from one worker to another.
pub(super) enum Handed<F> {
    /// The receiver owns the flow, or may. The frame came in by this port; so many have looked, as
    /// [`Source`](super::Source) has it.
    Process(PortId, u8, F),
    /// The receiver owns a transmit queue of this port.
    Transmit(PortId, FrameKind, F),
}

/// Why a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameKind {
    /// It was forwarded.
    Forwarded = 0,
    /// It answers another.
    Answer = 1,
    /// The management thread made it.
    Originated = 2,
}

/// A frame of the management thread's, sent or received: bytes by value, so that no worker makes or frees memory.
#[derive(Clone, Copy)]
pub struct ControlFrame {
    /// Where it leaves, or came in.
    pub port: PortId,
    len: u16,
    bytes: [u8; Self::LEN_MAX],
}

impl ControlFrame {
    /// The longest IP packet in one.
    pub const PACKET_MAX: usize = 1500;

    /// The longest there is: Ethernet's header, and that.
    pub const LEN_MAX: usize = 14 + Self::PACKET_MAX;

    /// `None` when `bytes` are too many.
    pub fn new(port: PortId, bytes: &[u8]) -> Option<Self> {
        let mut frame = Self { port, len: bytes.len().try_into().ok()?, bytes: [0; Self::LEN_MAX] };
        frame.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }

    /// The whole frame.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

/// All rings. Each worker has an end of its own, a [`Seat`].
pub struct Mesh<F> {
    inboxes: Arc<[ArrayQueue<Handed<F>>]>,
    events: Arc<Events>,
    originated: Arc<ArrayQueue<ControlFrame>>,
    surveys: Surveys,
}

/// What workers tell the management thread.
pub struct Events {
    shown: ArrayQueue<Event>,
    wanted: ArrayQueue<Event>,
    answers: ArrayQueue<ControlFrame>,
}

impl Events {
    fn new() -> Self {
        Self {
            shown: ArrayQueue::new(SHOWN_LEN),
            wanted: ArrayQueue::new(WANTED_LEN),
            answers: ArrayQueue::new(ANSWERS_LEN),
        }
    }

    /// Adds an event; a full ring means that the management thread knows more than it can handle already.
    pub fn push(&self, event: Event) {
        let ring = match event {
            Event::Neighbour { .. } | Event::Conflict { .. } => &self.shown,
            Event::Wanted { .. } => &self.wanted,
        };
        let _ = ring.push(event);
    }

    /// Takes what waits, and no more than can wait at once, however fast it comes.
    pub fn drain(&self) -> impl Iterator<Item = Event> {
        let shown = std::iter::from_fn(|| self.shown.pop()).take(SHOWN_LEN);
        shown.chain(std::iter::from_fn(|| self.wanted.pop()).take(WANTED_LEN))
    }

    /// Hands up a frame that may answer a probe; false where there is no room for it.
    pub fn push_answer(&self, port: PortId, bytes: &[u8]) -> bool {
        // Padding of the driver's beyond what a frame can hold is no part of the packet.
        let bytes = bytes.get(..ControlFrame::LEN_MAX).unwrap_or(bytes);
        ControlFrame::new(port, bytes).is_some_and(|frame| self.answers.push(frame).is_ok())
    }

    /// Takes the answers that wait, and no more than can wait at once.
    pub fn take_answers(&self) -> impl Iterator<Item = ControlFrame> {
        std::iter::from_fn(|| self.answers.pop()).take(ANSWERS_LEN)
    }
}

/// A worker's end of the rings.
pub struct Seat<F> {
    me: WorkerId,
    inboxes: Arc<[ArrayQueue<Handed<F>>]>,
    events: Arc<Events>,
    originated: Arc<ArrayQueue<ControlFrame>>,
    surveys: Surveys,
}

impl<F> Mesh<F> {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            inboxes: (0..workers).map(|_| ArrayQueue::new(INBOX_LEN)).collect(),
            events: Arc::new(Events::new()),
            originated: Arc::new(ArrayQueue::new(ORIGINATED_LEN)),
            surveys: Surveys::new(workers),
        }
    }

    /// The end of worker `me`.
    pub fn seat(&self, me: WorkerId) -> Seat<F> {
        let Self { inboxes, events, originated, surveys } = self;
        let (inboxes, surveys) = (inboxes.clone(), surveys.clone());
        Seat { me, inboxes, events: events.clone(), originated: originated.clone(), surveys }
    }

    /// What the workers have told.
    pub fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Where the management thread puts frames to be sent.
    pub fn originated(&self) -> Arc<ArrayQueue<ControlFrame>> {
        self.originated.clone()
    }

    /// Where the management thread asks for flows.
    pub fn surveys(&self) -> Surveys {
        self.surveys.clone()
    }

    /// Whether any worker has frames of another to look at.
    pub fn is_busy(&self) -> bool {
        self.inboxes.iter().any(|inbox| !inbox.is_empty())
    }
}

impl<F> Seat<F> {
    pub(super) fn me(&self) -> WorkerId {
        self.me
    }

    /// Gives `handed` back where there is no room.
    pub(super) fn hand_over(&self, to: WorkerId, handed: Handed<F>) -> Result<(), Handed<F>> {
        match self.inboxes.get(usize::from(to.0)) {
            Some(inbox) => inbox.push(handed),
            None => Err(handed),
        }
    }

    #[inline]
    pub(super) fn take_over(&self) -> Option<Handed<F>> {
        // A single worker has nobody to take from, and is spared the look.
        if self.inboxes.len() == 1 {
            return None;
        }
        self.inboxes.get(usize::from(self.me.0))?.pop()
    }

    /// Whether the management thread has frames to be sent; the first worker sends them all.
    #[inline]
    pub(super) fn has_originated(&self) -> bool {
        self.me.0 == 0 && !self.originated.is_empty()
    }

    pub(super) fn originated(&self) -> Option<ControlFrame> {
        self.originated.pop()
    }

    #[cold]
    pub(super) fn hand_up(&self, port: PortId, bytes: &[u8]) -> bool {
        self.events.push_answer(port, bytes)
    }

    pub(super) fn surveyor(&self) -> Surveyor {
        Surveyor::new(self.surveys.clone(), self.me)
    }

    pub(super) fn tell(&self, event: Event) {
        self.events.push(event);
    }
}
