//! Which worker owns a flow, where the queues do not see to it.

use super::lanes::{Lanes, Outcome, Source, WorkerId};

/// How flows are spread over the workers.
pub(super) struct Steering {
    me: WorkerId,
    workers: u64,
}

/// The hash's bits that choose the owner: the lowest, for the tables use the higher ones. Enough for 64
/// workers to get shares that differ by 2 %.
const OWNER_BITS: u32 = 12;

impl Steering {
    pub(super) fn new(me: WorkerId, workers: usize) -> Self {
        Self { me, workers: workers.max(1) as u64 }
    }

    fn owner(&self, hash: u64) -> WorkerId {
        let bits = hash & ((1 << OWNER_BITS) - 1);
        WorkerId(((bits * self.workers) >> OWNER_BITS) as u8)
    }
}

impl Lanes {
    /// Hands clients' packets to the workers that own their flows, where the port they came in by does
    /// not keep a flow's packets together. Responses need no owner: they are translated by whoever has
    /// them.
    pub(super) fn steer(&mut self, source: Source, steering: &Steering) {
        let keeps_flows = match source {
            Source::Port { keeps_flows, .. } => keeps_flows,
            Source::Worker(_) => true,
        };
        if keeps_flows || steering.workers == 1 {
            return;
        }
        for lane in self.clients.with(self.wide) {
            let owner = steering.owner(self.hashes[lane.index()]);
            if owner != steering.me {
                self.clients.remove(lane);
                self.wide.remove(lane);
                self.outcomes.decide(lane, Outcome::HandOver(owner));
            }
        }
    }
}
