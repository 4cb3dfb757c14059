//! Templates of Azure Resource Manager, and load balancers exported as JSON.

mod balancer;
mod collect;
mod expression;
mod fields;
mod functions;
mod members;
mod nested;
mod own_addresses;
mod parts;
mod pools;
mod probes;
mod scale_sets;
mod scope;
mod security;
mod template;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use super::ArmOptions;
use super::addresses::Addresses;
use super::plan::Plan;
use super::report::{Findings, Place, suggestion};
use super::source::Source;

use collect::{Collector, LeftOut};
use members::Members;
use template::{Scope, Template};
use tree::Node;

/// What a template is looked through for.
const BALANCER: &str = "microsoft.network/loadbalancers";
const CHILD_OF_BALANCER: &str = "microsoft.network/loadbalancers/";
const INTERFACE: &str = "microsoft.network/networkinterfaces";
const PUBLIC_IP: &str = "microsoft.network/publicipaddresses";
const SCALE_SET: &str = "microsoft.compute/virtualmachinescalesets";
const SECURITY_GROUP: &str = "microsoft.network/networksecuritygroups";
const SECURITY_RULE: &str = "microsoft.network/networksecuritygroups/securityrules";
const WANTED: [&str; 6] = [BALANCER, INTERFACE, PUBLIC_IP, SCALE_SET, SECURITY_GROUP, SECURITY_RULE];

/// A resource with its expressions worked out.
struct Resource {
    /// In lower case.
    kind: String,
    /// Of a child, with its parent's: `tide/ssh-a`.
    name: String,
    place: Place,
    node: Node,
}

/// Everything that the load balancers are seen against.
struct World {
    members: Members,
    /// Public addresses that are in the file, by the resource's name in lower case.
    public: BTreeMap<String, IpAddr>,
    options: ArmOptions,
}

pub(super) fn plan(
    template: &Source,
    parameters: Option<&Source>,
    options: ArmOptions,
    addresses: &mut Addresses,
    findings: &mut Findings,
) -> Plan {
    let mut plan = Plan::default();
    let given = parameters.map(|source| (source, tree::read(source, findings)));
    let Some(root) = tree::read(template, findings) else { return plan };
    let given = match &given {
        Some((source, Some(node))) => given_parameters(source, node, findings),
        _ => &[],
    };
    let loaded = Template::new(&root, given);
    check_parameters(&root, given, &loaded, findings);
    plan.head = vec![
        format!("From {}.", template.name),
        "Made by `guideway import azure-arm`; what it does not have was reported then.".to_owned(),
    ];
    let mut collector = Collector::new(findings);
    collector.all(&loaded, loaded.resources(), &Scope::default());
    let (resources, left_out) = collector.finish();
    let world = world(&resources, options, addresses, findings);
    let mut children: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for child in resources.iter().filter(|resource| resource.kind.starts_with(CHILD_OF_BALANCER)) {
        children.entry(parent_of(child)).or_default().push(child);
    }
    let mut is_none = true;
    let mut parts = BTreeSet::new();
    for resource in resources.iter().filter(|resource| resource.kind == BALANCER) {
        is_none = false;
        let name = resource.name.to_lowercase();
        let own = children.remove(&name).unwrap_or_default();
        let of_one = balancer::read(resource, &own, &world, addresses, &mut plan, findings);
        parts.extend(of_one.into_iter().map(|(kind, part)| (kind, (name.clone(), part))));
    }
    world.members.report_others(&parts, findings);
    own_addresses::plan(&world, &resources, addresses, &mut plan, findings);
    security::report(&resources, findings);
    for orphan in children.values().flatten() {
        let what = format!(
            "{} belongs to load balancer {}, which is not in the file",
            orphan.name,
            parent_of(orphan)
        );
        findings.error(&orphan.place, what);
    }
    if is_none {
        report_none(&template.whole(), &left_out, findings);
    }
    plan
}

/// There is no load balancer; of those that failed has been spoken.
fn report_none(place: &Place, left_out: &LeftOut, findings: &mut Findings) {
    let mut what = "there is no resource of type Microsoft.Network/loadBalancers".to_owned();
    if left_out.by_condition > 0 {
        let count = left_out.by_condition;
        what = format!(
            "{what} but {count} whose conditions are false; other values of the parameters may change that"
        );
    }
    if left_out.existing > 0 {
        what = format!(
            "{what}; one that exists already is not described here: export it and import that by itself"
        );
    }
    if left_out.elsewhere > 0 {
        let count = left_out.elsewhere;
        what = format!("{what}; {count} deployments have their templates in other files: import these");
    }
    if !left_out.has_failed {
        findings.error(place, what);
    }
}

/// Reads what stands beside the load balancers.
fn world(
    resources: &[Resource],
    options: ArmOptions,
    addresses: &mut Addresses,
    findings: &mut Findings,
) -> World {
    let mut world = World { members: Members::default(), public: BTreeMap::new(), options };
    for resource in resources {
        match resource.kind.as_str() {
            INTERFACE => members::interface(resource, &mut world.members, addresses, findings),
            SCALE_SET => scale_sets::read(resource, &mut world.members, findings),
            PUBLIC_IP => {
                let said = resource.node.kind.get("properties").and_then(|part| part.kind.get("ipAddress"));
                let address = said.and_then(|said| said.kind.as_text()).and_then(|text| text.parse().ok());
                world.public.extend(address.map(|address| (resource.name.to_lowercase(), address)));
            }
            _ => {}
        }
    }
    world
}

/// In lower case.
fn parent_of(child: &Resource) -> String {
    child.name.split('/').next().unwrap_or_default().to_lowercase()
}

fn given_parameters<'n>(source: &Source, node: &'n Node, findings: &mut Findings) -> &'n [(Rc<str>, Node)] {
    let Some(parameters) = node.kind.get("parameters") else {
        findings.error(&source.whole(), "a parameter file has an object \"parameters\"");
        return &[];
    };
    for (name, value) in parameters.kind.members() {
        if value.kind.get("value").is_none() {
            findings.error(
                &value.place,
                format!("parameter {name} has no \"value\"; key vault references must be written out"),
            );
        }
    }
    parameters.kind.members()
}

fn check_parameters(root: &Node, given: &[(Rc<str>, Node)], template: &Template, findings: &mut Findings) {
    let declared = root.kind.get("parameters").map_or(&[] as &[_], |node| node.kind.members());
    for (name, value) in given {
        if !declared.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            let names: Vec<&str> =
                template.parameter_names().filter(|other| !other.eq_ignore_ascii_case(name)).collect();
            findings.error(
                &value.place,
                format!("the template has no parameter \"{name}\"{}", suggestion(name, names)),
            );
        }
    }
}

#[cfg(test)]
mod tests;
