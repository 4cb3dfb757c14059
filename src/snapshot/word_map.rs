//! Read-only maps from one word or several to another, made for lookups on the packet's path: one cache line each, or two.

use crate::packet::position_of;

/// A map from one word, not zero.
pub type WordMap = KeyMap<1>;

/// A map from three words, the last not zero.
pub type WideMap = KeyMap<3>;

/// Keys, the last word of none of them zero, four to a line with their values. Built once, then only read.
///
/// A key whose line is full lies in the next line that is not. Half of the places stay empty, so a lookup
/// reads one line nearly always, whether the key is there or not. Keys come from the configuration and
/// the neighbours, not from packets; only a station on a connected network can bring in some, a few thousand
/// at most.
#[derive(Clone, Debug)]
pub struct KeyMap<const N: usize> {
    lines: Box<[Line<N>]>,
    shift: u32,
}

const LINE_KEYS: usize = 4;

/// Keys of a map that does not matter to the nearest cache.
const SMALL_LEN: usize = 64;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line<const N: usize> {
    /// The first words of the keys, then the second ones, and so on.
    rows: [[u64; LINE_KEYS]; N],
    values: [u64; LINE_KEYS],
}

impl<const N: usize> Line<N> {
    #[inline(always)]
    fn position(&self, key: [u64; N]) -> Option<usize> {
        position_of(&self.rows, key)
    }

    /// Places are taken from the first to the last: an empty last one means that no key went on.
    #[inline(always)]
    fn is_full(&self) -> bool {
        self.rows[N - 1][LINE_KEYS - 1] != 0
    }
}

impl<const N: usize> Default for KeyMap<N> {
    fn default() -> Self {
        Self::of([])
    }
}

impl WordMap {
    /// Of two entries with one key, the later wins. Zero keys are ignored.
    pub fn new(entries: impl IntoIterator<Item = (u64, u64)>) -> Self {
        Self::of(entries.into_iter().map(|(key, value)| ([key], value)))
    }

    /// The value of `key`, which must not be zero. One cache line, rarely two.
    #[inline(always)]
    pub fn get(&self, key: u64) -> Option<u64> {
        let line = self.lines.get(self.line_of([key]))?;
        match line.position([key]) {
            Some(place) => Some(line.values[place]),
            None if !line.is_full() => None,
            None => self.find_beyond([key]),
        }
    }
}

impl WideMap {
    /// The value of `key`, whose last word must not be zero. Two cache lines, rarely four.
    #[inline(always)]
    pub fn get(&self, key: [u64; 3]) -> Option<u64> {
        let line = self.lines.get(self.line_of(key))?;
        let [a, b, c] = key;
        match line.position(key) {
            Some(place) => Some(line.values[place]),
            None if !line.is_full() => None,
            None => self.find_wide_beyond(a, b, c),
        }
    }

    /// The words by themselves stay in registers until then.
    #[cold]
    fn find_wide_beyond(&self, a: u64, b: u64, c: u64) -> Option<u64> {
        self.find_beyond([a, b, c])
    }
}

impl<const N: usize> KeyMap<N> {
    /// Of two entries with one key, the later wins. Keys whose last word is zero are ignored.
    pub fn of(entries: impl IntoIterator<Item = ([u64; N], u64)>) -> Self {
        let is_key = |(key, _): &([u64; N], u64)| key[N - 1] != 0;
        let mut unique: Vec<([u64; N], u64)> = entries.into_iter().filter(is_key).collect();
        unique.reverse();
        unique.sort_by_key(|(key, _)| *key);
        unique.dedup_by_key(|(key, _)| *key);
        // Twice the places that are needed, four times where that is little; and at least two lines, for a shift by 64
        // is none.
        let lines = if unique.len() <= SMALL_LEN { unique.len() } else { unique.len() / 2 };
        let bits = lines.next_power_of_two().trailing_zeros().max(1);
        let empty = Line { rows: [[0; LINE_KEYS]; N], values: [0; LINE_KEYS] };
        let mut map = Self { lines: vec![empty; 1 << bits].into(), shift: 64 - bits };
        unique.iter().for_each(|(key, value)| map.insert(*key, *value));
        map
    }

    fn insert(&mut self, key: [u64; N], value: u64) {
        let start = self.line_of(key);
        let (before, from_start) = self.lines.split_at_mut(start);
        for line in from_start.iter_mut().chain(before) {
            if let Some(place) = line.rows[N - 1].iter().position(|word| *word == 0) {
                line.rows.iter_mut().zip(key).for_each(|(row, word)| row[place] = word);
                line.values[place] = value;
                return;
            }
        }
    }

    #[inline(always)]
    fn line_of(&self, key: [u64; N]) -> usize {
        // The multiplier moves differences upwards only, so the high half, an address, is brought down
        // first; where there are several words their turns do that. The multiplier is the golden ratio's fraction (Knuth,
        // volume 3, section 6.4).
        let mixed = key.into_iter().fold(0, |mixed: u64, word| mixed.rotate_left(23) ^ word);
        let mixed = if N == 1 { mixed ^ mixed >> 32 } else { mixed };
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    #[cold]
    fn find_beyond(&self, key: [u64; N]) -> Option<u64> {
        // There is a power of two of them.
        let last = self.lines.len() - 1;
        let mut at = self.line_of(key);
        for _ in 0..last {
            at = (at + 1) & last;
            let line = self.lines.get(at)?;
            if let Some(place) = line.position(key) {
                return Some(line.values[place]);
            }
            if !line.is_full() {
                break;
            }
        }
        None
    }

    /// The bytes it takes.
    pub fn len_bytes(&self) -> usize {
        self.lines.len() * size_of::<Line<N>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_answers_like_a_hash_map(
            entries in proptest::collection::hash_map(any::<u64>(), any::<u64>(), 0..500),
            absent in proptest::collection::vec(any::<u64>(), 0..100),
        ) {
            let entries: HashMap<u64, u64> = entries.into_iter().filter(|(key, _)| *key != 0).collect();
            let map = WordMap::new(entries.clone());
            for key in entries.keys().chain(absent.iter().filter(|key| **key != 0)) {
                prop_assert_eq!(map.get(*key), entries.get(key).copied());
            }
        }
    }

    proptest! {
        #[test]
        fn it_answers_like_a_hash_map_for_three_words(
            entries in proptest::collection::hash_map([0u64..4, 0..4, 0..4].prop_map(|k| [k[0] << 56, k[1], k[2]]), any::<u64>(), 0..50),
        ) {
            let map = WideMap::of(entries.clone());
            for key in (0..64u64).map(|i| [(i & 3) << 56, i >> 2 & 3, i >> 4]).filter(|key| key[2] != 0) {
                prop_assert_eq!(map.get(key), entries.get(&key).copied());
            }
        }
    }

    #[test]
    fn fifty_thousand_endpoints_in_a_row_take_some_tens_of_bytes_each() {
        let key = |i: u64| (0x0a00_0000 + i) << 32 | 8080 << 16 | 6;
        let map = WordMap::new((0..50_000).map(|i| (key(i), i)));
        assert!((0..50_000).all(|i| map.get(key(i)) == Some(i)));
        assert_eq!(map.get(key(50_000)), None);
        assert!(map.len_bytes() <= 50_000 * 96, "{} bytes", map.len_bytes());
    }

    #[test]
    fn nearly_all_endpoints_of_ipv6_lie_in_their_own_line() {
        use crate::packet::wide_endpoint;
        let endpoint = |[a, b, c, port]: [u16; 4]| {
            let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, a, 0, 0, 0, b, c);
            (wide_endpoint(address.into(), port, 6), u64::from(port))
        };
        // Addresses in a row, networks in a row, ports in a row, and some of each.
        let sets: [Vec<[u16; 4]>; 5] = [
            (1..=2000).map(|i| [2, 0, i, 443]).collect(),
            (1..=2000).map(|i| [2, i, 1, 443]).collect(),
            (1..=2000).map(|i| [i, 0, 1, 443]).collect(),
            (1..=2000).map(|i| [2, 0, 1, i]).collect(),
            (0..2000).map(|i| [2, i / 100 + 1, i % 100 + 1, 8000 + i % 3]).collect(),
        ];
        for set in sets {
            let map = WideMap::of(set.iter().map(|one| endpoint(*one)));
            let is_beyond = |key: [u64; 3]| map.lines[map.line_of(key)].position(key).is_none();
            let beyond = set.iter().filter(|one| is_beyond(endpoint(**one).0)).count();
            assert!(set.iter().all(|one| map.get(endpoint(*one).0) == Some(endpoint(*one).1)));
            assert!(beyond <= 100, "{beyond} of {} like {:?}", set.len(), set[0]);
        }
    }

    #[test]
    fn of_two_entries_with_one_key_the_later_wins() {
        assert_eq!(WordMap::new([(5, 1), (5, 2)]).get(5), Some(2));
    }
}
