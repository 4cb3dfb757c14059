//! Rules: each by itself, then against each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::network::Network;
use super::pools::Pools;
use super::probes::{self, Probes};
use super::{Names, duration_in_range, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::model::{AdminState, Backend, Distribution, Endpoint, NoHealthyBackends, Rule};
use crate::config::probe::{PROBE_PORT_FIRST, Probe, Via};
use crate::config::problem::{NameProblem, NetworkProblem, RuleProblem, ValueProblem};
use crate::config::raw::{At, RawConfig, RawRule, RuleProbe};
use crate::config::subject_of;
use crate::wire::Protocol;

/// The most rules. Each has a Maglev table of its own: this bounds memory, and the time a reload takes.
pub const RULES_MAX: usize = 4096;

/// The most pairs of rule and backend. Bounds the map that finds a response's frontend.
pub const RULE_BACKENDS_MAX: usize = 65_536;

const PORT: (i128, i128) = (1, u16::MAX as i128);
const IDLE_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4 * 60);

/// Checks all rules, and finds what none of them uses.
pub(super) fn check(
    raw: &RawConfig,
    network: &Network,
    pools: &Pools,
    probes: &Probes,
    report: &mut Report,
) -> Vec<Rule> {
    if raw.rules.is_empty() {
        report.warn(Place::Whole, RuleProblem::NoRules);
    }
    if let Some(first_beyond) = raw.rules.get(RULES_MAX) {
        let what = "rules".to_owned();
        let problem = ValueProblem::TooMany { what, count: raw.rules.len(), max: RULES_MAX };
        report.error(first_beyond.place, problem);
    }
    let mut checker =
        Checker { network, pools, probes, names: Names::new("rule", raw), used: HashSet::new() };
    let rules: Vec<_> = raw.rules.iter().filter_map(|rule| checker.rule(rule, report)).collect();
    warn_of_unused(&checker.used, pools, probes, report);
    compare_frontends(&raw.rules, report);
    compare_backends(&rules, report);
    compare_with_probes(&raw.rules, &rules, network, report);
    rules.into_iter().map(|rule| rule.value).collect()
}

struct Checker<'a> {
    network: &'a Network,
    pools: &'a Pools,
    probes: &'a Probes,
    names: Names,
    /// Pools and probes by kind and name.
    used: HashSet<(&'static str, String)>,
}

impl Checker<'_> {
    /// A rule; `None` where it is too broken to compare others with.
    fn rule(&mut self, raw: &RawRule, report: &mut Report) -> Option<At<Rule>> {
        let name = self.names.add(&raw.name, raw.place, report);
        let subject = subject_of("rule", name.as_deref().unwrap_or_default());
        let frontend = required(&subject, "frontend", &raw.frontend, raw.place, report);
        let pool = required(&subject, "pool", &raw.pool, raw.place, report);
        let probe = self.probe(raw, &subject, report);
        let backend_port = in_range(&subject, "backend_port", &raw.backend_port, PORT, report);
        let idle_timeout =
            duration_in_range(&subject, "idle_timeout", &raw.idle_timeout, IDLE_TIMEOUT, report);
        if let Some(At { value: Endpoint { address, .. }, place }) = frontend.copied()
            && let Some(flaw) = self.network.flaw(address)
        {
            let subject = format!("frontend of {subject}");
            report.error(place, NetworkProblem::Unusable { subject, address, flaw });
        }
        let pool = pool?;
        self.used.insert(("pool", pool.value.clone()));
        self.pools.names.require(
            pool,
            &subject,
            "add a [[pool]] of that name, or --backend NAME=ADDR",
            report,
        );
        let found = self.pools.find(&pool.value)?;
        let (name, frontend) = (name?, frontend?.value);
        if found.is_whole && !found.pool.backends.iter().any(is_available) {
            let problem = RuleProblem::NoneAvailable { rule: name.clone(), pool: pool.value.clone() };
            report.warn(pool.place, problem);
        }
        let has_broken_port = backend_port.is_none() && !raw.backend_port.is_absent();
        if has_broken_port {
            return None;
        }
        let rule = Rule {
            name,
            frontend,
            pool: Arc::clone(&found.pool),
            backend_port: backend_port.unwrap_or(frontend.port),
            distribution: raw.distribution.value().copied().unwrap_or(Distribution::FiveTuple),
            idle_timeout: idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT),
            probe_name: probe.as_ref().and_then(|_| probe_name(raw)),
            probe,
            no_healthy_backends: raw.no_healthy_backends.value().copied().unwrap_or(NoHealthyBackends::Drop),
        };
        Some(At { value: rule, place: pool.place })
    }

    fn probe(&mut self, raw: &RawRule, subject: &str, report: &mut Report) -> Option<Arc<Probe>> {
        let At { value, place } = raw.probe.given()?;
        match value {
            RuleProbe::Named(name) => {
                self.used.insert(("probe", name.clone()));
                let wanted = At { value: name.clone(), place: *place };
                self.probes.names.require(&wanted, subject, "add a [[probe]] of that name", report);
                self.probes.find(name)
            }
            RuleProbe::Own(probe) => probes::check_one(probe, &format!("probe of {subject}"), report),
        }
    }
}

fn probe_name(raw: &RawRule) -> Option<String> {
    match raw.probe.value()? {
        RuleProbe::Named(name) => Some(name.clone()),
        RuleProbe::Own(_) => None,
    }
}

fn is_available(backend: &Backend) -> bool {
    backend.weight > 0 && matches!(backend.state, AdminState::Auto | AdminState::Up)
}

fn warn_of_unused(
    used: &HashSet<(&'static str, String)>,
    pools: &Pools,
    probes: &Probes,
    report: &mut Report,
) {
    let unused = |kind: &'static str, name: &str| !used.contains(&(kind, name.to_owned()));
    for pool in pools.list.iter().filter(|pool| unused("pool", &pool.pool.name)) {
        let remedy = "name it in a rule, or delete it";
        report.warn(pool.place, NameProblem::Unused { kind: "pool", name: pool.pool.name.clone(), remedy });
    }
    for (name, place, _) in probes.list.iter().filter(|(name, ..)| unused("probe", name)) {
        let remedy = "name it in a rule, or delete it";
        report.warn(*place, NameProblem::Unused { kind: "probe", name: name.clone(), remedy });
    }
}

/// A frontend has one rule. Asked of the rules as said, for a rule that is broken elsewhere has one too.
fn compare_frontends(rules: &[RawRule], report: &mut Report) {
    let mut seen: HashMap<Endpoint, (String, Place)> = HashMap::new();
    for rule in rules {
        let Some(At { value: frontend, place }) = rule.frontend.given() else { continue };
        let name = rule.name.value().filter(|name| crate::config::is_name(name)).map_or("?", String::as_str);
        if let Some((other, first)) = seen.get(frontend).cloned() {
            let (rule, frontend) = (name.to_owned(), *frontend);
            report.error(*place, RuleProblem::DuplicateFrontend { rule, frontend, other, first });
        } else {
            seen.insert(*frontend, (name.to_owned(), *place));
        }
    }
}

/// Answers to probes that go out of a port must not be taken for packets to a frontend. Asked of the rules as said.
fn compare_with_probes(raw: &[RawRule], rules: &[At<Rule>], network: &Network, report: &mut Report) {
    let probes_by_port = |rule: &&At<Rule>| rule.value.probe.as_ref().is_some_and(|p| p.via == Via::Port);
    let Some(prober) = rules.iter().find(probes_by_port) else { return };
    for At { value: frontend, place } in raw.iter().filter_map(|rule| rule.frontend.given()) {
        let is_taken = frontend.protocol == Protocol::Tcp && frontend.port >= PROBE_PORT_FIRST;
        if let Some(port) = network.owner(frontend.address).filter(|_| is_taken) {
            let (port, rule) = (port.name.clone(), prober.value.name.clone());
            report.error(*place, RuleProblem::ProbePort { frontend: *frontend, port, rule });
        }
    }
}

/// A response carries the backend's address, port and protocol, and nothing else to find its frontend by: of
/// each such endpoint there may be one rule. One finding for each pair of rules.
fn compare_backends(rules: &[At<Rule>], report: &mut Report) {
    let pairs: usize = rules.iter().map(|rule| rule.value.pool.backends.len()).sum();
    if pairs > RULE_BACKENDS_MAX {
        let what = "backends, counted once for each rule that uses them".to_owned();
        report.error(Place::Whole, ValueProblem::TooMany { what, count: pairs, max: RULE_BACKENDS_MAX });
        return;
    }
    let endpoint = |rule: &Rule, backend: &Backend| Endpoint {
        address: backend.address,
        port: rule.backend_port,
        protocol: rule.frontend.protocol,
    };
    // Nearly always there is nothing to report, and to see that takes little.
    let all = rules.iter().flat_map(|At { value: rule, .. }| {
        rule.pool.backends.iter().map(move |backend| endpoint(rule, backend))
    });
    let mut sorted: Vec<Endpoint> = all.collect();
    sorted.sort_unstable();
    if sorted.array_windows().all(|[one, next]| one != next) {
        return;
    }
    let mut users: HashMap<Endpoint, usize> = HashMap::with_capacity(pairs);
    let mut shared: BTreeMap<(usize, usize), (Endpoint, usize)> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for backend in &rule.value.pool.backends {
            let endpoint = endpoint(&rule.value, backend);
            let first = *users.entry(endpoint).or_insert(index);
            if first != index {
                shared.entry((index, first)).or_insert((endpoint, 0)).1 += 1;
            }
        }
    }
    for ((later, earlier), (backend, count)) in shared {
        let (Some(later), Some(earlier)) = (rules.get(later), rules.get(earlier)) else { continue };
        // Two rules of one frontend have been reported for that; which is the less one, is not known.
        if later.value.frontend == earlier.value.frontend {
            continue;
        }
        let (rule, other) = (later.value.name.clone(), earlier.value.name.clone());
        let more = count - 1;
        report.error(
            later.place,
            RuleProblem::SharedBackend { rule, other, first: earlier.place, backend, more },
        );
    }
}
