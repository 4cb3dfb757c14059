//! Which map of the snapshot a frontend is found in.

use std::net::IpAddr;

use super::{BackendIdentity, WideMap, WordMap};
use crate::config::{self, Endpoint, Forward};
use crate::packet::{EndpointKey, wide_endpoint};

/// Where packets find their frontend, and so which keys its flows have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// One address of IPv4, one port: narrow keys.
    Narrow,
    /// One address of IPv6, one port: wide keys.
    Wide,
    /// One address and port, full NAT: wide keys, and a port of ours.
    Bound,
    /// Several addresses, ports or protocols.
    Broad,
}

impl Kind {
    /// Of a frontend whose packets are forwarded so.
    pub(super) fn of(frontend: config::Frontend, forward: Option<&Forward>) -> Self {
        match frontend.exact() {
            None => Self::Broad,
            Some(_) if is_full_nat(forward) => Self::Bound,
            Some(at) if at.address.is_ipv4() => Self::Narrow,
            Some(_) => Self::Wide,
        }
    }

    pub(super) fn of_rule(rule: &config::Rule) -> Self {
        Self::of(rule.frontend, Some(&rule.forward))
    }
}

/// Whether flows are given ports of ours.
pub(super) fn is_full_nat(forward: Option<&Forward>) -> bool {
    matches!(forward, Some(Forward::FullNat(_)))
}

/// Of IPv4; what IPv6 needs lies elsewhere.
pub(super) fn endpoint_key(endpoint: Endpoint) -> Option<u64> {
    let IpAddr::V4(address) = endpoint.address else { return None };
    Some(EndpointKey::new(address, endpoint.port, endpoint.protocol).0)
}

/// Of IPv6.
fn wide_key(endpoint: Endpoint) -> Option<[u64; 3]> {
    let Endpoint { address, port, protocol } = endpoint;
    address.is_ipv6().then(|| wide_endpoint(address, port, protocol.number()))
}

/// Of either.
pub(super) fn any_key(Endpoint { address, port, protocol }: Endpoint) -> [u64; 3] {
    wide_endpoint(address, port, protocol.number())
}

/// What is found by endpoints of IPv4.
pub(super) fn narrow_map(all: &[(Endpoint, u64)]) -> WordMap {
    WordMap::new(all.iter().filter_map(|(at, id)| Some((endpoint_key(*at)?, *id))))
}

/// The same of IPv6.
pub(super) fn wide_map(all: &[(Endpoint, u64)]) -> WideMap {
    WideMap::of(all.iter().filter_map(|(at, id)| Some((wide_key(*at)?, *id))))
}

/// Each once, in order.
pub(super) fn ascending<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Where a backend's responses come from.
pub(super) fn response_endpoint(identity: &BackendIdentity) -> Option<Endpoint> {
    let BackendIdentity { frontend, address, port } = *identity;
    Some(Endpoint { address, port, protocol: frontend.exact()?.protocol })
}
