//! What operators have had done since the start, counted.

use std::time::SystemTime;

/// Reloads and changes since the start.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// When this process was started.
    pub started: SystemTime,
    /// Reloads that took a new configuration.
    pub reloads: u64,
    /// Reloads that changed nothing, because the configuration was bad.
    pub reloads_failed: u64,
    /// When the configuration in force was loaded.
    pub loaded: SystemTime,
    /// Changes of backends, each by one request.
    pub changes: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let now = SystemTime::now();
        Self { started: now, reloads: 0, reloads_failed: 0, loaded: now, changes: 0 }
    }

    /// Counts a reload.
    pub(super) fn reload(&mut self, is_good: bool) {
        if is_good {
            self.reloads += 1;
            self.loaded = SystemTime::now();
        } else {
            self.reloads_failed += 1;
        }
    }
}
