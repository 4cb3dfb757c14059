//! Public addresses of interfaces: NAT rules for all ports.

use super::fields::Fields;
use super::members::OwnAddress;
use super::{PUBLIC_IP, Resource, World};
use crate::import::addresses::Addresses;
use crate::import::plan::{NatRule, Plan};
use crate::import::report::Findings;

/// The idle timeout of a public address, where the file has its resource and that says it.
fn idle_minutes(public: &str, resources: &[Resource], findings: &mut Findings) -> Option<u64> {
    let is_it =
        |resource: &&Resource| resource.kind == PUBLIC_IP && resource.name.eq_ignore_ascii_case(public);
    let resource = resources.iter().find(is_it)?;
    let mut fields = Fields::of(&resource.node, "public address", &resource.place, findings);
    let minutes = fields.number("idleTimeoutInMinutes", 4, 100, findings)?;
    u64::try_from(minutes).ok()
}

pub(super) fn plan(
    world: &World,
    resources: &[Resource],
    addresses: &mut Addresses,
    plan: &mut Plan,
    findings: &mut Findings,
) {
    for OwnAddress { name, place, public, private } in &world.members.own_addresses {
        let said = addresses.frontend(std::slice::from_ref(public));
        let mut missing = Vec::new();
        let address = said.or_else(|| world.public.get(public).copied());
        if address.is_none() {
            missing.push(format!("under [frontends], say: \"{public}\" = \"203.0.113.20\""));
        }
        if private.is_none() {
            missing.push(format!("under [members], say: \"{name}\" = \"10.0.0.4\""));
        }
        let (Some(address), Some(private)) = (address, *private) else {
            let what = format!(
                "publicIPAddress of {name} is left out, for nothing says its addresses; in the addresses file, {}",
                missing.join(", and ")
            );
            findings.loss(place, what);
            continue;
        };
        let rule = plan.rule_names.make(&[&name.replace('/', "."), public]);
        let idle = idle_minutes(public, resources, findings).unwrap_or(4);
        plan.nat_rules.push(NatRule::own_address(rule, place.clone(), (address, private), idle));
    }
}
