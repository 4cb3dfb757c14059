//! The burst at hand: a lane for each frame, and what the stages have found out about it.

use std::num::NonZeroU64;

use super::fragments::Part;
use super::full_nat::{Aside, ToSource};
use super::icmp::Notice;
use super::outbound::Passing;
pub use super::outcomes::{Event, Outcome, Outcomes};
use super::own_address::Readdressed;
use crate::io::{BURST_MAX, PortId};
use crate::packet::{FlowKey, IpPacket, WideKey};
use crate::snapshot::BackendId;
use crate::wire::l4::TcpFlags;
use crate::wire::nd;

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
    /// From another worker that found them to be ours, or to belong to no flow of its own.
    Worker {
        /// They came in by this port.
        port: PortId,
        /// How many workers have looked for the flow that an ICMP error is about; as many as there are where it is known
        /// to be ours, if anybody's.
        looked: u8,
    },
    /// Fragments that this worker held, and holds no longer; they came in by this port.
    Held(PortId),
}

impl Source {
    /// The port the frames came in by.
    #[inline]
    pub fn port(self) -> PortId {
        match self {
            Self::Port { port, .. } | Self::Worker { port, .. } | Self::Held(port) => port,
        }
    }
}

/// The position of a frame in its burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lane(usize);

impl Lane {
    /// The lane of the frame at `index` of a burst.
    #[inline(always)]
    pub(super) fn new(index: usize) -> Self {
        Self(index)
    }

    /// The lane as an index. Where the compiler knows where the lane is from it sees that nothing is masked.
    #[inline(always)]
    pub(super) fn index(self) -> usize {
        self.0 & (BURST_MAX - 1)
    }
}

/// Some lanes of a burst, as bits of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LaneSet(u64);

const _: () = assert!(BURST_MAX == u64::BITS as usize, "a bit for each lane");

impl LaneSet {
    /// The first `len` lanes.
    #[inline(always)]
    pub(super) fn first(len: usize) -> Self {
        Self(if len < BURST_MAX { (1 << len) - 1 } else { u64::MAX })
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, lane: Lane) {
        self.0 |= 1 << lane.index();
    }

    /// Without a branch.
    #[inline(always)]
    pub(super) fn insert_if(&mut self, lane: Lane, is_in: bool) {
        self.0 |= u64::from(is_in) << lane.index();
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, lane: Lane) {
        self.0 &= !(1 << lane.index());
    }

    #[inline(always)]
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline(always)]
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    #[inline(always)]
    pub(super) fn has(self, lane: Lane) -> bool {
        self.0 >> lane.index() & 1 == 1
    }
}

/// From the first lane to the last.
impl Iterator for LaneSet {
    type Item = Lane;

    #[inline(always)]
    fn next(&mut self) -> Option<Lane> {
        let bits = NonZeroU64::new(self.0)?;
        self.0 &= self.0 - 1;
        Some(Lane(bits.trailing_zeros() as usize))
    }
}

/// The burst at hand: which frames are what, and for each lane what the stages have found out. Made once a
/// worker, used for every burst; what an array says of a lane means nothing before a stage has written it.
pub(super) struct Lanes {
    /// Clients' packets to frontends, whose flows have narrow keys.
    pub(super) clients: LaneSet,
    /// The same, with wide keys.
    pub(super) wide: LaneSet,
    /// The same, of flows that have ports of ours.
    pub(super) bound: LaneSet,
    /// Of the first two, those whose QUIC connection ids have named their backends.
    pub(super) by_server_id: LaneSet,
    /// Packets to such ports.
    pub(super) to_sources: Vec<(Lane, ToSource)>,
    /// Packets of flows that backends have opened.
    pub(super) passing: Vec<(Lane, Passing)>,
    /// The ways of those of these that were refused, or are in parts. Means nothing of other lanes.
    pub(super) asides: Vec<(Lane, Aside)>,
    /// Of the packets at hand, those that the first line of the flow table did not settle.
    pub(super) misses: LaneSet,
    /// Clients' packets that have a backend and are sent to it otherwise than by plain translation.
    pub(super) others: LaneSet,
    /// Of these, those that go behind the headers of a tunnel.
    pub(super) behind: LaneSet,
    /// Of these, those that go to the backend's station as they are.
    pub(super) direct: LaneSet,
    /// Plain packets that are for no frontend.
    pub(super) strangers: LaneSet,
    /// The same in IPv6.
    pub(super) wide_strangers: LaneSet,
    /// Backends' packets to clients.
    pub(super) responses: LaneSet,
    /// The same, in IPv6.
    pub(super) wide_responses: LaneSet,
    /// Frames to be looked at closely.
    pub(super) rest: LaneSet,
    /// Packets that are answered by a reset, of either direction.
    pub(super) resets: LaneSet,
    /// A client's packet's flow, which says the frontend as well.
    pub(super) keys: [FlowKey; BURST_MAX],
    /// The same where keys are wide: their words, row by row.
    pub(super) wide_keys: [[u64; BURST_MAX]; 3],
    /// What is to be hashed in place of the last of those.
    pub(super) wide_to_hash: [u64; BURST_MAX],
    /// What is to be hashed of it at first, the hash later.
    pub(super) hashes: [u64; BURST_MAX],
    /// All clear for UDP.
    pub(super) tcp_flags: [TcpFlags; BURST_MAX],
    /// Whom a client's packet goes to, or a response comes from; `BackendId::NONE` if nobody.
    pub(super) backends: [BackendId; BURST_MAX],
    /// Frames for us.
    pub(super) ours: Vec<(Lane, Ours)>,
    /// ICMP errors about our flows.
    pub(super) notices: Vec<(Lane, Notice)>,
    /// Fragments of datagrams, in the order of lanes.
    pub(super) fragments: Vec<Part>,
    pub(super) outcomes: Outcomes,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            clients: LaneSet::default(),
            wide: LaneSet::default(),
            bound: LaneSet::default(),
            by_server_id: LaneSet::default(),
            to_sources: Vec::with_capacity(BURST_MAX),
            passing: Vec::with_capacity(BURST_MAX),
            // A first fragment that is refused has two.
            asides: Vec::with_capacity(2 * BURST_MAX),
            misses: LaneSet::default(),
            others: LaneSet::default(),
            behind: LaneSet::default(),
            direct: LaneSet::default(),
            strangers: LaneSet::default(),
            wide_strangers: LaneSet::default(),
            responses: LaneSet::default(),
            wide_responses: LaneSet::default(),
            rest: LaneSet::default(),
            resets: LaneSet::default(),
            keys: [FlowKey::default(); BURST_MAX],
            wide_keys: [[0; BURST_MAX]; 3],
            wide_to_hash: [0; BURST_MAX],
            hashes: [0; BURST_MAX],
            tcp_flags: [TcpFlags::default(); BURST_MAX],
            backends: [BackendId::NONE; BURST_MAX],
            ours: Vec::with_capacity(BURST_MAX),
            notices: Vec::with_capacity(BURST_MAX),
            fragments: Vec::with_capacity(BURST_MAX),
            outcomes: Outcomes::default(),
        }
    }
}

/// A frame that we answer ourselves, or that goes on without a flow.
#[derive(Clone, Copy)]
pub(super) enum Ours {
    /// ARP.
    Arp,
    /// An echo request to an address of ours.
    Echo(IpPacket),
    /// Neighbour discovery.
    Neighbour(nd::Message),
    /// What a probe of the management thread may wait for.
    ProbeAnswer,
    /// To or from an address of a backend's own: it is sent on.
    Readdressed(Readdressed),
}

impl Lanes {
    /// Forgets the last burst. `len` is the next one's, at most `BURST_MAX`.
    pub(super) fn begin(&mut self, len: usize) {
        debug_assert!(len <= BURST_MAX, "a burst is never longer than its lanes");
        self.ours.clear();
        self.notices.clear();
        self.fragments.clear();
        self.resets = LaneSet::default();
        self.wide = LaneSet::default();
        self.bound = LaneSet::default();
        self.by_server_id = LaneSet::default();
        self.to_sources.clear();
        self.passing.clear();
        self.asides.clear();
        self.wide_strangers = LaneSet::default();
        self.wide_responses = LaneSet::default();
        self.others = LaneSet::default();
        self.behind = LaneSet::default();
        self.direct = LaneSet::default();
        self.outcomes.begin(len);
    }
}

impl Lanes {
    /// The key of a client's packet that has a wide one.
    #[inline(always)]
    pub(super) fn wide_key(&self, lane: Lane) -> WideKey {
        let at = lane.index();
        let [a, b, c] = &self.wide_keys;
        WideKey([a[at], b[at], c[at]])
    }

    #[inline(always)]
    pub(super) fn set_wide_key(&mut self, lane: Lane, key: WideKey) {
        let at = lane.index();
        let [a, b, c] = &mut self.wide_keys;
        [a[at], b[at], c[at]] = key.0;
    }
}
