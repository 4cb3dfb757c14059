//! Frontends against each other, and backends of NAT against each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::network::Network;
use super::own_addresses::{compare_own_addresses, is_own_address};
use super::rules::RULE_BACKENDS_MAX;
use crate::config::error::{Place, Report};
use crate::config::model::{Backend, ForwardMode, Frontend, ProtocolSelector, Rule};
use crate::config::probe::{PROBE_PORT_FIRST, Via};
use crate::config::problem::{NatProblem, RuleProblem, ValueProblem};
use crate::config::raw::{At, RawConfig};

/// All frontends as they are said, those of NAT rules last.
pub(super) fn said(raw: &RawConfig) -> impl Iterator<Item = &At<Frontend>> {
    let of_nat_rules = raw.nat_rules.iter().filter_map(|rule| rule.frontend.given());
    raw.rules.iter().filter_map(|rule| rule.frontend.given()).chain(of_nat_rules)
}

/// A frontend with whose it is.
#[derive(Clone, Copy)]
struct Owned<'a> {
    frontend: At<Frontend>,
    rule: &'a str,
    /// Whether each of its ports is for a backend of its own.
    is_spread: bool,
}

/// The same with whose they are.
fn owned(raw: &RawConfig) -> Vec<Owned<'_>> {
    let of_rules = raw.rules.iter().map(|rule| (rule.frontend.given(), &rule.name, false));
    let of_nat_rules =
        raw.nat_rules.iter().map(|rule| (rule.frontend.given(), &rule.name, !rule.pool.is_absent()));
    let all = of_rules.chain(of_nat_rules);
    all.filter_map(|(at, rule, is_spread)| {
        // All ports are no range: that is found elsewhere.
        let is_spread = is_spread && at?.value.first_port != 0;
        let name = rule.value().filter(|name| crate::config::is_name(name));
        Some(Owned { frontend: *at?, rule: name.map_or("?", String::as_str), is_spread })
    })
    .collect()
}

/// Which of two frontends takes a packet must be plain: they are two, or one has all of the other. Asked of the rules as
/// said, for a rule that is broken elsewhere has a frontend too.
pub(super) fn compare_frontends(raw: &RawConfig, report: &mut Report) {
    let all = owned(raw);
    // Of those with one network and protocol; the narrower network and the named protocol come first anyway.
    let mut groups: BTreeMap<(IpAddr, u8, ProtocolSelector), Vec<usize>> = BTreeMap::new();
    let frontend = |index: usize| all.get(index).map(|one| one.frontend);
    for (index, Owned { frontend: At { value: frontend, .. }, .. }) in all.iter().enumerate() {
        let key = (frontend.address, frontend.prefix_len, frontend.protocol);
        groups.entry(key).or_default().push(index);
    }
    let name = |index: usize| all.get(index).map_or_else(String::new, |one| one.rule.to_owned());
    let is_spread = |index: usize| all.get(index).is_some_and(|one| one.is_spread);
    for group in groups.values_mut().filter(|group| group.len() > 1) {
        group.sort_by_key(|index| {
            let ports = frontend(*index).map(|at| (at.value.first_port, Reverse(at.value.last_port)));
            (ports, *index)
        });
        // The ranges that reach to where we are, each in the one before.
        let mut open: Vec<(usize, At<Frontend>)> = Vec::new();
        for index in group.iter().copied() {
            let Some(at) = frontend(index) else { continue };
            while open.pop_if(|(_, outer)| outer.value.last_port < at.value.first_port).is_some() {}
            if let Some((outer_index, outer)) = open.last().copied()
                && (outer.value == at.value || outer.value.last_port < at.value.last_port)
            {
                let ((later, at), (earlier, first)) = if index > outer_index {
                    ((index, at), (outer_index, outer))
                } else {
                    ((outer_index, outer), (index, at))
                };
                let (rule, other, first_place) = (name(later), name(earlier), first.place);
                let problem = if at.value == first.value {
                    RuleProblem::DuplicateFrontend { rule, frontend: at.value, other, first: first_place }
                } else {
                    let (frontend, theirs) = (at.value, first.value);
                    RuleProblem::OverlappingFrontend { rule, frontend, other, theirs, first: first_place }
                };
                report.error(at.place, problem);
                continue;
            }
            if let Some((outer, range)) = open.iter().find(|(outer, _)| is_spread(*outer)) {
                let (rule, nat_rule) = (name(index), name(*outer));
                let (frontend, range, place) = (at.value, range.value, range.place);
                report.error(at.place, NatProblem::InRange { rule, frontend, nat_rule, range, place });
            }
            open.push((index, at));
        }
    }
}

/// Answers to probes that go out of a port must not be taken for packets to a frontend. Asked of the rules as said.
pub(super) fn compare_with_probes(
    raw: &RawConfig,
    rules: &[At<Rule>],
    network: &Network,
    report: &mut Report,
) {
    let probes_by_port = |rule: &&At<Rule>| rule.value.probe.as_ref().is_some_and(|p| p.via == Via::Port);
    let Some(prober) = rules.iter().find(probes_by_port) else { return };
    for At { value: frontend, place } in said(raw) {
        let takes_tcp = frontend.protocol.overlaps(ProtocolSelector::Tcp);
        let is_taken = takes_tcp && frontend.last_port >= PROBE_PORT_FIRST;
        if let Some(port) = network.owner_in(frontend.network()).filter(|_| is_taken) {
            let (port, rule) = (port.name.clone(), prober.value.name.clone());
            report.error(*place, RuleProblem::ProbePort { frontend: *frontend, port, rule });
        }
    }
}

/// Where the responses of a backend come from: an address, ports and protocols.
pub(super) fn responses(rule: &Rule, backend: &Backend) -> Frontend {
    let (first_port, last_port) = match rule.backend_port {
        0 => (rule.frontend.first_port, rule.frontend.last_port),
        port => (port, port),
    };
    let (address, protocol) = (backend.address, rule.frontend.protocol);
    Frontend { address, prefix_len: Frontend::prefix_len_max(address), first_port, last_port, protocol }
}

fn overlap(one: &Frontend, other: &Frontend) -> bool {
    one.protocol.overlaps(other.protocol)
        && one.first_port <= other.last_port
        && other.first_port <= one.last_port
}

/// By NAT a response carries the backend's address, port and protocol, and nothing else to find its frontend by: of each
/// there may be one rule. One finding for each pair of rules.
pub(super) fn compare_backends(rules: &[At<Rule>], report: &mut Report) {
    let pairs: usize = rules.iter().map(|rule| rule.value.pool.backends.len()).sum();
    if pairs > RULE_BACKENDS_MAX {
        let what = "backends, counted once for each rule that uses them".to_owned();
        report.error(Place::Whole, ValueProblem::TooMany { what, count: pairs, max: RULE_BACKENDS_MAX });
        return;
    }
    compare_own_addresses(rules, report);
    let by_nat = || {
        let by_nat =
            |at: &At<Rule>| at.value.forward.mode() == ForwardMode::Nat && !is_own_address(&at.value);
        rules.iter().enumerate().filter(move |(_, at)| by_nat(at))
    };
    // Nearly always there is nothing to report, and to see that takes little.
    let all = by_nat()
        .flat_map(|(_, at)| at.value.pool.backends.iter().map(|backend| responses(&at.value, backend)));
    let mut sorted: Vec<Frontend> = all.collect();
    sorted.sort_unstable();
    let is_apart = |[one, next]: &[Frontend; 2]| one.address != next.address || is_exact_and_other(one, next);
    if sorted.array_windows().all(is_apart) {
        return;
    }
    let mut users: HashMap<IpAddr, Vec<(Frontend, usize)>> = HashMap::with_capacity(pairs);
    let mut shared: BTreeMap<(usize, usize), (Frontend, usize)> = BTreeMap::new();
    for (index, rule) in by_nat() {
        for backend in &rule.value.pool.backends {
            let own = responses(&rule.value, backend);
            let users = users.entry(backend.address).or_default();
            match users.iter().find(|(other, first)| *first != index && overlap(other, &own)) {
                Some((_, first)) => shared.entry((index, *first)).or_insert((own, 0)).1 += 1,
                None => users.push((own, index)),
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
        let (more, first) = (count - 1, earlier.place);
        report.error(later.place, RuleProblem::SharedBackend { rule, other, first, backend, more });
    }
}

/// Whether two neighbours in the order have one port and one protocol each, and differ in these: all between them do so too.
fn is_exact_and_other(one: &Frontend, next: &Frontend) -> bool {
    let is_exact = |one: &Frontend| one.one_port().is_some() && one.protocol != ProtocolSelector::Any;
    is_exact(one) && is_exact(next) && one != next
}
