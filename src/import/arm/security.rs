//! Network security groups. They guard interfaces, whatever leads there, and take networks by names that Azure alone can
//! tell; so that nothing is made of them, and what they shut out is said.

use super::fields::Fields;
use super::tree::{Kind, Node};
use super::{Resource, SECURITY_GROUP, SECURITY_RULE};
use crate::import::report::{Findings, Place};

/// Whom everybody is.
const ANYBODY: [&str; 4] = ["*", "internet", "0.0.0.0/0", "any"];
/// The most rules that are named.
const NAMED_MAX: usize = 5;

pub(super) fn report(resources: &[Resource], findings: &mut Findings) {
    for resource in resources {
        match resource.kind.as_str() {
            SECURITY_GROUP => {
                let list =
                    resource.node.kind.get("properties").and_then(|node| node.kind.get("securityRules"));
                let rules = list.map_or(&[] as &[_], |list| list.kind.items());
                let said: Vec<String> = rules.iter().filter_map(restriction).collect();
                say(&resource.name, &resource.place, &said, findings);
            }
            SECURITY_RULE => {
                let said: Vec<String> = restriction(&resource.node).into_iter().collect();
                say(&resource.name, &resource.place, &said, findings);
            }
            _ => {}
        }
    }
}

fn say(name: &str, place: &Place, said: &[String], findings: &mut Findings) {
    if said.is_empty() {
        let what = format!(
            "security group {name} is not here: what it does not let in, guideway does; keep a firewall before guideway or on the backends"
        );
        return findings.loss(place, what);
    }
    let more = said.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named: Vec<&str> = said.iter().take(NAMED_MAX).map(String::as_str).collect();
    let what = format!(
        "security group {name} is not here, and has rules for some clients only: {}{more}; write [[acl]] sections of these networks and \
         give them to the rules that lead to these ports, or keep a firewall before guideway or on the backends",
        named.join("; ")
    );
    findings.loss(place, what);
}

/// A rule that treats some clients otherwise than others, or shuts out all.
fn restriction(rule: &Node) -> Option<String> {
    // What is wrong in it is no matter.
    let mut findings = Findings::default();
    let place = (*rule.place).clone();
    let mut fields = Fields::of(rule, "rule", &place, &mut findings);
    let mut word = |name: &str| fields.text(name, &mut findings);
    let direction = word("direction")?;
    let (access, name) = (word("access")?.to_lowercase(), word("name").unwrap_or_default());
    let mut texts = |names: [&str; 2]| {
        let found = names.into_iter().filter_map(|name| fields.take(name)).map(|node| node.kind);
        let text = |kind: &Kind| match kind {
            Kind::Text(text) if !text.is_empty() => Some(text.to_string()),
            Kind::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        let all = |kind: Kind| {
            kind.items().iter().map(|node| &node.kind).chain([&kind]).filter_map(text).collect::<Vec<_>>()
        };
        found.flat_map(all).collect::<Vec<String>>()
    };
    let sources = texts(["sourceAddressPrefix", "sourceAddressPrefixes"]);
    let ports = texts(["destinationPortRange", "destinationPortRanges"]);
    let is_for_all = sources.iter().any(|source| ANYBODY.contains(&source.to_lowercase().as_str()));
    if !direction.eq_ignore_ascii_case("inbound") || access == "allow" && (is_for_all || sources.is_empty()) {
        return None;
    }
    let sources = if sources.is_empty() { "all".to_owned() } else { sources.join(", ") };
    Some(format!("{name} ({access} {sources} to port {})", ports.join(", ")))
}
