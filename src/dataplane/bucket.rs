//! How much of something a worker does in a second.

use crate::tick::{TICKS_PER_SECOND, Tick};

/// A token bucket that holds a second's worth: after a pause so many may go at once.
pub(super) struct Bucket {
    per_second: u32,
    tokens: u32,
    filled_at: Tick,
}

impl Bucket {
    /// Full at the start.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, tokens: per_second, filled_at: Tick::default() }
    }

    /// Whether one more may go now.
    pub(super) fn take(&mut self, now: Tick) -> bool {
        let due = now.since(self.filled_at).saturating_mul(self.per_second / TICKS_PER_SECOND);
        self.tokens = self.tokens.saturating_add(due).min(self.per_second);
        self.filled_at = now;
        let is_left = self.tokens > 0;
        self.tokens -= u32::from(is_left);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_brings_so_many_and_no_pause_brings_more() {
        let mut bucket = Bucket::new(1000);
        let mut taken = |millis| {
            let now = Tick::at(Duration::from_millis(millis));
            (0..5000).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(
            [taken(0), taken(0), taken(249), taken(250), taken(1000), taken(9_000_000)],
            [1000, 0, 0, 250, 750, 1000]
        );
    }
}
