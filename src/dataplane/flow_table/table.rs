//! One table, of keys of one kind.

use std::marker::PhantomData;

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::FromBytes;

use super::key::Key;
use super::line::{Line, WAYS, prefetch};
use super::{Found, Position, Query, Silent, Value};
use crate::dataplane::counters::{Counter, WorkerCounters};
use crate::snapshot::Snapshot;
use crate::tick::Tick;

/// Room for flows, in lines of four.
pub(in crate::dataplane) struct Table<K: Key> {
    memory: MmapMut,
    /// Flows of each block of lines: the sweep passes over empty ones without a look at their memory.
    occupied: Box<[u16]>,
    /// Where each flow is in its sequence numbers, of flows to be reset when they are idle; memory is taken as it is
    /// touched.
    numbers: MmapMut,
    len: usize,
    sweep_at: usize,
    on_hugepages: bool,
    keys: PhantomData<K>,
}

/// The lines of a table, opened for a burst.
pub(in crate::dataplane) struct Lines<'a, K: Key> {
    pub(super) lines: &'a mut [Line<K>],
    pub(super) occupied: &'a mut [u16],
    pub(super) numbers: &'a mut [Position],
}

/// Lines that the memory is asked for before the next sweep: as many as one among packets takes.
const SWEEP_AHEAD: usize = 8;

/// Lines of a block: a small page of memory.
pub(super) const BLOCK_LINES: usize = 64;

/// Lines that `flows` flows fill to 0.6.
fn lines_for(flows: usize) -> usize {
    (flows * 10).div_ceil(6 * WAYS).max(2)
}

impl<K: Key> Table<K> {
    /// Room for `flows` flows at a load of 0.6. On hugepages where enough are free; else the kernel is asked for
    /// transparent ones.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub(super) fn new(flows: usize) -> std::io::Result<Self> {
        let len = lines_for(flows);
        let len_bytes = len * size_of::<Line<K>>();
        let huge_len = Self::hugepage_bytes(flows);
        let huge = MmapOptions::new().len(huge_len).huge(Some(HUGEPAGE_BITS)).populate().map_anon();
        let on_hugepages = huge.is_ok();
        let memory = match huge {
            Ok(memory) => memory,
            Err(_) => {
                let memory = MmapOptions::new().len(len_bytes).map_anon()?;
                // Advice only: a kernel without transparent hugepages does as well, more slowly, and one
                // that cannot fill the pages now does it when they are first touched.
                let _ = memory.advise(Advice::HugePage);
                let _ = memory.advise(Advice::PopulateWrite);
                memory
            }
        };
        Self::of(memory, len, on_hugepages)
    }

    /// The same, in memory that the kernel gives as it is touched: for a table that may never be used.
    ///
    /// # Errors
    /// When there are not enough addresses.
    pub(super) fn untouched(flows: usize) -> std::io::Result<Self> {
        let len = lines_for(flows);
        let memory = MmapOptions::new().len(len * size_of::<Line<K>>()).no_reserve_swap().map_anon()?;
        let _ = memory.advise(Advice::HugePage);
        Self::of(memory, len, false)
    }

    fn of(memory: MmapMut, len: usize, on_hugepages: bool) -> std::io::Result<Self> {
        let numbers =
            MmapOptions::new().len(len * WAYS * size_of::<Position>()).no_reserve_swap().map_anon()?;
        let occupied = vec![0; len.div_ceil(BLOCK_LINES)].into();
        Ok(Self { memory, occupied, numbers, len, sweep_at: 0, on_hugepages, keys: PhantomData })
    }

    /// The bytes in hugepages that a table for `flows` flows takes.
    pub(super) fn hugepage_bytes(flows: usize) -> usize {
        (lines_for(flows) * size_of::<Line<K>>()).next_multiple_of(HUGEPAGE_LEN)
    }

    /// The bytes of its lines.
    pub(super) fn len_bytes(&self) -> usize {
        self.len * size_of::<Line<K>>()
    }

    /// The number of its lines.
    pub(in crate::dataplane) fn lines(&self) -> usize {
        self.len
    }

    /// Whether it lies on reserved hugepages.
    pub(super) fn is_on_hugepages(&self) -> bool {
        self.on_hugepages
    }

    #[inline]
    pub(in crate::dataplane) fn open(&mut self) -> Lines<'_, K> {
        let len_bytes = self.len_bytes();
        // The mapping is aligned to pages and a line is any 64 bytes: this cannot fail.
        let bytes = self.memory.get_mut(..len_bytes).unwrap_or_default();
        let lines = <[Line<K>]>::mut_from_bytes(bytes).unwrap_or_default();
        let numbers = <[Position]>::mut_from_bytes(&mut self.numbers).unwrap_or_default();
        Lines { lines, occupied: &mut self.occupied, numbers }
    }

    /// Frees the places of flows that are over in the next `lines` lines. Of flows to be reset that are silent, `ask`
    /// asks the ends, if there is room for the question.
    pub(in crate::dataplane) fn sweep(
        &mut self,
        lines: usize,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
        mut ask: impl FnMut(Silent<K>) -> bool,
    ) {
        let mut left = lines.min(self.len);
        while left > 0 {
            let block = self.sweep_at / BLOCK_LINES;
            let end = ((block + 1) * BLOCK_LINES).min(self.len).min(self.sweep_at + left);
            let range = self.sweep_at..end;
            left -= range.len();
            if self.occupied.get(block).is_some_and(|flows| *flows > 0) {
                let mut lines = self.open();
                if world.tracks
                    && let Some(index) = range.clone().find(|i| !lines.end_idle(*i, world, now, &mut ask))
                {
                    // No more can be told this time: what is left of the line has its turn next.
                    self.sweep_at = index;
                    return;
                }
                range.clone().for_each(|index| lines.expire(index, world, now, counters));
                if world.resets_flows {
                    range.for_each(|index| lines.reset_some(index, world, now, counters, &mut ask));
                }
            }
            self.sweep_at = if end < self.len { end } else { 0 };
        }
        // The sweep goes slowly: by the time it gets on, these would have to be waited for one by one.
        let (at, lines) = (self.sweep_at, self.open().lines);
        lines.iter().skip(at).take(SWEEP_AHEAD).for_each(|line| prefetch(Some(line)));
    }
}

impl<K: Key> Lines<'_, K> {
    #[inline]
    pub(super) fn first_line(&self, hash: u64) -> usize {
        (((hash >> 32) * self.lines.len() as u64) >> 32) as usize
    }

    #[inline]
    pub(super) fn second_line(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.lines.len() as u64) >> 32) as usize
    }

    /// Asks the memory for the first line of `hash`.
    #[inline]
    pub(in crate::dataplane) fn prefetch_first(&self, hash: u64) {
        prefetch(self.lines.get(self.first_line(hash)));
    }

    /// Asks the memory for the second line of `hash`.
    #[inline]
    pub(in crate::dataplane) fn prefetch_second(&self, hash: u64) {
        prefetch(self.lines.get(self.second_line(hash)));
    }

    /// The first line of `hash`; there always is one.
    #[inline(always)]
    pub(in crate::dataplane) fn first(&mut self, hash: u64) -> Option<&mut Line<K>> {
        let index = self.first_line(hash);
        self.lines.get_mut(index)
    }

    /// Looks at a flow that is in its first line.
    pub(in crate::dataplane) fn find_first(&mut self, query: &Query<'_, K>) -> Found {
        let index = self.first_line(query.hash);
        self.lines.get_mut(index).and_then(|line| line.find(query)).unwrap_or(Found::Absent)
    }

    /// Whether the flow is recorded in neither of its lines. The second is looked at only where the first says
    /// that some flows are there.
    #[inline(always)]
    pub(in crate::dataplane) fn is_nowhere(&self, key: K, hash: u64) -> bool {
        let is_in = |index: usize| self.lines.get(index).is_some_and(|line| line.way_of(key).is_some());
        let first = self.first_line(hash);
        let has_displaced = self.lines.get(first).is_some_and(|line| line.displaced() != 0);
        !(is_in(first) || has_displaced && is_in(self.second_line(hash)))
    }

    /// The flow's entry as it stands. Changes nothing.
    pub(in crate::dataplane) fn peek(&self, key: K, hash: u64) -> Option<Value> {
        let at = |index: usize| self.lines.get(index).and_then(|line| Some(line.entry(line.way_of(key)?).1));
        at(self.first_line(hash)).or_else(|| at(self.second_line(hash)))
    }

    /// Looks into both lines.
    pub(in crate::dataplane) fn find(&mut self, query: &Query<'_, K>) -> Found {
        let find = |line: &mut Line<K>| line.find(query);
        let (first, second) = (self.first_line(query.hash), self.second_line(query.hash));
        let Some(line) = self.lines.get_mut(first) else { return Found::Absent };
        if let Some(found) = line.find(query) {
            return found;
        }
        if line.displaced() == 0 {
            return Found::Absent;
        }
        self.lines.get_mut(second).and_then(find).unwrap_or(Found::Absent)
    }

    /// Records a flow that is not recorded yet, with a value that says it is in its first line. `false` when
    /// there is no place: all eight are taken by flows that are established.
    #[inline(always)]
    pub(in crate::dataplane) fn record(
        &mut self,
        key: K,
        hash: u64,
        value: Value,
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> bool {
        let first = self.first_line(hash);
        if !self.fill(first, key, value) && !self.displace(key, hash, value, world, counters) {
            return false;
        }
        if let Some(flows) = counters.flows(value.backend()) {
            flows.now.add(1);
            flows.ever.add(1);
        }
        true
    }

    /// Puts a flow into an empty place of a line, if it has one.
    #[inline(always)]
    fn fill(&mut self, index: usize, key: K, value: Value) -> bool {
        let Some(line) = self.lines.get_mut(index) else { return false };
        let Some(way) = line.empty_way() else { return false };
        line.set(way, key, value);
        self.count_in(index);
        true
    }

    #[inline(always)]
    pub(super) fn count_in(&mut self, index: usize) {
        if let Some(flows) = self.occupied.get_mut(index / BLOCK_LINES) {
            *flows += 1;
        }
    }

    /// Records a flow whose first line is full: in its second, or in the place of another. A flood of new
    /// flows into a full table takes this way for every packet, so it looks at these two lines alone.
    #[inline(never)]
    fn displace(
        &mut self,
        key: K,
        hash: u64,
        value: Value,
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> bool {
        let (first, second) = (self.first_line(hash), self.second_line(hash));
        if self.fill(second, key, value.in_second()) {
            self.add_displaced(first);
            return true;
        }
        if self.lines.get(first).is_some_and(|line| line.may_have_ended(world, value.seen())) {
            self.expire_some(first, world, value.seen(), counters);
            if self.fill(first, key, value) {
                return true;
            }
        }
        if let Some(line) = self.lines.get_mut(first)
            && let Some(way) = line.first_to_go(value.seen())
        {
            let gone = line.value(way);
            line.set(way, key, value);
            counters.flow.reclaimed.add(1);
            if let Some(flows) = counters.flows(gone.backend()) {
                flows.now.subtract(1);
            }
            return true;
        }
        let Some((index, way)) = self.make_room([first, second], value.seen(), world, counters) else {
            counters.flow.untracked.add(1);
            return false;
        };
        self.count_in(index);
        let value = if index == first { value } else { value.in_second() };
        if let Some(line) = self.lines.get_mut(index) {
            line.set(way, key, value);
        }
        if index != first {
            self.add_displaced(first);
        }
        true
    }

    fn add_displaced(&mut self, first: usize) {
        if let Some(line) = self.lines.get_mut(first) {
            line.add_displaced();
        }
    }

    /// An empty place in two full lines: of a flow that is over, or of one that gives way.
    #[cold]
    fn make_room(
        &mut self,
        lines: [usize; 2],
        now: Tick,
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> Option<(usize, usize)> {
        let free = |index: usize| self.lines.get(index)?.free_way(world, now).map(|way| (index, way));
        let free = lines.into_iter().find_map(free);
        let (index, way) = free.or_else(|| self.oldest(lines))?;
        let ended = if free.is_some() { &counters.flow.expired } else { &counters.flow.reclaimed };
        self.clear(index, way, ended, world, counters);
        Some((index, way))
    }

    /// Forgets what was recorded of the flow.
    pub(in crate::dataplane) fn forget(&mut self, query: &Query<'_, K>, counters: &WorkerCounters) {
        for index in [self.first_line(query.hash), self.second_line(query.hash)] {
            if let Some(way) = self.lines.get(index).and_then(|line| line.way_of(query.key)) {
                self.clear_hashed(index, way, Some(query.hash), counters);
                counters.flow.expired.add(1);
                return;
            }
        }
    }

    /// The place of the flow that has waited longest among those that give way first.
    fn oldest(&self, lines: [usize; 2]) -> Option<(usize, usize)> {
        let mut oldest: Option<(u8, Tick, (usize, usize))> = None;
        for index in lines {
            for (way, value) in self.lines.get(index)?.values().into_iter().enumerate() {
                let Some(turn) = value.state().gives_way() else { continue };
                let is_before = oldest.is_none_or(|(other, seen, _)| {
                    turn < other || turn == other && value.seen().is_before(seen)
                });
                if is_before {
                    oldest = Some((turn, value.seen(), (index, way)));
                }
            }
        }
        oldest.map(|(.., place)| place)
    }

    /// Frees a place, if it is taken, and counts its flow as `ended`.
    pub(super) fn clear(
        &mut self,
        index: usize,
        way: usize,
        ended: &Counter,
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let Some(line) = self.lines.get(index) else { return };
        let (key, value) = line.entry(way);
        if !key.is_none() {
            // Only a flow in its second line needs its hash: its first line counts it.
            let hash = if value.is_second() { flow_hash(key, world) } else { None };
            self.clear_hashed(index, way, hash, counters);
            ended.add(1);
        }
    }

    pub(super) fn clear_hashed(
        &mut self,
        index: usize,
        way: usize,
        hash: Option<u64>,
        counters: &WorkerCounters,
    ) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let (_, value) = line.entry(way);
        line.free(way);
        if let Some(flows) = self.occupied.get_mut(index / BLOCK_LINES) {
            *flows -= 1;
        }
        if value.is_second()
            && let Some(hash) = hash
        {
            let first = self.first_line(hash);
            if let Some(line) = self.lines.get_mut(first) {
                line.subtract_displaced();
            }
        }
        if let Some(flows) = counters.flows(value.backend()) {
            flows.now.subtract(1);
        }
    }

    /// Frees the places of flows that are over in one line. In nearly all lines nothing is: that is seen
    /// without a look at each flow's rule.
    #[inline(always)]
    fn expire(&mut self, index: usize, world: &Snapshot, now: Tick, counters: &WorkerCounters) {
        if self.lines.get(index).is_some_and(|line| line.may_have_ended(world, now)) {
            self.expire_some(index, world, now, counters);
        }
    }

    #[inline(never)]
    pub(super) fn expire_some(
        &mut self,
        index: usize,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        for way in 0..WAYS {
            let Some(line) = self.lines.get(index) else { return };
            let (key, value) = line.entry(way);
            if !key.is_none() && value.is_over(idle_ticks(key, world), now) {
                self.clear(index, way, &counters.flow.expired, world, counters);
            }
        }
    }
}

/// Bytes of the smaller hugepage of x86-64 and of 64-bit Arm.
pub(super) const HUGEPAGE_LEN: usize = 1 << HUGEPAGE_BITS;
const HUGEPAGE_BITS: u8 = 21;

/// The timeout of an established flow of the key's rule; 0 when the rule is gone.
pub(super) fn idle_ticks<K: Key>(key: K, world: &Snapshot) -> u32 {
    world.frontend_of(key).map_or(0, |frontend| frontend.idle_ticks)
}

/// The hash of a flow, from its key alone.
pub(super) fn flow_hash<K: Key>(key: K, world: &Snapshot) -> Option<u64> {
    Some(world.frontend_of(key)?.flow_hash(&world.hash, key))
}
