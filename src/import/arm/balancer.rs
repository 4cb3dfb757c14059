//! One load balancer: its frontends, pools and probes; `parts` has what connects them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::fields::{Fields, Id};
use super::tree::Node;
use super::{Resource, World};
use crate::config::{AdminState, NoHealthyBackends, ProbeKind};
use crate::import::addresses::{Addresses, Listed};
use crate::import::plan::{Members, Names, Plan, Pool, Probe};
use crate::import::report::{Findings, Place, suggestion};

const FIELDS: [&str; 9] = [
    "frontendIPConfigurations",
    "backendAddressPools",
    "loadBalancingRules",
    "probes",
    "inboundNatRules",
    "inboundNatPools",
    "outboundRules",
    "outboundNatRules",
    "scope",
];

/// A probe has until the next is due; of HTTP, no longer than this.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// What a load balancer's parts are called by: names in lower case.
pub(super) struct Balancer<'b> {
    pub(super) name: String,
    pub(super) world: &'b World,
    pub(super) addresses: &'b mut Addresses,
    pub(super) plan: &'b mut Plan,
    pub(super) names: Names,
    frontends: BTreeMap<String, Frontend>,
    pools: BTreeMap<String, usize>,
    probes: BTreeMap<String, (String, NoHealthyBackends)>,
    /// Whether some rule leaves the backends their way out through the frontend.
    pub(super) implicit_outbound: Option<Place>,
}

struct Frontend {
    place: Place,
    /// By which it is known in the addresses file.
    names: Vec<String>,
    said: Option<IpAddr>,
    is_ipv6: bool,
    pub(super) is_public: bool,
    /// Whether it has been asked for in vain.
    is_missed: bool,
}

pub(super) fn read(
    resource: &Resource,
    children: &[&Resource],
    world: &World,
    addresses: &mut Addresses,
    plan: &mut Plan,
    findings: &mut Findings,
) {
    let mut fields = Fields::of(&resource.node, "load balancer", &resource.place, findings);
    if is_of_another_kind(&mut fields, findings) {
        return;
    }
    let mut names = Names::default();
    plan.rules.iter().for_each(|rule| drop(names.make(&[&rule.name])));
    plan.nat_rules.iter().for_each(|rule| drop(names.make(&[&rule.name])));
    let mut balancer = Balancer {
        name: resource.name.clone(),
        world,
        addresses,
        plan,
        names,
        frontends: BTreeMap::new(),
        pools: BTreeMap::new(),
        probes: BTreeMap::new(),
        implicit_outbound: None,
    };
    let of_children = |kind: &str| {
        let kind = format!("{}/{kind}", super::BALANCER);
        children
            .iter()
            .filter(move |child| child.kind == kind)
            .map(|child| child.node.clone())
            .collect::<Vec<Node>>()
    };
    let place = fields.place.clone();
    for node in fields.list("frontendIPConfigurations", findings) {
        balancer.frontend(&node, &place, findings);
    }
    for node in
        fields.list("backendAddressPools", findings).into_iter().chain(of_children("backendaddresspools"))
    {
        balancer.pool(&node, &place, findings);
    }
    for node in fields.list("probes", findings) {
        balancer.probe(&node, &place, findings);
    }
    for node in fields.list("loadBalancingRules", findings) {
        balancer.rule(&node, &place, findings);
    }
    for node in fields.list("inboundNatRules", findings).into_iter().chain(of_children("inboundnatrules")) {
        balancer.nat_rule(&node, &place, findings);
    }
    for node in fields.list("inboundNatPools", findings) {
        balancer.nat_pool(&node, &place, findings);
    }
    let old = fields.list("outboundNatRules", findings);
    for node in fields.list("outboundRules", findings).into_iter().chain(old) {
        balancer.outbound_rule(&node, &place, findings);
    }
    if let Some(place) = &balancer.implicit_outbound {
        let what = "Azure lets these backends out through the rule's frontend (disableOutboundSnat is not true), and this version \
                    of guideway does not: they need another way out";
        findings.loss(place, what);
    }
    for child in children.iter().filter(|child| {
        !["backendaddresspools", "inboundnatrules"].iter().any(|kind| child.kind.ends_with(kind))
    }) {
        findings.loss(
            &child.place,
            format!("{} is of type {}, which is unknown here, and left out", child.name, child.kind),
        );
    }
    fields.finish(&FIELDS, findings);
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
        sku.finish(&["name", "tier"], findings);
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
        fields.finish(
            &["privateIPAddress", "privateIPAllocationMethod", "publicIPAddress", "subnet", "publicIPPrefix"],
            findings,
        );
    }

    fn unknown_part(
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
            let known: Vec<String> = self.frontends.keys().cloned().collect();
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

    /// What an outbound rule's frontend is called: an address, or a name where there is none.
    pub(super) fn frontend_text(&mut self, id: &Id) -> String {
        let name = id.named("frontendIPConfigurations").unwrap_or_default();
        let known = self.frontends.get(&name).map(|frontend| (frontend.names.clone(), frontend.said));
        let address = known.and_then(|(names, said)| self.addresses.frontend(&names).or(said));
        address.map_or(name, |address| address.to_string())
    }

    fn pool(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "pool", outer, findings);
        // A resource of its own has its parent's name before it.
        let name = fields.name(findings).rsplit('/').next().unwrap_or_default().to_owned();
        let mut list = Vec::new();
        for node in fields.list("loadBalancerBackendAddresses", findings) {
            list.extend(self.backend(&node, &fields.place, findings));
        }
        fields.lose("drainPeriodInSeconds", "a drain's deadline is said when it begins: `guideway backend POOL/ADDRESS drain --deadline TIME`", findings);
        fields.lose("tunnelInterfaces", "chaining of appliances is not here", findings);
        fields.note("syncMode", "the pool is what the file says", findings);
        fields.note("virtualNetwork", "backends may be in any network that a route leads to", findings);
        fields.skip(&[
            "backendIPConfigurations",
            "loadBalancingRules",
            "outboundRule",
            "outboundRules",
            "inboundNatRules",
            "backendMembers",
        ]);
        let pool = self.made_pool(&name, list, &fields.place, findings);
        self.plan.pools.push(pool);
        if self.pools.insert(name.to_lowercase(), self.plan.pools.len() - 1).is_some() {
            findings.error(&fields.place, format!("{} is there twice", fields.subject));
        }
        fields.finish(&["loadBalancerBackendAddresses"], findings);
    }

    fn made_pool(
        &mut self,
        name: &str,
        mut list: Vec<(IpAddr, AdminState)>,
        place: &Place,
        findings: &mut Findings,
    ) -> Pool {
        let key = (self.name.to_lowercase(), name.to_lowercase());
        let members = &self.world.members;
        list.extend(
            members.of_pool.get(&key).into_iter().flatten().map(|(address, _)| (*address, AdminState::Auto)),
        );
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|(address, _)| seen.insert(*address));
        let set = members.sets.get(&key);
        let full = format!("{}/{name}", self.name);
        let mut comments = Vec::new();
        let said = self.addresses.pool(&full);
        let members = match (said, set) {
            (Some((said, listed)), set) => {
                let count = set.map(|set| set.capacity);
                if !list.is_empty() {
                    findings.loss(
                        &said,
                        format!(
                            "pool {full}: the addresses file replaces the {} members that the template has",
                            list.len()
                        ),
                    );
                }
                match listed {
                    Listed::Range(range) => {
                        let all = usize::try_from(range.len()).unwrap_or(usize::MAX);
                        comments.push("Scaling: change the number and reload.".to_owned());
                        Members::Range(range, count.unwrap_or(all))
                    }
                    Listed::List(addresses) => {
                        if let Some(set) = set.filter(|set| set.capacity > addresses.len()) {
                            let what = format!(
                                "scale set {} has {} instances, but only {} addresses are listed",
                                set.name,
                                set.capacity,
                                addresses.len()
                            );
                            findings.error(&said, what);
                        }
                        let count = count.unwrap_or(addresses.len());
                        Members::List(
                            addresses
                                .into_iter()
                                .take(count)
                                .map(|address| (address, AdminState::Auto))
                                .collect(),
                        )
                    }
                }
            }
            (None, Some(set)) => {
                let what = format!(
                    "nothing says which addresses the instances of scale set {} have; in the addresses file, under [pools], say: \
                     \"{full}\" = \"10.0.1.4-10.0.1.99\"",
                    set.name
                );
                findings.error(&set.place, what);
                Members::List(list)
            }
            (None, None) => Members::List(list),
        };
        if members.is_empty() {
            let what = format!(
                "pool {full} has no members in the template; in the addresses file, under [pools], say: \"{full}\" = [\"10.0.0.4\"]"
            );
            findings.loss(place, what);
        }
        let mut names = Names::default();
        self.plan.pools.iter().for_each(|pool| drop(names.make(&[&pool.name])));
        Pool { name: names.make(&[&self.name, name]), place: place.clone(), comments, members }
    }

    fn backend(
        &mut self,
        node: &Node,
        outer: &Place,
        findings: &mut Findings,
    ) -> Option<(IpAddr, AdminState)> {
        let mut fields = Fields::of(node, "member", outer, findings);
        let said = fields.text("ipAddress", findings);
        let state = match fields.word("adminState", &["None", "Up", "Down"], findings).as_deref() {
            Some("up") => AdminState::Up,
            Some("down") => AdminState::Down,
            _ => AdminState::Auto,
        };
        fields.skip(&["networkInterfaceIPConfiguration", "inboundNatRulesPortMapping"]);
        fields.note("virtualNetwork", "backends may be in any network that a route leads to", findings);
        fields.note("subnet", "backends may be in any network that a route leads to", findings);
        fields.lose(
            "loadBalancerFrontendIPConfiguration",
            "a region's frontend is no backend here",
            findings,
        );
        let address = said.as_ref().and_then(|text| text.parse().ok());
        if let (Some(text), None) = (&said, address) {
            findings.error(
                &fields.place,
                format!("ipAddress of {} is \"{text}\", which is no address", fields.subject),
            );
        }
        fields.finish(&["ipAddress", "adminState"], findings);
        address.map(|address| (address, state))
    }

    /// A pool's name in the plan, and who is in it.
    pub(super) fn pool_of(
        &self,
        id: &Id,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<(String, Vec<IpAddr>)> {
        let name = id.named("backendAddressPools").unwrap_or_default();
        let pool = self.pools.get(&name).and_then(|index| self.plan.pools.get(*index));
        if pool.is_none() {
            let known: Vec<String> = self.pools.keys().cloned().collect();
            self.unknown_part("pool", &name, id, place, &known, findings);
        }
        pool.map(|pool| (pool.name.clone(), pool.members.addresses()))
    }

    /// The same by the pool's name alone.
    pub(super) fn pool_named(&self, name: &str) -> Option<(String, Vec<IpAddr>)> {
        let pool = self.pools.get(name).and_then(|index| self.plan.pools.get(*index))?;
        Some((pool.name.clone(), pool.members.addresses()))
    }

    fn probe(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "probe", outer, findings);
        let name = fields.name(findings);
        let kind = match fields.word("protocol", &["Http", "Tcp", "Https"], findings).as_deref() {
            Some("http") => ProbeKind::Http,
            Some("https") => ProbeKind::Https,
            Some(_) => ProbeKind::Tcp,
            None => {
                findings
                    .error(&fields.place, format!("{} needs a protocol: Http, Tcp or Https", fields.subject));
                ProbeKind::Tcp
            }
        };
        let port = fields.port("port", 1, 65_535, findings);
        if port.is_none() {
            findings.error(&fields.place, format!("{} needs a port", fields.subject));
        }
        let path = fields.text("requestPath", findings).filter(|path| !path.is_empty());
        let path = path.map(|path| format!("/{}", path.trim_start_matches('/')));
        match (&path, kind) {
            (None, ProbeKind::Http | ProbeKind::Https) => {
                findings.error(&fields.place, format!("{} needs a requestPath", fields.subject))
            }
            (Some(_), ProbeKind::Tcp) => findings
                .error(&fields.place, format!("{} asks by TCP, which has no requestPath", fields.subject)),
            _ => {}
        }
        let interval = fields.number("intervalInSeconds", 5, 3600, findings).unwrap_or(15).unsigned_abs();
        let (threshold, comments) = self.threshold(&mut fields, findings);
        let behaviour = fields.word("noHealthyBackendsBehavior", &["AllProbedDown", "AllProbedUp"], findings);
        let behaviour = if behaviour.as_deref() == Some("allprobedup") {
            NoHealthyBackends::All
        } else {
            NoHealthyBackends::Drop
        };
        fields.skip(&["loadBalancingRules"]);
        let mut names = Names::default();
        self.plan.probes.iter().for_each(|probe| drop(names.make(&[&probe.name])));
        let own = names.make(&[&self.name, &name]);
        let interval = Duration::from_secs(interval);
        self.plan.probes.push(Probe {
            name: own.clone(),
            place: fields.place.clone(),
            comments,
            kind,
            port,
            path,
            interval,
            timeout: interval.min(PROBE_TIMEOUT_MAX),
            threshold,
        });
        if self.probes.insert(name.to_lowercase(), (own, behaviour)).is_some() {
            findings.error(&fields.place, format!("{} is there twice", fields.subject));
        }
        fields.finish(
            &["protocol", "port", "requestPath", "intervalInSeconds", "numberOfProbes", "probeThreshold"],
            findings,
        );
    }

    /// Azure follows `probeThreshold`, and does not follow `numberOfProbes`, whatever its pages say.
    fn threshold(&self, fields: &mut Fields, findings: &mut Findings) -> (u64, Vec<String>) {
        let said = fields.number("probeThreshold", 1, 100, findings);
        let node = fields.take("numberOfProbes").map(|node| (*node.place).clone());
        let old = fields.number("numberOfProbes", 1, 100, findings);
        match (said, old, node) {
            (None, Some(old), Some(place)) if old != 1 => {
                if self.world.options.number_of_probes {
                    return (
                        old.unsigned_abs(),
                        vec!["numberOfProbes as the threshold, as it was asked for.".to_owned()],
                    );
                }
                let what = format!(
                    "numberOfProbes of {}: Azure does not follow it and takes 1, and so does this; --number-of-probes takes {old}",
                    fields.subject
                );
                findings.note(&place, what);
                (1, vec![format!("numberOfProbes was {old}, which Azure does not follow.")])
            }
            _ => (said.unwrap_or(1).unsigned_abs(), Vec::new()),
        }
    }

    /// A probe's name in the plan, and what is to be when nobody answers.
    pub(super) fn probe_of(
        &self,
        id: &Id,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<(String, NoHealthyBackends)> {
        let name = id.named("probes").unwrap_or_default();
        let probe = self.probes.get(&name).cloned();
        if probe.is_none() {
            let known: Vec<String> = self.probes.keys().cloned().collect();
            self.unknown_part("probe", &name, id, place, &known, findings);
        }
        probe
    }
}
