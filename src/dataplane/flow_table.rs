//! The flow table: which backend each flow goes to. One worker's own; a cache of decisions, never a gate.
//!
//! Four entries of 16 bytes fill a cache line. A flow has two lines it can be in, chosen by its hash, and
//! nothing is ever moved to make room: under a flood of new flows such moves cost eight times what they
//! gain. An entry that is older than its timeout counts as free. When both lines are full, flows that have
//! shown only one packet give way, and if there is none the new flow is not recorded: the hash alone
//! decides then, and established flows keep their places.

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::counters::WorkerCounters;
use crate::packet::FlowKey;
use crate::snapshot::{BackendId, Frontend, FrontendId, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::Protocol;
use crate::wire::l4::TcpFlags;

/// Entries of a line.
const WAYS: usize = 4;

/// An opening TCP flow is forgotten after so long without a second packet: DPVS's timeout for SYN_RECV.
const HALF_OPEN_TICKS: u32 = 30 * TICKS_PER_SECOND;

/// A TCP flow whose client has sent FIN or RST is forgotten after so long without packets: TIME_WAIT of
/// common systems, which lasts 60 s.
const CLOSING_TICKS: u32 = 60 * TICKS_PER_SECOND;

/// Keys and values of four flows. A key of zero is a free place.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
struct Line {
    keys: [u64; WAYS],
    values: [u64; WAYS],
}

/// Backend, state, and the tick of the last packet, in 56 bits. The eight bits above belong to the line.
///
/// ```text
/// 63        56 55              32 31    28 27   24 23                0
/// | displaced |   last seen      | second |  state |     backend      |
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
struct Value(u64);

const BACKEND_MASK: u64 = 0x00ff_ffff;
const STATE_SHIFT: u32 = 24;
const SECOND_BIT: u64 = 1 << 28;
const SEEN_SHIFT: u32 = 32;
/// How many flows whose first line this is lie in their second, in the first value of a line. Saturated
/// it stays: nobody knows then how many there are.
const DISPLACED_SHIFT: u32 = 56;
const DISPLACED_MASK: u64 = 0xff << DISPLACED_SHIFT;

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum State {
    /// A TCP SYN was seen, and nothing after it.
    HalfOpen = 0,
    /// One packet was seen that is no SYN.
    Fresh = 1,
    /// More than one packet.
    Established = 2,
    /// The client has sent FIN or RST.
    Closing = 3,
}

impl State {
    /// Of a flow whose first packet has `flags`.
    #[inline]
    fn first(flags: TcpFlags) -> Self {
        match (flags.opens(), flags.closes()) {
            (true, _) => Self::HalfOpen,
            (_, true) => Self::Closing,
            _ => Self::Fresh,
        }
    }

    /// After a further packet with `flags`.
    #[inline]
    fn next(self, flags: TcpFlags) -> Self {
        if flags.closes() || self == Self::Closing && !flags.opens() {
            Self::Closing
        } else if flags.opens() {
            // A SYN again: the first one was lost, or somebody made this one up.
            self
        } else {
            Self::Established
        }
    }

    fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::HalfOpen,
            1 => Self::Fresh,
            2 => Self::Established,
            _ => Self::Closing,
        }
    }

    #[inline]
    fn timeout(self, idle_ticks: u32) -> u32 {
        match self {
            Self::HalfOpen => HALF_OPEN_TICKS.min(idle_ticks),
            Self::Fresh | Self::Established => idle_ticks,
            Self::Closing => CLOSING_TICKS.min(idle_ticks),
        }
    }

    /// Whether the flow gives way to a new one when both its lines are full.
    fn gives_way(self) -> bool {
        self <= Self::Fresh
    }
}

impl Value {
    fn new(backend: BackendId, state: State, is_second: bool, now: Tick) -> Self {
        let second = if is_second { SECOND_BIT } else { 0 };
        let seen = u64::from(now.to_bits()) << SEEN_SHIFT;
        Self(u64::from(backend.0) & BACKEND_MASK | (state as u64) << STATE_SHIFT | second | seen)
    }

    #[inline]
    fn backend(self) -> BackendId {
        BackendId((self.0 & BACKEND_MASK) as u32)
    }

    #[inline]
    fn state(self) -> State {
        State::from_bits(self.0 >> STATE_SHIFT)
    }

    #[inline]
    fn seen(self) -> Tick {
        Tick::from_bits((self.0 >> SEEN_SHIFT) as u32)
    }

    #[inline]
    fn is_second(self) -> bool {
        self.0 & SECOND_BIT != 0
    }

    #[inline]
    fn is_over(self, idle_ticks: u32, now: Tick) -> bool {
        now.since(self.seen()) > self.state().timeout(idle_ticks)
    }

    /// After a packet with `flags` at `now`.
    #[inline]
    fn touched(self, flags: TcpFlags, now: Tick) -> Self {
        let state = self.state().next(flags) as u64;
        let kept = self.0 & (BACKEND_MASK | SECOND_BIT | DISPLACED_MASK);
        Self(kept | state << STATE_SHIFT | u64::from(now.to_bits()) << SEEN_SHIFT)
    }
}

/// What a packet brings to a lookup.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) key: FlowKey,
    pub(super) hash: u64,
    pub(super) flags: TcpFlags,
    pub(super) frontend: &'a Frontend,
    pub(super) world: &'a Snapshot,
    pub(super) now: Tick,
}

/// What the table says of a packet's flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It goes where it went.
    Backend(BackendId),
    /// Not in its first line; the second has to be looked at.
    NotYet,
    /// Not there, or its backend takes no more of it: choose, and record.
    Choose,
}

/// Room for flows, in lines of four.
pub struct FlowTable {
    memory: MmapMut,
    len: usize,
    sweep_at: usize,
    on_hugepages: bool,
}

/// The lines of a table, opened for a burst.
pub(super) struct Lines<'a>(&'a mut [Line]);

impl FlowTable {
    /// Room for `flows` flows at a load of 0.6, which leaves 0.5 % of them without a place: 26.7 bytes a
    /// flow. On hugepages where enough are free; else the kernel is asked for transparent ones.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(flows: usize) -> std::io::Result<Self> {
        let len = (flows * 10).div_ceil(6 * WAYS).max(2);
        let len_bytes = len * size_of::<Line>();
        let huge_len = len_bytes.next_multiple_of(HUGEPAGE_LEN);
        let huge = MmapOptions::new().len(huge_len).huge(Some(HUGEPAGE_BITS)).populate().map_anon();
        let on_hugepages = huge.is_ok();
        let memory = match huge {
            Ok(memory) => memory,
            Err(_) => {
                let memory = MmapOptions::new().len(len_bytes).map_anon()?;
                // Advice only: a kernel without transparent hugepages does as well, more slowly.
                let _ = memory.advise(Advice::HugePage);
                memory
            }
        };
        Ok(Self { memory, len, sweep_at: 0, on_hugepages })
    }

    /// The bytes of its lines.
    pub fn len_bytes(&self) -> usize {
        self.len * size_of::<Line>()
    }

    /// The number of its lines.
    pub fn lines(&self) -> usize {
        self.len
    }

    /// Whether it lies on reserved hugepages.
    pub fn is_on_hugepages(&self) -> bool {
        self.on_hugepages
    }

    #[inline]
    pub(super) fn open(&mut self) -> Lines<'_> {
        let len_bytes = self.len_bytes();
        // The mapping is aligned to pages and a line is any 64 bytes: this cannot fail.
        let bytes = self.memory.get_mut(..len_bytes).unwrap_or_default();
        Lines(<[Line]>::mut_from_bytes(bytes).unwrap_or_default())
    }

    /// Frees the places of flows that are over in the next `lines` lines.
    pub(super) fn sweep(&mut self, lines: usize, world: &Snapshot, now: Tick, counters: &WorkerCounters) {
        for _ in 0..lines.min(self.len) {
            let index = self.sweep_at;
            self.sweep_at = if index + 1 < self.len { index + 1 } else { 0 };
            self.open().expire(index, world, now, counters);
        }
    }

    /// Every flow that is recorded: its key and its backend.
    pub fn iter(&mut self) -> impl Iterator<Item = (FlowKey, BackendId)> {
        let entries = |line: &Line| std::iter::zip(line.keys, line.values);
        let all = self.open().0.iter().flat_map(entries);
        all.filter(|(key, _)| *key != 0).map(|(key, value)| (FlowKey(key), Value(value).backend()))
    }
}

impl Lines<'_> {
    #[inline]
    fn first_line(&self, hash: u64) -> usize {
        (((hash >> 32) * self.0.len() as u64) >> 32) as usize
    }

    #[inline]
    fn second_line(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.0.len() as u64) >> 32) as usize
    }

    /// Asks the memory for the first line of `hash`.
    #[inline]
    pub(super) fn prefetch_first(&self, hash: u64) {
        prefetch(self.0.get(self.first_line(hash)));
    }

    /// Asks the memory for the second line of `hash`.
    #[inline]
    pub(super) fn prefetch_second(&self, hash: u64) {
        prefetch(self.0.get(self.second_line(hash)));
    }

    /// Looks into the first line, and says whether the second need be looked at.
    #[inline]
    pub(super) fn find_first(&mut self, query: &Query<'_>) -> Found {
        let index = self.first_line(query.hash);
        self.0.get_mut(index).and_then(|line| line.find(query)).unwrap_or(Found::NotYet)
    }

    /// Looks into both lines.
    pub(super) fn find(&mut self, query: &Query<'_>) -> Found {
        let (first, second) = (self.first_line(query.hash), self.second_line(query.hash));
        let Some(line) = self.0.get_mut(first) else { return Found::Choose };
        if let Some(found) = line.find(query) {
            return found;
        }
        if line.displaced() == 0 {
            return Found::Choose;
        }
        self.0.get_mut(second).and_then(|line| line.find(query)).unwrap_or(Found::Choose)
    }

    /// Records that the flow goes to `backend`, in place of what was recorded of it. `false` when there is
    /// no place: all eight are taken by flows that are established.
    pub(super) fn record(&mut self, query: &Query<'_>, backend: BackendId, counters: &WorkerCounters) -> bool {
        let (first, second) = (self.first_line(query.hash), self.second_line(query.hash));
        self.forget(query, counters);
        let free = |index: usize| self.0.get(index)?.free_way(query).map(|way| (index, way));
        let Some((index, way)) =
            free(first).or_else(|| free(second)).or_else(|| self.reclaim([first, second], counters))
        else {
            counters.flow.untracked.add(1);
            return false;
        };
        self.clear(index, way, query.world, counters);
        let is_second = index != first;
        let value = Value::new(backend, State::first(query.flags), is_second, query.now);
        if let Some(line) = self.0.get_mut(index) {
            line.set(way, query.key, value);
        }
        if is_second && let Some(line) = self.0.get_mut(first) {
            line.add_displaced();
        }
        counters.flow.created.add(1);
        if let Some(backend) = counters.backend(backend) {
            backend.flows.add(1);
            backend.flows_total.add(1);
        }
        true
    }

    /// Forgets what was recorded of the flow.
    pub(super) fn forget(&mut self, query: &Query<'_>, counters: &WorkerCounters) {
        for index in [self.first_line(query.hash), self.second_line(query.hash)] {
            let way = self.0.get(index).and_then(|line| line.keys.iter().position(|k| *k == query.key.0));
            if let Some(way) = way {
                self.clear_hashed(index, way, Some(query.hash), counters);
                return;
            }
        }
    }

    /// The place of the flow that has waited longest among those that give way.
    fn reclaim(&self, lines: [usize; 2], counters: &WorkerCounters) -> Option<(usize, usize)> {
        let mut oldest: Option<(Tick, (usize, usize))> = None;
        for index in lines {
            for (way, value) in self.0.get(index)?.values.iter().map(|v| Value(*v)).enumerate() {
                let is_older = oldest.is_none_or(|(seen, _)| value.seen().is_before(seen));
                if value.state().gives_way() && is_older {
                    oldest = Some((value.seen(), (index, way)));
                }
            }
        }
        let (_, place) = oldest?;
        counters.flow.reclaimed.add(1);
        Some(place)
    }

    /// Frees a place and takes its flow out of the counts.
    fn clear(&mut self, index: usize, way: usize, world: &Snapshot, counters: &WorkerCounters) {
        let Some(line) = self.0.get(index) else { return };
        let (key, value) = line.entry(way);
        if key.0 != 0 {
            // Only a flow in its second line needs its hash: its first line counts it.
            let hash = if value.is_second() { flow_hash(key, world) } else { None };
            self.clear_hashed(index, way, hash, counters);
        }
    }

    fn clear_hashed(&mut self, index: usize, way: usize, hash: Option<u64>, counters: &WorkerCounters) {
        let Some(line) = self.0.get_mut(index) else { return };
        let (_, value) = line.entry(way);
        line.free(way);
        if value.is_second() && let Some(hash) = hash {
            let first = self.first_line(hash);
            if let Some(line) = self.0.get_mut(first) {
                line.subtract_displaced();
            }
        }
        if let Some(backend) = counters.backend(value.backend()) {
            backend.flows.subtract(1);
        }
    }

    /// Frees the places of flows that are over in one line.
    fn expire(&mut self, index: usize, world: &Snapshot, now: Tick, counters: &WorkerCounters) {
        for way in 0..WAYS {
            let Some(line) = self.0.get(index) else { return };
            let (key, value) = line.entry(way);
            if key.0 != 0 && value.is_over(idle_ticks(key, world), now) {
                counters.flow.expired.add(1);
                self.clear(index, way, world, counters);
            }
        }
    }
}

/// Bytes of the smaller hugepage of x86-64 and of 64-bit Arm.
const HUGEPAGE_LEN: usize = 1 << HUGEPAGE_BITS;
const HUGEPAGE_BITS: u8 = 21;

/// The timeout of an established flow of the key's rule; 0 when the rule is gone.
fn idle_ticks(key: FlowKey, world: &Snapshot) -> u32 {
    world.frontend(FrontendId(key.frontend())).map_or(0, |frontend| frontend.idle_ticks)
}

/// The hash of a flow, from its key alone.
fn flow_hash(key: FlowKey, world: &Snapshot) -> Option<u64> {
    Some(world.frontend(FrontendId(key.frontend()))?.flow_hash(&world.hash, key))
}

impl Line {
    /// The flow of `query`, if it is here and not over. Its last-seen tick and state move on.
    #[inline]
    fn find(&mut self, query: &Query<'_>) -> Option<Found> {
        let way = self.keys.iter().position(|key| *key == query.key.0)?;
        let old = Value(*self.values.get(way)?);
        if old.is_over(query.frontend.idle_ticks, query.now) || !keeps_its_backend(old, query) {
            return Some(Found::Choose);
        }
        let new = old.touched(query.flags, query.now);
        if new != old {
            self.values[way] = new.0;
        }
        Some(Found::Backend(old.backend()))
    }

    #[inline]
    fn entry(&self, way: usize) -> (FlowKey, Value) {
        (FlowKey(self.keys[way]), Value(self.values[way]))
    }

    /// A way that is empty, or whose flow is over.
    fn free_way(&self, query: &Query<'_>) -> Option<usize> {
        let is_free = |way: &usize| {
            let (key, value) = self.entry(*way);
            key.0 == 0 || value.is_over(idle_ticks(key, query.world), query.now)
        };
        (0..WAYS).find(is_free)
    }

    fn set(&mut self, way: usize, key: FlowKey, value: Value) {
        self.keys[way] = key.0;
        self.values[way] = self.values[way] & DISPLACED_MASK | value.0 & !DISPLACED_MASK;
    }

    fn free(&mut self, way: usize) {
        self.keys[way] = 0;
        self.values[way] &= DISPLACED_MASK;
    }

    #[inline]
    fn displaced(&self) -> u64 {
        self.values[0] >> DISPLACED_SHIFT
    }

    fn add_displaced(&mut self) {
        if self.displaced() < 0xff {
            self.values[0] += 1 << DISPLACED_SHIFT;
        }
    }

    fn subtract_displaced(&mut self) {
        if (1..0xff).contains(&self.displaced()) {
            self.values[0] -= 1 << DISPLACED_SHIFT;
        }
    }
}

/// Whether the flow's next packet goes where the ones before it went. UDP leaves a backend that is down;
/// so does a TCP flow that only now begins, by a new SYN.
#[inline]
fn keeps_its_backend(value: Value, query: &Query<'_>) -> bool {
    let backend = query.world.backend(value.backend());
    if query.flags.opens() && value.state() != State::Established {
        // A client that uses its port again is a new flow, once the old one was closing; and a SYN that
        // is sent again may go elsewhere only if its backend takes none any more.
        return value.state() == State::HalfOpen && backend.is_some_and(|b| !b.is_down);
    }
    let is_udp = query.frontend.endpoint.protocol == Protocol::Udp;
    backend.is_some_and(|b| !(is_udp && b.is_down))
}

#[inline]
fn prefetch(line: Option<&Line>) {
    if let Some(line) = line {
        #[cfg(target_arch = "x86_64")]
        safe_arch::prefetch_t0(line);
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}
