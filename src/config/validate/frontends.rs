//! Frontends against each other, and backends of NAT against each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::network::Network;
use super::rules::RULE_BACKENDS_MAX;
use crate::config::error::{Place, Report};
use crate::config::model::{Backend, ForwardMode, Frontend, ProtocolSelector, Rule};
use crate::config::probe::{PROBE_PORT_FIRST, Via};
use crate::config::problem::{RuleProblem, ValueProblem};
use crate::config::raw::{At, RawRule};

/// Which of two frontends takes a packet must be plain: they are two, or one has all of the other. Asked of the rules as
/// said, for a rule that is broken elsewhere has a frontend too.
pub(super) fn compare_frontends(rules: &[RawRule], report: &mut Report) {
    // Of those with one network and protocol; the narrower network and the named protocol come first anyway.
    let mut groups: BTreeMap<(IpAddr, u8, ProtocolSelector), Vec<usize>> = BTreeMap::new();
    let frontend = |index: usize| rules.get(index).and_then(|rule| rule.frontend.given()).copied();
    for (index, frontend) in
        rules.iter().enumerate().filter_map(|(i, rule)| Some((i, rule.frontend.value()?)))
    {
        let key = (frontend.address, frontend.prefix_len, frontend.protocol);
        groups.entry(key).or_default().push(index);
    }
    let name = |index: usize| {
        let name = rules.get(index).and_then(|rule| rule.name.value());
        name.filter(|name| crate::config::is_name(name)).map_or_else(|| "?".to_owned(), Clone::clone)
    };
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
            open.push((index, at));
        }
    }
}

/// Answers to probes that go out of a port must not be taken for packets to a frontend. Asked of the rules as said.
pub(super) fn compare_with_probes(
    raw: &[RawRule],
    rules: &[At<Rule>],
    network: &Network,
    report: &mut Report,
) {
    let probes_by_port = |rule: &&At<Rule>| rule.value.probe.as_ref().is_some_and(|p| p.via == Via::Port);
    let Some(prober) = rules.iter().find(probes_by_port) else { return };
    for At { value: frontend, place } in raw.iter().filter_map(|rule| rule.frontend.given()) {
        let takes_tcp = frontend.protocol.overlaps(ProtocolSelector::Tcp);
        let is_taken = takes_tcp && frontend.last_port >= PROBE_PORT_FIRST;
        if let Some(port) = network.owner_in(frontend.network()).filter(|_| is_taken) {
            let (port, rule) = (port.name.clone(), prober.value.name.clone());
            report.error(*place, RuleProblem::ProbePort { frontend: *frontend, port, rule });
        }
    }
}

/// Where the responses of a backend come from: an address, ports and protocols.
fn responses(rule: &Rule, backend: &Backend) -> Frontend {
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
    let by_nat = || rules.iter().enumerate().filter(|(_, at)| at.value.forward.mode() == ForwardMode::Nat);
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
