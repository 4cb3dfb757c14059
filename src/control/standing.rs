//! In which state each backend is, who says so, and since when.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::runtime::Runtime;
use crate::config::{AdminState, Backend, Frontend, Model, Rule};

/// Who says what state a backend is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Because {
    /// Nobody says otherwise.
    Default,
    File,
    Operator,
    Probe,
}

/// What holds for one backend of one rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Never `Auto`: nothing speaks against one whose state that is, so it is up.
    pub(super) state: AdminState,
    pub(super) because: Because,
    /// Since when both have been so.
    pub(super) since: Instant,
}

/// All of them.
#[derive(Default)]
pub(super) struct Standings(BTreeMap<(Frontend, IpAddr), Standing>);

impl Standings {
    /// Goes over to what holds now.
    pub(super) fn follow(&mut self, model: &Model, runtime: &Runtime) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.0);
        for rule in &model.rules {
            for backend in &rule.pool.backends {
                let key = (rule.frontend, backend.address);
                let (state, because) = judge(runtime, rule, backend);
                let same = before.remove(&key).filter(|old| (old.state, old.because) == (state, because));
                let since = same.map_or(now, |old| old.since);
                self.0.insert(key, Standing { state, because, since });
            }
        }
    }

    pub(super) fn of(&self, rule: &Rule, backend: &Backend) -> Option<Standing> {
        self.0.get(&(rule.frontend, backend.address)).copied()
    }
}

fn judge(runtime: &Runtime, rule: &Rule, backend: &Backend) -> (AdminState, Because) {
    let said = runtime.overrides.get(&(rule.pool.name.clone(), backend.address)).and_then(|said| said.state);
    let state = runtime.state_of(rule, backend);
    let because = match (said, said.unwrap_or(backend.state)) {
        (_, AdminState::Auto) if state != AdminState::Auto => Because::Probe,
        (Some(_), _) => Because::Operator,
        (None, AdminState::Auto) => Because::Default,
        (None, _) => Because::File,
    };
    (if state == AdminState::Auto { AdminState::Up } else { state }, because)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFlags, load_text};
    use crate::control::Override;

    fn model(state: &str) -> Model {
        let text = format!(
            "[[port]]\nname = \"p\"\naddresses = [\"10.0.0.1/24\"]\n\
             [[pool]]\nname = \"web\"\nbackends = [{{ address = \"10.0.0.4\"{state} }}, {{ address = \"10.0.0.5\" }}]\n\
             [[rule]]\nname = \"a\"\nfrontend = \"203.0.113.1:80/tcp\"\npool = \"web\"\n"
        );
        load_text("test.toml", &text, &ConfigFlags::default()).unwrap().model
    }

    #[test]
    fn a_standing_keeps_its_time_until_the_state_or_who_says_so_is_another() {
        let (plain, fixed) = (model(""), model(", state = \"up\""));
        let mut standings = Standings::default();
        let mut runtime = Runtime::default();
        let of = |standings: &Standings, model: &Model| {
            let rule = &model.rules[0];
            let Standing { state, because, since } = standings.of(rule, &rule.pool.backends[0]).unwrap();
            ((state, because), since)
        };
        standings.follow(&plain, &runtime);
        let (first, began) = of(&standings, &plain);
        assert_eq!(first, (AdminState::Up, Because::Default));
        let key = ("web".to_owned(), IpAddr::from([10, 0, 0, 4]));
        runtime.overrides.insert(key.clone(), Override { weight: Some(3), ..Override::default() });
        standings.follow(&plain, &runtime);
        assert_eq!(of(&standings, &plain), (first, began));
        let mut last = began;
        let mut is_now = |standings: &Standings, model: &Model, state, because| {
            let (now, since) = of(standings, model);
            assert!(now == (state, because) && since > last, "{now:?}");
            last = since;
        };
        standings.follow(&fixed, &runtime);
        is_now(&standings, &fixed, AdminState::Up, Because::File);
        standings.follow(&plain, &runtime);
        is_now(&standings, &plain, AdminState::Up, Because::Default);
        runtime.unhealthy.insert((plain.rules[0].frontend, key.1));
        standings.follow(&plain, &runtime);
        is_now(&standings, &plain, AdminState::Down, Because::Probe);
        runtime.overrides.insert(key, Override { state: Some(AdminState::Down), ..Override::default() });
        standings.follow(&plain, &runtime);
        is_now(&standings, &plain, AdminState::Down, Because::Operator);
    }
}
