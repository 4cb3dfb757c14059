//! How workers come by the latest snapshot, and when an old one is freed.
//!
//! A worker compares one number once a burst: a load of a line that nobody writes to. Only when it has
//! moved does the worker take the new snapshot, and says so. Whoever publishes keeps every old snapshot
//! until all workers have said that they are past it, so that no worker ever frees one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crossbeam::utils::CachePadded;

use super::Snapshot;
use crate::watch::Watch;

struct Shared {
    latest: CachePadded<AtomicU64>,
    slot: Mutex<Arc<Snapshot>>,
    /// The generation each reader has reached; `u64::MAX` for one that is gone.
    reached: Box<[CachePadded<AtomicU64>]>,
}

/// The management thread's end.
pub struct Publisher {
    shared: Arc<Shared>,
    /// The published ones that some reader may still hold, the latest included, oldest first.
    held: Vec<Arc<Snapshot>>,
    watches: Vec<Arc<Watch>>,
}

/// A worker's end.
pub struct Reader {
    shared: Arc<Shared>,
    seat: usize,
    current: Arc<Snapshot>,
}

impl Publisher {
    /// Publishes `first` and hands out the ends of so many readers.
    pub fn new(first: Snapshot, readers: usize) -> (Self, Vec<Reader>) {
        let first = Arc::new(first);
        let generation = first.generation;
        let reached = (0..readers).map(|_| CachePadded::new(AtomicU64::new(generation))).collect();
        let latest = CachePadded::new(AtomicU64::new(generation));
        let shared = Arc::new(Shared { latest, slot: Mutex::new(first.clone()), reached });
        let reader = |seat| Reader { shared: shared.clone(), seat, current: first.clone() };
        let readers = (0..readers).map(reader).collect();
        (Self { shared, held: vec![first], watches: Vec::new() }, readers)
    }

    /// Makes `next` the one that readers take from now on. Its generation must be the highest so far.
    pub fn publish(&mut self, mut next: Snapshot) {
        next.watches = self.watches.as_slice().into();
        let next = Arc::new(next);
        let generation = next.generation;
        self.held.push(next.clone());
        *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.shared.latest.store(generation, Ordering::Release);
        self.free_passed();
    }

    /// What is watched from the next snapshot on.
    pub fn set_watches(&mut self, watches: Vec<Arc<Watch>>) {
        self.watches = watches;
    }

    /// Frees the snapshots that all readers are past.
    pub fn free_passed(&mut self) {
        let reached = self.reached();
        let latest = self.latest().generation;
        self.held.retain(|snapshot| snapshot.generation >= reached.min(latest));
    }

    /// The generation that all readers have reached; `u64::MAX` when all are gone.
    pub fn reached(&self) -> u64 {
        let reached = self.shared.reached.iter().map(|r| r.load(Ordering::Acquire));
        reached.min().unwrap_or(u64::MAX)
    }

    /// What was published last.
    pub fn latest(&self) -> Arc<Snapshot> {
        self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many snapshots are not freed yet, the latest included.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

impl Reader {
    /// Moves to the latest snapshot, unless another is being published right now. Never waits.
    #[inline]
    pub fn refresh(&mut self) {
        if self.shared.latest.load(Ordering::Acquire) != self.current.generation {
            self.advance();
        }
    }

    /// The snapshot of the last refresh.
    #[inline]
    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    #[cold]
    fn advance(&mut self) {
        let next = match self.shared.slot.try_lock() {
            Ok(slot) => slot.clone(),
            Err(TryLockError::Poisoned(slot)) => slot.into_inner().clone(),
            Err(TryLockError::WouldBlock) => return,
        };
        let generation = next.generation;
        // The publisher holds the old one too, until it reads the store below: this frees nothing.
        self.current = next;
        if let Some(reached) = self.shared.reached.get(self.seat) {
            reached.store(generation, Ordering::Release);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(reached) = self.shared.reached.get(self.seat) {
            reached.store(u64::MAX, Ordering::Release);
        }
    }
}
