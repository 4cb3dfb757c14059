//! What becomes of the frames of a burst, and what else is to be said and sent on account of them.

use std::net::IpAddr;

use super::cut::Cut;
use super::lanes::{Lane, LaneSet, WorkerId};
use super::mesh::ControlFrame;
use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, PortId};
use crate::snapshot::{Local, Snapshot};
use crate::wire::MacAddr;

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Forwarded out of a port.
    Forward(PortId),
    /// Turned into an answer, which leaves by a port.
    Answer(PortId),
    /// Looked at for the management thread, which has been told what it says.
    Control,
    /// For the management thread, whole.
    HandUp,
    /// For another worker, which holds the flow.
    HandOver(WorkerId),
    /// For the next worker, which may hold the flow that an ICMP error is about.
    Ask(WorkerId),
    /// Kept at this place until the first fragment of its datagram comes.
    Hold(u16),
    /// Forwarded in parts; the number counts `Outcomes::cuts`.
    ForwardInParts(u8),
    /// Not sent on.
    Drop(DropReason),
}

/// What the path tells the management thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A neighbour has shown its Ethernet address, by a request to us or an answer.
    Neighbour {
        /// The port it is at.
        port: PortId,
        /// Its address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: MacAddr,
        /// Whether it answered, rather than asked.
        is_reply: bool,
    },
    /// Another station claims an address of a port of ours, or asks whether it may have it.
    Conflict {
        /// The port.
        port: PortId,
        /// Its address.
        address: IpAddr,
        /// The other station.
        mac: MacAddr,
    },
    /// A packet was dropped because this neighbour's Ethernet address is unknown.
    Wanted {
        /// The port that leads to it.
        port: PortId,
        /// Its address.
        address: IpAddr,
    },
}

/// Neighbours wanted in one burst, at most; the others will be with the next.
const WANTED_MAX: usize = 4;
/// Frames that a burst or a sweep can have sent besides: one for each frame, or thirty-two questions to both ends.
const ORIGINATED_MAX: usize = BURST_MAX;
/// Events of one burst, at most: each frame can show a neighbour.
const EVENTS_MAX: usize = BURST_MAX + WANTED_MAX;

/// What becomes of the frames of a burst.
pub struct Outcomes {
    len: usize,
    /// Frames that are forwarded, to the ports of `ports`.
    forwarded: LaneSet,
    ports: [PortId; BURST_MAX],
    /// Of all others.
    others: [Outcome; BURST_MAX],
    /// Packets that were dropped for a reason that their senders may be told.
    refused: LaneSet,
    /// Packets that leave in parts.
    cuts: Vec<Cut>,
    events: Vec<Event>,
    wanted: usize,
    originated: Vec<ControlFrame>,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            len: 0,
            forwarded: LaneSet::default(),
            ports: [PortId(0); BURST_MAX],
            others: [Outcome::Control; BURST_MAX],
            refused: LaneSet::default(),
            cuts: Vec::with_capacity(BURST_MAX),
            events: Vec::with_capacity(EVENTS_MAX),
            wanted: 0,
            originated: Vec::with_capacity(ORIGINATED_MAX),
        }
    }
}

impl Outcomes {
    /// Forgets the last burst.
    #[inline(always)]
    pub(super) fn begin(&mut self, len: usize) {
        self.originated.clear();
        self.len = len.min(BURST_MAX);
        // A frame that no stage decided on would be an error of ours; it must not leave.
        self.others.fill(Outcome::Drop(DropReason::NotOurs));
        self.wanted = 0;
        self.forwarded = LaneSet::default();
        self.refused = LaneSet::default();
        self.events.clear();
        self.cuts.clear();
    }

    /// What becomes of each frame, in their order.
    pub fn by_lane(&self) -> impl Iterator<Item = Outcome> {
        (0..self.len.min(BURST_MAX)).map(|i| {
            let is_forwarded = self.forwarded.has(Lane::new(i));
            if is_forwarded { Outcome::Forward(self.ports[i]) } else { self.others[i] }
        })
    }

    /// The port that all frames of the burst leave by, if that is what becomes of them.
    pub fn all_forwarded_to(&self) -> Option<PortId> {
        let ports = self.ports.get(..self.len)?;
        let first = *ports.first()?;
        // All are compared, side by side, which is faster than to stop at the first that differs.
        let is_one = ports.iter().fold(true, |is_one, port| is_one & (*port == first));
        (is_one && self.forwarded == LaneSet::first(self.len)).then_some(first)
    }

    /// What the management thread should know.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Frames to be sent besides.
    pub fn originated(&self) -> &[ControlFrame] {
        &self.originated
    }

    /// For a sweep, which has no lanes.
    pub(super) fn forget_originated(&mut self) {
        self.originated.clear();
    }

    /// Whether so many more can be sent.
    pub(super) fn has_room(&self, frames: usize) -> bool {
        self.originated.len() + frames <= ORIGINATED_MAX
    }

    /// Has a frame sent besides. Whether there was room, and the frame is not too long.
    pub(super) fn originate(&mut self, port: PortId, frame: &[u8]) -> bool {
        let frame = ControlFrame::new(port, frame).filter(|_| self.has_room(1));
        self.originated.extend(frame);
        frame.is_some()
    }

    #[inline(always)]
    pub(super) fn decide(&mut self, lane: Lane, outcome: Outcome) {
        self.others[lane.index()] = outcome;
    }

    /// Drops a packet whose sender may be told why.
    pub(super) fn drop_aloud(&mut self, lane: Lane, reason: DropReason) {
        self.refused.insert(lane);
        self.decide(lane, Outcome::Drop(reason));
    }

    /// The packets that were dropped so.
    #[inline(always)]
    pub(super) fn refused(&self) -> LaneSet {
        self.refused
    }

    /// Forwards a packet in parts.
    pub(super) fn cut(&mut self, lane: Lane, cut: Cut) {
        if self.cuts.len() < BURST_MAX {
            self.decide(lane, Outcome::ForwardInParts(self.cuts.len() as u8));
            self.cuts.push(cut);
        }
    }

    /// How a packet leaves that does so in parts.
    pub(super) fn cut_at(&self, index: u8) -> Option<&Cut> {
        self.cuts.get(usize::from(index))
    }

    /// Whether the frame is forwarded.
    pub(super) fn is_forwarded(&self, lane: Lane) -> bool {
        self.forwarded.has(lane)
    }

    /// What becomes of the frame, unless it is forwarded.
    pub(super) fn decided(&self, lane: Lane) -> Outcome {
        self.others[lane.index()]
    }

    /// Where the frame leaves if it is forwarded; [`Self::forward_all`] makes it so.
    #[inline(always)]
    pub(super) fn set_port(&mut self, lane: Lane, port: PortId) {
        self.ports[lane.index()] = port;
    }

    /// Forwards the frames to the ports that have been set.
    #[inline(always)]
    pub(super) fn forward_all(&mut self, lanes: LaneSet) {
        self.forwarded = self.forwarded.with(lanes);
    }

    /// Remembers what a neighbour has shown.
    pub(super) fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// Remembers who claims an own address of `port`. A frontend's may be another node's as well, and frames of our own
    /// may come back to us.
    #[cold]
    pub(super) fn tell_conflict(&mut self, port: PortId, address: IpAddr, mac: MacAddr, world: &Snapshot) {
        let is_own = world.local_at(address) == Some(Local::Port(port));
        if is_own && world.port(port).is_some_and(|link| link.mac != mac) {
            self.tell(Event::Conflict { port, address, mac });
        }
    }

    /// Remembers that a neighbour is wanted: each once, and a few only, for thousands of packets can want
    /// the same.
    pub(super) fn want(&mut self, port: PortId, address: IpAddr) {
        let event = Event::Wanted { port, address };
        if self.wanted < WANTED_MAX && !self.events.contains(&event) {
            self.wanted += 1;
            self.tell(event);
        }
    }
}
