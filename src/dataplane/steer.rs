//! Which worker owns a flow, where the queues do not see to it.

use super::lanes::{Lane, Lanes, Outcome, Source, WorkerId};

/// How flows are spread over the workers.
pub(super) struct Steering {
    pub(super) me: WorkerId,
    workers: u64,
}

/// The hash's bits that choose the owner: the lowest, for the tables use the higher ones. Enough for 64
/// workers to get shares that differ by 2 %.
pub(super) const OWNER_BITS: u32 = 12;

/// The owner of flows with these bits.
#[inline(always)]
pub(super) fn owner_of(bits: u64, workers: u64) -> WorkerId {
    WorkerId(((bits * workers) >> OWNER_BITS) as u8)
}

impl Source {
    /// How many workers have looked for the flow that an ICMP error is about.
    pub(super) fn looked(self) -> u8 {
        match self {
            Self::Port { .. } | Self::Held(_) => 0,
            Self::Worker { looked, .. } => looked,
        }
    }
}

impl Steering {
    pub(super) fn new(me: WorkerId, workers: usize) -> Self {
        Self { me, workers: workers.max(1) as u64 }
    }

    pub(super) fn owner(&self, hash: u64) -> WorkerId {
        let bits = hash & ((1 << OWNER_BITS) - 1);
        owner_of(bits, self.workers)
    }

    /// Who else may hold the flow with this hash, of which `source` has a packet by a way of its own; `None` once it is
    /// certain that nobody does, if we do not.
    pub(super) fn elsewhere(&self, hash: u64, source: Source) -> Option<Outcome> {
        let next = || WorkerId((u64::from(self.me.0 + 1) % self.workers) as u8);
        match source {
            _ if self.workers == 1 => None,
            Source::Port { keeps_flows: true, .. } => Some(Outcome::Ask(next())),
            Source::Port { .. } => {
                let owner = self.owner(hash);
                (owner != self.me).then_some(Outcome::HandOver(owner))
            }
            Source::Held(_) => None,
            Source::Worker { looked, .. } => {
                (u64::from(looked) + 1 < self.workers).then_some(Outcome::Ask(next()))
            }
        }
    }
}

impl Lanes {
    /// Hands clients' packets to the workers that own their flows, where the port they came in by does
    /// not keep a flow's packets together. Responses need no owner: they are translated by whoever has
    /// them.
    pub(super) fn steer(&mut self, source: Source, steering: &Steering) {
        let keeps_flows = match source {
            Source::Port { keeps_flows, .. } => keeps_flows,
            Source::Worker { .. } | Source::Held(_) => true,
        };
        if keeps_flows || steering.workers == 1 {
            return;
        }
        for lane in self.clients.with(self.wide).with(self.bound) {
            self.steer_one(lane, steering);
        }
    }

    #[inline(always)]
    pub(super) fn steer_one(&mut self, lane: Lane, steering: &Steering) {
        let owner = steering.owner(self.hashes[lane.index()]);
        if owner != steering.me {
            self.clients.remove(lane);
            self.wide.remove(lane);
            self.bound.remove(lane);
            self.outcomes.decide(lane, Outcome::HandOver(owner));
        }
    }
}
