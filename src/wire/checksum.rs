//! The Internet checksum (RFC 1071), in full and by difference (RFC 1624).
//!
//! One's complement sums do not care for byte order as long as it is the same throughout (RFC 1071
//! section 2 B). Here all sums are in the order the bytes have in memory, so that nothing is swapped.

/// The one's complement sum of `bytes`, an odd last byte padded with zero. Not inverted.
pub fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<4>();
    // 64 bits hold the sum of 2^32 words of 32 bits, far above any frame.
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (halves, last) = rest.as_chunks::<2>();
    total += halves.iter().map(|half| u64::from(u16::from_ne_bytes(*half))).sum::<u64>();
    total += last.first().map_or(0, |byte| u64::from(u16::from_ne_bytes([*byte, 0])));
    fold(total)
}

/// Adds the carries back in until 16 bits are left.
#[inline(always)]
pub fn fold(total: u64) -> u16 {
    // A number plus itself turned by half its width has the sum of its halves, carry included, on top.
    let halves = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    (halves.wrapping_add(halves.rotate_left(16)) >> 16) as u16
}

/// The checksum field for data whose one's complement sum, the field counted as zero, is `sum`.
#[inline]
pub fn field(sum: u16) -> [u8; 2] {
    (!sum).to_ne_bytes()
}

/// What replacing some 16-bit words of the data by others adds to its one's complement sum:
/// `Σ(~old + new)`, folded (RFC 1624 equation 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delta(u16);

impl Delta {
    /// Nothing replaced yet.
    pub const NONE: Self = Self(0);

    /// Further replaces `old` by `new`, both at an even offset of the data.
    pub fn replace<const N: usize>(self, old: [u8; N], new: [u8; N]) -> Self {
        const { assert!(N.is_multiple_of(2), "checksums are over 16-bit words") };
        Self(fold(u64::from(self.0) + u64::from(!sum(&old)) + u64::from(sum(&new))))
    }

    /// The checksum field after the replacement, from the field before it.
    #[inline(always)]
    pub fn apply(self, field: [u8; 2]) -> [u8; 2] {
        let (total, carry) = (!u16::from_ne_bytes(field)).overflowing_add(self.0);
        // Two 16-bit numbers carry at most once, and adding that carry cannot carry again.
        (!(total + u16::from(carry))).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while total >> 16 != 0 {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        let sum = sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_gives_zero_and_not_ffff() {
        let delta = Delta::NONE.replace([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(delta.apply([0xdd, 0x2f]), [0x00, 0x00]);
    }

    proptest! {
        #[test]
        fn sums_agree_with_the_plain_loop(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(sum(&bytes).to_ne_bytes(), plain(&bytes).to_be_bytes());
        }

        #[test]
        fn updating_by_difference_gives_what_summing_anew_gives(
            mut data in proptest::collection::vec(any::<u8>(), 8..64), new in any::<[u8; 4]>(),
        ) {
            data[4] |= 1; // Data of nothing but zeros has two representations of its sum.
            let before = field(sum(&data));
            let old: [u8; 4] = data[..4].try_into().unwrap();
            data[..4].copy_from_slice(&new);
            let after = Delta::NONE.replace(old, new).apply(before);
            prop_assert_eq!(after, field(sum(&data)));
        }
    }
}
