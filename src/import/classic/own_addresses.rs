//! Public addresses of instances: NAT rules for all ports, one for each instance.

use std::net::IpAddr;

use super::Importer;
use super::configuration::PublicIp;
use crate::import::plan::NatRule;
use crate::import::report::suggestion;

impl Importer<'_> {
    pub(super) fn own_addresses(&mut self) {
        let settings = self.settings;
        settings.public_ips.iter().for_each(|ip| self.own_addresses_of(ip));
    }

    fn own_addresses_of(&mut self, ip: &PublicIp) {
        let PublicIp { place, name, role, idle_minutes } = ip;
        let names = [format!("{role}/{name}"), name.clone()];
        let Some((said, listed)) = self.addresses.instance_frontends(&names) else {
            let what = format!(
                "PublicIP {name}: each instance of role {role} has a public address of its own, and nothing says which, so that it \
                 is left out; in the addresses file, under [frontends], say: \"{name}\" = \"203.0.113.20-203.0.113.39\""
            );
            return self.findings.loss(place, what);
        };
        let Some(instances) = self.instances_of(ip) else { return };
        let public = listed.first(instances.len());
        if public.len() < instances.len() {
            let what = format!(
                "role {role} has {} instances, but only {} addresses are listed for its PublicIP {name}; each needs one",
                instances.len(),
                public.len()
            );
            return self.findings.error(&said, what);
        }
        for (number, pair) in public.into_iter().zip(instances).enumerate() {
            let rule = self.plan.rule_names.make(&[role, name, &number.to_string()]);
            self.plan.nat_rules.push(NatRule::own_address(rule, place.clone(), pair, *idle_minutes));
        }
    }

    /// Where the role's instances are.
    fn instances_of(&mut self, ip: &PublicIp) -> Option<Vec<IpAddr>> {
        let service = self.service;
        let Some(role) = service.roles.iter().find(|role| role.name.eq_ignore_ascii_case(&ip.role)) else {
            let suggestion = suggestion(&ip.role, service.roles.iter().map(|role| role.name.as_str()));
            let what =
                format!("PublicIP {}: role \"{}\" is not in the definition{suggestion}", ip.name, ip.role);
            self.findings.error(&ip.place, what);
            return None;
        };
        let known = self.pools.get(&role.name).and_then(|index| self.plan.pools.get(*index));
        if let Some(pool) = known {
            return Some(pool.members.addresses());
        }
        // No endpoint leads to the role, so that it has no pool.
        Some(self.made_pool(role, &role.name).members.addresses())
    }
}
