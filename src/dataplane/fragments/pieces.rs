//! Which parts of a datagram have come, and whether they can be parts of one.

use crate::drop_reason::DropReason;

/// Parts of one datagram, at most: 65,535 bytes in the smallest packets that any IPv6 link carries (RFC 8200 section 5)
/// are 54, in those of Ethernet 45.
pub(super) const PIECES_MAX: usize = 64;

/// The parts of one datagram.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    /// Where each begins and ends, in bytes; in the order in which they came.
    spans: [(u16, u16); PIECES_MAX],
    len: u8,
    /// Bytes of all of them.
    covered: u16,
    /// Where the last one ends; 0 while it has not come.
    total: u16,
}

impl Pieces {
    pub(super) const NONE: Self = Self { spans: [(0, 0); PIECES_MAX], len: 0, covered: 0, total: 0 };

    /// Forgets them. What counts, for the rest is memory that need not be touched.
    pub(super) fn clear(&mut self) {
        (self.len, self.covered, self.total) = (0, 0, 0);
    }

    /// Takes the bytes from `start` to before `end`, of which there is at least one.
    ///
    /// # Errors
    /// For a part that has come already, and for one that cannot be of the same datagram as the others (RFC 5722).
    pub(super) fn add(&mut self, start: u16, end: u16, is_last: bool) -> Result<(), DropReason> {
        let known = self.spans.get(..self.len.into()).unwrap_or_default();
        let mut reach = 0;
        for (from, to) in known {
            if start < *to && *from < end {
                let is_same = (start, end) == (*from, *to) && is_last == (end == self.total);
                let overlap = DropReason::FragmentOverlap;
                return Err(if is_same { DropReason::FragmentDuplicate } else { overlap });
            }
            reach = reach.max(*to);
        }
        let is_beyond =
            if is_last { self.total != 0 || reach > end } else { self.total != 0 && end > self.total };
        if is_beyond {
            return Err(DropReason::FragmentOverlap);
        }
        let place = self.spans.get_mut(usize::from(self.len)).ok_or(DropReason::FragmentTooMany)?;
        *place = (start, end);
        self.len += 1;
        // They do not overlap, so that the sum is below 2^16.
        self.covered += end - start;
        if is_last {
            self.total = end;
        }
        Ok(())
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.total != 0 && self.covered == self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_contradicts_the_others_is_named() {
        use DropReason::{FragmentDuplicate, FragmentOverlap, FragmentTooMany};
        let mut pieces = Pieces::NONE;
        assert_eq!(pieces.add(16, 32, false), Ok(()));
        assert_eq!(pieces.add(16, 32, false), Err(FragmentDuplicate));
        // The same bytes as the last, of which there is more.
        assert_eq!(pieces.add(16, 32, true), Err(FragmentOverlap));
        assert_eq!(pieces.add(8, 24, false), Err(FragmentOverlap));
        assert_eq!(pieces.add(16, 24, false), Err(FragmentOverlap));
        assert_eq!(pieces.add(0, 64, false), Err(FragmentOverlap));
        assert_eq!(pieces.add(8, 12, true), Err(FragmentOverlap), "the end before what has come");
        assert_eq!(pieces.add(32, 37, true), Ok(()));
        assert_eq!(pieces.add(32, 37, true), Err(FragmentDuplicate));
        assert_eq!(pieces.add(40, 48, false), Err(FragmentOverlap), "beyond the end");
        assert_eq!(pieces.add(40, 48, true), Err(FragmentOverlap), "a second end");
        assert!(!pieces.is_complete());
        assert_eq!(pieces.add(0, 16, false), Ok(()));
        assert!(pieces.is_complete());
        let mut many = Pieces::NONE;
        for start in (0..64).map(|i| i * 8) {
            assert_eq!(many.add(start, start + 8, false), Ok(()));
        }
        assert_eq!(many.add(512, 520, false), Err(FragmentTooMany));
    }

    proptest! {
        #[test]
        fn a_datagram_is_complete_with_its_last_piece_in_any_order(
            cuts in proptest::collection::btree_set(1u16..8191, 0..63),
            tail in 1u16..8,
            seed in any::<u64>(),
        ) {
            let total = 65_528 + tail - 1;
            let mut bounds: Vec<u16> = cuts.iter().map(|cut| cut * 8).collect();
            bounds.insert(0, 0);
            bounds.push(total);
            let mut parts: Vec<(u16, u16)> = bounds.windows(2).map(|w| (w[0], w[1])).collect();
            parts.sort_by_key(|part| u64::from(part.0).wrapping_add(1).wrapping_mul(seed | 1));
            let mut pieces = Pieces::NONE;
            for (start, end) in parts {
                prop_assert!(!pieces.is_complete());
                prop_assert_eq!(pieces.add(start, end, end == total), Ok(()));
            }
            prop_assert!(pieces.is_complete());
        }
    }
}
