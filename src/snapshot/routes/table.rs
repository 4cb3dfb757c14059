//! Networks of one family, longest prefix first, and where each leads.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::{BitAnd, Not};

use super::NextHop;
use crate::config::{Cidr, Model};
use crate::io::PortId;

/// An address as one number, its bytes in the order of memory.
pub(super) trait Word: Copy + PartialEq + BitAnd<Output = Self> + Not<Output = Self> {
    const ZERO: Self;

    /// Of this family.
    fn of(address: IpAddr) -> Option<Self>;

    /// So many bits of ones from the first byte's highest on.
    fn mask(len: u8) -> Self;
}

impl Word for u32 {
    const ZERO: Self = 0;

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(Self::from_le_bytes(address.octets())),
            IpAddr::V6(_) => None,
        }
    }

    fn mask(len: u8) -> Self {
        (!(Self::MAX.checked_shr(len.into()).unwrap_or(0))).swap_bytes()
    }
}

impl Word for u128 {
    const ZERO: Self = 0;

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V6(address) => Some(Self::from_le_bytes(address.octets())),
            IpAddr::V4(_) => None,
        }
    }

    fn mask(len: u8) -> Self {
        (!(Self::MAX.checked_shr(len.into()).unwrap_or(0))).swap_bytes()
    }
}

/// A network, as two words to be compared with an address.
struct Network<W> {
    mask: W,
    address: W,
    /// Index into the table's `routers`, or, beyond their end, into its `links`.
    way: u32,
}

impl<W: Word> Network<W> {
    #[inline(always)]
    fn contains(&self, address: W) -> bool {
        address & self.mask == self.address
    }
}

/// A network that is on a port's link.
#[derive(Clone, Copy)]
struct Link<W> {
    port: PortId,
    network: W,
    mask: W,
    /// Whether the first address and the last belong to no host: [`Cidr::is_edge`].
    edges: (bool, bool),
}

/// What lies beyond a router.
#[derive(Clone, Copy)]
struct Router {
    /// `None`: on no link that the address tells.
    neighbour: Option<(PortId, IpAddr)>,
    hop: NextHop,
}

/// Where an address is.
pub(super) enum Way<'a> {
    /// On a port's link.
    Link(PortId),
    /// Nobody has it.
    Nobody,
    /// Beyond a router, whose Ethernet address has been looked up.
    Router(Option<(PortId, IpAddr)>, &'a NextHop),
}

/// All networks of one family.
pub(super) struct Table<W> {
    /// Longest prefix first.
    networks: Box<[Network<W>]>,
    routers: Box<[Router]>,
    links: Box<[Link<W>]>,
    /// Where all else is.
    default: Router,
}

/// What is on every link, so that an address does not tell on which (RFC 4291 section 2.5.6).
const LINK_LOCAL: Cidr =
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), prefix_len: 10 };

impl<W: Word> Table<W> {
    /// The ports' networks and the routes of `model`. `hop` looks up routers.
    pub(super) fn new(model: &Model, hop: impl Fn(PortId, IpAddr) -> NextHop) -> Self {
        let router = |neighbour: Option<(PortId, IpAddr)>| {
            let hop = neighbour.map_or(NextHop::NO_ROUTE, |(port, address)| hop(port, address));
            Router { neighbour, hop }
        };
        let is_ours = |address: IpAddr| W::of(address).is_some();
        let routes = model.routes.iter().filter(|route| route.destination.prefix_len > 0);
        let beyond = routes.map(|route| (route.destination, Some((route.port, route.via))));
        let beyond: Vec<_> =
            beyond.chain([(LINK_LOCAL, None)]).filter(|(network, _)| is_ours(network.address)).collect();
        let with_id = model.ports.iter().zip(0..).map(|(port, id)| (port, PortId(id)));
        let near: Vec<(Cidr, PortId)> = with_id
            .flat_map(|(port, id)| port.addresses.iter().map(move |own| (*own, id)))
            .filter(|(network, _)| is_ours(network.address))
            .collect();
        // Of two alike the first stays first: a link before a router.
        let links = near.iter().zip(beyond.len()..).map(|((network, _), way)| (*network, way));
        let mut all: Vec<(Cidr, usize)> =
            links.chain(beyond.iter().zip(0..).map(|((network, _), way)| (*network, way))).collect();
        all.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len));
        let network = |(network, way): &(Cidr, usize)| {
            let mask = W::mask(network.prefix_len);
            Some(Network { mask, address: W::of(network.address)? & mask, way: *way as u32 })
        };
        Self {
            networks: all.iter().filter_map(network).collect(),
            routers: beyond.iter().map(|(_, neighbour)| router(*neighbour)).collect(),
            links: near.iter().filter_map(|(network, port)| Link::new(*network, *port)).collect(),
            default: router(
                model
                    .routers()
                    .find(|(_, address, is_default)| *is_default && is_ours(*address))
                    .map(|(port, address, _)| (port, address)),
            ),
        }
    }

    /// Where `address` is.
    #[inline(always)]
    pub(super) fn way(&self, address: W) -> Way<'_> {
        let found = self.networks.iter().find(|network| network.contains(address));
        let router = match found {
            None => &self.default,
            Some(network) => match self.routers.get(network.way as usize) {
                Some(router) => router,
                None => return self.link(network.way as usize - self.routers.len(), address),
            },
        };
        Way::Router(router.neighbour, &router.hop)
    }

    #[inline(always)]
    fn link(&self, index: usize, address: W) -> Way<'_> {
        match self.links.get(index) {
            Some(link) if !link.is_edge(address) => Way::Link(link.port),
            _ => Way::Nobody,
        }
    }

    /// Where a packet to `address` goes, if that takes no look at the neighbours.
    #[inline(always)]
    pub(super) fn resolved(&self, address: W) -> Option<&NextHop> {
        let router = match self.networks.iter().find(|network| network.contains(address)) {
            None => &self.default,
            // There are none for links.
            Some(network) => self.routers.get(network.way as usize)?,
        };
        Some(&router.hop)
    }
}

impl<W: Word> Link<W> {
    fn new(cidr: Cidr, port: PortId) -> Option<Self> {
        let mask = W::mask(cidr.prefix_len);
        let is_ipv4 = cidr.address.is_ipv4();
        let has_edges = cidr.prefix_len < if is_ipv4 { 31 } else { 127 };
        Some(Self {
            port,
            network: W::of(cidr.address)? & mask,
            mask,
            edges: (has_edges, has_edges && is_ipv4),
        })
    }

    #[inline(always)]
    fn is_edge(&self, address: W) -> bool {
        let (first, last) = self.edges;
        first && address == self.network || last && !address & !self.mask == W::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_in_the_order_of_memory() {
        for (len, mask) in
            [(0, [0, 0, 0, 0]), (9, [255, 128, 0, 0]), (24, [255, 255, 255, 0]), (32, [255; 4])]
        {
            assert_eq!(<u32 as Word>::mask(len).to_le_bytes(), mask);
        }
        assert_eq!(<u128 as Word>::mask(0), 0);
        assert_eq!(<u128 as Word>::mask(128), u128::MAX);
        assert_eq!(<u128 as Word>::mask(10).to_le_bytes()[..3], [255, 192, 0]);
    }
}
