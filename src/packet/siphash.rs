//! SipHash-1-3 over one 64-bit word (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
//!
//! It is keyed, and without the key nobody can aim a flow at a bucket, a worker or a backend; the linear
//! hashes that network cards offer give no such promise, whatever their seed. Whole bursts are hashed in
//! vector lanes, where a hash costs less than a nanosecond.

/// Hashes computed side by side: two AVX-512 or four AVX2 registers for each of the four state words.
pub const HASH_LANES: usize = 16;

/// The key, expanded, and the widest vector unit of this CPU.
#[derive(Clone, Copy)]
pub struct SipHash {
    k0: u64,
    k1: u64,
    arch: pulp::Arch,
}

impl SipHash {
    /// From the 128-bit key.
    pub fn new(key: [u8; 16]) -> Self {
        let (low, high) = key.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self { k0: word(low), k1: word(high), arch: pulp::Arch::new() }
    }

    /// The hash of `word`, as of its eight bytes in little-endian order.
    #[inline]
    pub fn word(&self, word: u64) -> u64 {
        let [hash] = self.lanes([word]);
        hash
    }

    /// Replaces every word by its hash.
    #[inline]
    pub fn words(&self, words: &mut [u64]) {
        // Fewer than half the lanes are not worth filling them.
        if words.len() < HASH_LANES / 2 {
            words.iter_mut().for_each(|word| *word = self.word(*word));
            return;
        }
        self.arch.dispatch(
            #[inline(always)]
            || {
                let (full, rest) = words.as_chunks_mut::<HASH_LANES>();
                for lanes in full {
                    *lanes = self.lanes(*lanes);
                }
                if !rest.is_empty() {
                    let mut lanes = [0; HASH_LANES];
                    lanes[..rest.len()].copy_from_slice(rest);
                    rest.copy_from_slice(&self.lanes(lanes)[..rest.len()]);
                }
            },
        );
    }

    /// Every lane does the same, so that the compiler turns the loops into vector instructions.
    #[inline(always)]
    fn lanes<const N: usize>(&self, words: [u64; N]) -> [u64; N] {
        let mut v0 = [self.k0 ^ 0x736f_6d65_7073_6575; N];
        let mut v1 = [self.k1 ^ 0x646f_7261_6e64_6f6d; N];
        let mut v2 = [self.k0 ^ 0x6c79_6765_6e65_7261; N];
        let mut v3 = [self.k1 ^ 0x7465_6462_7974_6573; N];
        // The last block of a message is its length, eight, in the top byte.
        for block in [words, [8 << 56; N]] {
            for i in 0..N {
                v3[i] ^= block[i];
            }
            round(&mut v0, &mut v1, &mut v2, &mut v3);
            for i in 0..N {
                v0[i] ^= block[i];
            }
        }
        for lane in &mut v2 {
            *lane ^= 0xff;
        }
        for _ in 0..3 {
            round(&mut v0, &mut v1, &mut v2, &mut v3);
        }
        std::array::from_fn(|i| v0[i] ^ v1[i] ^ v2[i] ^ v3[i])
    }
}

#[inline(always)]
fn round<const N: usize>(v0: &mut [u64; N], v1: &mut [u64; N], v2: &mut [u64; N], v3: &mut [u64; N]) {
    for i in 0..N {
        v0[i] = v0[i].wrapping_add(v1[i]);
        v1[i] = v1[i].rotate_left(13) ^ v0[i];
        v0[i] = v0[i].rotate_left(32);
        v2[i] = v2[i].wrapping_add(v3[i]);
        v3[i] = v3[i].rotate_left(16) ^ v2[i];
        v0[i] = v0[i].wrapping_add(v3[i]);
        v3[i] = v3[i].rotate_left(21) ^ v0[i];
        v2[i] = v2[i].wrapping_add(v1[i]);
        v1[i] = v1[i].rotate_left(17) ^ v2[i];
        v2[i] = v2[i].rotate_left(32);
    }
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
    }
}
