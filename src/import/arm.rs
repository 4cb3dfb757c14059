//! Templates of Azure Resource Manager, and load balancers exported as JSON.

mod balancer;
mod expression;
mod fields;
mod functions;
mod members;
mod own_addresses;
mod parts;
mod pools;
mod probes;
mod template;
mod tree;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::ArmOptions;
use super::addresses::Addresses;
use super::plan::Plan;
use super::report::{Findings, Place, suggestion};
use super::source::Source;

use members::Members;
use template::{Scope, Template};
use tree::{Kind, Node};

/// What a template is looked through for.
const BALANCER: &str = "microsoft.network/loadbalancers";
const CHILD_OF_BALANCER: &str = "microsoft.network/loadbalancers/";
const INTERFACE: &str = "microsoft.network/networkinterfaces";
const PUBLIC_IP: &str = "microsoft.network/publicipaddresses";
const SCALE_SET: &str = "microsoft.compute/virtualmachinescalesets";

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
    let mut resources = Vec::new();
    let mut others = BTreeMap::new();
    for node in loaded.resources() {
        collect(&loaded, node, None, &mut resources, &mut others, findings);
    }
    for (kind, (place, count)) in others {
        let what = format!("{kind} (in all {count}): not applicable: it is no part of a load balancer");
        findings.note(&place, what);
    }
    let world = world(&resources, options, addresses, findings);
    let mut children: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for child in resources.iter().filter(|resource| resource.kind.starts_with(CHILD_OF_BALANCER)) {
        children.entry(parent_of(child)).or_default().push(child);
    }
    let mut is_none = true;
    for resource in resources.iter().filter(|resource| resource.kind == BALANCER) {
        is_none = false;
        let own = children.remove(&resource.name.to_lowercase()).unwrap_or_default();
        balancer::read(resource, &own, &world, addresses, &mut plan, findings);
    }
    own_addresses::plan(&world, &resources, addresses, &mut plan, findings);
    for orphan in children.values().flatten() {
        let what = format!(
            "{} belongs to load balancer {}, which is not in the file",
            orphan.name,
            parent_of(orphan)
        );
        findings.error(&orphan.place, what);
    }
    if is_none {
        findings.error(&template.whole(), "there is no resource of type Microsoft.Network/loadBalancers");
    }
    plan
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
            SCALE_SET => members::scale_set(resource, &mut world.members, findings),
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

type Others = BTreeMap<String, (Place, usize)>;

/// Takes a resource, its copies and its children, if they matter.
fn collect(
    template: &Template,
    raw: &Node,
    parent: Option<(&str, &str)>,
    resources: &mut Vec<Resource>,
    others: &mut Others,
    findings: &mut Findings,
) {
    let place = (*raw.place).clone();
    let own = raw.kind.get("type").and_then(|node| node.kind.as_text());
    let own =
        own.or_else(|| raw.kind.get("frontendIPConfigurations").map(|_| "Microsoft.Network/loadBalancers"));
    let Some(own) = own else {
        findings.error(&place, "a resource has no type");
        return;
    };
    // A child within its parent has the rest of the type only.
    let kind = match parent {
        Some((kind, _)) if !own.contains('/') => format!("{kind}/{own}"),
        _ => own.to_owned(),
    };
    let lower = kind.to_lowercase();
    if lower == "microsoft.resources/deployments" {
        findings.loss(
            &place,
            "a deployment within the template is not looked into; import its template by itself",
        );
        return;
    }
    let matters = [BALANCER, INTERFACE, PUBLIC_IP, SCALE_SET].contains(&lower.as_str())
        || lower.starts_with(CHILD_OF_BALANCER);
    if !matters {
        others.entry(kind).or_insert((place, 0)).1 += 1;
        return;
    }
    let scopes = match raw.kind.get("copy") {
        None => Ok(vec![Scope::default()]),
        Some(copy) => template
            .copy_of(&copy.kind, &Scope::default())
            .map(|(name, count)| (0..count).map(|index| Scope::default().with(&name, index)).collect()),
    };
    let scopes = match scopes {
        Ok(scopes) => scopes,
        Err(why) => return findings.error(&place, why),
    };
    for scope in scopes {
        one(template, raw, &scope, &lower, parent, resources, others, findings);
    }
}

#[allow(clippy::too_many_arguments, reason = "one copy of what `collect` has")]
fn one(
    template: &Template,
    raw: &Node,
    scope: &Scope,
    kind: &str,
    parent: Option<(&str, &str)>,
    resources: &mut Vec<Resource>,
    others: &mut Others,
    findings: &mut Findings,
) {
    let place = (*raw.place).clone();
    match raw.kind.get("condition").map(|node| template.resolve(node, scope).kind) {
        None | Some(Kind::Bool(true)) => {}
        Some(Kind::Bool(false)) => return findings.note(&place, "left out: its condition is false"),
        Some(Kind::Failed(why)) => return findings.error(&place, why),
        Some(_) => return findings.error(&place, "its condition is neither true nor false"),
    }
    // The loop itself is not a list of properties, and children are resources of their own.
    let members = raw.kind.members().iter().filter(|(name, _)| !["copy", "resources"].contains(&&**name));
    let bare = Node { place: Rc::clone(&raw.place), kind: Kind::Object(members.cloned().collect()) };
    let node = template.resolve(&bare, scope);
    let name = match node.kind.get("name").map(|node| &node.kind) {
        Some(Kind::Text(name)) => name.to_string(),
        Some(Kind::Failed(why)) => return findings.error(&place, format!("the resource's name: {why}")),
        _ => return findings.error(&place, "a resource has no name"),
    };
    let name = match parent {
        Some((_, parent)) if !name.contains('/') => format!("{parent}/{name}"),
        _ => name,
    };
    for child in raw.kind.get("resources").map_or(&[] as &[_], |node| node.kind.items()) {
        // Children of children are of no kind that matters.
        if parent.is_none() {
            collect(template, child, Some((kind, &name)), resources, others, findings);
        }
    }
    resources.push(Resource { kind: kind.to_owned(), name, place, node });
}

#[cfg(test)]
mod tests;
