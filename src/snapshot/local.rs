//! Which addresses are ours, what is said of them, and whose answers to our own questions come to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Routes, Selector, WideMap, WordMap, address_key};
use crate::config::{Model, Port, Rule, Via};
use crate::packet::wide_endpoint;
use crate::wire::Protocol;

/// The first word in [`Snapshot::locals`](super::Snapshot::locals) of a frontend's address: [`Echo`] is added to it.
/// Those below are ports.
pub(super) const FRONTEND: u64 = 256;

/// What becomes of echo requests to an address of ours. Of several rules there, the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Echo {
    /// No rule wants them answered.
    Off = 0,
    /// No rule that does has a backend for new flows.
    Unreachable = 1,
    /// Some have, or it is a port's.
    Reply = 2,
}

impl Echo {
    pub(super) fn of(rule: &Rule, selector: &Selector) -> Self {
        match () {
            () if !rule.icmp_echo => Self::Off,
            () if selector.backends.is_empty() => Self::Unreachable,
            () => Self::Reply,
        }
    }

    pub(super) fn of_word(word: u64) -> Self {
        match word.checked_sub(FRONTEND) {
            Some(0) => Self::Off,
            Some(1) => Self::Unreachable,
            _ => Self::Reply,
        }
    }
}

/// A port's own address of each family, if it has one: in whose name it sends.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct OwnAddresses {
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

impl OwnAddresses {
    /// The first of each.
    pub(super) fn of(port: &Port) -> Self {
        let mut own = Self::default();
        for cidr in &port.addresses {
            match cidr.address {
                IpAddr::V4(address) => own.v4 = own.v4.or(Some(address)),
                IpAddr::V6(address) => own.v6 = own.v6.or(Some(address)),
            }
        }
        own
    }
}

/// The words of our own addresses on their ports, and of the frontends' on all. One that is both is the port's own.
/// `selectors` are the rules', in their order.
pub(super) fn all(model: &Model, selectors: &[Selector]) -> BTreeMap<IpAddr, u64> {
    let mut all = BTreeMap::new();
    for (rule, selector) in model.rules.iter().zip(selectors) {
        let word = all.entry(rule.frontend.address).or_insert(FRONTEND);
        *word = (FRONTEND + Echo::of(rule, selector) as u64).max(*word);
    }
    for (port, id) in model.ports.iter().zip(0u64..) {
        all.extend(port.addresses.iter().map(|cidr| (cidr.address, id)));
    }
    all
}

/// With those that full NAT translates sources to: they are ours on all ports.
pub(super) fn with_sources(
    mut all: BTreeMap<IpAddr, u64>,
    sources: impl Iterator<Item = IpAddr>,
) -> BTreeMap<IpAddr, u64> {
    for address in sources {
        all.entry(address).or_insert(FRONTEND + Echo::Reply as u64);
    }
    all
}

/// Those of IPv4.
pub(super) fn narrow(all: &BTreeMap<IpAddr, u64>) -> WordMap {
    WordMap::new(all.iter().filter_map(|(address, word)| match address {
        IpAddr::V4(address) => Some((address_key(*address), *word)),
        IpAddr::V6(_) => None,
    }))
}

/// Those of IPv6.
pub(super) fn wide(all: &BTreeMap<IpAddr, u64>) -> WideMap {
    let wide = all.iter().filter(|(address, _)| address.is_ipv6());
    WideMap::of(wide.map(|(address, word)| (wide_endpoint(*address, 0, 0), *word)))
}

/// Endpoints that probes ask out of our ports, and the port where each answers.
pub(super) fn probed(model: &Model, routes: &Routes) -> WideMap {
    let by_port = model.rules.iter().filter_map(|rule| {
        let probe = rule.probe.as_ref().filter(|probe| probe.via == Via::Port)?;
        Some((rule, probe.port.unwrap_or(rule.backend_port)))
    });
    let endpoints = by_port.flat_map(|(rule, port)| {
        rule.pool.backends.iter().filter_map(move |backend| {
            let (leads_there, _) = routes.neighbour_for(backend.address)?;
            let key = wide_endpoint(backend.address, port, Protocol::Tcp.number());
            Some((key, u64::from(leads_there.0)))
        })
    });
    WideMap::of(endpoints)
}
