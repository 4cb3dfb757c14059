//! The service definition, .csdef: roles, their endpoints, and probes.

use super::distribution;
use crate::config::Distribution;
use crate::import::plan::Protocol;
use crate::import::report::{Findings, Place, suggestion};
use crate::import::xml::{Element, Said};

/// Elements whose names are known, for suggestions. Those that begin with another's name stand first.
pub(crate) const ELEMENTS: [&str; 16] = [
    "InputEndpoint",
    "InstanceInputEndpoint",
    "InternalEndpoint",
    "LoadBalancerProbe",
    "LoadBalancer",
    "FixedPortRange",
    "FixedPort",
    "WebRole",
    "WorkerRole",
    "ServiceDefinition",
    "ServiceConfiguration",
    "FrontendIPConfiguration",
    "Instances",
    "Role",
    "EndpointAcl",
    "Rule",
];

/// What a role may have that no load balancer sees.
const OF_THE_MACHINE: [&str; 9] = [
    "Sites",
    "ConfigurationSettings",
    "Certificates",
    "LocalResources",
    "Imports",
    "Runtime",
    "Startup",
    "Contents",
    "Plugins",
];

/// Minutes of silence. Azure's pages say 4 to 30, later ones 4 to 100.
const IDLE_MINUTES: (u64, u64) = (4, 100);
const IDLE_MINUTES_DEFAULT: u64 = 4;

pub(super) struct Definition {
    pub(super) name: Said,
    pub(super) probes: Vec<ProbeDefinition>,
    pub(super) roles: Vec<Role>,
}

pub(super) struct ProbeDefinition {
    pub(super) name: String,
    pub(super) place: Place,
    /// Of HTTP.
    pub(super) path: Option<String>,
    pub(super) port: Option<u16>,
    /// In seconds.
    pub(super) interval: u64,
    pub(super) timeout: u64,
}

pub(super) struct Role {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) inputs: Vec<InputEndpoint>,
    pub(super) instance_inputs: Vec<InstanceInputEndpoint>,
}

pub(super) struct InputEndpoint {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) protocol: Protocol,
    pub(super) is_https: bool,
    pub(super) port: u16,
    pub(super) local_port: LocalPort,
    pub(super) probe: Option<Said>,
    pub(super) balancer: Option<Said>,
    pub(super) distribution: Distribution,
    pub(super) idle_minutes: u64,
}

pub(super) enum LocalPort {
    Port(u16),
    /// The platform's choice.
    Any(Place),
}

pub(super) struct InstanceInputEndpoint {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) protocol: Protocol,
    pub(super) local_port: u16,
    pub(super) min: u16,
    pub(super) max: u16,
    pub(super) range_place: Place,
}

pub(super) fn read(root: Element<'_, '_>, findings: &mut Findings) -> Option<Definition> {
    if !root.is("ServiceDefinition") {
        let what = format!("this is <{}>, not the <ServiceDefinition> of a .csdef", root.name());
        findings.error(&root.place(), what);
        return None;
    }
    root.check(&["name", "topologyChangeDiscovery", "schemaVersion", "upgradeDomainCount"], findings);
    for name in ["topologyChangeDiscovery", "upgradeDomainCount"] {
        not_ours(root, name, "how Azure updates the service", findings);
    }
    let mut definition =
        Definition { name: root.require("name", findings)?, probes: Vec::new(), roles: Vec::new() };
    for child in root.children() {
        match child.name() {
            "LoadBalancerProbes" => {
                definition.probes =
                    child.all("LoadBalancerProbe").filter_map(|probe| read_probe(probe, findings)).collect();
            }
            "WebRole" | "WorkerRole" => definition.roles.extend(role(child, findings)),
            "NetworkTrafficRules" => {
                let what = "NetworkTrafficRules: not applicable: traffic between roles does not pass the load balancer";
                findings.note(&child.place(), what);
            }
            name => unknown(
                child,
                name,
                &["LoadBalancerProbes", "WebRole", "WorkerRole", "NetworkTrafficRules"],
                findings,
            ),
        }
    }
    no_twins("role", definition.roles.iter().map(|role| (role.name.as_str(), &role.place)), findings);
    no_twins(
        "LoadBalancerProbe",
        definition.probes.iter().map(|probe| (probe.name.as_str(), &probe.place)),
        findings,
    );
    if definition.roles.is_empty() {
        findings.error(&root.place(), "the definition has no WebRole and no WorkerRole");
    }
    Some(definition)
}

pub(super) fn no_twins<'n>(
    kind: &str,
    names: impl Iterator<Item = (&'n str, &'n Place)>,
    findings: &mut Findings,
) {
    let mut known = std::collections::BTreeMap::new();
    for (name, place) in names {
        if let Some(first) = known.insert(name.to_lowercase(), place) {
            findings.error(place, format!("{kind} \"{name}\" is there twice; first at {first}"));
        }
    }
}

fn not_ours(element: Element<'_, '_>, attribute: &str, why: &str, findings: &mut Findings) {
    if let Some(said) = element.get(attribute) {
        findings.note(&said.place, format!("{attribute}: not applicable: it is {why}"));
    }
}

pub(super) fn unknown(element: Element<'_, '_>, name: &str, known: &[&str], findings: &mut Findings) {
    let suggestion = suggestion(name, known.iter().copied());
    findings.loss(&element.place(), format!("<{name}> is unknown here, and left out{suggestion}"));
}

fn read_probe(probe: Element<'_, '_>, findings: &mut Findings) -> Option<ProbeDefinition> {
    probe.check(&["name", "protocol", "path", "port", "intervalInSeconds", "timeoutInSeconds"], findings);
    let name = probe.require("name", findings)?.value;
    let protocol = probe.require("protocol", findings)?;
    let path = probe.get("path");
    let path = match (protocol.value.to_ascii_lowercase().as_str(), path) {
        ("http", Some(path)) => Some(format!("/{}", path.value.trim_start_matches('/'))),
        ("http", None) => {
            findings.error(&probe.place(), format!("probe {name} asks by http and needs path=\"...\""));
            return None;
        }
        ("tcp", None) => None,
        ("tcp", Some(path)) => {
            findings.error(&path.place, format!("probe {name} asks by tcp, which has no path; delete it"));
            return None;
        }
        _ => {
            findings.error(
                &protocol.place,
                format!("protocol is \"{}\"; a probe's is http or tcp", protocol.value),
            );
            return None;
        }
    };
    let number = |attribute: &str, default: u64, min: u64, findings: &mut Findings| match probe.get(attribute)
    {
        Some(said) => said.number(attribute, min, 3600, findings),
        None => Some(default),
    };
    Some(ProbeDefinition {
        path,
        port: match probe.get("port") {
            Some(port) => Some(port.port("port", findings)?),
            None => None,
        },
        interval: number("intervalInSeconds", 15, 5, findings)?,
        timeout: number("timeoutInSeconds", 31, 11, findings)?,
        name,
        place: probe.place(),
    })
}

fn role(element: Element<'_, '_>, findings: &mut Findings) -> Option<Role> {
    element.check(&["name", "vmsize", "enableNativeCodeExecution"], findings);
    not_ours(element, "vmsize", "the size of Azure's machines", findings);
    not_ours(element, "enableNativeCodeExecution", "a matter of Azure's machines", findings);
    let mut role = Role {
        name: element.require("name", findings)?.value,
        place: element.place(),
        inputs: Vec::new(),
        instance_inputs: Vec::new(),
    };
    for child in element.children() {
        match child.name() {
            "Endpoints" => endpoints(child, &mut role, findings),
            "Imports" => super::modules::report(child, &role.name, findings),
            name if OF_THE_MACHINE.contains(&name) => {
                findings.note(
                    &child.place(),
                    format!("{name}: not applicable: a matter of the instances themselves"),
                );
            }
            name => {
                let known: Vec<&str> = std::iter::once("Endpoints").chain(OF_THE_MACHINE).collect();
                unknown(child, name, &known, findings);
            }
        }
    }
    let names = role.inputs.iter().map(|input| (input.name.as_str(), &input.place));
    no_twins(
        "endpoint",
        names.chain(role.instance_inputs.iter().map(|input| (input.name.as_str(), &input.place))),
        findings,
    );
    Some(role)
}

fn endpoints(element: Element<'_, '_>, role: &mut Role, findings: &mut Findings) {
    for child in element.children() {
        match child.name() {
            "InputEndpoint" => role.inputs.extend(input(child, findings)),
            "InstanceInputEndpoint" => role.instance_inputs.extend(instance_input(child, findings)),
            "InternalEndpoint" => internal(child, findings),
            name => unknown(
                child,
                name,
                &["InputEndpoint", "InstanceInputEndpoint", "InternalEndpoint"],
                findings,
            ),
        }
    }
}

fn internal(element: Element<'_, '_>, findings: &mut Findings) {
    element.check(&["name", "protocol", "port"], findings);
    let name = element.require("name", findings).map(|said| said.value).unwrap_or_default();
    let protocol = element.require("protocol", findings);
    if let Some(said) = protocol
        .filter(|said| !["http", "tcp", "udp", "any"].contains(&said.value.to_ascii_lowercase().as_str()))
    {
        findings.error(
            &said.place,
            format!("protocol is \"{}\"; an InternalEndpoint's is http, tcp, udp or any", said.value),
        );
    }
    for said in [element.get("port"), element.at(&["FixedPort"]).and_then(|port| port.get("port"))]
        .into_iter()
        .flatten()
    {
        said.port("port", findings);
    }
    if let Some(range) = element.one("FixedPortRange") {
        port_range(range, findings);
    }
    let what = format!(
        "InternalEndpoint {name}: not applicable: instances reach each other without the load balancer"
    );
    findings.note(&element.place(), what);
}

/// Which words of a protocol are TCP and which UDP, and whether it is https.
fn protocol(element: Element<'_, '_>, allowed: &[&str], findings: &mut Findings) -> Option<(Protocol, bool)> {
    let said = element.require("protocol", findings)?;
    let word = said.value.to_ascii_lowercase();
    if !allowed.contains(&word.as_str()) {
        let what = format!("protocol is \"{}\"; it must be one of {}", said.value, allowed.join(", "));
        findings.error(&said.place, what);
        return None;
    }
    Some((if word == "udp" { Protocol::Udp } else { Protocol::Tcp }, word == "https"))
}

fn input(element: Element<'_, '_>, findings: &mut Findings) -> Option<InputEndpoint> {
    const KNOWN: [&str; 10] = [
        "name",
        "protocol",
        "port",
        "localPort",
        "certificate",
        "ignoreRoleInstanceStatus",
        "loadBalancerProbe",
        "loadBalancerDistribution",
        "idleTimeoutInMinutes",
        "loadBalancer",
    ];
    element.check(&KNOWN, findings);
    not_ours(element, "certificate", "the instances' own: TLS passes the load balancer unopened", findings);
    if let Some(said) =
        element.get("ignoreRoleInstanceStatus").filter(|said| !said.value.eq_ignore_ascii_case("true"))
    {
        let what =
            "ignoreRoleInstanceStatus: guideway knows no role status: the probe alone decides, as with true";
        findings.loss(&said.place, what);
    }
    let name = element.require("name", findings)?.value;
    let (protocol, is_https) = protocol(element, &["http", "https", "tcp", "udp"], findings)?;
    let port = element.require("port", findings)?.port("port", findings)?;
    let local_port = match element.get("localPort") {
        None => LocalPort::Port(port),
        Some(said) if said.value == "*" => LocalPort::Any(said.place),
        Some(said) => LocalPort::Port(said.port("localPort", findings)?),
    };
    let distribution = match element.get("loadBalancerDistribution") {
        None => Distribution::FiveTuple,
        Some(said) => {
            let Some(found) = distribution(&said.value) else {
                let what = format!(
                    "loadBalancerDistribution is \"{}\"; it must be none, sourceIP or sourceIPProtocol",
                    said.value
                );
                findings.error(&said.place, what);
                return None;
            };
            found
        }
    };
    Some(InputEndpoint {
        name,
        place: element.place(),
        protocol,
        is_https,
        port,
        local_port,
        probe: element.get("loadBalancerProbe"),
        balancer: element.get("loadBalancer"),
        distribution,
        idle_minutes: match element.get("idleTimeoutInMinutes") {
            Some(said) => said.number("idleTimeoutInMinutes", IDLE_MINUTES.0, IDLE_MINUTES.1, findings)?,
            None => IDLE_MINUTES_DEFAULT,
        },
    })
}

fn instance_input(element: Element<'_, '_>, findings: &mut Findings) -> Option<InstanceInputEndpoint> {
    element.check(&["name", "protocol", "localPort"], findings);
    let name = element.require("name", findings)?.value;
    let (protocol, _) = protocol(element, &["tcp", "udp"], findings)?;
    let local_port = element.require("localPort", findings)?.port("localPort", findings)?;
    let Some(range) = element.at(&["AllocatePublicPortFrom", "FixedPortRange"]) else {
        let what = format!(
            "InstanceInputEndpoint {name} needs <AllocatePublicPortFrom><FixedPortRange min=\"...\" max=\"...\"/>"
        );
        findings.error(&element.place(), what);
        return None;
    };
    let (min, max) = port_range(range, findings)?;
    Some(InstanceInputEndpoint {
        name,
        place: element.place(),
        protocol,
        local_port,
        min,
        max,
        range_place: range.place(),
    })
}

fn port_range(range: Element<'_, '_>, findings: &mut Findings) -> Option<(u16, u16)> {
    range.check(&["min", "max"], findings);
    let min = range.require("min", findings)?.port("min", findings)?;
    let max = range.require("max", findings)?.port("max", findings)?;
    if max < min {
        findings.error(&range.place(), format!("FixedPortRange {min}-{max} ends before it begins"));
        return None;
    }
    Some((min, max))
}
