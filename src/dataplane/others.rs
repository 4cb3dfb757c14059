//! Clients' packets that go to their backends otherwise than by plain translation of IPv4.

use super::counters::WorkerCounters;
use super::lanes::Lanes;
use crate::io::Frame;
use crate::snapshot::Snapshot;

impl Lanes {
    /// Sends them on.
    #[inline(always)]
    pub(super) fn send_others<F: Frame>(
        &mut self,
        _burst: &mut [F],
        _world: &Snapshot,
        _counters: &WorkerCounters,
    ) {
    }
}
