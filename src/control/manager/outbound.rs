//! Backends' own connections: when ports can be handed out anew, and what the counters of who is new stood at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Manager;
use crate::dataplane::{OutboundBackend, WorkerCounters, outbound_backends};
use crate::snapshot::Snapshot;

/// Between two looks at whether ports that had flows have come free: it takes milliseconds where there are many.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Backends, by the number that their counters have.
#[derive(Default)]
pub(super) struct Baselines {
    /// What the counters stood at when the backend got the number.
    stood_at: BTreeMap<u32, OutboundBackend>,
    look_at: Duration,
}

impl Baselines {
    /// Before workers go over to `next`: who is new in it begins at what its counters stand at.
    pub(super) fn follow(&mut self, next: &Snapshot, counters: &[Arc<WorkerCounters>]) {
        let members = next.outbound.members().map(|(number, member)| (number, member.address));
        if members.eq(self.stood_at.iter().map(|(number, backend)| (*number, backend.address))) {
            return;
        }
        let before = std::mem::take(&mut self.stood_at);
        let stands = outbound_backends(next, counters).into_iter().map(|now| {
            let same = before.get(&now.number).filter(|old| old.address == now.address);
            (now.number, same.cloned().unwrap_or(now))
        });
        self.stood_at = stands.collect();
    }
}

impl Manager {
    /// Gives the workers another snapshot.
    pub(super) fn publish(&mut self, next: Snapshot) {
        self.outbound_baselines.follow(&next, &self.counters);
        self.publisher.publish(next);
    }

    /// What backends have opened themselves.
    pub fn outbound(&self) -> Vec<OutboundBackend> {
        let mut told = outbound_backends(&self.publisher.latest(), &self.counters);
        for backend in &mut told {
            if let Some(before) = self.outbound_baselines.stood_at.get(&backend.number) {
                backend.count_from(before);
            }
        }
        told
    }

    /// Compiles anew where flows have ended that kept ports from being handed out.
    pub(super) fn hand_out_ports(&mut self, now: Duration) {
        let is_early = now < self.outbound_baselines.look_at;
        // While a worker is behind, it can still use what is to be forgotten.
        if is_early || self.publisher.reached() < self.publisher.latest().generation {
            return;
        }
        self.outbound_baselines.look_at = now + LOOK_INTERVAL;
        if self.compiler.can_hand_out_ports() {
            self.publish_again();
        }
    }
}
