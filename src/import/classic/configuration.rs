//! The service configuration, .cscfg: how many instances, and the network.

use std::net::IpAddr;

use super::definition::{no_twins, unknown};
use crate::config::Cidr;
use crate::import::report::{Findings, Place};
use crate::import::xml::{Element, Said};

#[derive(Default)]
pub(super) struct Configuration {
    pub(super) service_name: Option<Said>,
    pub(super) roles: Vec<(String, Instances)>,
    pub(super) balancers: Vec<InternalBalancer>,
    pub(super) reserved_ips: Vec<Said>,
    pub(super) controls: Vec<AccessControl>,
    pub(super) acls: Vec<EndpointAcl>,
    pub(super) public_ips: Vec<PublicIp>,
}

/// An address of its own for each instance of a role.
pub(super) struct PublicIp {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) idle_minutes: u64,
}

/// How many instances a role has.
pub(super) struct Instances {
    pub(super) place: Place,
    pub(super) count: usize,
}

pub(super) struct InternalBalancer {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) address: Option<IpAddr>,
}

pub(super) struct AccessControl {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) rules: Vec<AccessRule>,
}

pub(super) struct AccessRule {
    pub(super) order: u64,
    /// As guideway writes it.
    pub(super) text: String,
    pub(super) description: Option<String>,
}

pub(super) struct EndpointAcl {
    pub(super) place: Place,
    pub(super) role: String,
    pub(super) endpoint: String,
    pub(super) access_control: String,
}

pub(super) fn read(root: Element<'_, '_>, findings: &mut Findings) -> Option<Configuration> {
    if !root.is("ServiceConfiguration") {
        let what = format!("this is <{}>, not the <ServiceConfiguration> of a .cscfg", root.name());
        findings.error(&root.place(), what);
        return None;
    }
    root.check(&["serviceName", "osFamily", "osVersion", "schemaVersion"], findings);
    for attribute in ["osFamily", "osVersion"] {
        if let Some(said) = root.get(attribute) {
            findings.note(&said.place, format!("{attribute}: not applicable: it is the instances' system"));
        }
    }
    let mut configuration =
        Configuration { service_name: root.require("serviceName", findings), ..Configuration::default() };
    for child in root.children() {
        match child.name() {
            "Role" => configuration.roles.extend(role(child, findings)),
            "NetworkConfiguration" => network(child, &mut configuration, findings),
            name => unknown(child, name, &["Role", "NetworkConfiguration"], findings),
        }
    }
    no_twins("role", configuration.roles.iter().map(|(name, said)| (name.as_str(), &said.place)), findings);
    Some(configuration)
}

fn role(element: Element<'_, '_>, findings: &mut Findings) -> Option<(String, Instances)> {
    element.check(&["name", "vmName"], findings);
    if let Some(said) = element.get("vmName") {
        findings.note(&said.place, "vmName: not applicable: instances are known by their addresses");
    }
    let name = element.require("name", findings)?.value;
    for child in element.children() {
        match child.name() {
            "Instances" => child.check(&["count"], findings),
            "ConfigurationSettings" | "Certificates" => {
                let what = format!("{}: not applicable: a matter of the instances themselves", child.name());
                findings.note(&child.place(), what);
            }
            other => unknown(child, other, &["Instances", "ConfigurationSettings", "Certificates"], findings),
        }
    }
    let Some(instances) = element.one("Instances") else {
        findings.error(&element.place(), format!("role {name} needs <Instances count=\"...\"/>"));
        return None;
    };
    let said = instances.require("count", findings)?;
    let most = crate::config::BACKENDS_PER_POOL_MAX as u64;
    let count = usize::try_from(said.number("count", 0, most, findings)?).ok()?;
    Some((name, Instances { place: said.place, count }))
}

fn network(element: Element<'_, '_>, configuration: &mut Configuration, findings: &mut Findings) {
    for child in element.children() {
        match child.name() {
            "AccessControls" => access_controls(child, configuration, findings),
            "EndpointAcls" => {
                configuration.acls =
                    child.all("EndpointAcl").filter_map(|acl| endpoint_acl(acl, findings)).collect();
            }
            "Dns" => findings.note(&child.place(), "Dns: not applicable: it is the instances' name service"),
            "VirtualNetworkSite" => {
                findings.note(
                    &child.place(),
                    "VirtualNetworkSite: not applicable: a [[port]] has networks of its own",
                );
            }
            "AddressAssignments" => assignments(child, configuration, findings),
            "LoadBalancers" => {
                configuration.balancers =
                    child.all("LoadBalancer").filter_map(|one| balancer(one, findings)).collect();
            }
            name => {
                let known = [
                    "AccessControls",
                    "EndpointAcls",
                    "Dns",
                    "VirtualNetworkSite",
                    "AddressAssignments",
                    "LoadBalancers",
                ];
                unknown(child, name, &known, findings);
            }
        }
    }
    no_twins(
        "LoadBalancer",
        configuration.balancers.iter().map(|one| (one.name.as_str(), &one.place)),
        findings,
    );
}

fn access_controls(element: Element<'_, '_>, configuration: &mut Configuration, findings: &mut Findings) {
    for control in element.all("AccessControl") {
        control.check(&["name"], findings);
        if control.one("Rule").is_none() {
            findings.error(&control.place(), "this AccessControl has no Rule, and so decides nothing");
        }
        let rules: Vec<_> = control.all("Rule").filter_map(|rule| access_rule(rule, findings)).collect();
        if let Some(name) = control.require("name", findings) {
            configuration.controls.push(AccessControl { name: name.value, place: control.place(), rules });
        }
    }
    let names = configuration.controls.iter().map(|one| (one.name.as_str(), &one.place));
    no_twins("AccessControl", names, findings);
}

fn access_rule(rule: Element<'_, '_>, findings: &mut Findings) -> Option<AccessRule> {
    rule.check(&["action", "order", "remoteSubnet", "description"], findings);
    let (action, order) = (rule.require("action", findings), rule.require("order", findings));
    let subnet = rule.require("remoteSubnet", findings);
    let order = order.and_then(|said| said.number("order", 0, u64::from(u32::MAX), findings));
    let word = action.as_ref().map(|said| said.value.to_ascii_lowercase()).unwrap_or_default();
    let is_action = word == "permit" || word == "deny";
    if let Some(said) = action.filter(|_| !is_action) {
        findings.error(&said.place, format!("action is \"{}\"; it must be permit or deny", said.value));
    }
    let network = subnet.as_ref().and_then(|said| network_of(&said.value));
    if let (Some(said), None) = (&subnet, network) {
        let what = format!("remoteSubnet is \"{}\"; it must be a network, as in 198.51.100.0/24", said.value);
        findings.error(&said.place, what);
    }
    let description = rule.get("description").map(|said| said.value).filter(|text| !text.is_empty());
    let text = format!("{word} {}", network.filter(|_| is_action)?);
    Some(AccessRule { order: order?, text, description })
}

/// By its first address, whichever of its addresses is said.
fn network_of(text: &str) -> Option<Cidr> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address: IpAddr = address.trim().parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = match prefix {
        Some(digits) => digits.trim().parse().ok().filter(|len| *len <= most)?,
        None => most,
    };
    let network = Cidr { address, prefix_len };
    Some(Cidr { address: network.range().first, prefix_len })
}

fn endpoint_acl(element: Element<'_, '_>, findings: &mut Findings) -> Option<EndpointAcl> {
    // Azure's page spells it both ways.
    let spelling = if element.get("endPoint").is_some() { "endPoint" } else { "endpoint" };
    element.check(&["role", "endPoint", "endpoint", "accessControl"], findings);
    Some(EndpointAcl {
        place: element.place(),
        role: element.require("role", findings)?.value,
        endpoint: element.require(spelling, findings)?.value,
        access_control: element.require("accessControl", findings)?.value,
    })
}

fn assignments(element: Element<'_, '_>, configuration: &mut Configuration, findings: &mut Findings) {
    for child in element.children() {
        match child.name() {
            "InstanceAddress" => instance_address(child, configuration, findings),
            "ReservedIPs" => {
                configuration.reserved_ips =
                    child.all("ReservedIP").filter_map(|one| one.require("name", findings)).collect();
            }
            name => unknown(child, name, &["InstanceAddress", "ReservedIPs"], findings),
        }
    }
}

fn instance_address(element: Element<'_, '_>, configuration: &mut Configuration, findings: &mut Findings) {
    element.check(&["roleName"], findings);
    let role = element.require("roleName", findings).map(|said| said.value).unwrap_or_default();
    for child in element.children() {
        match child.name() {
            "Subnets" => {
                let what = format!(
                    "Subnets of role {role}: not applicable: the addresses file says where instances are"
                );
                findings.note(&child.place(), what);
            }
            "PublicIPs" => {
                for ip in child.all("PublicIP") {
                    configuration.public_ips.extend(public_ip(ip, &role, findings));
                }
            }
            name => unknown(child, name, &["Subnets", "PublicIPs"], findings),
        }
    }
}

fn public_ip(element: Element<'_, '_>, role: &str, findings: &mut Findings) -> Option<PublicIp> {
    element.check(&["name", "idleTimeoutInMinutes", "domainNameLabel"], findings);
    if let Some(said) = element.get("domainNameLabel") {
        findings.note(&said.place, "domainNameLabel: not applicable: names are not the load balancer's");
    }
    let idle = element.get("idleTimeoutInMinutes");
    let idle = idle.and_then(|said| said.number("idleTimeoutInMinutes", 4, 100, findings));
    Some(PublicIp {
        place: element.place(),
        name: element.require("name", findings)?.value,
        role: role.to_owned(),
        idle_minutes: idle.unwrap_or(4),
    })
}

fn balancer(element: Element<'_, '_>, findings: &mut Findings) -> Option<InternalBalancer> {
    element.check(&["name"], findings);
    let name = element.require("name", findings)?.value;
    let Some(frontend) = element.one("FrontendIPConfiguration") else {
        findings.error(&element.place(), format!("LoadBalancer {name} needs a <FrontendIPConfiguration>"));
        return None;
    };
    frontend.check(&["type", "subnet", "staticVirtualNetworkIPAddress"], findings);
    if let Some(said) = frontend.get("type").filter(|said| !said.value.eq_ignore_ascii_case("private")) {
        findings.error(&said.place, format!("type is \"{}\"; it can only be private", said.value));
    }
    if let Some(said) = frontend.get("subnet") {
        findings.note(&said.place, "subnet: not applicable: a [[port]] has networks of its own");
    }
    let said = frontend.get("staticVirtualNetworkIPAddress");
    let address = said.as_ref().and_then(|said| said.value.parse().ok());
    if let (Some(said), None) = (&said, address) {
        findings.error(
            &said.place,
            format!("staticVirtualNetworkIPAddress is \"{}\", which is no address", said.value),
        );
    }
    Some(InternalBalancer { name, place: element.place(), address })
}
