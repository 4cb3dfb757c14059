//! Rules: each by itself.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::acls::{self, Acls};
use super::forward::{self, Parts};
use super::frontends::{compare_backends, compare_frontends, compare_with_probes, said};
use super::nat_rules;
use super::network::{Network, flaw, is_link_local};
use super::pools::Pools;
use super::probes::{self, Probes};
use super::{Names, duration_in_range, in_range, quic, required};
use crate::config::error::{Place, Report};
use crate::config::model::{
    Acl, AdminState, Backend, Distribution, ForwardMode, Frontend, NatRule, NoHealthyBackends, Rule,
};
use crate::config::probe::Probe;
use crate::config::problem::{AddressFlaw, NameProblem, NetworkProblem, RuleProblem, ValueProblem};
use crate::config::raw::{At, Field, RawConfig, RawRule, RuleProbe};
use crate::config::subject_of;

/// The most rules. Each has a Maglev table of its own: this bounds memory, and the time a reload takes.
pub const RULES_MAX: usize = 4096;

/// The most pairs of rule and backend. Bounds the map that finds a response's frontend.
pub const RULE_BACKENDS_MAX: usize = 65_536;

pub(super) const PORT: (i128, i128) = (1, u16::MAX as i128);
pub(super) const IDLE_TIMEOUT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(24 * 3600));
pub(super) const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4 * 60);

/// Checks all rules, and finds what none of them uses.
pub(super) fn check(
    raw: &RawConfig,
    network: &Network,
    pools: &Pools,
    probes: &Probes,
    acls: &Acls,
    report: &mut Report,
) -> (Vec<Rule>, Vec<NatRule>) {
    if raw.rules.is_empty() && raw.nat_rules.is_empty() && raw.outbound.is_empty() {
        report.warn(Place::Whole, RuleProblem::NoRules);
    }
    if let Some(first_beyond) = raw.rules.get(RULES_MAX) {
        let what = "rules".to_owned();
        let problem = ValueProblem::TooMany { what, count: raw.rules.len(), max: RULES_MAX };
        report.error(first_beyond.place, problem);
    }
    let frontends: Vec<At<Frontend>> = said(raw).copied().collect();
    let (names, used) = (Names::new("rule", raw), HashSet::new());
    let outbound = raw.outbound.iter().filter_map(|rule| rule.frontends.value()).flatten().copied().collect();
    let mut checker = Checker { outbound, network, pools, probes, acls, frontends: &frontends, names, used };
    let mut rules: Vec<_> = raw.rules.iter().filter_map(|rule| checker.rule(rule, report)).collect();
    let own = rules.len();
    let (nat_rules, as_rules): (Vec<_>, Vec<_>) =
        nat_rules::check(&raw.nat_rules, &mut checker, report).into_iter().unzip();
    rules.extend(as_rules);
    let outbound = raw.outbound.iter().filter_map(|rule| rule.pool.value());
    checker.used.extend(outbound.map(|pool| ("pool", pool.clone())));
    warn_of_unused(&checker.used, pools, probes, acls, report);
    compare_frontends(raw, report);
    compare_backends(&rules, report);
    acls::warn_of_cut_off(&rules, report);
    compare_with_probes(raw, &rules, network, report);
    let rules = rules.into_iter().take(own).map(|rule| rule.value);
    let rules = rules.chain(nat_rules.iter().flat_map(NatRule::rules)).collect();
    (rules, nat_rules)
}

pub(super) struct Checker<'a> {
    pub(super) network: &'a Network,
    pub(super) pools: &'a Pools,
    probes: &'a Probes,
    pub(super) acls: &'a Acls,
    /// As they are said, of NAT rules too.
    pub(super) frontends: &'a [At<Frontend>],
    pub(super) names: Names,
    /// The frontends of outbound rules.
    pub(super) outbound: Vec<At<IpAddr>>,
    /// Pools and probes by kind and name.
    pub(super) used: HashSet<(&'static str, String)>,
}

impl Checker<'_> {
    /// A rule; `None` where it is too broken to compare others with.
    fn rule(&mut self, raw: &RawRule, report: &mut Report) -> Option<At<Rule>> {
        let name = self.names.add(&raw.name, raw.place, report);
        let subject = subject_of("rule", name.as_deref().unwrap_or_default());
        let frontend = required(&subject, "frontend", &raw.frontend, raw.place, report);
        let pool = required(&subject, "pool", &raw.pool, raw.place, report);
        let probe = self.probe(raw, &subject, report);
        let acl = self.acl(&raw.acl, &subject, report);
        let backend_port = in_range(&subject, "backend_port", &raw.backend_port, PORT, report);
        let idle_timeout =
            duration_in_range(&subject, "idle_timeout", &raw.idle_timeout, IDLE_TIMEOUT, report);
        self.check_frontend(frontend, &subject, report);
        let (network, pools, frontends) = (self.network, self.pools, self.frontends);
        let way = forward::Checker { raw, subject: &subject, network, pools, frontends };
        let mode = way.mode();
        way.check_keys(mode.unwrap_or(ForwardMode::Nat), frontend.map(|at| at.value), report);
        let quic = quic::check(raw, &subject, mode, frontend.map(|at| at.value), report);
        let pool = pool?;
        self.used.insert(("pool", pool.value.clone()));
        let remedy = "add a [[pool]] of that name, or --backend NAME=ADDR";
        self.pools.names.require(pool, &subject, remedy, report);
        let found = self.pools.find(&pool.value)?;
        let (name, frontend) = (name?, frontend?.value);
        if found.is_whole && !found.pool.backends.iter().any(is_available) {
            let problem = RuleProblem::NoneAvailable { rule: name.clone(), pool: pool.value.clone() };
            report.warn(pool.place, problem);
        }
        let (mss_clamp, forward) = (way.mss_clamp(report), way.forward(mode?, report));
        if backend_port.is_none() && !raw.backend_port.is_absent() {
            return None;
        }
        let parts = Parts { frontend, backends: &found.pool.backends, place: pool.place };
        if !way.compare(&forward, &parts, report) {
            return None;
        }
        let backend_port = way.backend_port(backend_port, forward.mode(), frontend, report);
        way.check_probe_port(backend_port, frontend, probe.as_deref(), report);
        quic::compare(quic, raw, &subject, parts.backends, report);
        let is_on = |field: &Field<bool>| field.value().copied().unwrap_or(false);
        let rule = Rule {
            name,
            frontend,
            pool: Arc::clone(&found.pool),
            backend_port,
            forward,
            distribution: raw.distribution.value().copied().unwrap_or(Distribution::FiveTuple),
            idle_timeout: idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT),
            tcp_reset: is_on(&raw.tcp_reset),
            hairpin: is_on(&raw.hairpin),
            icmp_echo: raw.icmp_echo.value().copied().unwrap_or(true),
            mss_clamp,
            quic,
            probe_name: probe.as_ref().and_then(|_| probe_name(raw)),
            probe,
            no_healthy_backends: raw.no_healthy_backends.value().copied().unwrap_or(NoHealthyBackends::Drop),
            acl,
            is_nat_rule: false,
        };
        Some(At { value: rule, place: pool.place })
    }

    /// Its access list, if it has one.
    pub(super) fn acl(
        &mut self,
        field: &Field<String>,
        subject: &str,
        report: &mut Report,
    ) -> Option<Arc<Acl>> {
        self.used.extend(field.value().map(|name| ("acl", name.clone())));
        self.acls.find(field, subject, report)
    }

    pub(super) fn check_frontend(&self, frontend: Option<&At<Frontend>>, subject: &str, report: &mut Report) {
        let Some(At { value: frontend, place }) = frontend.copied() else { return };
        if let Some(flaw) = self.flaw(frontend) {
            let (subject, address) = (format!("frontend of {subject}"), frontend.address);
            report.error(place, NetworkProblem::Unusable { subject, address, flaw });
        }
    }

    /// Why nobody can be a client of a frontend.
    fn flaw(&self, frontend: Frontend) -> Option<AddressFlaw> {
        let address = frontend.address;
        if frontend.is_one_address() {
            return self.network.flaw(address);
        }
        // The first address of a network of frontends is one like the others.
        flaw(address).or(is_link_local(address).then_some(AddressFlaw::LinkLocal))
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
    acls: &Acls,
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
    for (place, acl) in acls.list.iter().filter(|(_, acl)| unused("acl", &acl.name)) {
        let remedy = "name it in a rule, or delete it";
        report.warn(*place, NameProblem::Unused { kind: "acl", name: acl.name.clone(), remedy });
    }
}
