//! One load balancer: what it is, and its frontends. `pools` and `probes` have these, `parts` what connects them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::fields::{Fields, Id};
use super::tree::Node;
use super::{Resource, World};
use crate::config::NoHealthyBackends;
use crate::import::addresses::Addresses;
use crate::import::plan::Plan;
use crate::import::report::{Findings, Place, suggestion};

/// What a load balancer's parts are called by: names in lower case.
pub(super) struct Balancer<'b> {
    pub(super) name: String,
    pub(super) world: &'b World,
    pub(super) addresses: &'b mut Addresses,
    pub(super) plan: &'b mut Plan,
    frontends: BTreeMap<String, Frontend>,
    pub(super) pools: BTreeMap<String, usize>,
    /// What others lead to.
    pub(super) parts: BTreeSet<(&'static str, String)>,
    pub(super) probes: BTreeMap<String, (String, NoHealthyBackends)>,
}

struct Frontend {
    place: Place,
    /// By which it is known in the addresses file.
    names: Vec<String>,
    said: Option<IpAddr>,
    is_ipv6: bool,
    is_public: bool,
    /// Whether it has been asked for in vain.
    is_missed: bool,
}

/// Reads a load balancer, and gives the names of its parts that others lead to, by their kinds.
pub(super) fn read(
    resource: &Resource,
    children: &[&Resource],
    world: &World,
    addresses: &mut Addresses,
    plan: &mut Plan,
    findings: &mut Findings,
) -> BTreeSet<(&'static str, String)> {
    let mut fields = Fields::of(&resource.node, "load balancer", &resource.place, findings);
    if is_of_another_kind(&mut fields, findings) {
        return BTreeSet::new();
    }
    let mut balancer = Balancer {
        name: resource.name.clone(),
        world,
        addresses,
        plan,
        frontends: BTreeMap::new(),
        pools: BTreeMap::new(),
        parts: BTreeSet::new(),
        probes: BTreeMap::new(),
    };
    // A child that is deployed by itself replaces the part of that name.
    let with_children = |own: Vec<Node>, kind: &str| {
        let kind = format!("{}/{kind}", super::BALANCER);
        let children: Vec<&&Resource> = children.iter().filter(|child| child.kind == kind).collect();
        let is_replaced = |node: &Node| {
            let name = node.kind.get("name").and_then(|name| name.kind.as_text()).unwrap_or_default();
            children.iter().any(|child| {
                child.name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(name))
            })
        };
        let mut all: Vec<Node> = own.into_iter().filter(|node| !is_replaced(node)).collect();
        all.extend(children.iter().map(|child| child.node.clone()));
        all
    };
    let place = fields.place.clone();
    for node in fields.list("frontendIPConfigurations", findings) {
        balancer.frontend(&node, &place, findings);
    }
    for node in with_children(fields.list("backendAddressPools", findings), "backendaddresspools") {
        balancer.pool(&node, &place, findings);
    }
    for node in fields.list("probes", findings) {
        balancer.probe(&node, &place, findings);
    }
    for node in fields.list("loadBalancingRules", findings) {
        balancer.rule(&node, &place, findings);
    }
    for node in with_children(fields.list("inboundNatRules", findings), "inboundnatrules") {
        balancer.nat_rule(&node, &place, findings);
    }
    for node in fields.list("inboundNatPools", findings) {
        balancer.nat_pool(&node, &place, findings);
    }
    let old = fields.list("outboundNatRules", findings);
    for node in fields.list("outboundRules", findings).into_iter().chain(old) {
        balancer.outbound_rule(&node, &place, findings);
    }
    balancer.plan.finish_implicit();
    let parts = balancer.parts;
    report_odd_children(children, findings);
    fields.finish(findings);
    parts
}

fn report_odd_children(children: &[&Resource], findings: &mut Findings) {
    for child in children.iter().filter(|child| {
        !["backendaddresspools", "inboundnatrules"].iter().any(|kind| child.kind.ends_with(kind))
    }) {
        findings.loss(
            &child.place,
            format!("{} is of type {}, which is unknown here, and left out", child.name, child.kind),
        );
    }
}

/// What concerns the load balancer as a whole; and whether it is one that guideway cannot be.
fn is_of_another_kind(fields: &mut Fields, findings: &mut Findings) -> bool {
    let place = fields.place.clone();
    let (mut name, mut tier) = (None, None);
    if let Some(sku) = fields.take("sku") {
        let mut sku = Fields::of(&sku, "sku", &place, findings);
        tier = sku.word("tier", &["Regional", "Global"], findings);
        // Its name is a field like any other.
        name = sku.word("name", &["Basic", "Standard", "Gateway"], findings);
        sku.finish(findings);
    }
    for (field, why) in [
        ("tags", "labels for people"),
        ("zones", "the machine has its place"),
        ("extendedLocation", "the machine has its place"),
    ] {
        fields.note(field, why, findings);
    }
    fields.word("scope", &["Public", "Private"], findings);
    fields.lose("mode", "what it adds in Azure is not documented; nothing is added here", findings);
    if name.as_deref() == Some("gateway") {
        findings.loss(&place, format!("{} is of sku Gateway, which chains appliances by VXLAN into other load balancers' traffic; all of it is left out", fields.subject));
        return true;
    }
    if tier.as_deref() == Some("global") {
        findings.loss(&place, format!("{} is of tier Global, which stands before regions; all of it is left out: announce its address from every site instead", fields.subject));
        return true;
    }
    if name.as_deref() == Some("basic") {
        findings.loss(&place, format!("{} is of sku Basic, which ends established TCP when all backends are down; guideway keeps it, as Standard does", fields.subject));
    }
    false
}

impl Balancer<'_> {
    fn frontend(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "frontend", outer, findings);
        let name = fields.name(findings);
        let said = fields.take("privateIPAddress");
        let mut address =
            said.as_ref().and_then(|node| node.kind.as_text()).and_then(|text| text.parse().ok());
        if let (Some(node), None) = (&said, address) {
            let text = node.kind.as_text().unwrap_or(node.kind.word());
            findings.error(
                &node.place,
                format!("privateIPAddress of {} is \"{text}\", which is no address", fields.subject),
            );
        }
        let is_static = fields.word("privateIPAllocationMethod", &["Static", "Dynamic"], findings).as_deref()
            == Some("static");
        let is_ipv6 =
            fields.word("privateIPAddressVersion", &["IPv4", "IPv6"], findings).as_deref() == Some("ipv6");
        let mut names = vec![format!("{}/{name}", self.name)];
        let public = fields.id("publicIPAddress", findings);
        let prefix = fields.id("publicIPPrefix", findings);
        let is_public = public.is_some() || prefix.is_some();
        if let Some((_, place)) = &prefix {
            let what = format!(
                "publicIPPrefix of {}: one address of it is taken; add others to the frontends of its [[outbound_rule]]",
                fields.subject
            );
            findings.loss(place, what);
        }
        if let Some(public) = public.and_then(|(id, _)| id.named("publicIPAddresses")) {
            address = address.or_else(|| self.world.public.get(&public).copied());
            names.push(public);
        }
        if is_static && said.is_none() && !is_public {
            findings.error(
                &fields.place,
                format!("{} has a static address and does not say it (privateIPAddress)", fields.subject),
            );
        }
        fields.note("subnet", "a [[port]] has networks of its own", findings);
        fields.note("zones", "the machine has its place", findings);
        fields.note("fqdn", "names are not the load balancer's", findings);
        fields.lose(
            "gatewayLoadBalancer",
            "chaining of appliances is not here: traffic goes without them",
            findings,
        );
        // UDP flows have entries here in any case.
        fields.is_true("enableConnectionTracking", findings);
        fields.skip(&["inboundNatRules", "inboundNatPools", "outboundRules", "loadBalancingRules"]);
        let frontend = Frontend {
            place: fields.place.clone(),
            names,
            said: address,
            is_ipv6,
            is_public,
            is_missed: false,
        };
        if self.frontends.insert(name.to_lowercase(), frontend).is_some() {
            findings.error(&fields.place, format!("{} is there twice", fields.subject));
        }
        fields.finish(findings);
    }

    pub(super) fn unknown_part(
        &self,
        kind: &str,
        name: &str,
        id: &Id,
        place: &Place,
        known: &[String],
        findings: &mut Findings,
    ) {
        let suggestion = suggestion(name, known.iter().map(String::as_str));
        let what =
            format!("load balancer {} has no {kind} \"{name}\" (\"{}\"){suggestion}", self.name, id.text);
        findings.error(place, what);
    }

    /// The address of a frontend, and whether it is public.
    pub(super) fn frontend_of(
        &mut self,
        id: &Id,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<(IpAddr, bool)> {
        let name = id.named("frontendIPConfigurations").unwrap_or_default();
        let Some(frontend) = self.frontends.get_mut(&name) else {
            let known: Vec<String> = self.frontends.keys().take(200).cloned().collect();
            self.unknown_part("frontend", &name, id, place, &known, findings);
            return None;
        };
        let address = self.addresses.frontend(&frontend.names).or(frontend.said);
        let Some(address) = address else {
            if !frontend.is_missed {
                let known_as = frontend.names.first().cloned().unwrap_or_default();
                let example = if frontend.is_ipv6 { "2001:db8::10" } else { "203.0.113.10" };
                let what = format!(
                    "nothing says which address frontend {known_as} has; in the addresses file, under [frontends], say: \"{known_as}\" = \"{example}\""
                );
                findings.error(&frontend.place, what);
                frontend.is_missed = true;
            }
            return None;
        };
        if address.is_ipv6() != frontend.is_ipv6 {
            let wanted = if frontend.is_ipv6 { "IPv6" } else { "IPv4" };
            findings.error(
                &frontend.place,
                format!("frontend {name} is of {wanted}, but its address is {address}"),
            );
            return None;
        }
        Some((address, frontend.is_public))
    }
}
