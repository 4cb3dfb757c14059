//! Who is in the pools: network interfaces and scale sets say it, not the load balancer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Resource;
use super::fields::{Fields, Id};
use crate::import::addresses::Addresses;
use crate::import::report::{Findings, Place};

/// A load balancer and a part of it, in lower case.
pub(super) type PartName = (String, String);

/// Who belongs where.
#[derive(Default)]
pub(super) struct Members {
    /// Pools, and the addresses of interfaces in them.
    pub(super) of_pool: BTreeMap<PartName, Vec<(IpAddr, Place)>>,
    /// Pools, and scale sets in them.
    pub(super) sets: BTreeMap<PartName, ScaleSet>,
    /// Inbound NAT rules, and the interface that each leads to.
    pub(super) of_nat_rule: BTreeMap<PartName, IpAddr>,
    /// Inbound NAT pools, and the pool that the scale set's instances are in.
    pub(super) of_nat_pool: BTreeMap<PartName, String>,
    /// Addresses of interfaces' configurations, by `nic/configuration`.
    pub(super) addresses: BTreeMap<String, IpAddr>,
    /// Configurations that have a public address of their own.
    pub(super) own_addresses: Vec<OwnAddress>,
}

pub(super) struct OwnAddress {
    /// `nic/configuration`.
    pub(super) name: String,
    pub(super) place: Place,
    /// The public address's resource, in lower case.
    pub(super) public: String,
    /// `None` where nothing says it.
    pub(super) private: Option<IpAddr>,
}

#[derive(Clone)]
pub(super) struct ScaleSet {
    pub(super) name: String,
    pub(super) capacity: usize,
    pub(super) place: Place,
}

const INTERFACE_NOTE: &str = "what an interface does beside its pools is not the load balancer's";

const OF_INTERFACES: [&str; 19] = [
    "networkSecurityGroup",
    "enableAcceleratedNetworking",
    "enableIPForwarding",
    "dnsSettings",
    "tags",
    "sku",
    "virtualMachine",
    "primary",
    "macAddress",
    "tapConfigurations",
    "hostedWorkloads",
    "nicType",
    "kind",
    "vnetEncryptionSupported",
    "disableTcpStateTracking",
    "allowPort25Out",
    "auxiliaryMode",
    "auxiliarySku",
    "defaultOutboundConnectivityEnabled",
];

const OF_CONFIGURATIONS: [&str; 3] =
    ["applicationSecurityGroups", "applicationGatewayBackendAddressPools", "gatewayLoadBalancer"];

pub(super) fn interface(
    resource: &Resource,
    members: &mut Members,
    addresses: &mut Addresses,
    findings: &mut Findings,
) {
    let mut fields = Fields::of(&resource.node, "network interface", &resource.place, findings);
    for node in fields.list("ipConfigurations", findings) {
        let mut configuration =
            Fields::of(&node, &format!("configuration of {}", fields.subject), &fields.place, findings);
        let name = format!("{}/{}", resource.name, configuration.name(findings));
        let pools = configuration.ids("loadBalancerBackendAddressPools", findings);
        let rules = configuration.ids("loadBalancerInboundNatRules", findings);
        let said = configuration.text("privateIPAddress", findings).and_then(|text| text.parse().ok());
        configuration.skip(&["privateIPAllocationMethod", "privateIPAddressVersion", "primary", "subnet"]);
        for other in OF_CONFIGURATIONS {
            configuration.note(other, INTERFACE_NOTE, findings);
        }
        let place = configuration.place.clone();
        if let Some((id, place)) = configuration.id("publicIPAddress", findings) {
            let private = addresses.member(&name).or(said);
            match id.named("publicIPAddresses") {
                Some(public) => {
                    members.own_addresses.push(OwnAddress { name: name.clone(), place, public, private });
                }
                None => findings.error(&place, format!("\"{}\" is not the id of a public address", id.text)),
            }
        }
        configuration.finish(findings);
        if pools.is_empty() && rules.is_empty() {
            continue;
        }
        let Some(address) = addresses.member(&name).or(said) else {
            let what = format!(
                "nothing says which address {name} has; in the addresses file, under [members], say: \"{name}\" = \"10.0.0.4\""
            );
            findings.error(&place, what);
            continue;
        };
        members.addresses.insert(name.to_lowercase(), address);
        for (id, place) in pools {
            if let Some(pool) = part(&id, "backendAddressPools", &place, findings) {
                members.of_pool.entry(pool).or_default().push((address, place));
            }
        }
        for (id, place) in rules {
            if let Some(rule) = part(&id, "inboundNatRules", &place, findings) {
                members.of_nat_rule.insert(rule, address);
            }
        }
    }
    for other in OF_INTERFACES {
        fields.note(other, INTERFACE_NOTE, findings);
    }
    fields.finish(findings);
}

/// The load balancer and the part that an id names.
fn part(id: &Id, kind: &str, place: &Place, findings: &mut Findings) -> Option<PartName> {
    let found = id.named("loadBalancers").zip(id.named(kind));
    if found.is_none() {
        findings.error(place, format!("\"{}\" is not the id of one of a load balancer's {kind}", id.text));
    }
    found
}

pub(super) fn scale_set(resource: &Resource, members: &mut Members, findings: &mut Findings) {
    let mut fields = Fields::of(&resource.node, "scale set", &resource.place, findings);
    let sku = fields.take("sku");
    let most = i64::try_from(crate::config::BACKENDS_PER_POOL_MAX).unwrap_or(i64::MAX);
    let mut capacity = None;
    if let Some(sku) = sku {
        let mut sku = Fields::of(&sku, "sku of the scale set", &fields.place, findings);
        capacity = sku.number("capacity", 0, most, findings);
    }
    let set = ScaleSet {
        name: resource.name.clone(),
        capacity: capacity.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        place: fields.place.clone(),
    };
    if capacity.is_none() {
        findings.loss(
            &fields.place,
            format!("{} does not say its sku.capacity: it is taken for 0 instances", fields.subject),
        );
    }
    let place = fields.place.clone();
    let inner =
        |node: Option<super::tree::Node>, name: &str| node.and_then(|node| node.kind.get(name).cloned());
    let profile = inner(fields.take("virtualMachineProfile"), "networkProfile");
    let Some(interfaces) = inner(profile, "networkInterfaceConfigurations") else { return };
    for interface in interfaces.kind.items() {
        let mut interface = Fields::of(interface, "interface of the scale set", &place, findings);
        for node in interface.list("ipConfigurations", findings) {
            let mut configuration = Fields::of(&node, "configuration of the scale set", &place, findings);
            let pools = configuration.ids("loadBalancerBackendAddressPools", findings);
            let nat_pools = configuration.ids("loadBalancerInboundNatPools", findings);
            let mut first = None;
            for (id, place) in pools {
                if let Some(pool) = part(&id, "backendAddressPools", &place, findings) {
                    first.get_or_insert(pool.1.clone());
                    if let Some(other) = members.sets.insert(pool, set.clone()) {
                        let what = format!(
                            "the pool has scale set {} already, and a pool here is one range",
                            other.name
                        );
                        findings.error(&place, what);
                    }
                }
            }
            for (id, place) in nat_pools {
                match (part(&id, "inboundNatPools", &place, findings), &first) {
                    (Some(nat_pool), Some(pool)) => {
                        members.of_nat_pool.insert(nat_pool, pool.clone());
                    }
                    (Some(_), None) => {
                        findings.loss(&place, "the scale set is in no backendAddressPool, so that nothing says which addresses the NAT pool leads to");
                    }
                    (None, _) => {}
                }
            }
        }
    }
}
