//! SipHash-1-3 over one 64-bit word, or three (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
//!
//! It is keyed, and without the key nobody can aim a flow at a bucket, a worker or a backend; the linear
//! hashes that network cards offer give no such promise, whatever their seed. Whole bursts are hashed in
//! vector lanes, for one after the other they would be a large part of a packet's cost.

/// The key, and the widest vector unit of this CPU.
#[derive(Clone, Copy)]
pub struct SipHash {
    k0: u64,
    k1: u64,
    arch: pulp::Arch,
}

/// Words below which filling vector lanes is not worth the while.
const WORDS_MIN: usize = 6;

impl SipHash {
    /// From the 128-bit key.
    pub fn new(key: [u8; 16]) -> Self {
        let (low, high) = key.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self { k0: word(low), k1: word(high), arch: pulp::Arch::new() }
    }

    /// The hash of `word`, as of its eight bytes in little-endian order.
    #[inline(always)]
    pub fn word(&self, word: u64) -> u64 {
        self.blocks([word, 8 << 56])
    }

    /// The hash of three words, as of their 24 bytes.
    #[inline(always)]
    pub fn three(&self, [a, b, c]: [u64; 3]) -> u64 {
        self.blocks([a, b, c, 24 << 56])
    }

    /// The hash of two words and the lower 48 bits of a third, as of their 22 bytes: one block less than of three words.
    #[inline(always)]
    pub fn wide(&self, [a, b, c]: [u64; 3]) -> u64 {
        self.blocks([a, b, c & 0xffff_ffff_ffff | 22 << 56])
    }

    /// The hash of five words, as of their 40 bytes.
    #[inline]
    pub fn five(&self, [a, b, c, d, e]: [u64; 5]) -> u64 {
        self.blocks([a, b, c, d, e, 40 << 56])
    }

    /// The last block of a message is its length, in the top byte.
    #[inline(always)]
    fn blocks<const N: usize>(&self, blocks: [u64; N]) -> u64 {
        let mut v0 = self.k0 ^ 0x736f_6d65_7073_6575;
        let mut v1 = self.k1 ^ 0x646f_7261_6e64_6f6d;
        let mut v2 = self.k0 ^ 0x6c79_6765_6e65_7261;
        let mut v3 = self.k1 ^ 0x7465_6462_7974_6573;
        for block in blocks {
            v3 ^= block;
            (v0, v1, v2, v3) = round(v0, v1, v2, v3);
            v0 ^= block;
        }
        v2 ^= 0xff;
        for _ in 0..3 {
            (v0, v1, v2, v3) = round(v0, v1, v2, v3);
        }
        v0 ^ v1 ^ v2 ^ v3
    }

    /// Replaces every word by its hash.
    // One call in the path: a call would cost more than the few instructions around the vector loop.
    #[inline(always)]
    pub fn words(&self, words: &mut [u64]) {
        if words.len() < WORDS_MIN {
            words.iter_mut().for_each(|word| *word = self.word(*word));
        } else {
            // The words do not depend on each other: the compiler makes vector lanes of the loop's turns.
            self.arch.dispatch(Words { hash: *self, words });
        }
    }

    /// Writes the hashes as of [`Self::wide`] to `hashes`; the first words of each lie on the first of `rows`, and so on.
    #[inline]
    pub fn wides(&self, rows: [&[u64]; 3], hashes: &mut [u64]) {
        self.arch.dispatch(Wides { hash: *self, rows, hashes });
    }
}

/// The same for three words each, which lie in three rows.
struct Wides<'a> {
    hash: SipHash,
    rows: [&'a [u64]; 3],
    hashes: &'a mut [u64],
}

impl pulp::NullaryFnOnce for Wides<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [a, b, c] = self.rows;
        for (((hash, a), b), c) in self.hashes.iter_mut().zip(a).zip(b).zip(c) {
            *hash = self.hash.wide([*a, *b, *c]);
        }
    }
}

/// The loop, for [`pulp::Arch::dispatch`] to compile for each vector unit.
struct Words<'a> {
    hash: SipHash,
    words: &'a mut [u64],
}

impl pulp::NullaryFnOnce for Words<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for word in self.words {
            *word = self.hash.word(*word);
        }
    }
}

#[inline(always)]
fn round(mut v0: u64, mut v1: u64, mut v2: u64, mut v3: u64) -> (u64, u64, u64, u64) {
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    (v0, v1, v2, v3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::Hasher;

    proptest! {
        #[test]
        fn it_agrees_with_another_implementation_in_every_lane(
            key in any::<[u8; 16]>(), words in proptest::collection::vec(any::<u64>(), 0..70),
        ) {
            let expected: Vec<u64> = words.iter().map(|word| {
                let mut hasher = siphasher::sip::SipHasher13::new_with_key(&key);
                hasher.write(&word.to_le_bytes());
                hasher.finish()
            }).collect();
            let mut hashed = words.clone();
            SipHash::new(key).words(&mut hashed);
            prop_assert_eq!(hashed, expected);
        }

        #[test]
        fn five_words_are_hashed_as_their_bytes(key in any::<[u8; 16]>(), words in any::<[u64; 5]>()) {
            let mut hasher = siphasher::sip::SipHasher13::new_with_key(&key);
            words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
            prop_assert_eq!(SipHash::new(key).five(words), hasher.finish());
        }

        #[test]
        fn three_words_are_hashed_as_their_bytes(key in any::<[u8; 16]>(), words in any::<[u64; 3]>()) {
            let mut hasher = siphasher::sip::SipHasher13::new_with_key(&key);
            words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
            prop_assert_eq!(SipHash::new(key).three(words), hasher.finish());
        }

        #[test]
        fn wide_ones_are_hashed_as_their_22_bytes_in_every_lane(
            key in any::<[u8; 16]>(), words in proptest::collection::vec(any::<[u64; 3]>(), 0..70),
        ) {
            let expected: Vec<u64> = words.iter().map(|words| {
                let mut hasher = siphasher::sip::SipHasher13::new_with_key(&key);
                hasher.write(&words.map(u64::to_le_bytes).concat()[..22]);
                hasher.finish()
            }).collect();
            let row = |i: usize| words.iter().map(|words| words[i]).collect::<Vec<_>>();
            let mut hashed = vec![0; words.len()];
            SipHash::new(key).wides([&row(0), &row(1), &row(2)], &mut hashed);
            prop_assert_eq!(hashed, expected);
        }
    }
}
