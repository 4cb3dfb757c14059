//! Rules whose backends are all down, for the log.

use std::collections::BTreeMap;
use std::time::Instant;

use super::news::News;
use crate::config::{AdminState, Frontend, Rule};
use crate::control::runtime::Runtime;

/// The rules without a healthy backend, by frontend, and since when.
#[derive(Default)]
pub(super) struct DeadRules(BTreeMap<Frontend, Instant>);

impl DeadRules {
    /// Tells of rules that have lost their last healthy backend, and of those that have one again.
    pub(super) fn advance(&mut self, rules: &[Rule], runtime: &Runtime, news: &mut News, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for rule in rules.iter().filter(|rule| rule.probe.is_some()) {
            let since = before.remove(&rule.frontend);
            if is_dead(rule, runtime) {
                self.0.insert(rule.frontend, since.unwrap_or(now));
                if since.is_none() {
                    news.rule_is_dead(rule);
                }
            } else if let Some(since) = since {
                news.rule_is_back(rule, since, now);
            }
        }
    }
}

/// Whether all backends that are to take flows are down, one at least because its probe says so.
fn is_dead(rule: &Rule, runtime: &Runtime) -> bool {
    let is_down = |address| runtime.unhealthy.contains(&(rule.frontend, address));
    let mut found_by_probe = false;
    for backend in &rule.pool.backends {
        match runtime.state_of(rule, backend) {
            AdminState::Auto | AdminState::Up if backend.weight > 0 => return false,
            AdminState::Down => found_by_probe |= is_down(backend.address),
            _ => {}
        }
    }
    found_by_probe
}
