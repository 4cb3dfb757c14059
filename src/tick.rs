//! The dataplane's clock: coarse enough to be kept in 24 bits of a flow's entry, fine enough for timeouts.

use std::time::Duration;

/// Ticks in a second. A flow's end is noticed up to one tick late.
pub const TICKS_PER_SECOND: u32 = 4;

/// 24 bits of quarter seconds go round in 48 days.
const MASK: u32 = 0x00ff_ffff;

/// A moment, counted in ticks from the start, modulo 2^24.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tick(u32);

impl Tick {
    /// The moment `since_start` after the start.
    #[inline]
    pub fn at(since_start: Duration) -> Self {
        let millis_per_tick = 1000 / u64::from(TICKS_PER_SECOND);
        let ticks = since_start.as_secs() * u64::from(TICKS_PER_SECOND)
            + u64::from(since_start.subsec_millis()) / millis_per_tick;
        Self(ticks as u32 & MASK)
    }

    /// As kept in an entry: 24 bits.
    #[inline]
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// From the low 24 bits of `bits`.
    #[inline]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & MASK)
    }

    /// Ticks from `earlier` to here.
    #[inline]
    pub fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0) & MASK
    }

    /// Whether this is the earlier of two moments that lie less than half the circle apart.
    #[inline]
    pub fn is_before(self, other: Self) -> bool {
        (1..=MASK / 2).contains(&other.since(self))
    }
}

/// Ticks in `duration`, at least.
pub fn ticks(duration: Duration) -> u32 {
    let ticks = (duration.as_millis() * u128::from(TICKS_PER_SECOND)).div_ceil(1000);
    // Half the circle: beyond it "earlier" and "later" would change places.
    u32::try_from(ticks).unwrap_or(u32::MAX).min(MASK / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_count_quarters_of_a_second_around_the_circle() {
        assert_eq!(Tick::at(Duration::from_millis(1_749)).to_bits(), 6);
        assert_eq!(ticks(Duration::from_secs(240)), 960);
        assert_eq!(ticks(Duration::from_millis(1)), 1);
        let before = Tick::from_bits(MASK - 1);
        let after = Tick::at(Duration::from_secs(u64::from(MASK / 4) + 1) + Duration::from_millis(500));
        assert_eq!(after.since(before), 4);
    }
}
