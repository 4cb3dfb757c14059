//! Lines of the log that a stranger can cause: one a second, and the number of those left out.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Limited(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    left_out: u64,
}

impl Limited {
    /// Warns, or counts where it has warned within the last second.
    pub(super) fn warn(&self, what: &dyn Display) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.is_some_and(|at| now.duration_since(at) < INTERVAL) {
            last.left_out += 1;
            return;
        }
        last.at = Some(now);
        match std::mem::take(&mut last.left_out) {
            0 => log::warn!("{what}"),
            more => log::warn!("{what} (and {more} more like it since the last line)"),
        }
    }
}
