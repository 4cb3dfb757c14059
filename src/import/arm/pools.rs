//! Pools, and who is in them.

use std::net::IpAddr;
use std::time::Duration;

use super::balancer::Balancer;
use super::fields::{Fields, Id};
use super::scale_sets::ScaleSet;
use super::tree::Node;
use crate::config::AdminState;
use crate::import::addresses::Listed;
use crate::import::plan::{Members, Pool};
use crate::import::report::{Findings, Place};

/// A day, which is what a pool takes.
const DRAIN_SECONDS_MAX: i64 = 24 * 3600;

impl Balancer<'_> {
    pub(super) fn pool(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "pool", outer, findings);
        // A resource of its own has its parent's name before it.
        let name = fields.name(findings).rsplit('/').next().unwrap_or_default().to_owned();
        let mut list = Vec::new();
        for node in fields.list("loadBalancerBackendAddresses", findings) {
            list.extend(self.backend(&node, &fields.place, findings));
        }
        // 0 stands for none.
        let drain = fields.number("drainPeriodInSeconds", 0, DRAIN_SECONDS_MAX, findings);
        let drain_timeout =
            drain.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        fields.lose("tunnelInterfaces", "chaining of appliances is not here", findings);
        fields.note("syncMode", "the pool is what the file says", findings);
        fields.note("virtualNetwork", "backends may be in any network that a route leads to", findings);
        // Of an exported one: interfaces, which say nothing of their addresses.
        let interfaces = fields.take("backendIPConfigurations").map_or(0, |node| node.kind.items().len());
        fields.skip(&[
            "loadBalancingRules",
            "outboundRule",
            "outboundRules",
            "inboundNatRules",
            "backendMembers",
        ]);
        let mut pool = self.made_pool(&name, list, interfaces, &fields.place, findings);
        pool.drain_timeout = drain_timeout.map(Duration::from_secs);
        self.plan.pools.push(pool);
        self.parts.insert(("backendAddressPools", name.to_lowercase()));
        if self.pools.insert(name.to_lowercase(), self.plan.pools.len() - 1).is_some() {
            findings.error(&fields.place, format!("{} is there twice", fields.subject));
        }
        fields.finish(findings);
    }

    fn made_pool(
        &mut self,
        name: &str,
        mut list: Vec<(IpAddr, AdminState)>,
        interfaces: usize,
        place: &Place,
        findings: &mut Findings,
    ) -> Pool {
        let key = (self.name.to_lowercase(), name.to_lowercase());
        let members = &self.world.members;
        list.extend(
            members.of_pool.get(&key).into_iter().flatten().map(|(address, _)| (*address, AdminState::Auto)),
        );
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|(address, _)| seen.insert(*address));
        let sets = members.sets.get(&key).map_or(&[] as &[ScaleSet], Vec::as_slice);
        let is_lacking = members.lacking.contains(&key);
        let full = format!("{}/{name}", self.name);
        let mut comments = Vec::new();
        let said = self.addresses.pool(&full);
        let members = match (said, sets) {
            (Some((said, listed)), sets) => {
                if !list.is_empty() {
                    let what = format!("pool {full}: the addresses file replaces its {} members", list.len());
                    findings.loss(&said, what);
                }
                listed_members(&said, listed, sets, findings)
            }
            (None, [set, ..]) => {
                let what = format!(
                    "nothing says which addresses the instances of scale set {} have; in the addresses file, under [pools], say: \
                     \"{full}\" = \"10.0.1.4-10.0.1.99\"",
                    set.name
                );
                findings.error(&set.place, what);
                Members::List(list)
            }
            (None, []) => Members::List(list),
        };
        if matches!(members, Members::Range(..)) {
            comments.push("Scaling: change the number and reload.".to_owned());
        }
        if sets.len() > 1 {
            let what =
                format!("pool {full} has {} scale sets: their instances are one count here", sets.len());
            findings.loss(place, what);
        }
        self.own_addresses(sets, &members.addresses(), findings);
        // Those of whom nobody knows where they are have been reported.
        if members.is_empty() && !is_lacking {
            let count = match interfaces {
                0 => String::new(),
                count => format!(" but {count} interfaces without their addresses"),
            };
            let what = format!(
                "pool {full} has no members in the template{count}; in the addresses file, under [pools], say: \"{full}\" = [\"10.0.0.4\"]"
            );
            findings.loss(place, what);
        }
        Pool {
            name: self.plan.pool_names.make(&[&self.name, name]),
            place: place.clone(),
            comments,
            members,
            drain_timeout: None,
        }
    }

    fn backend(
        &mut self,
        node: &Node,
        outer: &Place,
        findings: &mut Findings,
    ) -> Option<(IpAddr, AdminState)> {
        let mut fields = Fields::of(node, "member", outer, findings);
        let said = fields.text("ipAddress", findings);
        let state = match fields.word("adminState", &["None", "Up", "Down"], findings).as_deref() {
            Some("up") => AdminState::Up,
            Some("down") => AdminState::Down,
            _ => AdminState::Auto,
        };
        fields.skip(&["networkInterfaceIPConfiguration", "inboundNatRulesPortMapping"]);
        fields.note("virtualNetwork", "backends may be in any network that a route leads to", findings);
        fields.note("subnet", "backends may be in any network that a route leads to", findings);
        fields.lose(
            "loadBalancerFrontendIPConfiguration",
            "a region's frontend is no backend here",
            findings,
        );
        let address = said.as_ref().and_then(|text| text.parse().ok());
        if let (Some(text), None) = (&said, address) {
            findings.error(
                &fields.place,
                format!("ipAddress of {} is \"{text}\", which is no address", fields.subject),
            );
        }
        fields.finish(findings);
        address.map(|address| (address, state))
    }

    /// A pool's name in the plan, and who is in it.
    pub(super) fn pool_of(
        &self,
        id: &Id,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<(String, Vec<IpAddr>)> {
        let name = id.named("backendAddressPools").unwrap_or_default();
        let pool = self.pools.get(&name).and_then(|index| self.plan.pools.get(*index));
        if pool.is_none() {
            let known: Vec<String> = self.pools.keys().take(200).cloned().collect();
            self.unknown_part("pool", &name, id, place, &known, findings);
        }
        pool.map(|pool| (pool.name.clone(), pool.members.addresses()))
    }

    /// The same by the pool's name alone.
    pub(super) fn pool_named(&self, name: &str) -> Option<(String, Vec<IpAddr>)> {
        let pool = self.pools.get(name).and_then(|index| self.plan.pools.get(*index))?;
        Some((pool.name.clone(), pool.members.addresses()))
    }
}

/// The addresses that are listed for a pool, as many as the scale sets in it have instances, or all.
fn listed_members(said: &Place, listed: Listed, sets: &[ScaleSet], findings: &mut Findings) -> Members {
    let wanted = Some(sets.iter().map(|set| set.capacity).sum()).filter(|_| !sets.is_empty());
    match listed {
        Listed::Range(range) => {
            let all = usize::try_from(range.len()).unwrap_or(usize::MAX);
            Members::Range(range, wanted.unwrap_or(all))
        }
        Listed::List(addresses) => {
            let count = wanted.unwrap_or(addresses.len());
            if let Some(set) = sets.first().filter(|_| count > addresses.len()) {
                let listed = addresses.len();
                let what = format!(
                    "scale set {} has {count} instances, but only {listed} addresses are listed",
                    set.name
                );
                findings.error(said, what);
            }
            Members::List(
                addresses.into_iter().take(count).map(|address| (address, AdminState::Auto)).collect(),
            )
        }
    }
}
