//! Who is in the pools: network interfaces and scale sets say it, not the load balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Resource;
use super::fields::{Fields, Id};
use super::scale_sets::ScaleSet;
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
    pub(super) sets: BTreeMap<PartName, Vec<ScaleSet>>,
    /// Pools that lack an interface, for nothing says its address.
    pub(super) lacking: BTreeSet<PartName>,
    /// Inbound NAT rules, and the interface that each leads to.
    pub(super) of_nat_rule: BTreeMap<PartName, IpAddr>,
    /// Inbound NAT pools, and the pool that the scale set's instances are in.
    pub(super) of_nat_pool: BTreeMap<PartName, String>,
    /// Addresses of interfaces' configurations, by `nic/configuration`.
    pub(super) addresses: BTreeMap<String, IpAddr>,
    /// All parts of load balancers that something leads to, by their kinds.
    asked: Vec<(&'static str, PartName, Place)>,
    /// Configurations that have a public address of their own.
    pub(super) own_addresses: Vec<OwnAddress>,
}

impl Members {
    /// An inbound NAT rule leads to an interface.
    fn lead_to(&mut self, address: IpAddr, id: &Id, place: &Place, findings: &mut Findings) {
        let Some(rule) = self.part(id, "inboundNatRules", place, findings) else { return };
        let known = self.of_nat_rule.insert(rule, address);
        if let Some(other) = known.filter(|other| *other != address) {
            let what =
                format!("\"{}\" leads to {other} already, and a NAT rule leads to one interface", id.text);
            findings.error(place, what);
        }
    }

    /// The load balancer and the part that an id names.
    pub(super) fn part(
        &mut self,
        id: &Id,
        kind: &'static str,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<PartName> {
        let found = id.named("loadBalancers").zip(id.named(kind));
        match &found {
            Some(part) => self.asked.push((kind, part.clone(), place.clone())),
            None => findings
                .error(place, format!("\"{}\" is not the id of one of a load balancer's {kind}", id.text)),
        }
        found
    }

    /// Speaks of who leads to parts that are none of those.
    pub(super) fn report_others(&self, known: &BTreeSet<(&str, PartName)>, findings: &mut Findings) {
        for (kind, part, place) in &self.asked {
            if !known.contains(&(*kind, part.clone())) {
                let what = format!(
                    "{} is not among the {kind} of load balancer {} that are imported: what leads there is left out",
                    part.1, part.0
                );
                findings.loss(place, what);
            }
        }
    }
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

pub(super) const INTERFACE_NOTE: &str = "what an interface does beside its pools is not the load balancer's";

pub(super) const OF_INTERFACES: [&str; 20] = [
    "deleteOption",
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

pub(super) const OF_CONFIGURATIONS: [&str; 4] = [
    "applicationSecurityGroups",
    "applicationGatewayBackendAddressPools",
    "gatewayLoadBalancer",
    "networkSecurityGroup",
];

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
            let lacking = pools
                .iter()
                .filter_map(|(id, _)| id.named("loadBalancers").zip(id.named("backendAddressPools")));
            members.lacking.extend(lacking);
            continue;
        };
        members.addresses.insert(name.to_lowercase(), address);
        for (id, place) in pools {
            if let Some(pool) = members.part(&id, "backendAddressPools", &place, findings) {
                members.of_pool.entry(pool).or_default().push((address, place));
            }
        }
        for (id, place) in rules {
            members.lead_to(address, &id, &place, findings);
        }
    }
    for other in OF_INTERFACES {
        fields.note(other, INTERFACE_NOTE, findings);
    }
    fields.finish(findings);
}
