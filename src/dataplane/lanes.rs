//! The burst at hand: a lane for each frame, and what the stages have found out about it.

use std::net::Ipv4Addr;

use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, PortId};
use crate::packet::{FlowKey, Ipv4Packet};
use crate::snapshot::BackendId;
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
    pub(super) fn as_slice(&self) -> &[T] {
        self.entries.get(..self.len).unwrap_or_default()
    }
}

/// One client's packet on its way through the stages. What else is to be known stands in the frame.
#[derive(Clone, Copy, Default)]
pub(super) struct Client {
    /// Says the frontend as well.
    pub(super) key: FlowKey,
    pub(super) lane: Lane,
    pub(super) tcp_flags: TcpFlags,
}

/// All clients' packets of a burst, in the order of their arrival: an array for each field, so that vector
/// units take several hashes at once, and each place is found with one addition.
pub(super) struct Clients {
    len: usize,
    keys: [FlowKey; BURST_MAX],
    /// What is to be hashed at first, the hash later.
    hashes: [u64; BURST_MAX],
    /// `BackendId::NONE` for those that get none. Not valid before they are looked up.
    backends: [BackendId; BURST_MAX],
    lanes: [Lane; BURST_MAX],
    tcp_flags: [TcpFlags; BURST_MAX],
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            len: 0,
            keys: [FlowKey::default(); BURST_MAX],
            hashes: [0; BURST_MAX],
            backends: [BackendId::NONE; BURST_MAX],
            lanes: [Lane::default(); BURST_MAX],
            tcp_flags: [TcpFlags::default(); BURST_MAX],
        }
    }
}

impl Clients {
    /// To be filled anew, from the first place on.
    #[inline(always)]
    pub(super) fn fill(&mut self) -> FillClients<'_> {
        FillClients { filled: 0, clients: self }
    }

    /// Appends; a burst has no more packets than there is room for.
    #[inline(always)]
    pub(super) fn push(&mut self, client: Client, to_hash: u64) {
        let at = self.len & (BURST_MAX - 1);
        self.keys[at] = client.key;
        self.hashes[at] = to_hash;
        self.lanes[at] = client.lane;
        self.tcp_flags[at] = client.tcp_flags;
        self.len += 1;
    }

    /// The places that are filled.
    #[inline(always)]
    pub(super) fn places(&self) -> std::ops::Range<usize> {
        0..self.len.min(BURST_MAX)
    }

    /// What is at a place, as the stages found it out.
    #[inline(always)]
    pub(super) fn client(&self, place: usize) -> (Client, u64) {
        let at = place & (BURST_MAX - 1);
        let client = Client { key: self.keys[at], lane: self.lanes[at], tcp_flags: self.tcp_flags[at] };
        (client, self.hashes[at])
    }

    /// The backend of a packet, and the packet's lane.
    #[inline(always)]
    pub(super) fn chosen(&self, place: usize) -> (BackendId, Lane) {
        let at = place & (BURST_MAX - 1);
        (self.backends[at], self.lanes[at])
    }

    #[inline(always)]
    pub(super) fn choose(&mut self, place: usize, backend: BackendId) {
        self.backends[place & (BURST_MAX - 1)] = backend;
    }

    #[inline(always)]
    pub(super) fn hashes(&mut self) -> &mut [u64] {
        self.hashes.get_mut(..self.len).unwrap_or_default()
    }

    /// Keeps those packets of which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Client, u64) -> bool) {
        let places = self.places();
        self.len = 0;
        for place in places {
            let (client, hash) = self.client(place);
            if keep(&client, hash) {
                self.push(client, hash);
            }
        }
    }
}

/// Counts in a register while it fills, and says how many there are when it is dropped.
pub(super) struct FillClients<'a> {
    filled: usize,
    clients: &'a mut Clients,
}

impl FillClients<'_> {
    #[inline(always)]
    pub(super) fn push(&mut self, client: Client, to_hash: u64) {
        self.clients.len = self.filled;
        self.clients.push(client, to_hash);
        self.filled += 1;
    }
}

impl Drop for FillClients<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.clients.len = self.filled;
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
    pub(super) clients: Clients,
    /// Plain packets that are for no frontend.
    pub(super) strangers: List<Lane>,
    /// Frames to be looked at closely.
    pub(super) rest: List<Lane>,
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
        self.strangers.clear();
        self.rest.clear();
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

    /// Forwards frames, one after the other.
    #[inline(always)]
    pub(super) fn forwarding(&mut self) -> Forwarding<'_> {
        Forwarding { forwarded: 0, to: 0, outcomes: self }
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

/// Counts in registers while it forwards, and says what was forwarded when it is dropped.
pub(super) struct Forwarding<'a> {
    forwarded: usize,
    to: u32,
    pub(super) outcomes: &'a mut Outcomes,
}

impl Forwarding<'_> {
    /// `port_bit` is the bit of `port`, which the caller has ready.
    #[inline(always)]
    pub(super) fn forward(&mut self, lane: Lane, port: PortId, port_bit: u32) {
        self.outcomes.by_lane[lane.index()] = Outcome::Forward(port);
        self.forwarded += 1;
        self.to |= port_bit;
    }
}

impl Drop for Forwarding<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.outcomes.forwarded += self.forwarded;
        self.outcomes.forwarded_to |= self.to;
    }
}
