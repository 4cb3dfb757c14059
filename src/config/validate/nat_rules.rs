//! NAT rules: each by itself, and what they come to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::forward::{self, Parts};
use super::rules::{Checker, IDLE_TIMEOUT, IDLE_TIMEOUT_DEFAULT, PORT};
use super::{duration_in_range, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::model::{Forward, ForwardMode, Frontend, NatRule, NatTarget, Pool, Rule, Spread, only};
use crate::config::problem::{NatProblem, NetworkProblem, ValueProblem};
use crate::config::raw::{At, Field, RawNatRule, RawRule};
use crate::config::subject_of;

/// The most ports of NAT rules that lead to backends, in all rules together. Each is a rule to the path.
pub const NAT_PORTS_MAX: usize = 16_384;

/// How findings call a NAT rule.
const KIND: &str = "NAT rule";

/// All of them, and each as one rule with all its backends, to be held against others.
pub(super) fn check(
    raw: &[RawNatRule],
    checker: &mut Checker<'_>,
    report: &mut Report,
) -> Vec<(NatRule, At<Rule>)> {
    let mut all = Vec::new();
    let mut ports = 0;
    for one in raw {
        let Some((rule, as_rule)) = nat_rule(one, checker, report) else { continue };
        ports += as_rule.value.pool.backends.len();
        if ports > NAT_PORTS_MAX {
            let what = "ports of NAT rules that lead to a backend".to_owned();
            report.error(one.place, ValueProblem::TooMany { what, count: ports, max: NAT_PORTS_MAX });
            break;
        }
        all.push((rule, as_rule));
    }
    all
}

fn nat_rule(raw: &RawNatRule, checker: &mut Checker<'_>, report: &mut Report) -> Option<(NatRule, At<Rule>)> {
    let name = checker.names.add(&raw.name, raw.place, report);
    let subject = subject_of(KIND, name.as_deref().unwrap_or_default());
    let frontend = required(&subject, "frontend", &raw.frontend, raw.place, report).copied();
    checker.check_frontend(frontend.as_ref(), &subject, report);
    let idle_timeout = duration_in_range(&subject, "idle_timeout", &raw.idle_timeout, IDLE_TIMEOUT, report);
    let acl = checker.acl(&raw.acl, &subject, report);
    let wants = Wants { raw, subject: &subject, checker: &*checker };
    let target = wants.target(report);
    checker.used.extend(raw.pool.value().map(|pool| ("pool", pool.clone())));
    let wants = Wants { raw, subject: &subject, checker: &*checker };
    // What goes with a way to forward is judged as a rule's.
    let as_raw = wants.as_raw_rule();
    let (network, pools, frontends) = (checker.network, checker.pools, checker.frontends);
    let way = forward::Checker { raw: &as_raw, subject: &subject, network, pools, frontends };
    let mode = way.mode();
    way.check_keys(mode.unwrap_or(ForwardMode::Nat), frontend.map(|at| at.value), report);
    let (name, At { value: frontend, place }, mode, (pool, said_port)) = (name?, frontend?, mode?, target?);
    if !frontend.is_one_address() {
        report.error(place, NatProblem::Network { subject, frontend });
        return None;
    }
    let (pool, is_spread) = match pool {
        Target::One(address) => (only(address), false),
        Target::Pool(pool) => (pool, true),
    };
    let forward = if mode == ForwardMode::Dsr { Forward::Dsr } else { Forward::Nat };
    let parts = Parts { frontend, backends: &pool.backends, place: wants.target_place() };
    if !way.compare(&forward, &parts, report) {
        return None;
    }
    let target = if is_spread {
        NatTarget::Each(wants.spread(frontend, place, Arc::clone(&pool), report)?)
    } else {
        NatTarget::One(pool.backends.first()?.address)
    };
    let backend_port = if is_spread && mode == ForwardMode::Nat {
        required(&subject, "backend_port", &raw.backend_port, raw.place, report);
        said_port?
    } else {
        way.backend_port(said_port, mode, frontend, report)
    };
    let is_on = |field: &Field<bool>, default| field.value().copied().unwrap_or(default);
    let rule = NatRule {
        name,
        frontend,
        target,
        backend_port,
        forward,
        idle_timeout: idle_timeout.unwrap_or(IDLE_TIMEOUT_DEFAULT),
        tcp_reset: is_on(&raw.tcp_reset, false),
        icmp_echo: is_on(&raw.icmp_echo, true),
        acl,
    };
    let as_rule = rule.as_rule(frontend, pool);
    Some((rule, At { value: as_rule, place: raw.place }))
}

enum Target {
    One(IpAddr),
    Pool(Arc<Pool>),
}

/// What is asked of a NAT rule by itself.
struct Wants<'a> {
    raw: &'a RawNatRule,
    subject: &'a str,
    checker: &'a Checker<'a>,
}

impl Wants<'_> {
    fn target_place(&self) -> Place {
        self.raw.backend.place_or(self.raw.pool.place_or(self.raw.place))
    }

    fn as_raw_rule(&self) -> RawRule {
        RawRule {
            frontend: self.raw.frontend,
            forward: self.raw.forward,
            tcp_reset: self.raw.tcp_reset,
            // What is said of the port stands with the backend.
            backend_port: Field::at(0, self.raw.backend_port.place_or(self.target_place())),
            ..RawRule::new(self.raw.place)
        }
    }

    /// Whom it leads to, and the port there where that is said.
    fn target(&self, report: &mut Report) -> Option<(Target, Option<u16>)> {
        let RawNatRule { backend, pool, .. } = self.raw;
        let subject = || self.subject.to_owned();
        match (backend, pool) {
            (Field::Given(_), Field::Given(At { place, .. })) => {
                report.error(*place, NatProblem::BothTargets { subject: subject() });
                None
            }
            (Field::Absent, Field::Absent) => {
                report.error(self.raw.place, NatProblem::NoTarget { subject: subject() });
                None
            }
            (Field::Given(At { value: (address, port), place }), _) => {
                self.check_keys(report);
                self.is_sound(*address, *place, report).then_some((Target::One(*address), *port))
            }
            (_, Field::Given(name)) => {
                let port = in_range(self.subject, "backend_port", &self.raw.backend_port, PORT, report);
                let remedy = "add a [[pool]] of that name";
                self.checker.pools.names.require(name, self.subject, remedy, report);
                let found = self.checker.pools.find(&name.value).filter(|pool| pool.is_whole)?;
                Some((Target::Pool(Arc::clone(&found.pool)), port))
            }
            _ => None,
        }
    }

    /// Keys of rules with a pool.
    fn check_keys(&self, report: &mut Report) {
        let instead = "write the port behind the backend, as in \"10.0.0.4:22\"";
        let keys = [
            ("backend_port", self.raw.backend_port.given().map(|at| at.place), instead),
            ("ports", self.raw.ports.given().map(|at| at.place), "delete it"),
        ];
        for (key, place, instead) in keys {
            if let Some(place) = place {
                report.error(place, NatProblem::KeyOfPool { subject: self.subject.to_owned(), key, instead });
            }
        }
    }

    /// Whether a backend can have that address, as one of a pool.
    fn is_sound(&self, address: IpAddr, place: Place, report: &mut Report) -> bool {
        let (network, subject) = (self.checker.network, self.subject.to_owned());
        let whose = || format!("the backend of {}", self.subject);
        let taken = |at: &&At<Frontend>| at.value.network().contains(address);
        if let Some(flaw) = network.flaw(address) {
            report.error(place, NetworkProblem::Unusable { subject: whose(), address, flaw });
        } else if let Some(port) = network.owner(address) {
            report.error(place, NetworkProblem::Own { subject: whose(), address, port: port.name.clone() });
        } else if let Some(At { place: frontend, .. }) = self.checker.frontends.iter().find(taken) {
            report.error(place, NatProblem::IsFrontend { subject, address, frontend: *frontend });
        } else if let Some(At { place: frontend, .. }) =
            self.checker.outbound.iter().find(|at| at.value == address)
        {
            report.error(place, NatProblem::IsFrontend { subject, address, frontend: *frontend });
        } else if !network.ports.is_empty() && network.is_whole && !network.is_reachable(address) {
            report.error(place, NatProblem::Unreachable { subject, address });
        } else {
            return true;
        }
        false
    }

    /// A port for each backend of the pool.
    fn spread(
        &self,
        frontend: Frontend,
        place: Place,
        pool: Arc<Pool>,
        report: &mut Report,
    ) -> Option<Spread> {
        let subject = || self.subject.to_owned();
        if frontend.first_port == 0 {
            report.error(place, NatProblem::NoRange { subject: subject(), frontend });
            return None;
        }
        let mut fixed: BTreeMap<IpAddr, u16> = BTreeMap::new();
        let mut is_sound = !self.raw.ports.is_broken();
        for At { value: said, place } in self.raw.ports.value().into_iter().flatten() {
            let (address, port) = *said;
            let before = fixed.iter().find(|(other, taken)| **other == address || **taken == port);
            let problem = match before {
                Some((other, taken)) => {
                    NatProblem::PortTwice { subject: subject(), said: *said, before: (*other, *taken) }
                }
                None if !(frontend.first_port..=frontend.last_port).contains(&port) => {
                    NatProblem::PortBeyond { subject: subject(), said: *said, frontend }
                }
                None => {
                    fixed.insert(address, port);
                    continue;
                }
            };
            is_sound = false;
            report.error(*place, problem);
        }
        let ports = usize::from(frontend.last_port - frontend.first_port) + 1;
        let backends = pool.backends.len();
        if backends > ports {
            let (subject, pool, place) = (subject(), pool.name.clone(), self.target_place());
            report.error(place, NatProblem::TooFewPorts { subject, frontend, ports, pool, backends });
            return None;
        }
        is_sound.then(|| Spread::new(frontend, pool, fixed, &BTreeMap::new()))
    }
}
