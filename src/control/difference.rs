//! What would change if another configuration took the place of the one in force: for `check`, and for the API that it
//! asks. Reads, and changes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::manager::refusal_of_ports;
use super::runtime::Runtime;
use crate::config::{self, Frontend, HashKey, Model, Rule};
use crate::snapshot::Spread;

/// All of it. `docs/openapi.json` says what each field means.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/openapi.json says it")]
pub struct Difference {
    pub rules: Vec<RuleDifference>,
    pub outbound: Vec<String>,
    pub overrides: Vec<Overridden>,
    pub next_start: Vec<String>,
    pub refused: Option<String>,
}

/// What changes of one rule, known by its frontend.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/openapi.json says it")]
pub struct RuleDifference {
    pub rule: String,
    pub frontend: String,
    pub change: Change,
    pub changes: Vec<String>,
    pub moved: Option<f64>,
    pub moved_beyond: Option<f64>,
    pub flows: u64,
}

/// What becomes of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they say it")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

/// What an operator has said of a backend, which stays in force over the new configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/openapi.json says it")]
pub struct Overridden {
    pub pool: String,
    pub address: String,
    pub state: Option<String>,
    pub weight: Option<u8>,
    pub applies: bool,
}

/// A configuration and the key that its flows are hashed with.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// As the file has it.
    pub model: &'a Model,
    /// The configured one, or the one that is kept.
    pub key: HashKey,
}

/// The difference between two configurations of which neither runs.
pub fn difference(old: Side<'_>, new: Side<'_>) -> Difference {
    let outbound = outbound(old.model, new.model);
    Difference {
        rules: rules(old, new, &Runtime::default(), &BTreeMap::new()),
        outbound,
        ..Difference::default()
    }
}

/// What a reload with `new` would do to what runs: under the same hash key, with what operators and probes have said
/// laid over it. `flows` are those that there are now.
pub fn difference_to_running(
    old: Side<'_>,
    new: &Model,
    runtime: &Runtime,
    flows: &BTreeMap<Frontend, u64>,
) -> Difference {
    let overridden = runtime.overrides.iter().map(|((pool, address), said)| {
        let found = new.pools.iter().find(|known| known.name == *pool);
        Overridden {
            pool: pool.clone(),
            address: address.to_string(),
            state: said.state.map(|state| state.to_string()),
            weight: said.weight,
            applies: found.is_some_and(|pool| pool.backends.iter().any(|b| b.address == *address)),
        }
    });
    Difference {
        rules: rules(old, Side { model: new, key: old.key }, runtime, flows),
        outbound: outbound(old.model, new),
        overrides: overridden.collect(),
        next_start: next_start(old, new),
        refused: refusal_of_ports(&old.model.ports, &new.ports).err().map(|error| error.to_string()),
    }
}

/// What is fixed from start to stop, and differs.
pub(super) fn next_start(old: Side<'_>, new: &Model) -> Vec<String> {
    let mut dataplane = new.dataplane.clone();
    // A key that is not configured is the one that is kept.
    let is_same_key = dataplane.hash_key.is_none_or(|key| key == old.key);
    dataplane.hash_key = old.model.dataplane.hash_key;
    let differs = [
        ("[dataplane]", dataplane != old.model.dataplane),
        ("[control]", new.control != old.model.control),
        ("hash_key", !is_same_key),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_owned()).collect()
}

/// Lines in an outline, and changes in one of them; of more only the number is told.
const OUTLINE_MAX: usize = 20;

/// What changes of rules from `old` to `new`, a line each, for the log: without the shares that move, which take their time.
pub(super) fn outline(old: &Model, new: &Model) -> Vec<String> {
    fn by_frontend(model: &Model) -> BTreeMap<Frontend, &Rule> {
        model.rules.iter().map(|rule| (rule.frontend, rule)).collect()
    }
    let (old_rules, new_rules) = (by_frontend(old), by_frontend(new));
    let told = |what: &str, rule: &Rule| format!("rule {} at {} {what}", rule.name, rule.frontend);
    let removed = old_rules.iter().filter(|(frontend, _)| !new_rules.contains_key(frontend));
    let mut lines: Vec<String> = removed.map(|(_, rule)| told("is removed", rule)).collect();
    for (frontend, rule) in &new_rules {
        let Some(before) = old_rules.get(frontend) else {
            lines.push(told("is new", rule));
            continue;
        };
        let changes = changes(before, rule);
        if !changes.is_empty() {
            lines.push(format!("rule {}: {}", rule.name, shortened(changes).join(", ")));
        }
    }
    lines.extend(outbound(old, new));
    shortened(lines)
}

/// What changes of outbound rules. Flows that there are go on.
fn outbound(old: &Model, new: &Model) -> Vec<String> {
    let find = |model: &'_ Model, name: &str| model.outbound.iter().find(|rule| rule.name == name).cloned();
    let gone = old.outbound.iter().filter(|rule| find(new, &rule.name).is_none());
    let mut lines: Vec<String> = gone.map(|rule| format!("outbound rule {} is removed", rule.name)).collect();
    for rule in &new.outbound {
        match find(old, &rule.name) {
            None => lines.push(format!("outbound rule {} is new", rule.name)),
            Some(before) if before != *rule => lines.push(format!("outbound rule {} is changed", rule.name)),
            Some(_) => {}
        }
    }
    lines
}

fn shortened(mut all: Vec<String>) -> Vec<String> {
    if let Some(more @ 1..) = all.len().checked_sub(OUTLINE_MAX) {
        all.truncate(OUTLINE_MAX);
        all.push(format!("and {more} more"));
    }
    all
}

fn rules(
    old: Side<'_>,
    new: Side<'_>,
    runtime: &Runtime,
    flows: &BTreeMap<Frontend, u64>,
) -> Vec<RuleDifference> {
    fn by_frontend(model: &Model) -> BTreeMap<Frontend, &Rule> {
        model.rules.iter().map(|rule| (rule.frontend, rule)).collect()
    }
    let (old_rules, new_rules) = (by_frontend(old.model), by_frontend(new.model));
    let effective = (runtime.apply(old.model), runtime.apply(new.model));
    let effective = (by_frontend(&effective.0), by_frontend(&effective.1));
    let whole = |rule: &Rule, change| RuleDifference {
        rule: rule.name.clone(),
        frontend: rule.frontend.to_string(),
        change,
        changes: Vec::new(),
        moved: None,
        moved_beyond: None,
        flows: flows.get(&rule.frontend).copied().unwrap_or(0),
    };
    let removed = old_rules.iter().filter(|(frontend, _)| !new_rules.contains_key(frontend));
    let mut all: Vec<RuleDifference> = removed.map(|(_, rule)| whole(rule, Change::Removed)).collect();
    for (frontend, rule) in &new_rules {
        let Some(before) = old_rules.get(frontend) else {
            all.push(whole(rule, Change::Added));
            continue;
        };
        let changes = changes(before, rule);
        let (Some(was), Some(will)) = (effective.0.get(frontend), effective.1.get(frontend)) else {
            continue;
        };
        let moved = moved((was, old.key), (will, new.key));
        if moved.all > 0.0 || !changes.is_empty() {
            let (all_moved, beyond) = (Some(moved.all), Some(moved.beyond));
            let whole = whole(rule, Change::Changed);
            all.push(RuleDifference { changes, moved: all_moved, moved_beyond: beyond, ..whole });
        }
    }
    all
}

/// What differs between two versions of a rule.
fn changes(before: &Rule, after: &Rule) -> Vec<String> {
    let by_address = |rule: &Rule| -> BTreeMap<IpAddr, config::Backend> {
        rule.pool.backends.iter().map(|backend| (backend.address, *backend)).collect()
    };
    let (old, new) = (by_address(before), by_address(after));
    let gone = old.keys().filter(|a| !new.contains_key(a)).map(|address| format!("-{address}"));
    let come = new.keys().filter(|a| !old.contains_key(a)).map(|address| format!("+{address}"));
    let changed = new.iter().filter(|(a, b)| old.get(a).is_some_and(|before| before != *b));
    let changed = changed.map(|(address, b)| format!("{address} weight {}, {}", b.weight, b.state));
    let name = (before.name != after.name).then(|| format!("was called {}", before.name));
    let pool = (before.pool.name != after.pool.name)
        .then(|| format!("pool {} instead of {}", after.pool.name, before.pool.name));
    let port = (before.backend_port != after.backend_port)
        .then(|| format!("backend port {} instead of {}", after.backend_port, before.backend_port));
    let timeout = (before.idle_timeout != after.idle_timeout)
        .then(|| format!("idle timeout {}", humantime::format_duration(after.idle_timeout)));
    let forward = (before.forward != after.forward)
        .then(|| format!("forward {} instead of {}", after.forward, before.forward));
    let switch = |name: &str, before: bool, after: bool| {
        (before != after).then(|| format!("{name} {}", if after { "on" } else { "off" }))
    };
    let reset = switch("tcp reset", before.tcp_reset, after.tcp_reset);
    let hairpin = switch("hairpin", before.hairpin, after.hairpin);
    let echo = switch("icmp echo", before.icmp_echo, after.icmp_echo);
    let clamp = (before.mss_clamp != after.mss_clamp).then(|| match after.mss_clamp {
        None => "no mss clamp".to_owned(),
        Some(config::MssClamp::FromMtu) => "mss clamp from the MTUs".to_owned(),
        Some(config::MssClamp::To(bytes)) => format!("mss clamp {bytes}"),
    });
    let quic = (before.quic != after.quic).then(|| match after.quic {
        None => "no routing by QUIC server ids".to_owned(),
        Some(config::Quic::QuicLb(_)) => "QUIC server ids as by quic-lb".to_owned(),
        Some(config::Quic::Katran) => "QUIC server ids as by katran".to_owned(),
    });
    let probe = (before.probe != after.probe).then(|| match &after.probe {
        Some(probe) => format!("probe {probe}"),
        None => "no probe".to_owned(),
    });
    let distribution =
        (before.distribution != after.distribution).then(|| format!("distribution {}", after.distribution));
    let unavailable = (before.no_healthy_backends != after.no_healthy_backends)
        .then(|| format!("without healthy backends: {}", after.no_healthy_backends));
    let backends = gone.chain(come).chain(changed);
    let settings = [
        name,
        pool,
        port,
        forward,
        timeout,
        reset,
        hairpin,
        echo,
        clamp,
        quic,
        distribution,
        unavailable,
        probe,
        acl_change(before, after),
    ];
    backends.chain(settings.into_iter().flatten()).collect()
}

fn acl_change(before: &Rule, after: &Rule) -> Option<String> {
    (before.acl != after.acl).then(|| match &after.acl {
        Some(acl) => format!("acl {} of {} rules", acl.name, acl.rules.len()),
        None => "no acl".to_owned(),
    })
}

/// Shares of new flows.
struct Moved {
    /// Those that go to another backend than before.
    all: f64,
    /// Those of them that even a perfect hash need not have moved.
    beyond: f64,
}

fn moved(old: (&Rule, HashKey), new: (&Rule, HashKey)) -> Moved {
    let is_same_hash = old.1 == new.1 && old.0.distribution == new.0.distribution;
    if is_same_hash && old.0.pool == new.0.pool && old.0.no_healthy_backends == new.0.no_healthy_backends {
        return Moved { all: 0.0, beyond: 0.0 };
    }
    let (was, will) = (Spread::new(old.1, old.0), Spread::new(new.1, new.0));
    let (old_shares, new_shares) = (was.shares(), will.shares());
    let new_share = |address: &IpAddr| new_shares.get(address).copied().unwrap_or(0.0);
    // A perfect hash moves what a backend loses, and what had no backend and now has.
    let lost: f64 = old_shares.iter().map(|(a, share)| (share - new_share(a)).max(0.0)).sum();
    let served = |shares: &BTreeMap<IpAddr, f64>| shares.values().sum::<f64>();
    let must = lost + (served(&new_shares) - served(&old_shares)).max(0.0);
    let all = if is_same_hash {
        was.differs_from(&will)
    } else {
        // A flow keeps its backend by chance alone.
        let by_chance: f64 = old_shares.iter().map(|(a, share)| share * new_share(a)).sum();
        served(&old_shares).max(served(&new_shares)) - by_chance
    };
    Moved { all, beyond: (all - must).max(0.0) }
}
