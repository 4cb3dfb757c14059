//! What the control API tells, as it is written and as the command line reads it.
#![allow(missing_docs, reason = "docs/openapi.json says what each field means, and in which unit")]

mod azure;
mod counters;
mod flows;
mod network;
mod outbound;
mod probed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::Of;
use super::manager::Manager;
use super::probe::{ProbeReport, Verdict};
use super::standing::Because;
use crate::config::{AdminState, Backend as Configured, Rule as RuleModel};
use crate::dataplane::{BackendTotals, Totals};
use crate::snapshot::BackendIdentity;
pub(super) use counters::counters;
pub use counters::{Counters, FlowCounters, Icmp, Parts, Quic, Resets};
pub(super) use flows::flows;
pub use flows::{Flow, Flows, OutboundFlow};
pub use network::{Link, Neighbour, Neighbours, Offload, Port, Ports};
pub(super) use network::{neighbours, ports};
pub(super) use outbound::outbound;
pub use outbound::{Outbound, OutboundBackend, OutboundFlows, OutboundPorts};
pub use probed::Probed;
pub(super) use probed::Probings;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub uptime_seconds: f64,
    pub generation: u64,
    pub generation_reached: u64,
    pub snapshots: usize,
    pub rules: usize,
    pub backends: usize,
    pub neighbours_missing: usize,
    pub flows: u64,
    pub frames: Frames,
    pub last_reload: Option<LastReload>,
    pub workers: Vec<Worker>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastReload {
    pub seconds_ago: f64,
    pub by: String,
    pub is_done: bool,
    pub errors: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frames {
    pub received: u64,
    pub transmitted: u64,
    pub answered: u64,
    pub controlled: u64,
    pub held: u64,
    pub dropped: u64,
    pub originated: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    pub worker: usize,
    pub received: u64,
    pub transmitted: u64,
    pub dropped: u64,
    pub handed_over: u64,
    pub taken_over: u64,
    pub polls: u64,
    pub busy_polls: u64,
    pub bursts: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rules {
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    pub rule: String,
    pub frontend: String,
    pub pool: String,
    pub is_nat_rule: bool,
    pub backend_port: u16,
    pub forward: String,
    pub distribution: String,
    pub idle_timeout_seconds: f64,
    pub no_healthy_backends: String,
    pub backends: usize,
    pub backends_taking_flows: usize,
    pub probe: Option<String>,
    pub backends_healthy: Option<usize>,
    pub acl: Option<String>,
    pub acl_denied: Option<u64>,
    #[serde(flatten)]
    pub traffic: Traffic,
}

#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub struct Traffic {
    pub flows: u64,
    pub flows_total: u64,
    pub packets_to_backend: u64,
    pub bytes_to_backend: u64,
    pub packets_to_client: u64,
    pub bytes_to_client: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backends {
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backend {
    pub pool: Option<String>,
    pub rule: Option<String>,
    pub frontend: String,
    pub address: String,
    pub port: u16,
    pub state: String,
    pub because: String,
    pub drain_seconds_left: Option<f64>,
    pub reason: Option<String>,
    pub azure_status: String,
    pub since_seconds: Option<f64>,
    pub probe: Option<Probed>,
    pub weight: u8,
    pub weight_because: String,
    pub share: f64,
    pub share_by_weight: f64,
    #[serde(flatten)]
    pub traffic: Traffic,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drop {
    pub reason: String,
    pub frames: u64,
    pub meaning: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    pub generation: u64,
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Changed {
    pub generation: u64,
}

pub(super) fn status(manager: &Manager, uptime: Duration) -> Status {
    let (generation_reached, snapshots) = manager.progress();
    let workers = manager.workers().into_iter().enumerate().map(|(worker, t)| Worker {
        worker,
        received: t.received,
        transmitted: t.transmitted,
        dropped: t.dropped(),
        handed_over: t.handed_over,
        taken_over: t.taken_over,
        polls: t.polls,
        busy_polls: t.busy_polls,
        bursts: t.bursts,
    });
    let backends = manager.backends();
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: uptime.as_secs_f64(),
        generation: manager.generation(),
        generation_reached,
        snapshots,
        rules: manager.model().rules.len(),
        backends: backends.len(),
        neighbours_missing: manager.neighbours_missing(),
        flows: backends.iter().map(|(_, totals)| totals.flows).sum(),
        frames: frames(&manager.totals()),
        last_reload: manager.last_reload().map(|last| LastReload {
            seconds_ago: last.at.elapsed().as_secs_f64(),
            by: last.by.clone(),
            is_done: last.errors.is_none(),
            errors: last.errors.clone(),
        }),
        workers: workers.collect(),
    }
}

fn frames(t: &Totals) -> Frames {
    Frames {
        received: t.received,
        transmitted: t.transmitted,
        answered: t.answered,
        controlled: t.controlled,
        held: t.held,
        dropped: t.dropped(),
        originated: t.originated,
    }
}

impl From<&BackendTotals> for Traffic {
    fn from(totals: &BackendTotals) -> Self {
        let mut traffic = Self::default();
        traffic.add(totals);
        traffic
    }
}

impl Traffic {
    fn add(&mut self, totals: &BackendTotals) {
        self.flows += totals.flows;
        self.flows_total += totals.flows_total;
        self.packets_to_backend += totals.packets_in;
        self.bytes_to_backend += totals.bytes_in;
        self.packets_to_client += totals.packets_out;
        self.bytes_to_client += totals.bytes_out;
    }
}

pub(super) fn rules(manager: &Manager, probings: &Probings, of: &Of) -> Rules {
    let traffic = manager.frontends();
    let snapshot = manager.snapshot();
    let view = |rule: &RuleModel| Rule {
        rule: rule.name.clone(),
        frontend: rule.frontend.to_string(),
        pool: rule.pool.name.clone(),
        is_nat_rule: rule.is_nat_rule,
        backend_port: rule.backend_port,
        forward: rule.forward.mode().to_string(),
        distribution: rule.distribution.to_string(),
        idle_timeout_seconds: rule.idle_timeout.as_secs_f64(),
        no_healthy_backends: rule.no_healthy_backends.to_string(),
        backends: rule.pool.backends.len(),
        backends_taking_flows: snapshot.shares(rule.frontend).values().filter(|share| **share > 0.0).count(),
        probe: rule
            .probe
            .as_ref()
            .map(|probe| rule.probe_name.clone().unwrap_or_else(|| probe.kind.to_string())),
        backends_healthy: rule.probe.as_ref().map(|_| probings.healthy(rule)),
        acl: rule.acl.as_ref().map(|acl| acl.name.clone()),
        acl_denied: manager.denied(rule),
        traffic: traffic.get(&rule.frontend).map_or_else(Traffic::default, Traffic::from),
    };
    Rules { rules: manager.model().rules.iter().filter(|rule| of.includes(rule)).map(view).collect() }
}

pub(super) fn backends(manager: &Manager, probings: &Probings, of: &Of) -> Backends {
    let totals: BTreeMap<BackendIdentity, BackendTotals> = manager.backends().into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut backends = Vec::new();
    let snapshot = manager.snapshot();
    for rule in &manager.model().rules {
        seen.extend(rule.pool.backends.iter().map(|backend| identity(rule, backend.address)));
        // To count shares takes a look at each slot of the rule's table.
        if !of.includes(rule) {
            continue;
        }
        let shares = snapshot.shares(rule.frontend);
        let weight = |backend: &Configured| f64::from(weight_of(manager, rule, backend).0);
        let takes = |backend: &&Configured| shares.get(&backend.address).is_some_and(|share| *share > 0.0);
        let sum: f64 = rule.pool.backends.iter().filter(takes).map(weight).sum();
        for backend in &rule.pool.backends {
            let identity = identity(rule, backend.address);
            let share = shares.get(&backend.address).copied().unwrap_or(0.0);
            let by_weight = if share > 0.0 && sum > 0.0 { weight(backend) / sum } else { 0.0 };
            let report = probings.of(rule, backend);
            let mut view = backend_view(manager, rule, backend, report);
            view.azure_status = azure::status(manager.standing(rule, backend), share > 0.0, report).into();
            view.share = share;
            view.share_by_weight = by_weight;
            view.traffic.add(&totals.get(&identity).copied().unwrap_or_default());
            backends.push(view);
        }
    }
    // What is of no rule any more is of no pool that could be asked for.
    let is_removed = |identity: &BackendIdentity| !seen.contains(identity) && of.is_all();
    let lingering = totals.iter().filter(|(identity, _)| is_removed(identity));
    backends.extend(lingering.map(|(identity, totals)| removed(identity, totals)));
    Backends { backends }
}

fn identity(rule: &RuleModel, address: IpAddr) -> BackendIdentity {
    BackendIdentity { frontend: rule.frontend, address, port: rule.backend_port }
}

/// The weight in force, and who says so.
fn weight_of(manager: &Manager, rule: &RuleModel, backend: &Configured) -> (u8, &'static str) {
    let said = manager.runtime().overrides.get(&(rule.pool.name.clone(), backend.address));
    said.and_then(|said| said.weight).map_or((backend.weight, "file"), |weight| (weight, "operator"))
}

fn backend_view(
    manager: &Manager,
    rule: &RuleModel,
    backend: &Configured,
    report: Option<&ProbeReport>,
) -> Backend {
    let standing = manager.standing(rule, backend);
    let verdict = report.map(|report| report.verdict);
    let because = match standing.map(|standing| standing.because) {
        None | Some(Because::Default) if verdict == Some(Verdict::Up) => "probe",
        None | Some(Because::Default) => "default",
        Some(Because::File) => "file",
        Some(Because::Operator) => "operator",
        Some(Because::Probe) => "probe",
    };
    let (weight, weight_because) = weight_of(manager, rule, backend);
    let state = standing.map_or(AdminState::Up, |standing| standing.state);
    let is_down_by_probe = because == "probe" && state == AdminState::Down;
    Backend {
        pool: Some(rule.pool.name.clone()),
        rule: Some(rule.name.clone()),
        frontend: rule.frontend.to_string(),
        address: backend.address.to_string(),
        port: rule.backend_port,
        state: state.to_string(),
        because: because.into(),
        drain_seconds_left: manager
            .drain_left(&rule.pool.name, backend.address)
            .map(|left| left.as_secs_f64()),
        reason: report.and_then(|report| report.reason.clone()).filter(|_| is_down_by_probe),
        azure_status: String::new(),
        since_seconds: standing.map(|standing| standing.since.elapsed().as_secs_f64()),
        probe: report.map(|report| Probed::new(rule, report)),
        weight,
        weight_because: weight_because.into(),
        share: 0.0,
        share_by_weight: 0.0,
        traffic: Traffic::default(),
    }
}

/// One that no rule has any more, and that has flows still.
fn removed(identity: &BackendIdentity, totals: &BackendTotals) -> Backend {
    let mut traffic = Traffic::default();
    traffic.add(totals);
    Backend {
        pool: None,
        rule: None,
        frontend: identity.frontend.to_string(),
        address: identity.address.to_string(),
        port: identity.port,
        state: "removed".into(),
        because: "file".into(),
        drain_seconds_left: None,
        reason: None,
        azure_status: azure::NOT_APPLICABLE.into(),
        since_seconds: None,
        probe: None,
        weight: 0,
        weight_because: "file".into(),
        share: 0.0,
        share_by_weight: 0.0,
        traffic,
    }
}
