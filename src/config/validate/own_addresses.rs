//! Backends' own addresses against each other, and against the rules that use the same backends.

use std::collections::HashMap;
use std::net::IpAddr;

use super::frontends::responses;
use crate::config::error::Report;
use crate::config::model::{Backend, Forward, ProtocolSelector, Rule};
use crate::config::problem::{NatProblem, RuleProblem};
use crate::config::raw::At;
use crate::config::subject_of;

/// Whether it is a NAT rule that gives a backend an address of its own.
pub(super) fn is_own_address(rule: &Rule) -> bool {
    rule.is_nat_rule && rule.forward == Forward::Nat && rule.frontend.protocol == ProtocolSelector::Any
}

/// What a backend sends from a port that no other rule has leaves by its own address: there is one of these. From the
/// ports that others have it answers these, which is odd.
pub(super) fn compare_own_addresses(rules: &[At<Rule>], report: &mut Report) {
    let mut own: HashMap<IpAddr, (&At<Rule>, bool)> = HashMap::new();
    for rule in rules.iter().filter(|rule| is_own_address(&rule.value)) {
        let Some(Backend { address: backend, .. }) = rule.value.pool.backends.first().copied() else {
            continue;
        };
        if let Some((first, _)) = own.get(&backend) {
            let (subject, other) = (subject_of("NAT rule", &rule.value.name), first.value.name.clone());
            let problem = NatProblem::OwnAddressTwice { subject, backend, other, first: first.place };
            report.error(rule.place, problem);
            continue;
        }
        own.insert(backend, (rule, false));
    }
    let others = rules.iter().filter(|at| at.value.forward == Forward::Nat && !is_own_address(&at.value));
    if own.is_empty() {
        return;
    }
    for rule in others {
        for backend in &rule.value.pool.backends {
            let Some((own, is_told)) = own.get_mut(&backend.address).filter(|(_, is_told)| !is_told) else {
                continue;
            };
            let (other, first, backend) =
                (rule.value.name.clone(), rule.place, responses(&rule.value, backend));
            if backend.exact().is_none() {
                let (rule, place) = (own.value.name.clone(), own.place);
                report.error(place, RuleProblem::SharedBackend { rule, other, first, backend, more: 0 });
            } else if own.value.frontend.address != rule.value.frontend.address {
                let (subject, address) =
                    (subject_of("NAT rule", &own.value.name), own.value.frontend.address);
                report.warn(own.place, NatProblem::Shadowed { subject, address, backend, other, first });
            } else {
                continue;
            }
            *is_told = true;
        }
    }
}
