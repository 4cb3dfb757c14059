//! The burst at hand: a lane for each frame, and what the stages have found out about it.

use std::net::Ipv4Addr;

use super::worker::WorkerId;
use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, PortId};
use crate::packet::{FlowKey, Packet, Parsed};
use crate::snapshot::{BackendId, FrontendId};
use crate::wire::MacAddr;

/// Where the frames of a burst come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// From a port; the flag says whether all of a flow's packets come by this queue.
    Port {
        /// The port.
        port: PortId,
        /// Whether the port's queues keep flows together (RSS, or a single queue and a single worker).
        keeps_flows: bool,
    },
    /// From another worker that found them to be ours; they came in by this port.
    Worker(PortId),
}

impl Source {
    /// The port the frames came in by.
    #[inline]
    pub fn port(self) -> PortId {
        match self {
            Self::Port { port, .. } | Self::Worker(port) => port,
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Forwarded out of a port.
    Forward(PortId),
    /// Turned into an answer, which leaves by a port.
    Answer(PortId),
    /// Looked at for the management thread, which has been told what it says.
    Control,
    /// For another worker, which holds the flow.
    HandOver(WorkerId),
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
        address: Ipv4Addr,
        /// Its Ethernet address.
        mac: MacAddr,
        /// Whether it answered, rather than asked.
        is_reply: bool,
    },
    /// A packet was dropped because this neighbour's Ethernet address is unknown.
    Wanted {
        /// The port that leads to it.
        port: PortId,
        /// Its address.
        address: Ipv4Addr,
    },
}

/// Events of one burst, at most; more of the same will come with the next.
pub(super) const EVENTS_MAX: usize = 8;

/// What classification made of a lane.
#[derive(Clone, Copy)]
pub(super) enum Class {
    /// Its outcome stands.
    Decided,
    /// Its headers are sound, and nobody has looked at them yet.
    Parsed,
    /// A client's packet to a frontend: an entry in `clients`.
    Client,
    /// A backend's packet to a client.
    Response(BackendId),
    /// An ICMP message to an address of ours.
    Icmp,
    /// ARP.
    Arp,
}

/// One client's packet on its way through the stages.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) lane: u8,
    pub(super) frontend: FrontendId,
    pub(super) key: FlowKey,
    pub(super) backend: Option<BackendId>,
}

/// The burst at hand. Made once a worker, used for every burst.
pub struct Lanes {
    pub(super) len: usize,
    pub(super) parsed: [Parsed; BURST_MAX],
    pub(super) class: [Class; BURST_MAX],
    pub(super) outcome: [Outcome; BURST_MAX],
    /// Clients' packets, close together: `hashes[i]` belongs to `clients[i]`.
    pub(super) clients: Vec<Client>,
    pub(super) hashes: Vec<u64>,
    /// Positions in `clients` that the first line of the table did not settle.
    pub(super) misses: Vec<u8>,
    pub(super) events: Vec<Event>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            len: 0,
            parsed: [Parsed::Arp; BURST_MAX],
            class: [Class::Decided; BURST_MAX],
            outcome: [Outcome::Control; BURST_MAX],
            clients: Vec::with_capacity(BURST_MAX),
            hashes: Vec::with_capacity(BURST_MAX),
            misses: Vec::with_capacity(BURST_MAX),
            events: Vec::with_capacity(EVENTS_MAX),
        }
    }
}

impl Lanes {
    /// Forgets the last burst. `len` is the next one's, at most `BURST_MAX`.
    pub(super) fn begin(&mut self, len: usize) {
        debug_assert!(len <= BURST_MAX, "a burst is never longer than its lanes");
        self.len = len.min(BURST_MAX);
        self.clients.clear();
        self.hashes.clear();
        self.misses.clear();
        self.events.clear();
    }

    /// What becomes of each frame, in their order.
    pub fn outcomes(&self) -> &[Outcome] {
        self.outcome.get(..self.len).unwrap_or_default()
    }

    /// What the management thread should know.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The packet of a lane that classification has found to be TCP or UDP.
    #[inline]
    pub(super) fn packet(&self, lane: usize) -> Option<&Packet> {
        match self.parsed.get(lane) {
            Some(Parsed::Transport(packet)) => Some(packet),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn decide(&mut self, lane: usize, outcome: Outcome) {
        if let (Some(o), Some(c)) = (self.outcome.get_mut(lane), self.class.get_mut(lane)) {
            *o = outcome;
            *c = Class::Decided;
        }
    }

    /// Remembers an event while there is room.
    pub(super) fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }
}
