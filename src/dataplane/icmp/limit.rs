//! How many messages of our own a worker sends: a flood of packets must not make a flood of answers, which would cost
//! others what they are for (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).

use crate::tick::{TICKS_PER_SECOND, Tick};

/// Messages a second and worker. Linux sends as many errors, all CPUs together (`net.ipv4.icmp_msgs_per_sec`); whoever
/// traces a route or looks for an MTU is served by far fewer.
pub(super) const PER_SECOND: u32 = 1000;

const PER_TICK: u32 = PER_SECOND / TICKS_PER_SECOND;

/// A token bucket that holds a second's worth: after a pause so many may go at once.
pub(super) struct Bucket {
    tokens: u32,
    filled_at: Tick,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { tokens: PER_SECOND, filled_at: Tick::default() }
    }
}

impl Bucket {
    /// Whether one more may go now.
    pub(super) fn take(&mut self, now: Tick) -> bool {
        let due = now.since(self.filled_at).saturating_mul(PER_TICK);
        self.tokens = self.tokens.saturating_add(due).min(PER_SECOND);
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
        let mut bucket = Bucket::default();
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
