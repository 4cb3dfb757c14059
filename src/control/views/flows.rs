//! Flows, as the control API tells them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Frontend;
use crate::control::manager::Manager;
use crate::dataplane::{FlowState, FoundFlow, Survey};
use crate::snapshot::{BackendId, BackendIdentity};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flows {
    pub flows: Vec<Flow>,
    pub held: u64,
    pub looked_at: u64,
    pub limit: usize,
    pub cut_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub client: String,
    pub frontend: String,
    pub rule: Option<String>,
    pub pool: Option<String>,
    pub backend: String,
    /// Whom the backend sees in place of the client.
    pub source: Option<String>,
    pub state: String,
    pub idle_seconds: f64,
    pub expires_in_seconds: f64,
    pub worker: usize,
}

/// What the workers have found, each its part; `None` of one that has not said in time.
pub(in crate::control) fn flows(manager: &Manager, parts: &[Option<Box<Survey>>], limit: usize) -> Flows {
    let names: BTreeMap<Frontend, (&str, &str)> = manager
        .model()
        .rules
        .iter()
        .map(|rule| (rule.frontend, (rule.name.as_str(), rule.pool.name.as_str())))
        .collect();
    let identities: BTreeMap<BackendId, BackendIdentity> =
        manager.backend_ids().map(|(identity, id)| (id, identity)).collect();
    let lists: Vec<&[FoundFlow]> =
        parts.iter().map(|part| part.as_ref().map_or(&[][..], |survey| survey.found())).collect();
    let mut found = fair_share(&lists, limit);
    found.sort_by_key(|(_, flow)| (flow.client, flow.backend));
    let view = |(worker, flow): (usize, FoundFlow)| {
        // An id that nobody has any more: the flow has ended since.
        let identity = identities.get(&flow.backend)?;
        let names = names.get(&identity.frontend);
        Some(Flow {
            client: flow.client.to_string(),
            frontend: identity.frontend.to_string(),
            rule: names.map(|(rule, _)| (*rule).to_owned()),
            pool: names.map(|(_, pool)| (*pool).to_owned()),
            backend: format!("{}:{}", identity.address, identity.port),
            source: flow.source.map(|source| source.to_string()),
            state: state_name(flow.state).to_owned(),
            idle_seconds: flow.idle().as_secs_f64(),
            expires_in_seconds: flow.left().as_secs_f64(),
            worker,
        })
    };
    let surveys = || parts.iter().flatten();
    let cut_by =
        if surveys().any(|s| s.has_more()) || lists.iter().map(|list| list.len()).sum::<usize>() > limit {
            Some("limit".to_owned())
        } else if parts.iter().any(|part| part.as_ref().is_none_or(|survey| !survey.is_complete())) {
            Some("time".to_owned())
        } else {
            None
        };
    Flows {
        flows: found.into_iter().filter_map(view).collect(),
        held: manager.backends().iter().map(|(_, totals)| totals.flows).sum(),
        looked_at: surveys().map(|survey| survey.looked_at()).sum(),
        limit,
        cut_by,
    }
}

/// As many of all lists as there may be, and as evenly as they go, each with the number of its list.
fn fair_share<T: Copy>(lists: &[&[T]], limit: usize) -> Vec<(usize, T)> {
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|round| {
        lists.iter().enumerate().filter_map(move |(number, list)| Some((number, *list.get(round)?)))
    });
    rounds.take(limit).collect()
}

pub(in crate::control) fn state_name(state: FlowState) -> &'static str {
    match state {
        FlowState::HalfOpen => "half-open",
        FlowState::Fresh => "fresh",
        FlowState::Established => "established",
        FlowState::Closing => "closing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_shared_evenly_and_used_to_the_full() {
        let lists: [&[u8]; 3] = [&[1, 2, 3, 4], &[], &[5, 6]];
        assert_eq!(fair_share(&lists, 3), [(0, 1), (2, 5), (0, 2)]);
        assert_eq!(fair_share(&lists, 5), [(0, 1), (2, 5), (0, 2), (2, 6), (0, 3)]);
        assert_eq!(fair_share(&lists, 100).len(), 6);
        assert!(fair_share(&lists, 0).is_empty());
        assert!(fair_share::<u8>(&[], 9).is_empty());
    }
}
