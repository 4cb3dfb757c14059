//! The burst at hand: a lane for each frame, and what the stages have found out about it.

use std::net::Ipv4Addr;

use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, PortId};
use crate::packet::{FlowKey, Ipv4Packet};
use crate::snapshot::{BackendId, FrontendId};
use crate::wire::MacAddr;
use crate::wire::l4::TcpFlags;

/// A worker: its position, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub u8);

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

/// Neighbours wanted in one burst, at most; the others will be with the next.
const WANTED_MAX: usize = 4;
/// Events of one burst, at most: each frame can show a neighbour.
const EVENTS_MAX: usize = BURST_MAX + WANTED_MAX;

/// The position of a frame in its burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lane(u8);

impl Lane {
    /// The lane as an index of something whose length is checked.
    #[inline(always)]
    pub(super) fn as_usize(self) -> usize {
        usize::from(self.0)
    }

    /// The lane as an index, which the compiler can see to be in range.
    #[inline(always)]
    pub(super) fn index(self) -> usize {
        usize::from(self.0) & (BURST_MAX - 1)
    }
}

const _: () = assert!(BURST_MAX.is_power_of_two() && BURST_MAX <= 256, "lanes are masked, and fit a byte");

/// A list of at most one entry a lane, without the checks that a vector's growth needs.
pub(super) struct List<T> {
    len: usize,
    entries: [T; BURST_MAX],
}

impl<T: Copy + Default> Default for List<T> {
    fn default() -> Self {
        Self { len: 0, entries: [T::default(); BURST_MAX] }
    }
}

impl<T: Copy> List<T> {
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends; a burst has no more entries than there is room for.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: T) {
        self.entries[self.len & (BURST_MAX - 1)] = entry;
        self.len += 1;
    }

    #[inline(always)]
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    #[inline(always)]
    pub(super) fn as_slice(&self) -> &[T] {
        self.entries.get(..self.len).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        self.entries.get_mut(..self.len).unwrap_or_default()
    }
}

/// One client's packet on its way through the stages. What else is to be known stands in the frame.
#[derive(Clone, Copy, Default)]
pub(super) struct Client {
    pub(super) key: FlowKey,
    /// `BackendId::NONE` until it is chosen.
    pub(super) backend: BackendId,
    pub(super) frontend: FrontendId,
    pub(super) lane: Lane,
    /// All clear for UDP, and for no sound TCP packet.
    pub(super) tcp_flags: TcpFlags,
}

impl Client {
    #[inline(always)]
    pub(super) fn is_udp(&self) -> bool {
        self.tcp_flags == TcpFlags::default()
    }
}

/// One backend's packet to a client.
#[derive(Clone, Copy, Default)]
pub(super) struct Response {
    pub(super) backend: BackendId,
    pub(super) lane: Lane,
}

/// The burst at hand. Made once a worker, used for every burst.
#[derive(Default)]
pub(super) struct Lanes {
    /// `hashes` belongs to `clients`, entry by entry: what will be hashed at first, the hash later.
    pub(super) clients: List<Client>,
    pub(super) hashes: List<u64>,
    pub(super) responses: List<Response>,
    /// Positions in `clients` that the first line of the table did not settle.
    pub(super) misses: List<u8>,
    /// Frames for us.
    pub(super) ours: List<(Lane, Ours)>,
    pub(super) outcomes: Outcomes,
}

/// What becomes of the frames of a burst.
pub struct Outcomes {
    len: usize,
    by_lane: [Outcome; BURST_MAX],
    forwarded: usize,
    /// A bit for each port that frames are forwarded to.
    forwarded_to: u32,
    events: Vec<Event>,
    wanted: usize,
}

/// A frame that we answer ourselves.
#[derive(Clone, Copy, Default)]
pub(super) enum Ours {
    /// ARP.
    #[default]
    Arp,
    /// An ICMP message to an address of ours.
    Icmp(Ipv4Packet),
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            len: 0,
            by_lane: [Outcome::Control; BURST_MAX],
            forwarded: 0,
            forwarded_to: 0,
            events: Vec::with_capacity(EVENTS_MAX),
            wanted: 0,
        }
    }
}

impl Lanes {
    /// Forgets the last burst. `len` is the next one's, at most `BURST_MAX`.
    pub(super) fn begin(&mut self, len: usize) {
        debug_assert!(len <= BURST_MAX, "a burst is never longer than its lanes");
        self.clients.clear();
        self.hashes.clear();
        self.responses.clear();
        self.misses.clear();
        self.ours.clear();
        self.outcomes.len = len.min(BURST_MAX);
        // A frame that no stage decided on would be an error of ours; it must not leave.
        self.outcomes.by_lane.fill(Outcome::Drop(DropReason::NotOurs));
        self.outcomes.wanted = 0;
        self.outcomes.forwarded = 0;
        self.outcomes.forwarded_to = 0;
        self.outcomes.events.clear();
    }

    /// The frames of the burst with their lanes, in order.
    #[inline(always)]
    pub(super) fn numbered<F>(burst: &[F]) -> impl Iterator<Item = (Lane, &F)> {
        (0u8..BURST_MAX as u8).map(Lane).zip(burst)
    }
}

impl Outcomes {
    /// What becomes of each frame, in their order.
    pub fn by_lane(&self) -> &[Outcome] {
        self.by_lane.get(..self.len).unwrap_or_default()
    }

    /// The port that all frames of the burst leave by, if that is what becomes of them.
    pub fn all_forwarded_to(&self) -> Option<PortId> {
        let is_one = self.forwarded == self.len && self.forwarded_to.is_power_of_two();
        is_one.then(|| PortId(self.forwarded_to.trailing_zeros() as u8))
    }

    /// What the management thread should know.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    #[inline(always)]
    pub(super) fn decide(&mut self, lane: Lane, outcome: Outcome) {
        self.by_lane[lane.index()] = outcome;
    }

    /// `port_bit` is the bit of `port`, which the caller has ready.
    #[inline(always)]
    pub(super) fn forward(&mut self, lane: Lane, port: PortId, port_bit: u32) {
        self.by_lane[lane.index()] = Outcome::Forward(port);
        self.forwarded += 1;
        self.forwarded_to |= port_bit;
    }

    /// Remembers what a neighbour has shown.
    pub(super) fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// Remembers that a neighbour is wanted: each once, and a few only, for thousands of packets can want
    /// the same.
    pub(super) fn want(&mut self, port: PortId, address: Ipv4Addr) {
        let event = Event::Wanted { port, address };
        if self.wanted < WANTED_MAX && !self.events.contains(&event) {
            self.wanted += 1;
            self.tell(event);
        }
    }
}
