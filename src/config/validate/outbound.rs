//! Outbound rules: each by itself, and against the others.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::network::Network;
use super::pools::Pools;
use super::rules::{IDLE_TIMEOUT, IDLE_TIMEOUT_DEFAULT, RULES_MAX};
use super::{Names, duration_in_range, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::model::{
    Forward, NatRule, OUTBOUND_BLOCK_LEN, OUTBOUND_PORTS_PER_FRONTEND, OutboundProtocol, OutboundRule, Rule,
};
use crate::config::problem::{NetworkProblem, OutboundProblem, ValueProblem};
use crate::config::raw::{At, RawConfig, RawOutbound};
use crate::config::subject_of;

/// The most frontends of all outbound rules together. Each worker maps address space for the ports of as many.
pub const OUTBOUND_FRONTENDS_MAX: usize = 64;

/// The most backends of all outbound rules together.
pub const OUTBOUND_BACKENDS_MAX: usize = 16_384;

const PORTS: (i128, i128) = (8, 64_000);

/// From 1024 on.
const PORTS_OF_ADDRESS: u64 = 64_512;

/// Checks all outbound rules. `rules` and `nat_rules` are those that are sound.
pub(super) fn check(
    raw: &RawConfig,
    network: &Network,
    pools: &Pools,
    rules: &[Rule],
    nat_rules: &[NatRule],
    report: &mut Report,
) -> Vec<OutboundRule> {
    if let Some(first_beyond) = raw.outbound.get(RULES_MAX) {
        let what = "outbound rules".to_owned();
        let problem = ValueProblem::TooMany { what, count: raw.outbound.len(), max: RULES_MAX };
        report.error(first_beyond.place, problem);
        return Vec::new();
    }
    let mut checker = Checker { network, pools, rules, nat_rules, names: Names::new("outbound rule", raw) };
    let found: Vec<At<OutboundRule>> =
        raw.outbound.iter().filter_map(|rule| checker.rule(rule, report)).collect();
    compare(&found, report);
    checker.check_shared(&found, report);
    found.into_iter().map(|rule| rule.value).collect()
}

struct Checker<'a> {
    network: &'a Network,
    pools: &'a Pools,
    rules: &'a [Rule],
    nat_rules: &'a [NatRule],
    names: Names,
}

impl Checker<'_> {
    fn rule(&mut self, raw: &RawOutbound, report: &mut Report) -> Option<At<OutboundRule>> {
        let name = self.names.add(&raw.name, raw.place, report);
        let subject = subject_of("outbound rule", name.as_deref().unwrap_or_default());
        let pool = required(&subject, "pool", &raw.pool, raw.place, report);
        let frontends = required(&subject, "frontends", &raw.frontends, raw.place, report);
        let ports = in_range(&subject, "ports_per_backend", &raw.ports_per_backend, PORTS, report);
        let idle_timeout =
            duration_in_range(&subject, "idle_timeout", &raw.idle_timeout, IDLE_TIMEOUT, report);
        let are_sound = frontends.is_some_and(|at| self.check_frontends(at, &subject, report));
        let pool = pool?;
        self.pools.names.require(pool, &subject, "add a [[pool]] of that name", report);
        let found = self.pools.find(&pool.value)?;
        if !are_sound || raw.protocol.is_broken() {
            return None;
        }
        let rule = OutboundRule {
            name: name?,
            pool: Arc::clone(&found.pool),
            frontends: frontends?.value.iter().map(|at| at.value).collect(),
            protocol: raw.protocol.value().copied().unwrap_or(OutboundProtocol::Any),
            ports_per_backend: ports,
            idle_timeout: idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT),
            tcp_reset: raw.tcp_reset.value().copied().unwrap_or(false),
        };
        let place = raw.ports_per_backend.place_or(frontends?.place);
        if found.is_whole && self.check_families(&rule, &subject, pool.place, report) {
            self.check_ports(&rule, &subject, place, report);
        }
        Some(At { value: rule, place: raw.place })
    }

    /// Whether each can be the source of connections, and nobody else's.
    fn check_frontends(&self, frontends: &At<Vec<At<IpAddr>>>, subject: &str, report: &mut Report) -> bool {
        let subject = || subject.to_owned();
        if frontends.value.is_empty() {
            report.error(frontends.place, OutboundProblem::NoFrontends { subject: subject() });
            return false;
        }
        let mut seen = BTreeSet::new();
        let mut are_sound = true;
        for At { value: address, place } in frontends.value.iter().copied() {
            let taken = |owner| OutboundProblem::FrontendTaken { subject: subject(), address, owner };
            if let Some(flaw) = self.network.flaw(address) {
                let subject = format!("a frontend of {}", subject());
                report.error(place, NetworkProblem::Unusable { subject, address, flaw });
            } else if let Some(port) = self.network.owner(address) {
                report.error(place, taken(format!("port {}'s own", port.name)));
            } else if let Some(rule) = self.rules.iter().find(|rule| is_source_of(rule, address)) {
                report.error(place, taken(format!("among the source_addresses of rule {}", rule.name)));
            } else if !seen.insert(address) {
                report.error(place, OutboundProblem::FrontendTwice { subject: subject(), address });
            } else {
                continue;
            }
            are_sound = false;
        }
        are_sound
    }

    fn check_families(&self, rule: &OutboundRule, subject: &str, place: Place, report: &mut Report) -> bool {
        let lacks = |address: &IpAddr| rule.frontends_like(*address).next().is_none();
        let mut others = rule.pool.backends.iter().map(|backend| backend.address).filter(lacks);
        let Some(backend) = others.next() else { return true };
        let (subject, more) = (subject.to_owned(), others.count());
        report.error(place, OutboundProblem::Family { subject, backend, more });
        false
    }

    /// Whether there are as many ports as the backends are to have.
    fn check_ports(&self, rule: &OutboundRule, subject: &str, place: Place, report: &mut Report) {
        let subject = || subject.to_owned();
        let ports = rule.ports();
        if !ports.is_multiple_of(OUTBOUND_BLOCK_LEN) {
            report.error(place, OutboundProblem::NotInBlocks { subject: subject(), ports });
            return;
        }
        for is_v4 in [true, false] {
            let is_like = |address: IpAddr| address.is_ipv4() == is_v4;
            let backends = rule.pool.backends.iter().filter(|backend| is_like(backend.address)).count();
            let frontends: Vec<IpAddr> =
                rule.frontends.iter().copied().filter(|address| is_like(*address)).collect();
            let reserved = frontends.iter().map(|address| self.reserved(*address, rule.protocol));
            let (reserved, available) =
                reserved.fold((0, 0), |(all, sum), one| (all + one, sum + left_of(one)));
            let wanted = u64::from(ports) * backends as u64;
            // What the size of the pool gives is as much as there is, but not nothing.
            let least = if rule.ports_per_backend.is_some() { wanted } else { 8 * backends as u64 };
            if least > available {
                let (subject, frontends) = (subject(), frontends.len());
                let problem = OutboundProblem::TooFewPorts {
                    subject,
                    ports,
                    backends,
                    available,
                    frontends,
                    reserved,
                    shared: 0,
                };
                report.error(place, problem);
            }
        }
    }

    /// Whether rules that leave from the same frontends find as many ports there as their backends are to have together.
    fn check_shared(&self, rules: &[At<OutboundRule>], report: &mut Report) {
        let frontends: BTreeSet<IpAddr> =
            rules.iter().flat_map(|rule| rule.value.frontends.iter().copied()).collect();
        if frontends.len() > OUTBOUND_FRONTENDS_MAX {
            return;
        }
        let mut told = BTreeSet::new();
        for is_v4 in [true, false] {
            for protocol in [OutboundProtocol::Tcp, OutboundProtocol::Udp] {
                let left: Vec<(u64, u64)> = frontends
                    .iter()
                    .map(|address| self.reserved(*address, protocol))
                    .map(|reserved| (left_of(reserved), reserved))
                    .collect();
                let wants: Vec<Want> =
                    rules.iter().filter_map(|rule| Want::of(rule, protocol, is_v4, &frontends)).collect();
                for set in sets_of(&wants) {
                    let Some((rule, problem)) = too_few(&wants, set, &left) else { continue };
                    if told.insert(rule.value.name.clone()) {
                        report.error(rule.place, problem);
                    }
                }
            }
        }
    }

    /// Ports in the blocks that rules use there: the most of any protocol.
    fn reserved(&self, address: IpAddr, protocol: OutboundProtocol) -> u64 {
        let of = |wanted: OutboundProtocol, number: u8| {
            let mut blocks = BTreeSet::new();
            // Of a NAT rule also the ports that no backend has yet.
            let nat_rules = self.nat_rules.iter().map(|rule| rule.frontend);
            let frontends = self.rules.iter().map(|rule| rule.frontend).chain(nat_rules);
            let there = frontends
                .filter(|frontend| frontend.network().contains(address) && frontend.protocol.takes(number));
            for frontend in there {
                let block = |port: u16| u32::from(port.max(1024)) / OUTBOUND_BLOCK_LEN;
                if frontend.last_port >= 1024 {
                    blocks.extend(block(frontend.first_port)..=block(frontend.last_port));
                }
            }
            if protocol.overlaps(wanted) { blocks.len() as u64 * u64::from(OUTBOUND_BLOCK_LEN) } else { 0 }
        };
        of(OutboundProtocol::Tcp, 6).max(of(OutboundProtocol::Udp, 17))
    }
}

/// Ports of an address that flows can have.
fn left_of(reserved: u64) -> u64 {
    PORTS_OF_ADDRESS.saturating_sub(reserved).min(OUTBOUND_PORTS_PER_FRONTEND.into())
}

/// What a rule wants of the ports of one protocol and family.
struct Want<'a> {
    rule: &'a At<OutboundRule>,
    backends: usize,
    /// Its frontends of that family: a bit each, by their order among all.
    frontends: u64,
    /// What the size of the pool gives is as much as there is, but not nothing.
    least: u64,
}

impl<'a> Want<'a> {
    fn of(
        rule: &'a At<OutboundRule>,
        protocol: OutboundProtocol,
        is_v4: bool,
        all: &BTreeSet<IpAddr>,
    ) -> Option<Self> {
        let At { value, .. } = rule;
        let backends = value.pool.backends.iter().filter(|one| one.address.is_ipv4() == is_v4).count();
        let is_sound = value.ports().is_multiple_of(OUTBOUND_BLOCK_LEN);
        if !value.protocol.overlaps(protocol) || backends == 0 || !is_sound {
            return None;
        }
        let is_its = |address: &IpAddr| address.is_ipv4() == is_v4 && value.frontends.contains(address);
        let bits = all.iter().enumerate().filter(|(_, address)| is_its(address)).map(|(bit, _)| 1 << bit);
        let each = value.ports_per_backend.unwrap_or(OUTBOUND_BLOCK_LEN);
        Some(Self { rule, backends, frontends: bits.sum(), least: u64::from(each) * backends as u64 })
    }
}

/// The sets of frontends to look at: each rule's, and all that rules with some in common have together.
fn sets_of(wants: &[Want<'_>]) -> BTreeSet<u64> {
    let own: BTreeSet<u64> = wants.iter().map(|want| want.frontends).collect();
    let mut apart: Vec<u64> = Vec::new();
    for set in &own {
        let joined = apart.extract_if(.., |one| *one & set != 0).fold(*set, |all, one| all | one);
        apart.push(joined);
    }
    own.into_iter().chain(apart).collect()
}

/// The rule to be changed where those whose frontends are all in `set` want more than there is, together.
fn too_few<'a>(
    wants: &[Want<'a>],
    set: u64,
    left: &[(u64, u64)],
) -> Option<(&'a At<OutboundRule>, OutboundProblem)> {
    let sum = |set: u64| {
        let those = left.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
        those.fold((0, 0), |(all, of_rules), (_, (one, reserved))| (all + one, of_rules + reserved))
    };
    let there: Vec<&Want<'_>> = wants.iter().filter(|want| want.frontends & !set == 0).collect();
    let (available, reserved) = sum(set);
    let least: u64 = there.iter().map(|want| want.least).sum();
    // What one wants too much of by itself was said of it.
    if least <= available || there.len() < 2 || there.iter().any(|want| want.least > sum(want.frontends).0) {
        return None;
    }
    let is_said = |want: &&&Want<'_>| want.rule.value.ports_per_backend.is_some();
    let want = there.iter().rfind(is_said).or(there.last())?;
    let shared = least - want.least;
    let problem = OutboundProblem::TooFewPorts {
        subject: subject_of("outbound rule", &want.rule.value.name),
        ports: want.rule.value.ports(),
        backends: want.backends,
        available: available.saturating_sub(shared),
        frontends: set.count_ones() as usize,
        reserved,
        shared,
    };
    Some((want.rule, problem))
}

fn is_source_of(rule: &Rule, address: IpAddr) -> bool {
    let Forward::FullNat(full_nat) = &rule.forward else { return false };
    full_nat.source_addresses.iter().any(|range| range.contains(address))
}

/// A backend's packet is one rule's, and there are not too many of all.
fn compare(rules: &[At<OutboundRule>], report: &mut Report) {
    let mut owners: HashMap<IpAddr, Vec<usize>> = HashMap::new();
    let mut frontends: BTreeSet<IpAddr> = BTreeSet::new();
    for (index, At { value: rule, place }) in rules.iter().enumerate() {
        let mut is_told = false;
        for backend in &rule.pool.backends {
            let others = owners.entry(backend.address).or_default();
            let other = others
                .iter()
                .filter_map(|other| rules.get(*other))
                .find(|other| other.value.protocol.overlaps(rule.protocol));
            if let Some(other) = other.filter(|_| !is_told) {
                is_told = true;
                let problem = OutboundProblem::SharedBackend {
                    subject: subject_of("outbound rule", &rule.name),
                    other: other.value.name.clone(),
                    first: other.place,
                    backend: backend.address,
                    protocol: rule.protocol,
                };
                report.error(*place, problem);
            }
            others.push(index);
        }
        frontends.extend(&rule.frontends);
    }
    let place = rules.last().map_or(Place::Whole, |rule| rule.place);
    let mut bound = |what: &str, count: usize, max: usize| {
        if count > max {
            report.error(place, ValueProblem::TooMany { what: what.to_owned(), count, max });
        }
    };
    bound("frontends of outbound rules", frontends.len(), OUTBOUND_FRONTENDS_MAX);
    bound("backends of outbound rules", owners.len(), OUTBOUND_BACKENDS_MAX);
}
