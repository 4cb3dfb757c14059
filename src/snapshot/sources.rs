//! The addresses that full NAT translates sources to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::forwarding::own_address;
use super::ids::SOURCES;
use super::{Routes, TooMany, WideMap};
use crate::config::{self, FullNat, Model};
use crate::io::PortId;
use crate::packet::wide_endpoint;
use crate::wire::Protocol;

/// Each can have some sixty thousand flows of TCP and as many of UDP, whose places a worker has addresses for: 64 bytes
/// each, taken as they are used.
pub(crate) use crate::config::SOURCES_MAX;

/// The ports from here on are for probes, which may use the same addresses.
pub(crate) const SOURCE_PORTS_END: u16 = config::PROBE_PORT_FIRST;

/// How a backend is told who its client is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct ClientAddress {
    /// By a TCP option.
    pub(crate) toa: bool,
    /// By a header of the PROXY protocol.
    pub(crate) proxy_v2: bool,
}

impl ClientAddress {
    pub(super) fn of(forward: &config::Forward) -> Self {
        match forward {
            config::Forward::FullNat(FullNat { toa, proxy_v2, .. }) => {
                Self { toa: *toa, proxy_v2: *proxy_v2 }
            }
            _ => Self::default(),
        }
    }
}

/// Which sources a rule's packets to a backend can have: where their numbers begin, and how many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SourceSet {
    first: u16,
    len: u16,
}

/// All source addresses.
#[derive(Default)]
pub(crate) struct Sources {
    by_address: WideMap,
    addresses: Box<[IpAddr]>,
    sets: Box<[u16]>,
    /// By number, of TCP and of UDP: ports that no flow may have, for a frontend has them.
    reserved: Box<[[Vec<RangeInclusive<u16>>; 2]]>,
}

impl Sources {
    /// The number of a source address.
    pub(crate) fn number(&self, address: IpAddr) -> Option<u16> {
        self.by_address.get(wide_endpoint(address, 0, 0)).map(|number| number as u16)
    }

    /// The source address of a number.
    pub(crate) fn address(&self, number: u16) -> Option<IpAddr> {
        self.addresses.get(usize::from(number)).copied()
    }

    /// The numbers of a set.
    pub(crate) fn of_set(&self, set: SourceSet) -> &[u16] {
        let (first, len) = (usize::from(set.first), usize::from(set.len));
        self.sets.get(first..first + len).unwrap_or_default()
    }

    /// Ports of a source address that no flow may have.
    pub(crate) fn reserved(&self, number: u16, is_udp: bool) -> &[RangeInclusive<u16>] {
        let both = self.reserved.get(usize::from(number));
        both.and_then(|both| both.get(usize::from(is_udp))).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether there are none.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// Numbers of source addresses, the same in all generations: a flow's place says its address's number.
#[derive(Default)]
pub(super) struct Numbers {
    known: BTreeMap<IpAddr, u16>,
    sets: Vec<u16>,
    made: BTreeMap<Vec<IpAddr>, SourceSet>,
}

impl Numbers {
    /// Whether all addresses of the rules of `model` have numbers, or can be given some. Numbers are never taken back: a flow
    /// may have them.
    ///
    /// # Errors
    /// When there are too few.
    pub(super) fn check(&self, model: &Model, routes: &Routes) -> Result<(), TooMany> {
        let mut all: BTreeSet<IpAddr> = self.known.keys().copied().collect();
        for rule in &model.rules {
            let hairpin = FullNat::default();
            let full_nat = match &rule.forward {
                config::Forward::FullNat(full_nat) => full_nat,
                config::Forward::Nat if rule.hairpin => &hairpin,
                _ => continue,
            };
            // Of backends behind one port those of a family have the same.
            let ways: BTreeMap<(PortId, bool), IpAddr> = rule
                .pool
                .backends
                .iter()
                .map(|backend| backend.address)
                .map(|address| ((routes.next_hop_to(address).hop.port, address.is_ipv4()), address))
                .collect();
            all.extend(
                ways.iter().flat_map(|((port, _), backend)| addresses(full_nat, *backend, *port, model)),
            );
        }
        let (what, wanted, limit) = (SOURCES, all.len(), SOURCES_MAX);
        if wanted > limit { Err(TooMany { what, wanted, limit }) } else { Ok(()) }
    }

    /// Forgets the sets of the last generation.
    pub(super) fn begin(&mut self) {
        self.sets.clear();
        self.made.clear();
    }

    /// The sources of a rule's packets to a backend behind `port`; `None` if there is none of the backend's family.
    pub(super) fn set(
        &mut self,
        full_nat: &FullNat,
        backend: IpAddr,
        port: PortId,
        model: &Model,
    ) -> Option<SourceSet> {
        let addresses = addresses(full_nat, backend, port, model);
        if let Some(set) = self.made.get(&addresses) {
            return Some(*set);
        }
        let first = u16::try_from(self.sets.len()).ok()?;
        for address in &addresses {
            let next = self.known.len();
            if next < SOURCES_MAX || self.known.contains_key(address) {
                self.sets.push(*self.known.entry(*address).or_insert(next as u16));
            }
        }
        let set = SourceSet { first, len: (self.sets.len() - usize::from(first)) as u16 };
        self.made.insert(addresses, set);
        (set.len > 0).then_some(set)
    }

    /// As the path reads them.
    pub(super) fn compiled(&self, model: &Model) -> Sources {
        let mut addresses: Vec<(u16, IpAddr)> =
            self.known.iter().map(|(address, number)| (*number, *address)).collect();
        addresses.sort_unstable();
        let key = |(address, number): (&IpAddr, &u16)| (wide_endpoint(*address, 0, 0), u64::from(*number));
        let reserved = addresses.iter().map(|(_, address)| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| ports_of_frontends(*address, protocol, model))
        });
        Sources {
            reserved: reserved.collect(),
            by_address: WideMap::of(self.known.iter().map(key)),
            addresses: addresses.into_iter().map(|(_, address)| address).collect(),
            sets: self.sets.clone().into(),
        }
    }

    /// All addresses that were ever used.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.known.keys().copied()
    }
}

/// Those that a rule's packets to a backend behind `port` can have.
fn addresses(full_nat: &FullNat, backend: IpAddr, port: PortId, model: &Model) -> Vec<IpAddr> {
    let is_like = |address: &IpAddr| address.is_ipv4() == backend.is_ipv4();
    let said = full_nat.source_addresses.iter().flat_map(|range| range.addresses().take(SOURCES_MAX));
    let mut addresses: Vec<IpAddr> = said.filter(is_like).collect();
    if addresses.is_empty() {
        addresses.extend(model.ports.get(port.index()).and_then(|port| own_address(port, backend)));
    }
    addresses
}

/// What packets to the address go to rules by: a response there would be taken for a client's packet.
fn ports_of_frontends(address: IpAddr, protocol: Protocol, model: &Model) -> Vec<RangeInclusive<u16>> {
    let frontends = model.rules.iter().map(|rule| rule.frontend);
    let there = frontends.filter(|frontend| {
        frontend.network().contains(address) && frontend.protocol.takes(protocol.number())
    });
    there.map(|frontend| frontend.first_port..=frontend.last_port).collect()
}
