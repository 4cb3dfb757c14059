//! The lines of a table, opened for a burst: flows found, recorded and forgotten.

use std::marker::PhantomData;

use super::key::{Key, Secret};
use super::line::{Line, Rest, WAYS, prefetch};
use super::table::BLOCK_LINES;
use super::{Found, Position, Query, Value};
use crate::dataplane::counters::{Counter, WorkerCounters};
use crate::snapshot::Snapshot;
use crate::tick::Tick;

/// The lines of a table, opened for a burst.
pub(in crate::dataplane) struct Lines<'a, K: Key> {
    pub(super) lines: &'a mut [Line],
    /// What tags do not say of keys, line by line; none where they say all.
    pub(super) rests: &'a mut [Rest],
    pub(super) occupied: &'a mut [u16],
    pub(super) numbers: &'a mut [Position],
    pub(super) secret: Secret,
    pub(super) keys: PhantomData<K>,
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

    /// What tags are made with.
    #[inline(always)]
    pub(in crate::dataplane) fn secret(&self) -> Secret {
        self.secret
    }

    /// The word that a key is found by.
    #[inline(always)]
    pub(super) fn tag(&self, key: K) -> u64 {
        key.tag(self.secret)
    }

    /// The flow in a place, if there is one.
    #[inline]
    pub(super) fn entry(&self, index: usize, way: usize) -> Option<(K, Value)> {
        let line = self.lines.get(index)?;
        if line.tag(way) == 0 {
            return None;
        }
        let rest = self.rests.get(index).map(|[lows, highs]| [lows[way], highs[way]]);
        Some((K::of(line.tag(way), rest.unwrap_or_default(), self.secret), line.value(way)))
    }

    /// Keeps what the tag does not say of the key of a flow that has got this place.
    #[inline(always)]
    fn set_rest(&mut self, index: usize, way: usize, key: K) {
        if K::HAS_REST
            && let Some([lows, highs]) = self.rests.get_mut(index)
        {
            [lows[way], highs[way]] = key.rest();
        }
    }

    pub(super) fn set_value(&mut self, index: usize, way: usize, value: Value) {
        if let Some(line) = self.lines.get_mut(index) {
            *line.value_mut(way) = value;
        }
    }

    /// Asks the memory for the first line of `hash`.
    #[inline]
    pub(in crate::dataplane) fn prefetch_first(&self, hash: u64) {
        prefetch(self.lines.get(self.first_line(hash)));
    }

    /// Asks the memory for the rest of the keys in the first line of `hash`: a flow will be recorded there.
    #[inline(always)]
    pub(in crate::dataplane) fn prefetch_rest(&self, hash: u64) {
        if K::HAS_REST {
            prefetch(self.rests.get(self.first_line(hash)));
        }
    }

    /// Asks the memory for the second line of `hash`.
    #[inline]
    pub(in crate::dataplane) fn prefetch_second(&self, hash: u64) {
        prefetch(self.lines.get(self.second_line(hash)));
    }

    /// The first line of `hash`; there always is one.
    #[inline(always)]
    pub(in crate::dataplane) fn first(&mut self, hash: u64) -> Option<&mut Line> {
        let index = self.first_line(hash);
        self.lines.get_mut(index)
    }

    /// Looks at a flow that is in its first line.
    pub(in crate::dataplane) fn find_first(&mut self, query: &Query<'_, K>) -> Found {
        let (index, tag) = (self.first_line(query.hash), self.tag(query.key));
        self.lines.get_mut(index).and_then(|line| line.find(query, tag)).unwrap_or(Found::Absent)
    }

    /// Whether the flow is recorded in neither of its lines. The second is looked at only where the first says
    /// that some flows are there.
    #[inline(always)]
    pub(in crate::dataplane) fn is_nowhere(&self, key: K, hash: u64) -> bool {
        let tag = self.tag(key);
        let is_in = |index: usize| self.lines.get(index).is_some_and(|line| line.way_of(tag).is_some());
        let first = self.first_line(hash);
        let has_displaced = self.lines.get(first).is_some_and(|line| line.displaced() != 0);
        !(is_in(first) || has_displaced && is_in(self.second_line(hash)))
    }

    /// The flow's entry as it stands. Changes nothing.
    pub(in crate::dataplane) fn peek(&self, key: K, hash: u64) -> Option<Value> {
        let tag = self.tag(key);
        let at = |index: usize| self.lines.get(index).and_then(|line| Some(line.value(line.way_of(tag)?)));
        at(self.first_line(hash)).or_else(|| at(self.second_line(hash)))
    }

    /// Looks into both lines.
    pub(in crate::dataplane) fn find(&mut self, query: &Query<'_, K>) -> Found {
        let tag = self.tag(query.key);
        let find = |line: &mut Line| line.find(query, tag);
        let (first, second) = (self.first_line(query.hash), self.second_line(query.hash));
        let Some(line) = self.lines.get_mut(first) else { return Found::Absent };
        if let Some(found) = line.find(query, tag) {
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
        let tag = self.tag(key);
        let Some(line) = self.lines.get_mut(index) else { return false };
        let Some(way) = line.empty_way() else { return false };
        line.set(way, tag, value);
        self.set_rest(index, way, key);
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
        let tag = self.tag(key);
        if let Some(line) = self.lines.get_mut(first)
            && let Some(way) = line.first_to_go(value.seen())
        {
            let gone = line.value(way);
            line.set(way, tag, value);
            self.set_rest(first, way, key);
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
            line.set(way, tag, value);
        }
        self.set_rest(index, way, key);
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
        let free = |index: usize| self.free_way(index, world, now).map(|way| (index, way));
        let free = lines.into_iter().find_map(free);
        let (index, way) = free.or_else(|| self.oldest(lines))?;
        let ended = if free.is_some() { &counters.flow.expired } else { &counters.flow.reclaimed };
        self.clear(index, way, ended, world, counters);
        Some((index, way))
    }

    /// A way that is empty, or whose flow is over.
    fn free_way(&self, index: usize, world: &Snapshot, now: Tick) -> Option<usize> {
        let is_over = |(key, value): (K, Value)| value.is_over(idle_ticks(key, world), now);
        (0..WAYS).find(|way| self.entry(index, *way).is_none_or(is_over))
    }

    /// Forgets what was recorded of the flow.
    pub(in crate::dataplane) fn forget(&mut self, query: &Query<'_, K>, counters: &WorkerCounters) {
        let tag = self.tag(query.key);
        for index in [self.first_line(query.hash), self.second_line(query.hash)] {
            if let Some(way) = self.lines.get(index).and_then(|line| line.way_of(tag)) {
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
        let Some((key, value)) = self.entry(index, way) else { return };
        // Only a flow in its second line needs its hash: its first line counts it.
        let hash = if value.is_second() { flow_hash(key, world) } else { None };
        self.clear_hashed(index, way, hash, counters);
        ended.add(1);
    }

    pub(super) fn clear_hashed(
        &mut self,
        index: usize,
        way: usize,
        hash: Option<u64>,
        counters: &WorkerCounters,
    ) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let value = line.value(way);
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
    pub(super) fn expire(&mut self, index: usize, world: &Snapshot, now: Tick, counters: &WorkerCounters) {
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
            let Some((key, value)) = self.entry(index, way) else { continue };
            if value.is_over(idle_ticks(key, world), now) {
                self.clear(index, way, &counters.flow.expired, world, counters);
            }
        }
    }
}

/// The timeout of an established flow of the key's rule; 0 when the rule is gone.
pub(super) fn idle_ticks<K: Key>(key: K, world: &Snapshot) -> u32 {
    world.frontend_of(key).map_or(0, |frontend| frontend.idle_ticks)
}

/// The hash of a flow, from its key alone.
pub(super) fn flow_hash<K: Key>(key: K, world: &Snapshot) -> Option<u64> {
    Some(world.frontend_of(key)?.flow_hash(&world.hash, key))
}
