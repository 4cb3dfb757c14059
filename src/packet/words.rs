//! Four words of a cache line, compared with another at once: which of them it is cannot be predicted, so
//! they are not tried one after the other.

/// The first place among `words` where `word` stands.
#[inline(always)]
pub fn position(words: &[u64; 4], word: u64) -> Option<usize> {
    let bits = equal(words, word);
    (bits != 0).then(|| bits.trailing_zeros() as usize & 3)
}

/// The first place where each of `words` stands on its row of `rows`.
#[inline(always)]
pub fn position_of<'r, const N: usize>(
    rows: impl IntoIterator<Item = &'r [u64; 4]>,
    words: [u64; N],
) -> Option<usize> {
    let bits = rows.into_iter().zip(words).fold(0xf, |bits, (row, word)| bits & equal(row, word));
    (bits != 0).then(|| bits.trailing_zeros() as usize & 3)
}

/// A bit for each of `words` that is `word`, the first lowest.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline(always)]
fn equal(words: &[u64; 4], word: u64) -> u32 {
    use safe_arch::{
        cast_to_m256d_from_m256i, cmp_eq_mask_i64_m256i, m256i, move_mask_m256d, set_splat_i64_m256i,
    };
    let same = cmp_eq_mask_i64_m256i(m256i::from(*words), set_splat_i64_m256i(word as i64));
    move_mask_m256d(cast_to_m256d_from_m256i(same)) as u32
}

/// A bit for each of `words` that is `word`, the first lowest.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
#[inline(always)]
fn equal(words: &[u64; 4], word: u64) -> u32 {
    let bit = |place: usize| u32::from(words[place] == word) << place;
    bit(0) | bit(1) | bit(2) | bit(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_where_it_stands() {
        let words = [7, u64::MAX, 1 << 63, 0];
        for (place, word) in words.into_iter().enumerate() {
            assert_eq!(position(&words, word), Some(place));
        }
        assert_eq!(position(&words, 8), None);
        assert_eq!(position(&words, 0), Some(3));
        assert_eq!(position(&[0, 5, 0, 0], 0), Some(0));
        assert_eq!(position(&[1; 4], 0), None);
    }

    #[test]
    fn three_words_are_found_where_all_of_them_stand() {
        let rows = [&[1, 1, 1, 9], &[2, 2, 3, 9], &[4, 5, 5, 9]];
        assert_eq!(position_of(rows, [1, 2, 5]), Some(1));
        assert_eq!(position_of(rows, [1, 3, 5]), Some(2));
        assert_eq!(position_of(rows, [1, 3, 4]), None);
        assert_eq!(position_of(rows, [9; 3]), Some(3));
    }
}
