//! Maglev's table: a consistent hash with even shares and small disruption.
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.

/// Where a backend would like to sit: at `offset`, then every `skip` slots from there, around the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preference {
    /// Below the table's length.
    pub offset: u32,
    /// At least 1 and below the table's length, which is prime: so all slots are visited.
    pub skip: u32,
    /// Share of the slots against the others', at least 1.
    pub weight: u8,
}

impl Preference {
    /// From two independent hashes of the backend's identity.
    pub fn from_hashes(offset: u64, skip: u64, weight: u8, table_len: usize) -> Self {
        let table_len = table_len as u64;
        Self { offset: (offset % table_len) as u32, skip: (skip % (table_len - 1) + 1) as u32, weight }
    }
}

/// Primes. The first is the paper's small table, the second its large one; with 100 slots a backend the
/// shares of equal backends differ by about 1 % (section 5.3 there).
const TABLE_LENS: [usize; 4] = [65_537, 655_373, 1_048_573, 6_553_577];

/// Slots for each backend, at least.
const SLOTS_PER_BACKEND: usize = 100;

/// The most backends one table takes: slots hold 16-bit indices.
pub const BACKENDS_MAX: usize = 65_535;

/// The length of the table for a pool of so many backends, whether they are up or not, so that a
/// backend's failure does not change it.
pub fn table_len(backends: usize) -> usize {
    let enough = |len: &&usize| **len >= backends * SLOTS_PER_BACKEND;
    TABLE_LENS.iter().find(enough).copied().unwrap_or(6_553_577)
}

/// Fills a table of `table_len` slots, a prime, with indices into `preferences`.
///
/// In turns: each backend gathers its weight in credit, and takes its next free slot of choice whenever
/// the credit reaches the largest weight. Equal weights give shares that differ by one slot at most. The
/// result depends on the order of `preferences`; callers sort by a stable identity. Empty for no
/// backends. About a millisecond for 65,537 slots, whatever the number of backends.
pub fn fill(table_len: usize, preferences: &[Preference]) -> Box<[u16]> {
    let max_weight = preferences.iter().map(|p| u32::from(p.weight)).max().unwrap_or(0);
    if max_weight == 0 || preferences.len() > BACKENDS_MAX {
        return Box::default();
    }
    let mut turns: Vec<Turn> = preferences.iter().map(Turn::new).collect();
    let mut table = vec![0; table_len];
    let mut taken = Bitmap::new(table_len);
    let mut free = table_len;
    loop {
        for (index, turn) in turns.iter_mut().enumerate() {
            turn.credit += turn.weight;
            if turn.credit < max_weight {
                continue;
            }
            turn.credit -= max_weight;
            let slot = turn.next_free(&taken, table_len as u32);
            taken.set(slot);
            if let Some(entry) = table.get_mut(slot as usize) {
                *entry = index as u16;
            }
            free -= 1;
            if free == 0 {
                return table.into_boxed_slice();
            }
        }
    }
}

/// The slot of `table_len` that belongs to `hash`: its low 32 bits, scaled. No division.
#[inline]
pub fn slot(hash: u64, table_len: usize) -> usize {
    (((hash & 0xffff_ffff) * table_len as u64) >> 32) as usize
}

/// How far a backend has come in its list of preferences.
struct Turn {
    next: u32,
    skip: u32,
    weight: u32,
    credit: u32,
}

impl Turn {
    fn new(preference: &Preference) -> Self {
        let Preference { offset, skip, weight } = *preference;
        Self { next: offset, skip, weight: weight.into(), credit: 0 }
    }

    /// Bounded: as long as a slot is free, a walk by a skip that does not divide the length finds it.
    fn next_free(&mut self, taken: &Bitmap, table_len: u32) -> u32 {
        loop {
            let slot = self.next;
            self.next += self.skip;
            if self.next >= table_len {
                self.next -= table_len;
            }
            if !taken.get(slot) {
                return slot;
            }
        }
    }
}

/// Which slots are taken: 8 KiB for 65,537 slots, so that the search stays in the first-level cache.
struct Bitmap(Vec<u64>);

impl Bitmap {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    #[inline]
    fn get(&self, index: u32) -> bool {
        self.0.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    #[inline]
    fn set(&mut self, index: u32) {
        if let Some(word) = self.0.get_mut(index as usize / 64) {
            *word |= 1 << (index % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::Hasher;

    fn preference(offset: u32, skip: u32, weight: u8) -> Preference {
        Preference { offset, skip, weight }
    }

    /// As a pool of backends named by number would have.
    fn preferences(weights: &[(u32, u8)], table_len: usize) -> Vec<Preference> {
        let hash = |key: u64, name: u32| {
            let mut hasher = siphasher::sip::SipHasher13::new_with_keys(key, 0);
            hasher.write_u32(name);
            hasher.finish()
        };
        let one = |(name, weight): &(u32, u8)| {
            Preference::from_hashes(hash(1, *name), hash(2, *name), *weight, table_len)
        };
        weights.iter().map(one).collect()
    }

    fn shares(table: &[u16], backends: usize) -> Vec<usize> {
        let mut shares = vec![0; backends];
        table.iter().for_each(|index| shares[usize::from(*index)] += 1);
        shares
    }

    #[test]
    fn the_tables_of_the_papers_figure_1() {
        let all = [preference(3, 4, 1), preference(0, 2, 1), preference(3, 1, 1)];
        assert_eq!(*fill(7, &all), [1, 0, 1, 0, 2, 2, 0]);
        // Without the second backend; its neighbour keeps its number in the paper.
        assert_eq!(*fill(7, &[all[0], all[2]]), [0, 0, 0, 0, 1, 1, 1]);
    }

    /// Two endpoints of weights 2 and 1 in the tables of lengths 7 and 11 that Katran's second weighted
    /// filler makes of Murmur3 hashes of 1000 and 2000.
    #[test]
    fn weighted_tables_equal_katrans() {
        let seven = fill(7, &[preference(2, 2, 2), preference(3, 6, 1)]);
        assert_eq!(*seven, [1, 0, 0, 1, 0, 0, 0]);
        let eleven = fill(11, &[preference(0, 6, 2), preference(0, 4, 1)]);
        assert_eq!(*eleven, [0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn weights_give_shares_in_proportion() {
        let weights = [(0, 2), (1, 13), (2, 111), (3, 10)];
        let shares = shares(&fill(1021, &preferences(&weights, 1021)), 4);
        for (share, expected) in shares.iter().zip([16usize, 98, 832, 75]) {
            assert!(share.abs_diff(expected) <= 2, "{shares:?}");
        }
    }

    #[test]
    fn no_backends_make_an_empty_table_and_one_fills_it() {
        assert!(fill(65_537, &[]).is_empty());
        assert!(fill(65_537, &[preference(5, 9, 100)]).iter().all(|index| *index == 0));
    }

    #[test]
    fn removing_one_of_a_hundred_moves_few_slots_of_the_others() {
        let len = table_len(100);
        let all: Vec<(u32, u8)> = (0..100).map(|name| (name, 1)).collect();
        let before = fill(len, &preferences(&all, len));
        for gone in [0, 37, 99] {
            let left: Vec<_> = all.iter().copied().filter(|(name, _)| *name != gone).collect();
            let after = fill(len, &preferences(&left, len));
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(b, a)| u32::from(**b) != gone && all[usize::from(**b)] != left[usize::from(**a)]);
            assert!(moved.count() * 100 <= len, "without {gone}");
        }
    }

    #[test]
    fn a_small_weight_among_many_large_ones_gets_a_slot() {
        let mut weights: Vec<(u32, u8)> = (0..655).map(|name| (name, 100)).collect();
        weights[321].1 = 1;
        let len = table_len(weights.len());
        assert!(shares(&fill(len, &preferences(&weights, len)), 655)[321] > 0);
    }

    #[test]
    fn tables_have_a_hundred_slots_a_backend() {
        for (backends, len) in [(1, 65_537), (655, 65_537), (656, 655_373), (10_000, 1_048_573)] {
            assert_eq!(table_len(backends), len);
        }
    }

    proptest! {
        #[test]
        fn equal_weights_differ_by_one_slot_at_most(backends in 1usize..200, weight in 1u8..=100) {
            let weights: Vec<_> = (0..backends as u32).map(|name| (name, weight)).collect();
            let shares = shares(&fill(1021, &preferences(&weights, 1021)), backends);
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
