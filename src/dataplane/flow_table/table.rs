//! One table, of keys of one kind.

use std::marker::PhantomData;

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::FromBytes;

use super::key::{Key, Secret};
use super::line::{Line, Rest, WAYS, prefetch};
use super::lines::Lines;
use super::{Position, Silent};
use crate::dataplane::counters::WorkerCounters;
use crate::snapshot::Snapshot;
use crate::tick::Tick;

/// Room for flows, in lines of four.
pub(in crate::dataplane) struct Table<K: Key> {
    /// All lines, and behind them the rests of all keys, if those have any.
    memory: MmapMut,
    /// Flows of each block of lines: the sweep passes over empty ones without a look at their memory.
    occupied: Box<[u16]>,
    /// Where each flow is in its sequence numbers, of flows to be reset when they are idle; memory is taken as it is
    /// touched.
    numbers: MmapMut,
    len: usize,
    sweep_at: usize,
    secret: Secret,
    on_hugepages: bool,
    keys: PhantomData<K>,
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
    /// Bytes of a line and the rest of its keys.
    const LINE_BYTES: usize = size_of::<Line>() + if K::HAS_REST { size_of::<Rest>() } else { 0 };

    /// Room for `flows` flows at a load of 0.6. On hugepages where enough are free; else the kernel is asked for
    /// transparent ones.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub(super) fn new(flows: usize) -> std::io::Result<Self> {
        let len = lines_for(flows);
        let len_bytes = len * Self::LINE_BYTES;
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
        let memory = MmapOptions::new().len(len * Self::LINE_BYTES).no_reserve_swap().map_anon()?;
        let _ = memory.advise(Advice::HugePage);
        Self::of(memory, len, false)
    }

    fn of(memory: MmapMut, len: usize, on_hugepages: bool) -> std::io::Result<Self> {
        let numbers =
            MmapOptions::new().len(len * WAYS * size_of::<Position>()).no_reserve_swap().map_anon()?;
        let occupied = vec![0; len.div_ceil(BLOCK_LINES)].into();
        let secret = Secret::new()?;
        Ok(Self { memory, occupied, numbers, len, sweep_at: 0, secret, on_hugepages, keys: PhantomData })
    }

    /// The bytes in hugepages that a table for `flows` flows takes.
    pub(super) fn hugepage_bytes(flows: usize) -> usize {
        (lines_for(flows) * Self::LINE_BYTES).next_multiple_of(HUGEPAGE_LEN)
    }

    /// The bytes of its lines and keys.
    pub(super) fn len_bytes(&self) -> usize {
        self.len * Self::LINE_BYTES
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
        let bytes = self.memory.get_mut(..self.len * Self::LINE_BYTES).unwrap_or_default();
        let lines_len = if K::HAS_REST { self.len * size_of::<Line>() } else { bytes.len() };
        let (lines, rests) = bytes.split_at_mut_checked(lines_len).unwrap_or_default();
        // The mapping is aligned to pages, and these are any 64 bytes: this cannot fail.
        let lines = <[Line]>::mut_from_bytes(lines).unwrap_or_default();
        let rests = <[Rest]>::mut_from_bytes(rests).unwrap_or_default();
        let numbers = <[Position]>::mut_from_bytes(&mut self.numbers).unwrap_or_default();
        let (occupied, secret) = (&mut *self.occupied, self.secret);
        Lines { lines, rests, occupied, numbers, secret, keys: PhantomData }
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

/// Bytes of the smaller hugepage of x86-64 and of 64-bit Arm.
pub(super) const HUGEPAGE_LEN: usize = 1 << HUGEPAGE_BITS;
const HUGEPAGE_BITS: u8 = 21;
