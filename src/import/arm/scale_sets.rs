//! Scale sets: which pools and NAT pools their instances are in, and their public addresses.

use std::net::IpAddr;

use super::Resource;
use super::balancer::Balancer;
use super::fields::Fields;
use super::members::{INTERFACE_NOTE, Members, OF_CONFIGURATIONS, OF_INTERFACES, PartName};
use super::tree::Node;
use crate::import::plan::NatRule;
use crate::import::report::{Findings, Place};

#[derive(Clone)]
pub(super) struct ScaleSet {
    pub(super) name: String,
    pub(super) capacity: usize,
    pub(super) place: Place,
    /// Of the interface that is in the pool.
    own_address: Option<OwnAddress>,
}

/// A public address of each instance's own.
#[derive(Clone)]
struct OwnAddress {
    name: String,
    place: Place,
    idle_minutes: u64,
}

impl OwnAddress {
    fn left_out(&self, set: &str, why: &str, findings: &mut Findings) {
        let what = format!(
            "publicIPAddressConfiguration {}: each instance of scale set {set} has a public address of its own, and {why}",
            self.name
        );
        findings.loss(&self.place, what);
    }
}

pub(super) fn read(resource: &Resource, members: &mut Members, findings: &mut Findings) {
    let mut fields = Fields::of(&resource.node, "scale set", &resource.place, findings);
    let place = fields.place.clone();
    let most = i64::try_from(crate::config::BACKENDS_PER_POOL_MAX).unwrap_or(i64::MAX);
    let capacity = fields.take("sku").and_then(|sku| {
        Fields::of(&sku, "sku of the scale set", &place, findings).number("capacity", 0, most, findings)
    });
    if capacity.is_none() {
        let what = format!("{} does not say its sku.capacity: it is taken for 0 instances", fields.subject);
        findings.loss(&place, what);
    }
    let set = ScaleSet {
        name: resource.name.clone(),
        capacity: capacity.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        place: place.clone(),
        own_address: None,
    };
    // What else it says is of its machines.
    let inner = |node: Option<Node>, name: &str| node.and_then(|node| node.kind.get(name).cloned());
    let profile = inner(fields.take("virtualMachineProfile"), "networkProfile");
    let Some(interfaces) = inner(profile, "networkInterfaceConfigurations") else { return };
    for node in interfaces.kind.items() {
        let mut interface = Fields::of(node, "interface of the scale set", &place, findings);
        for node in interface.list("ipConfigurations", findings) {
            configuration(&node, &set, members, &place, findings);
        }
        for other in OF_INTERFACES {
            interface.note(other, INTERFACE_NOTE, findings);
        }
        interface.finish(findings);
    }
}

fn configuration(node: &Node, set: &ScaleSet, members: &mut Members, outer: &Place, findings: &mut Findings) {
    let mut fields = Fields::of(node, "configuration of the scale set", outer, findings);
    let pools = fields.ids("loadBalancerBackendAddressPools", findings);
    let nat_pools = fields.ids("loadBalancerInboundNatPools", findings);
    let own_address =
        fields.take("publicIPAddressConfiguration").map(|node| own_address(&node, outer, findings));
    fields.skip(&["privateIPAddressVersion", "primary", "subnet"]);
    for other in OF_CONFIGURATIONS {
        fields.note(other, INTERFACE_NOTE, findings);
    }
    fields.finish(findings);
    let mut first: Option<PartName> = None;
    for (id, place) in pools {
        if let Some(pool) = members.part(&id, "backendAddressPools", &place, findings) {
            let own_address = own_address.clone().filter(|_| first.is_none());
            members.sets.entry(pool.clone()).or_default().push(ScaleSet { own_address, ..set.clone() });
            first.get_or_insert(pool);
        }
    }
    if let (Some(own_address), None) = (&own_address, &first) {
        let why = "the set is in no backendAddressPool, so that nothing says which addresses they have: they are left out";
        own_address.left_out(&set.name, why, findings);
    }
    for (id, place) in nat_pools {
        match (members.part(&id, "inboundNatPools", &place, findings), &first) {
            (Some(nat_pool), Some((_, pool))) => {
                members.of_nat_pool.insert(nat_pool, pool.clone());
            }
            (Some(_), None) => {
                findings.loss(&place, "the scale set is in no backendAddressPool, so that nothing says which addresses the NAT pool leads to");
            }
            (None, _) => {}
        }
    }
}

fn own_address(node: &Node, outer: &Place, findings: &mut Findings) -> OwnAddress {
    let mut fields = Fields::of(node, "publicIPAddressConfiguration", outer, findings);
    let name = fields.name(findings);
    let idle = fields.number("idleTimeoutInMinutes", 4, 100, findings).unwrap_or(4);
    for (field, why) in [
        ("dnsSettings", "names are not the load balancer's"),
        ("ipTags", "labels of Azure's"),
        ("publicIPPrefix", "the addresses file says the addresses"),
        ("publicIPAddressVersion", "the addresses file says the addresses"),
        ("deleteOption", "nothing is deleted here"),
        ("sku", "the machine has its place"),
    ] {
        fields.note(field, why, findings);
    }
    let place = fields.place.clone();
    fields.finish(findings);
    OwnAddress { name, place, idle_minutes: idle.unsigned_abs() }
}

impl Balancer<'_> {
    /// Gives the instances of a pool's scale sets their public addresses.
    pub(super) fn own_addresses(&mut self, sets: &[ScaleSet], instances: &[IpAddr], findings: &mut Findings) {
        let mut rest = instances.iter().copied();
        for set in sets {
            let instances: Vec<IpAddr> = rest.by_ref().take(set.capacity).collect();
            let Some(own_address) = &set.own_address else { continue };
            let name = format!("{}/{}", set.name, own_address.name);
            let Some((said, listed)) = self.addresses.instance_frontends(std::slice::from_ref(&name)) else {
                let why = format!(
                    "nothing says which, so that they are left out; in the addresses file, under [frontends], say: \
                     \"{name}\" = \"203.0.113.20-203.0.113.39\""
                );
                own_address.left_out(&set.name, &why, findings);
                continue;
            };
            let public = listed.first(instances.len());
            if public.len() < instances.len() {
                let (count, listed) = (instances.len(), public.len());
                let what = format!(
                    "scale set {} has {count} instances, but only {listed} public addresses are listed; each needs one",
                    set.name
                );
                findings.error(&said, what);
                continue;
            }
            for (number, pair) in public.into_iter().zip(instances).enumerate() {
                let rule = self.plan.rule_names.make(&[&set.name, &own_address.name, &number.to_string()]);
                let place = own_address.place.clone();
                self.plan.nat_rules.push(NatRule::own_address(rule, place, pair, own_address.idle_minutes));
            }
        }
    }
}
