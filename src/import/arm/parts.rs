//! What connects frontends with pools: rules, NAT rules and pools, outbound rules.

use super::balancer::Balancer;
use super::fields::Fields;
use super::tree::Node;
use crate::config::{Distribution, NoHealthyBackends};
use crate::import::plan::{Frontend, NatRule, OutboundRule, Protocol, Rule, Target, Treatment};
use crate::import::report::{Findings, Place};

/// Minutes; the specification says 4 to 30, the pages since 2022 4 to 100.
const IDLE_MAX: i64 = 100;
const IDLE_SPECIFIED: i64 = 30;
/// Of outbound rules.
const OUTBOUND_IDLE_MAX: i64 = 120;

/// Ports that one address has for outbound flows, and the blocks they come in.
const OUTBOUND_PORTS_MAX: i64 = 64_000;
const OUTBOUND_BLOCK: i64 = 8;

/// What portals export, and no page describes.
const STRAY: [&str; 2] = ["allowBackendPortConflict", "enableDestinationServiceEndpoint"];

impl Balancer<'_> {
    fn treatment(fields: &mut Fields, idle_max: i64, findings: &mut Findings) -> Treatment {
        let idle = fields.number("idleTimeoutInMinutes", 4, idle_max, findings).unwrap_or(4);
        if idle > IDLE_SPECIFIED && idle_max == IDLE_MAX {
            let what = format!(
                "{} has idleTimeoutInMinutes {idle}; Azure's specification ends at {IDLE_SPECIFIED}, its pages at {IDLE_MAX}; it is kept",
                fields.subject
            );
            findings.note(&fields.place, what);
        }
        for stray in STRAY {
            fields.note(stray, "Azure does not describe it", findings);
        }
        Treatment {
            floating: fields.is_true("enableFloatingIP", findings).unwrap_or(false),
            idle_minutes: idle.unsigned_abs(),
            tcp_reset: fields.is_true("enableTcpReset", findings).unwrap_or(false),
        }
    }

    /// What a floating IP and UDP make of the other fields.
    fn check_treatment(
        subject: &str,
        place: &Place,
        frontend: Frontend,
        backend_port: u16,
        treatment: &Treatment,
        findings: &mut Findings,
    ) {
        if treatment.floating && backend_port != frontend.port {
            let what = format!(
                "{subject} has a floating IP, by which packets stay as they are: they keep port {}, not {backend_port}",
                frontend.port
            );
            findings.loss(place, what);
        }
        if treatment.tcp_reset && treatment.floating {
            findings.loss(place, format!("{subject} has a floating IP, by which answers do not pass guideway: it cannot reset idle flows (enableTcpReset)"));
        }
    }

    fn protocol(fields: &mut Fields, words: &[&str], findings: &mut Findings) -> Option<Protocol> {
        let is_there = fields.word("protocol", words, findings);
        match is_there.as_deref() {
            Some("tcp") => Some(Protocol::Tcp),
            Some("udp") => Some(Protocol::Udp),
            Some("all") => Some(Protocol::Any),
            Some(_) => {
                let what = format!(
                    "{} is of protocol Quic: it is taken for UDP, and a client that changes its address may change its backend, unless \
                     the rule gets `quic` (docs/QUIC.md)",
                    fields.subject
                );
                findings.loss(&fields.place, what);
                Some(Protocol::Udp)
            }
            None => None,
        }
    }

    fn distribution(fields: &mut Fields, findings: &mut Findings) -> Distribution {
        let words = ["Default", "SourceIP", "SourceIPProtocol"];
        match fields.word("loadDistribution", &words, findings).as_deref() {
            Some("sourceip") => Distribution::SourceIp,
            Some("sourceipprotocol") => Distribution::SourceIpProtocol,
            _ => Distribution::FiveTuple,
        }
    }

    pub(super) fn rule(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "rule", outer, findings);
        fields.need(&["protocol", "frontendPort", "frontendIPConfiguration"], findings);
        let name = fields.name(findings);
        let protocol = Self::protocol(&mut fields, &["Tcp", "Udp", "All", "Quic"], findings);
        let port = fields.port("frontendPort", 0, 65_534, findings);
        let backend_port = fields.port("backendPort", 0, 65_535, findings).or(port).unwrap_or(0);
        let distribution = Self::distribution(&mut fields, findings);
        let treatment = Self::treatment(&mut fields, IDLE_MAX, findings);
        // UDP flows have entries here in any case.
        fields.is_true("enableConnectionTracking", findings);
        let no_outbound = fields.is_true("disableOutboundSnat", findings).unwrap_or(false);
        let frontend = fields.id("frontendIPConfiguration", findings);
        let pool = self.pool_id(&mut fields, findings);
        let probe = fields.id("probe", findings).and_then(|(id, place)| self.probe_of(&id, &place, findings));
        let place = fields.place.clone();
        let subject = fields.subject.clone();
        fields.finish(findings);
        let found = frontend.and_then(|(id, place)| self.frontend_of(&id, &place, findings));
        let pool = pool.and_then(|(id, place)| self.pool_of(&id, &place, findings));
        let (Some(protocol), Some(port), Some((address, is_public)), Some((pool, _))) =
            (protocol, port, found, pool)
        else {
            return;
        };
        if (protocol == Protocol::Any) != (port == 0) || (port == 0) != (backend_port == 0) {
            let what = format!(
                "{subject}: protocol All goes with frontendPort 0 and backendPort 0, and these with no other"
            );
            findings.error(&place, what);
            return;
        }
        if is_public && !no_outbound {
            self.plan.lets_out(&pool, Frontend { address, port, protocol }, &place);
        }
        let frontend = Frontend { address, port, protocol };
        Self::check_treatment(&subject, &place, frontend, backend_port, &treatment, findings);
        let (probe, no_healthy_backends) =
            probe.map_or((None, NoHealthyBackends::Drop), |(probe, behaviour)| (Some(probe), behaviour));
        let name = self.plan.rule_names.make(&[&self.name, &name]);
        self.plan.rules.push(Rule {
            name,
            place,
            comments: Vec::new(),
            frontend,
            pool,
            backend_port,
            distribution,
            treatment,
            probe,
            no_healthy_backends,
        });
    }

    /// `backendAddressPool`, or the only one of `backendAddressPools`; new exports have the same in both.
    fn pool_id(
        &mut self,
        fields: &mut Fields,
        findings: &mut Findings,
    ) -> Option<(super::fields::Id, Place)> {
        let one = fields.id("backendAddressPool", findings);
        let mut several = fields.ids("backendAddressPools", findings);
        if let Some((one, _)) = &one {
            several
                .retain(|(other, _)| other.named("backendAddressPools") != one.named("backendAddressPools"));
        }
        if let Some((_, place)) = several.get(usize::from(one.is_none())) {
            findings.loss(place, format!("{} has several pools; only the first is taken", fields.subject));
        }
        let pool = one.or_else(|| several.into_iter().next());
        if pool.is_none() {
            fields.need(&["backendAddressPool"], findings);
        }
        pool
    }

    pub(super) fn nat_rule(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "inbound NAT rule", outer, findings);
        let name = fields.name(findings).rsplit('/').next().unwrap_or_default().to_owned();
        self.parts.insert(("inboundNatRules", name.to_lowercase()));
        let port = fields.port("frontendPort", 0, 65_534, findings).filter(|port| *port > 0);
        let first = fields.port("frontendPortRangeStart", 0, 65_534, findings).filter(|port| *port > 0);
        let last = fields.port("frontendPortRangeEnd", 0, 65_534, findings).filter(|port| *port > 0);
        let pool = fields.id("backendAddressPool", findings);
        let exported = fields.id("backendIPConfiguration", findings);
        fields.note("tags", "labels for people", findings);
        let Some(common) = self.nat_common(&mut fields, findings) else { return };
        let (subject, place) = (fields.subject.clone(), fields.place.clone());
        fields.finish(findings);
        let key = (self.name.to_lowercase(), name.to_lowercase());
        let members = &self.world.members;
        let own = exported.and_then(|(id, _)| {
            Some(format!("{}/{}", id.named("networkInterfaces")?, id.named("ipConfigurations")?))
        });
        let one = own
            .and_then(|own| members.addresses.get(&own).copied())
            .or_else(|| members.of_nat_rule.get(&key).copied());
        let (port, last, target) = match (port, first.zip(last), pool) {
            (Some(port), None, None) => {
                let full = format!("{}/{name}", self.name);
                let Some(one) = self.addresses.member(&full).or(one) else {
                    let what = format!(
                        "{subject} leads to no network interface of the template, and is left out; if it has one elsewhere, in the \
                         addresses file, under [members], say: \"{full}\" = \"10.0.0.4\""
                    );
                    findings.loss(&place, what);
                    return;
                };
                (port, port, Target::One(one))
            }
            (None, Some((first, last)), Some((id, place))) => {
                let Some((pool, members)) = self.pool_of(&id, &place, findings) else { return };
                (first, last, Target::Pool(pool, members))
            }
            _ => {
                let what = format!(
                    "{subject} needs either a frontendPort, or a frontendPortRangeStart and -End with a backendAddressPool"
                );
                findings.error(&place, what);
                return;
            }
        };
        self.push_nat(&name, common, (port, last), target, (&subject, &place), findings);
    }

    pub(super) fn nat_pool(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "inbound NAT pool", outer, findings);
        fields.need(&["frontendPortRangeStart", "frontendPortRangeEnd"], findings);
        let name = fields.name(findings);
        self.parts.insert(("inboundNatPools", name.to_lowercase()));
        let first = fields.port("frontendPortRangeStart", 1, 65_534, findings);
        let last = fields.port("frontendPortRangeEnd", 1, 65_535, findings);
        let Some(common) = self.nat_common(&mut fields, findings) else { return };
        let (subject, place) = (fields.subject.clone(), fields.place.clone());
        fields.finish(findings);
        let Some(ports) = first.zip(last) else { return };
        let key = (self.name.to_lowercase(), name.to_lowercase());
        let Some(pool) = self.world.members.of_nat_pool.get(&key) else {
            findings
                .loss(&place, format!("{subject} leads to no scale set of the template, and is left out"));
            return;
        };
        let of_pool = (key.0, pool.clone());
        if self.world.members.sets.get(&of_pool).is_some_and(|sets| sets.len() > 1) {
            let what = format!(
                "{subject} leads to one scale set of several in pool {pool}, and here it would to all: it is left out"
            );
            findings.loss(&place, what);
            return;
        }
        let Some((pool, members)) = self.pool_named(pool) else { return };
        self.push_nat(&name, common, ports, Target::Pool(pool, members), (&subject, &place), findings);
    }

    /// What NAT rules and NAT pools share: the frontend without its port, the backend port, and how flows are treated.
    fn nat_common(
        &mut self,
        fields: &mut Fields,
        findings: &mut Findings,
    ) -> Option<(Frontend, u16, Treatment)> {
        fields.need(&["protocol", "backendPort", "frontendIPConfiguration"], findings);
        let protocol = Self::protocol(fields, &["Tcp", "Udp", "All"], findings);
        let backend_port = fields.port("backendPort", 1, 65_535, findings);
        let treatment = Self::treatment(fields, IDLE_MAX, findings);
        let frontend = fields.id("frontendIPConfiguration", findings);
        let address = frontend.and_then(|(id, place)| self.frontend_of(&id, &place, findings));
        let mut protocol = protocol?;
        if protocol == Protocol::Any {
            findings.loss(
                &fields.place,
                format!(
                    "{} is of protocol All, which here goes with all ports only: TCP is taken",
                    fields.subject
                ),
            );
            protocol = Protocol::Tcp;
        }
        let (address, _) = address?;
        Some((Frontend { address, port: 0, protocol }, backend_port?, treatment))
    }

    fn push_nat(
        &mut self,
        name: &str,
        (mut frontend, backend_port, treatment): (Frontend, u16, Treatment),
        (first, last): (u16, u16),
        target: Target,
        (subject, place): (&str, &Place),
        findings: &mut Findings,
    ) {
        frontend.port = first;
        Self::check_treatment(subject, place, frontend, backend_port, &treatment, findings);
        let ports = usize::from(last.saturating_sub(first)) + 1;
        if last < first {
            findings
                .error(place, format!("{subject} has ports {first} to {last}, which end before they begin"));
        } else if let Target::Pool(_, members) = &target
            && members.len() > ports
        {
            findings.error(
                place,
                format!("{subject} has {ports} ports, but {} backends; each needs one", members.len()),
            );
        }
        let name = self.plan.rule_names.make(&[&self.name, name]);
        self.plan.nat_rules.push(NatRule {
            name,
            place: place.clone(),
            comments: Vec::new(),
            frontend,
            last_port: last,
            target,
            backend_port,
            treatment,
        });
    }

    pub(super) fn outbound_rule(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "outbound rule", outer, findings);
        let name = fields.name(findings);
        let protocol = match fields.word("protocol", &["Tcp", "Udp", "All"], findings).as_deref() {
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            _ => Protocol::Any,
        };
        let ports = fields.number("allocatedOutboundPorts", 0, OUTBOUND_PORTS_MAX, findings).unwrap_or(0);
        if ports % OUTBOUND_BLOCK != 0 {
            findings.error(
                &fields.place,
                format!(
                    "{} has allocatedOutboundPorts {ports}; it must be a multiple of {OUTBOUND_BLOCK}",
                    fields.subject
                ),
            );
        }
        let treatment = Self::treatment(&mut fields, OUTBOUND_IDLE_MAX, findings);
        let frontends = fields.ids("frontendIPConfigurations", findings);
        let count = frontends.len();
        let frontends: Vec<String> = frontends
            .iter()
            .filter_map(|(id, place)| Some(self.frontend_of(id, place, findings)?.0.to_string()))
            .collect();
        let pool =
            self.pool_id(&mut fields, findings).and_then(|(id, place)| self.pool_of(&id, &place, findings));
        let place = fields.place.clone();
        fields.finish(findings);
        let Some((pool, _)) = pool.filter(|_| frontends.len() == count) else { return };
        let name = self.plan.rule_names.make(&[&self.name, &name]);
        self.plan.outbound.push(OutboundRule {
            name,
            place,
            comments: Vec::new(),
            pool,
            frontends,
            protocol,
            ports_per_backend: ports.unsigned_abs(),
            idle_minutes: treatment.idle_minutes,
            tcp_reset: treatment.tcp_reset,
        });
    }
}
