//! Flows, as the control API tells them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Frontend, OutboundProtocol, OutboundRule};
use crate::control::manager::Manager;
use crate::dataplane::{FlowState, FoundFlow, FoundOutbound, Survey};
use crate::snapshot::{BackendId, BackendIdentity};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flows {
    pub flows: Vec<Flow>,
    /// That backends have opened themselves.
    pub outbound: Vec<OutboundFlow>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboundFlow {
    pub backend: String,
    /// Whom the other end sees in its place.
    pub source: String,
    pub destination: String,
    pub protocol: String,
    pub rule: Option<String>,
    pub state: String,
    pub idle_seconds: f64,
    pub expires_in_seconds: f64,
    pub worker: usize,
}

/// Of either.
#[derive(Clone, Copy)]
enum Found {
    Flow(FoundFlow),
    Outbound(FoundOutbound),
}

impl OutboundFlow {
    fn of((worker, flow): (usize, FoundOutbound), manager: &Manager) -> Self {
        let protocol = flow.protocol();
        let is_its = |rule: &&OutboundRule| {
            rule.pool.backends.iter().any(|backend| backend.address == flow.backend.ip())
                && match rule.protocol {
                    OutboundProtocol::Any => true,
                    OutboundProtocol::Tcp => protocol == "tcp",
                    OutboundProtocol::Udp => protocol == "udp",
                }
        };
        Self {
            backend: flow.backend.to_string(),
            source: flow.source.to_string(),
            destination: if protocol == "icmp" {
                flow.destination.ip().to_string()
            } else {
                flow.destination.to_string()
            },
            protocol: protocol.to_owned(),
            rule: manager.model().outbound.iter().find(is_its).map(|rule| rule.name.clone()),
            state: state_name(flow.state).to_owned(),
            idle_seconds: flow.idle().as_secs_f64(),
            expires_in_seconds: flow.left().as_secs_f64(),
            worker,
        }
    }
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
    let all = |survey: &Survey| -> Vec<Found> {
        let flows = survey.found().iter().copied().map(Found::Flow);
        flows.chain(survey.found_outbound().iter().copied().map(Found::Outbound)).collect()
    };
    let lists: Vec<Vec<Found>> =
        parts.iter().map(|part| part.as_deref().map(all).unwrap_or_default()).collect();
    let (mut found, mut outbound) = (Vec::new(), Vec::new());
    for (worker, one) in fair_share(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>(), limit) {
        match one {
            Found::Flow(flow) => found.push((worker, flow)),
            Found::Outbound(flow) => outbound.push((worker, flow)),
        }
    }
    found.sort_by_key(|(_, flow)| (flow.client, flow.backend));
    outbound.sort_by_key(|(_, flow)| (flow.backend, flow.destination));
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
    let cut_by = if surveys().any(|s| s.has_more()) || lists.iter().map(Vec::len).sum::<usize>() > limit {
        Some("limit".to_owned())
    } else if parts.iter().any(|part| part.as_ref().is_none_or(|survey| !survey.is_complete())) {
        Some("time".to_owned())
    } else {
        None
    };
    Flows {
        flows: found.into_iter().filter_map(view).collect(),
        outbound: outbound.into_iter().map(|found| OutboundFlow::of(found, manager)).collect(),
        held: held(manager),
        looked_at: surveys().map(|survey| survey.looked_at()).sum(),
        limit,
        cut_by,
    }
}

/// Of all kinds.
fn held(manager: &Manager) -> u64 {
    let of_rules: u64 = manager.backends().iter().map(|(_, totals)| totals.flows).sum();
    let outbound = manager.outbound();
    of_rules + outbound.iter().flat_map(|backend| &backend.flows).map(|kind| kind.flows).sum::<u64>()
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
