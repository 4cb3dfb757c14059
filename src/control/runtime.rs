//! What the configuration comes to while guideway runs: what operators have said since the start, and what probes
//! have found, laid over the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{AdminState, Backend, Frontend, Model, Pool, Rule};

/// What an operator has said of one backend of a pool. It outlives reloads, and ends with the process, or when a reload takes
/// the backend out of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Override {
    /// In the place of the file's.
    pub state: Option<AdminState>,
    /// In the place of the file's, 0 to 100.
    pub weight: Option<u8>,
    /// With the state `drain`: when the flows that are left are reset, counted from the start.
    pub deadline: Option<Duration>,
}

/// All that is laid over the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Runtime {
    /// By pool and address.
    pub overrides: BTreeMap<(String, IpAddr), Override>,
    /// By frontend and address: backends that the rule's probe finds to be down.
    pub unhealthy: BTreeSet<(Frontend, IpAddr)>,
    /// By pool and address: backends that a reload has let go, of pools with a `drain_timeout`; and when the flows that are
    /// left are reset, counted from the start.
    pub let_go: BTreeMap<(String, IpAddr), Duration>,
}

impl Runtime {
    /// The model with all that laid over it. A probe counts only for backends whose state is `auto`.
    pub fn apply(&self, model: &Model) -> Model {
        let mut model = model.clone();
        if *self == Self::default() {
            return model;
        }
        for pool in &mut model.pools {
            *pool = self.pool(pool, |backend| backend);
        }
        for rule in &mut model.rules {
            rule.pool = self.pool(&rule.pool, |backend| self.probed(rule.frontend, backend));
        }
        model
    }

    /// Backends of which something was said and that `model` does not have.
    pub fn absent(&self, model: &Model) -> Vec<(String, IpAddr)> {
        self.overrides.keys().filter(|key| find(model, key).is_none()).cloned().collect()
    }

    /// When the file has gone from `old` to `new`: backends that were to take flows and are not any more are let go.
    pub(super) fn follow_file(&mut self, old: &Model, new: &Model, now: Duration) {
        let takes_flows = |backend: &Backend| backend.state != AdminState::Drain && backend.weight > 0;
        let is_wanted = |key: &(String, IpAddr)| find(new, key).is_some_and(takes_flows);
        self.let_go.retain(|key, _| !is_wanted(key));
        for pool in &old.pools {
            // Where the pool is gone, what it said last holds.
            let newer = new.pools.iter().find(|newer| newer.name == pool.name).unwrap_or(pool);
            let Some(timeout) = newer.drain_timeout else { continue };
            for backend in pool.backends.iter().filter(|backend| takes_flows(backend)) {
                let key = (pool.name.clone(), backend.address);
                if !is_wanted(&key) {
                    self.let_go.insert(key, now.saturating_add(timeout));
                }
            }
        }
    }

    /// The state of a backend as a rule uses it.
    pub fn state_of(&self, rule: &Rule, backend: &Backend) -> AdminState {
        self.probed(rule.frontend, self.overridden(&rule.pool.name, *backend)).state
    }

    fn pool(&self, pool: &Arc<Pool>, then: impl Fn(Backend) -> Backend) -> Arc<Pool> {
        let backends: Vec<Backend> =
            pool.backends.iter().map(|backend| then(self.overridden(&pool.name, *backend))).collect();
        if backends == pool.backends {
            return pool.clone();
        }
        Arc::new(Pool { name: pool.name.clone(), backends, ..**pool })
    }

    fn overridden(&self, pool: &str, backend: Backend) -> Backend {
        let said = self.overrides.get(&(pool.to_owned(), backend.address)).copied().unwrap_or_default();
        Backend {
            state: said.state.unwrap_or(backend.state),
            weight: said.weight.unwrap_or(backend.weight),
            ..backend
        }
    }

    fn probed(&self, frontend: Frontend, backend: Backend) -> Backend {
        let is_down =
            backend.state == AdminState::Auto && self.unhealthy.contains(&(frontend, backend.address));
        Backend { state: if is_down { AdminState::Down } else { backend.state }, ..backend }
    }
}

/// What `model` says of a backend.
pub(super) fn find<'a>(model: &'a Model, (pool, address): &(String, IpAddr)) -> Option<&'a Backend> {
    let pool = model.pools.iter().find(|known| known.name == *pool)?;
    pool.backends.iter().find(|backend| backend.address == *address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFlags, load_text};

    fn model() -> Model {
        let text = "[[port]]\nname = \"p\"\naddresses = [\"10.0.0.1/24\"]\n\
            [[pool]]\nname = \"web\"\nbackends = [{ address = \"10.0.0.4\" }, \
            { address = \"10.0.0.5\", state = \"up\" }]\n\
            [[rule]]\nname = \"a\"\nfrontend = \"203.0.113.1:80/tcp\"\npool = \"web\"\nbackend_port = 81\n\
            [[rule]]\nname = \"b\"\nfrontend = \"203.0.113.1:443/tcp\"\npool = \"web\"\nbackend_port = 82\n";
        load_text("test.toml", text, &ConfigFlags::default()).unwrap().model
    }

    fn states(model: &Model) -> Vec<Vec<AdminState>> {
        model.rules.iter().map(|rule| rule.pool.backends.iter().map(|b| b.state).collect()).collect()
    }

    #[test]
    fn nothing_laid_over_it_leaves_the_model_as_it_is() {
        assert_eq!(Runtime::default().apply(&model()), model());
    }

    #[test]
    fn a_probe_speaks_for_its_own_rule_and_only_of_backends_that_follow_it() {
        use AdminState::{Auto, Down, Up};
        let mut runtime = Runtime::default();
        let model = model();
        for last in [4, 5] {
            runtime.unhealthy.insert((model.rules[0].frontend, [10, 0, 0, last].into()));
        }
        assert_eq!(states(&runtime.apply(&model)), [[Down, Up], [Auto, Up]]);
    }

    #[test]
    fn an_operator_overrides_file_and_probe_in_every_rule_of_the_pool() {
        use AdminState::{Drain, Up};
        let mut runtime = Runtime::default();
        let model = model();
        runtime.unhealthy.insert((model.rules[0].frontend, [10, 0, 0, 4].into()));
        let said = |state, weight| Override { state: Some(state), weight, deadline: None };
        runtime.overrides.insert(("web".into(), [10, 0, 0, 4].into()), said(Up, Some(7)));
        runtime.overrides.insert(("web".into(), [10, 0, 0, 5].into()), said(Drain, None));
        let changed = runtime.apply(&model);
        assert_eq!(states(&changed), [[Up, Drain], [Up, Drain]]);
        assert_eq!(changed.pools[0].backends[0].weight, 7);
        assert_eq!(runtime.state_of(&model.rules[1], &model.rules[1].pool.backends[1]), Drain);
    }
}
