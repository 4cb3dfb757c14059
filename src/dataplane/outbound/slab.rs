//! Places in memory that is given as it is touched, found by hash: chains of the places whose hashes begin alike.

use std::marker::PhantomData;

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a place holds. All zero is a free one.
pub(super) trait Entry: FromBytes + IntoBytes + Immutable + Copy {
    fn hash(&self) -> u64;
    fn is_free(&self) -> bool;
    fn next(&self) -> u32;
    fn set_next(&mut self, next: u32);
}

/// Memory that costs nothing before it is touched.
pub(super) fn untouched(bytes: usize) -> std::io::Result<MmapMut> {
    let memory = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// As elements; of memory that was made for these.
pub(super) fn slice<T: FromBytes + IntoBytes + Immutable>(memory: &mut MmapMut) -> &mut [T] {
    <[T]>::mut_from_bytes(memory).unwrap_or_default()
}

/// Some places. Links count them from 1; 0 is the end.
pub(super) struct Slab<T> {
    places: MmapMut,
    heads: MmapMut,
    heads_len: usize,
    /// The first of the places that were used and are free.
    free: u32,
    /// All from here on have never been used.
    top: u32,
    max: u32,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Entry> Slab<T> {
    /// For `max` entries, in `heads` chains, a power of two.
    pub(super) fn new(max: usize, heads: usize) -> std::io::Result<Self> {
        Ok(Self {
            places: untouched(max * size_of::<T>())?,
            heads: untouched(heads * size_of::<u32>())?,
            heads_len: heads,
            free: 0,
            top: 0,
            max: max as u32,
            len: 0,
            of: PhantomData,
        })
    }

    fn head(&mut self, hash: u64) -> Option<&mut u32> {
        let at = hash as usize >> 16 & (self.heads_len - 1);
        slice::<u32>(&mut self.heads).get_mut(at)
    }

    pub(super) fn at(&mut self, index: u32) -> Option<&mut T> {
        slice::<T>(&mut self.places).get_mut(index as usize).filter(|entry| !entry.is_free())
    }

    /// The first entry of the chain of `hash` that `is_it`, behind the one at `after` if there is one.
    pub(super) fn find(&mut self, hash: u64, after: Option<u32>, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        let mut next = match after {
            None => *self.head(hash)?,
            Some(index) => self.at(index)?.next(),
        };
        let max = self.max;
        let places = slice::<T>(&mut self.places);
        // No chain is longer than all there is.
        for _ in 0..max {
            let index = next.checked_sub(1)?;
            let entry = places.get(index as usize)?;
            if entry.hash() == hash && is_it(entry) {
                return Some(index);
            }
            next = entry.next();
        }
        None
    }

    /// Puts it at the head of its chain; `None` where all places are taken.
    pub(super) fn insert(&mut self, mut entry: T) -> Option<u32> {
        let index = match self.free.checked_sub(1) {
            Some(index) => {
                self.free = slice::<T>(&mut self.places).get(index as usize)?.next();
                index
            }
            None if self.top < self.max => {
                self.top += 1;
                self.top - 1
            }
            None => return None,
        };
        let head = self.head(entry.hash())?;
        entry.set_next(std::mem::replace(head, index + 1));
        *slice::<T>(&mut self.places).get_mut(index as usize)? = entry;
        self.len += 1;
        Some(index)
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, index: u32) -> Option<()> {
        let entry = *self.at(index)?;
        let head = self.head(entry.hash())?;
        if *head == index + 1 {
            *head = entry.next();
        } else {
            let mut at = *head;
            loop {
                let before = self.at(at.checked_sub(1)?)?;
                if before.next() == index + 1 {
                    before.set_next(entry.next());
                    break;
                }
                at = before.next();
            }
        }
        let mut gone = T::new_zeroed();
        gone.set_next(self.free);
        *slice::<T>(&mut self.places).get_mut(index as usize)? = gone;
        self.free = index + 1;
        self.len -= 1;
        Some(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Places that were ever used.
    pub(super) fn top(&self) -> u32 {
        self.top
    }
}
