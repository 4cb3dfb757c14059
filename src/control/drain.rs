//! Drains that operators or the file have asked for: how far each is, and whose flows are over their time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::runtime::Runtime;
use crate::config::ProtocolSelector;
use crate::config::{AdminState, Model};
use crate::snapshot::BackendIdentity;

/// All drains, by pool and address.
#[derive(Clone, Default)]
pub(super) struct Drains(BTreeMap<(String, IpAddr), Drain>);

#[derive(Clone)]
struct Drain {
    deadline: Option<Duration>,
    /// The backend in every rule that has used it since the drain began: a reload may take it out of the file, and its
    /// flows have the deadline still.
    uses: BTreeSet<BackendIdentity>,
    /// Whether the deadline has passed.
    is_late: bool,
    /// Whether there was a moment without flows.
    is_drained: bool,
}

/// What is to be told of a drain.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Progress {
    /// As in web/10.0.0.4.
    pub(super) backend: String,
    pub(super) news: News,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// So many flows are left at the deadline: TCP's are reset, UDP's go elsewhere.
    Deadline { tcp: u64, udp: u64 },
    /// No flow is left.
    Drained,
}

impl Drains {
    /// After a change of what operators say, or of the file.
    pub(super) fn follow(&self, runtime: &Runtime, model: &Model) -> Self {
        let said = |key| runtime.overrides.get(key).and_then(|said| said.state);
        let drained = runtime.overrides.iter().filter(|(_, said)| said.state == Some(AdminState::Drain));
        let drained = drained.map(|(key, said)| (key, said.deadline));
        // What an operator says comes before what the file does.
        let let_go = runtime.let_go.iter().filter(|(key, _)| said(key).is_none());
        let let_go = let_go.map(|(key, deadline)| (key, Some(*deadline)));
        let follow = |(key, deadline): (&(String, IpAddr), Option<Duration>)| {
            let (pool, address) = key;
            let known = self.0.get(key).filter(|drain| drain.deadline == deadline).cloned();
            let new = || {
                let uses = self.0.get(key).map(|drain| drain.uses.clone()).unwrap_or_default();
                Drain { deadline, uses, is_late: false, is_drained: false }
            };
            let mut drain = known.unwrap_or_else(new);
            let rules = model.rules.iter().filter(|rule| rule.pool.name == *pool);
            let rules = rules.filter(|rule| rule.pool.backends.iter().any(|b| b.address == *address));
            let uses = rules.map(|rule| BackendIdentity {
                frontend: rule.frontend,
                address: *address,
                port: rule.backend_port,
            });
            drain.uses.extend(uses);
            // What another pool has brought back to the rule is no business of this drain.
            drain.uses.retain(|used| !is_others(model, pool, used));
            (key.clone(), drain)
        };
        Self(drained.chain(let_go).map(follow).collect())
    }

    /// What has happened until `now`, where a backend of a rule has `flows`.
    pub(super) fn advance(
        &mut self,
        now: Duration,
        flows: impl Fn(&BackendIdentity) -> u64,
    ) -> Vec<Progress> {
        let mut progress = Vec::new();
        for ((pool, address), drain) in &mut self.0 {
            let is_due = !drain.is_late && drain.deadline.is_some_and(|deadline| now >= deadline);
            if drain.is_drained && !is_due {
                continue;
            }
            // Of a rule for both, nobody can tell which they are.
            let of = |takes_tcp| -> u64 {
                let is_so = |used: &&BackendIdentity| {
                    used.frontend.protocol.overlaps(ProtocolSelector::Tcp) == takes_tcp
                };
                drain.uses.iter().filter(is_so).map(&flows).sum()
            };
            let (tcp, udp) = (of(true), of(false));
            let mut tell = |news| progress.push(Progress { backend: format!("{pool}/{address}"), news });
            if is_due {
                drain.is_late = true;
                if tcp + udp > 0 {
                    tell(News::Deadline { tcp, udp });
                }
            }
            if !drain.is_drained && tcp + udp == 0 {
                drain.is_drained = true;
                tell(News::Drained);
            }
        }
        progress
    }

    /// Backends whose flows are to be reset: also those without, for they may hold some that guideway has forgotten.
    pub(super) fn resetting(&self) -> BTreeSet<BackendIdentity> {
        let late = self.0.values().filter(|drain| drain.is_late);
        late.flat_map(|drain| drain.uses.iter().copied()).collect()
    }

    /// Whether a backend is drained, and has flows.
    pub(super) fn is_under_way(&self, key: &(String, IpAddr)) -> bool {
        self.0.get(key).is_some_and(|drain| !drain.is_drained)
    }

    /// How long the backend's flows have still, where there is a deadline.
    pub(super) fn left(&self, pool: &str, address: IpAddr, now: Duration) -> Option<Duration> {
        let drain = self.0.get(&(pool.to_owned(), address))?;
        Some(drain.deadline?.saturating_sub(now))
    }
}

/// Whether a rule has this backend by another pool.
fn is_others(model: &Model, pool: &str, used: &BackendIdentity) -> bool {
    model.rules.iter().any(|rule| {
        rule.frontend == used.frontend
            && rule.backend_port == used.port
            && rule.pool.name != pool
            && rule.pool.backends.iter().any(|backend| backend.address == used.address)
    })
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { tcp, udp } => {
                write!(f, "the drain's deadline has passed: resetting {tcp} TCP flows")?;
                if *udp > 0 { write!(f, ", moving {udp} UDP flows") } else { Ok(()) }
            }
            Self::Drained => f.write_str("drained, no flow is left"),
        }
    }
}
