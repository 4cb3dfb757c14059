//! What a configuration can say and the path does not do yet.

use std::collections::HashMap;
use std::net::IpAddr;

use super::error::{Place, Report};
use super::model::{Backend, Forward, Frontend, Model, Rule};
use super::problem::ValueProblem;
use super::subject_of;
use crate::wire::Protocol;

/// Addresses that full NAT translates sources to, from a process's start to its end, at most: so many the path has numbers
/// for.
pub const SOURCES_MAX: usize = 64;
const NETWORK_PREFIX_MIN: u8 = 96;

/// Refuses it: what would silently not be done is worse than what is not.
pub(super) fn refuse(model: &Model, report: &mut Report) {
    let mut refuse = |subject: String, what: &str, instead: &'static str| {
        let what = what.to_owned();
        report.error(Place::Whole, ValueProblem::Unsupported { subject, what, instead });
    };
    let mut answers: HashMap<(IpAddr, Protocol), &String> = HashMap::new();
    for rule in &model.rules {
        if rule.forward == Forward::Nat && rule.frontend.exact().is_none() {
            for (backend, protocol) in answering(rule) {
                if let Some(other) =
                    answers.insert((backend, protocol), &rule.name).filter(|other| *other != &rule.name)
                {
                    let what = format!("backend {backend} at several ports, as rule {other} has");
                    refuse(
                        subject_of("rule", &rule.name),
                        &what,
                        "give it a backend of another address, or full-nat",
                    );
                    break;
                }
            }
        }
        let Forward::FullNat(_) = &rule.forward else { continue };
        // A response bears the address that its client asked; of that, a flow keeps 32 bits.
        let Frontend { address, prefix_len, .. } = rule.frontend;
        if address.is_ipv6() && prefix_len < NETWORK_PREFIX_MIN {
            refuse(
                subject_of("rule", &rule.name),
                "a network wider than /96 as its frontend, with full-nat",
                "name the networks that it has of /96 or less, or use a way that leaves addresses as they are",
            );
        }
    }
    let sources: u64 = model
        .rules
        .iter()
        .filter_map(|rule| if let Forward::FullNat(full_nat) = &rule.forward { Some(full_nat) } else { None })
        .flat_map(|full_nat| full_nat.source_addresses.iter().map(|range| range.len()))
        .sum();
    if sources > SOURCES_MAX as u64 {
        let what = format!("{sources} source_addresses of all rules together");
        refuse("the configuration".to_owned(), &what, "64 are the most: each has sixty thousand ports");
    }
}

/// Where responses of a rule come from, whose backends answer from several ports.
fn answering(rule: &Rule) -> impl Iterator<Item = (IpAddr, Protocol)> {
    let takes = |protocol: &Protocol| rule.frontend.protocol.takes(protocol.number());
    let protocols: Vec<Protocol> = [Protocol::Tcp, Protocol::Udp].into_iter().filter(takes).collect();
    let of_one = move |backend: &Backend| {
        let address = backend.address;
        protocols.clone().into_iter().map(move |protocol| (address, protocol))
    };
    rule.pool.backends.iter().flat_map(of_one)
}
