//! Which addresses are ours, and what is said of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Echo, Local, OwnAddresses, Selector, WideMap, WordMap, address_key};
use crate::config::{Model, Port};
use crate::packet::wide_endpoint;

/// Our own addresses on their ports, and the frontends' on all. One that is both is the port's own. `selectors` are the
/// rules', in their order.
pub(super) fn all(model: &Model, selectors: &[Selector]) -> BTreeMap<IpAddr, Local> {
    let mut all: BTreeMap<IpAddr, Local> = BTreeMap::new();
    for (rule, selector) in model.rules.iter().zip(selectors) {
        let state = match rule.icmp_echo {
            false => Echo::Off,
            true if selector.backends.is_empty() => Echo::Unreachable,
            true => Echo::Reply,
        };
        let local = all.entry(rule.frontend.address).or_insert(Local::Frontend(Echo::Off));
        if let Local::Frontend(others) = local {
            *others = state.max(*others);
        }
    }
    let own = model.ports.iter().zip(0u8..).flat_map(|(port, id)| {
        port.addresses.iter().map(move |cidr| (cidr.address, Local::Port(crate::io::PortId(id))))
    });
    all.extend(own);
    all
}

/// With those that full NAT translates sources to: they are ours on all ports.
pub(super) fn with_sources(
    mut all: BTreeMap<IpAddr, Local>,
    sources: impl Iterator<Item = IpAddr>,
) -> BTreeMap<IpAddr, Local> {
    for address in sources {
        all.entry(address).or_insert(Local::Frontend(Echo::Reply));
    }
    all
}

/// Those of IPv4.
pub(super) fn narrow(all: &BTreeMap<IpAddr, Local>) -> WordMap {
    WordMap::new(all.iter().filter_map(|(address, local)| match address {
        IpAddr::V4(address) => Some((address_key(*address), local.to_word())),
        IpAddr::V6(_) => None,
    }))
}

/// Those of IPv6.
pub(super) fn wide(all: &BTreeMap<IpAddr, Local>) -> WideMap {
    let wide = all.iter().filter(|(address, _)| address.is_ipv6());
    WideMap::of(wide.map(|(address, local)| (wide_endpoint(*address, 0, 0), local.to_word())))
}

/// In whose name a port sends.
pub(super) fn own(port: &Port) -> OwnAddresses {
    let mut own = OwnAddresses::default();
    for cidr in port.addresses.iter().rev() {
        match cidr.address {
            IpAddr::V4(address) => own.v4 = Some(address),
            IpAddr::V6(address) => own.v6 = Some(address),
        }
    }
    own
}
