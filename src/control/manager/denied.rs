//! What access lists have kept from each rule.

use std::collections::BTreeMap;

use super::Manager;
use crate::config::{Frontend, Rule};
use crate::snapshot::FrontendId;

/// What the counters of a frontend's id stood at when the frontend got it, for those that have an access list.
#[derive(Default)]
pub(super) struct Denied(BTreeMap<FrontendId, (Frontend, u64)>);

impl Manager {
    /// After another configuration was published.
    pub(super) fn follow_denied(&mut self) {
        let snapshot = self.snapshot();
        let mut before = std::mem::take(&mut self.denied.0);
        for rule in self.model.rules.iter().filter(|rule| rule.acl.is_some()) {
            let Some(id) = snapshot.frontend_of_rule(rule.frontend) else { continue };
            let same = before.remove(&id).filter(|(frontend, _)| *frontend == rule.frontend);
            let stands = same.unwrap_or_else(|| (rule.frontend, self.raw_denied(id)));
            self.denied.0.insert(id, stands);
        }
    }

    /// Packets that its access list has kept from `rule`; `None` where it has none.
    pub fn denied(&self, rule: &Rule) -> Option<u64> {
        rule.acl.as_ref()?;
        let id = self.snapshot().frontend_of_rule(rule.frontend)?;
        let (_, since) = self.denied.0.get(&id)?;
        Some(self.raw_denied(id).saturating_sub(*since))
    }

    fn raw_denied(&self, id: FrontendId) -> u64 {
        self.counters.iter().map(|worker| worker.denied(id)).sum()
    }
}
