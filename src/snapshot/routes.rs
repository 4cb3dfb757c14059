//! Where a packet leaves: connected networks, static routes, gateways, and the Ethernet addresses of next hops.

mod table;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use self::table::{Table, Way};
use super::{Conditions, PortLink, WideMap, WordMap, address_key};
use crate::config::Model;
use crate::drop_reason::DropReason;
use crate::io::PortId;
use crate::packet::wide_endpoint;
use crate::wire::MacAddr;
use crate::wire::ethernet::Addresses;

/// What a frame to some address needs, as the path reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// Destination and source of the frame.
    pub(crate) addresses: Addresses,
    /// The largest IP packet that fits; none does where the hop cannot be used.
    pub(crate) mtu: u16,
    /// The port it leaves by.
    pub(crate) port: PortId,
}

/// Where a frame to some address goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    pub(crate) hop: Hop,
    state: HopState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HopState {
    Known,
    /// The neighbour's Ethernet address is not known yet.
    Unresolved(IpAddr),
    NoRoute,
}

impl NextHop {
    /// Nowhere.
    pub const NO_ROUTE: Self = Self {
        hop: Hop { addresses: Addresses([0; 12]), mtu: 0, port: PortId(0) },
        state: HopState::NoRoute,
    };

    /// Why a packet that does not fit is dropped.
    pub(crate) fn refusal(self) -> DropReason {
        match self.state {
            HopState::Known => DropReason::ExceedsMtu,
            HopState::Unresolved(_) => DropReason::NeighbourUnresolved,
            HopState::NoRoute => DropReason::NoRoute,
        }
    }

    /// The neighbour that has to be asked for its Ethernet address.
    pub(crate) fn wanted(self) -> Option<(PortId, IpAddr)> {
        match self.state {
            HopState::Unresolved(address) => Some((self.hop.port, address)),
            _ => None,
        }
    }

    /// The port by which packets from there can come in, if only one can.
    pub(crate) fn leads_out_of(self) -> Option<PortId> {
        (self.state != HopState::NoRoute).then_some(self.hop.port)
    }
}

/// The neighbours whose Ethernet addresses are known.
#[derive(Clone, Default, Debug)]
pub struct Neighbours {
    /// Known for a port each.
    pub known: HashMap<(PortId, IpAddr), MacAddr>,
    /// Whether all others have an address made of theirs: 02:00 and its last four bytes. For captures, where
    /// there is nobody to ask.
    pub synthetic: bool,
}

fn synthetic_mac(address: IpAddr) -> MacAddr {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
    MacAddr([2, 0, a, b, c, d])
}

/// Connected networks, static routes and gateways of both families, compiled for lookups.
pub struct Routes {
    narrow: Table<u32>,
    wide: Table<u128>,
    known: Known,
}

/// The neighbours' Ethernet addresses, and our own.
struct Known {
    /// Port and address → index into `macs`.
    by_neighbour: WordMap,
    /// The same of IPv6.
    by_neighbour_wide: WideMap,
    macs: Box<[MacAddr]>,
    synthetic: bool,
    ports: Box<[PortLink]>,
}

impl Routes {
    /// With the static neighbours of `model` among the known ones.
    pub(super) fn under(model: &Model, conditions: &Conditions) -> Self {
        if model.neighbours.is_empty() {
            return Self::new(model, &conditions.links, &conditions.neighbours);
        }
        let ways = Self::new(model, &conditions.links, &Neighbours::default());
        let mut neighbours = conditions.neighbours.clone();
        for fixed in &model.neighbours {
            let on_link =
                ways.neighbour_for(fixed.address).filter(|(_, neighbour)| *neighbour == fixed.address);
            // A link-local router is where it is said to be, on several ports maybe.
            let routers = model.routers().filter(|(_, router, _)| *router == fixed.address);
            let ports = on_link.into_iter().map(|(port, _)| port).chain(routers.map(|(port, ..)| port));
            neighbours.known.extend(ports.map(|port| ((port, fixed.address), fixed.mac)));
        }
        Self::new(model, &conditions.links, &neighbours)
    }

    /// For the ports of `model`, whose links are `ports`. Of several gateways the first port's serves.
    pub fn new(model: &Model, ports: &[PortLink], neighbours: &Neighbours) -> Self {
        let known = Known::new(ports, neighbours);
        let narrow = Table::new(model, |port, address| known.hop(port, address));
        let wide = Table::new(model, |port, address| known.hop(port, address));
        Self { narrow, wide, known }
    }

    /// Where a packet to `destination` goes. A few comparisons, and a cache line for a neighbour.
    #[inline]
    pub fn next_hop(&self, destination: Ipv4Addr) -> NextHop {
        self.known.next_hop(self.narrow.way(u32::from_le_bytes(destination.octets())), destination.into())
    }

    /// The same of IPv6; two cache lines.
    #[inline]
    pub fn next_hop6(&self, destination: Ipv6Addr) -> NextHop {
        self.known.next_hop(self.wide.way(u128::from_le_bytes(destination.octets())), destination.into())
    }

    /// The same for either family.
    pub fn next_hop_to(&self, destination: IpAddr) -> NextHop {
        match destination {
            IpAddr::V4(destination) => self.next_hop(destination),
            IpAddr::V6(destination) => self.next_hop6(destination),
        }
    }

    /// Where a packet to `destination` goes, if that can be said without a look at the neighbours: beyond a
    /// router.
    #[inline(always)]
    pub(crate) fn resolved(&self, destination: Ipv4Addr) -> Option<&NextHop> {
        self.narrow.resolved(u32::from_le_bytes(destination.octets()))
    }

    /// The same of IPv6.
    #[inline(always)]
    pub(crate) fn resolved6(&self, destination: Ipv6Addr) -> Option<&NextHop> {
        self.wide.resolved(u128::from_le_bytes(destination.octets()))
    }

    /// The neighbour that a packet to `destination` is handed to, and the port that leads there.
    pub fn neighbour_for(&self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
        let way = match destination {
            IpAddr::V4(destination) => self.narrow.way(u32::from_le_bytes(destination.octets())),
            IpAddr::V6(destination) => self.wide.way(u128::from_le_bytes(destination.octets())),
        };
        match way {
            Way::Link(port) => Some((port, destination)),
            Way::Nobody => None,
            Way::Router(neighbour, _) => neighbour,
        }
    }

    /// The Ethernet address that is known of a neighbour.
    pub(crate) fn known_mac(&self, port: PortId, address: IpAddr) -> Option<MacAddr> {
        self.known.mac(port, address)
    }
}

impl Known {
    fn new(ports: &[PortLink], neighbours: &Neighbours) -> Self {
        let (mut macs, mut narrow, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        for ((port, address), mac) in &neighbours.known {
            let index = macs.len() as u64;
            match address {
                IpAddr::V4(address) => narrow.push((neighbour_key(*port, *address), index)),
                IpAddr::V6(address) => wide.push((neighbour_key6(*port, *address), index)),
            }
            macs.push(*mac);
        }
        Self {
            by_neighbour: WordMap::new(narrow),
            by_neighbour_wide: WideMap::of(wide),
            macs: macs.into(),
            synthetic: neighbours.synthetic,
            ports: ports.into(),
        }
    }

    #[inline(always)]
    fn next_hop(&self, way: Way<'_>, destination: IpAddr) -> NextHop {
        match way {
            Way::Link(port) => self.hop(port, destination),
            Way::Nobody => NextHop::NO_ROUTE,
            Way::Router(_, hop) => *hop,
        }
    }

    #[inline(always)]
    fn mac(&self, port: PortId, address: IpAddr) -> Option<MacAddr> {
        let index = match address {
            IpAddr::V4(address) => self.by_neighbour.get(neighbour_key(port, address))?,
            IpAddr::V6(address) => self.by_neighbour_wide.get(neighbour_key6(port, address))?,
        };
        self.macs.get(index as usize).copied()
    }

    /// The way to a neighbour.
    #[inline(always)]
    fn hop(&self, port: PortId, address: IpAddr) -> NextHop {
        let mac = self.mac(port, address);
        let mac = mac.or_else(|| self.synthetic.then(|| synthetic_mac(address)));
        match (mac, self.ports.get(port.index())) {
            (Some(mac), Some(link)) => {
                let hop = Hop { addresses: Addresses::new(mac, link.mac), mtu: link.mtu, port };
                NextHop { hop, state: HopState::Known }
            }
            _ => {
                let hop = Hop { port, ..NextHop::NO_ROUTE.hop };
                NextHop { hop, state: HopState::Unresolved(address) }
            }
        }
    }
}

fn neighbour_key(port: PortId, address: Ipv4Addr) -> u64 {
    address_key(address) | u64::from(port.0) << 8
}

fn neighbour_key6(port: PortId, address: Ipv6Addr) -> [u64; 3] {
    wide_endpoint(address.into(), 0, port.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Cidr, ConfigFlags, load_text};

    const TEXT: &str = r#"
[[port]]
name = "a"
addresses = ["10.0.0.1/24", "2001:db8:1::1/64", "fe80::1/64"]
gateway = "10.0.0.254"
gateway6 = "fe80::fe"
[[port]]
name = "b"
addresses = ["10.0.0.129/25", "10.1.0.1/31", "2001:db8:1:0:8000::1/65"]
[[route]]
destination = "10.9.0.0/16"
via = "10.0.0.53"
[[route]]
destination = "10.9.9.0/24"
via = "10.0.0.140"
[[route]]
destination = "10.0.0.0/24"
via = "10.1.0.0"
[[route]]
destination = "2001:db8:9::/48"
via = "fe80::9"
port = "b"
[[neighbour]]
address = "fe80::9"
mac = "02:00:00:00:00:09"
"#;

    fn model(text: &str) -> Model {
        load_text("test.toml", text, &ConfigFlags::default()).unwrap_or_else(|all| panic!("{all}")).model
    }

    fn routes(model: &Model, synthetic: bool) -> Routes {
        let link = |last| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, last]), filters: true, mtu: 1500 };
        let neighbours = Neighbours { synthetic, ..Neighbours::default() };
        Routes::new(model, &[link(0), link(1)], &neighbours)
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_a_link_before_a_router() {
        let model = model(TEXT);
        let routes = routes(&model, false);
        for (to, port, neighbour) in [
            ("10.0.0.7", 0, "10.0.0.7"),
            ("10.0.0.130", 1, "10.0.0.130"),
            ("10.1.0.0", 1, "10.1.0.0"),
            ("10.9.1.1", 0, "10.0.0.53"),
            ("10.9.9.1", 1, "10.0.0.140"),
            ("192.0.2.1", 0, "10.0.0.254"),
            ("2001:db8:1::7", 0, "2001:db8:1::7"),
            ("2001:db8:1:0:8000::7", 1, "2001:db8:1:0:8000::7"),
            ("2001:db8:9::1", 1, "fe80::9"),
            ("2001:db8:8::1", 0, "fe80::fe"),
            ("fe80::7", 0, "fe80::7"),
        ] {
            assert_eq!(routes.neighbour_for(at(to)), Some((PortId(port), at(neighbour))), "{to}");
            let hop = routes.next_hop_to(at(to));
            assert_eq!(
                (hop.wanted(), hop.hop.port),
                (Some((PortId(port), at(neighbour))), PortId(port)),
                "{to}"
            );
        }
        // The first and last of an IPv4 network, the first of IPv6, and what a link-local address does not tell.
        for to in ["10.0.0.0", "10.0.0.255", "10.0.0.128", "2001:db8:1::", "fe81::1"] {
            assert_eq!(
                (routes.neighbour_for(at(to)), routes.next_hop_to(at(to))),
                (None, NextHop::NO_ROUTE),
                "{to}"
            );
        }
        assert_ne!(routes.neighbour_for(at("2001:db8:1:0:ffff:ffff:ffff:ffff")), None);
    }

    #[test]
    fn without_gateways_there_is_no_route_and_a_route_to_all_is_one() {
        let text = "[[port]]\nname = \"a\"\naddresses = [\"10.0.0.1/24\", \"2001:db8:1::1/64\"]\n";
        let bare = routes(&model(text), true);
        for to in ["192.0.2.1", "2001:db8::1", "fe80::1"] {
            assert_eq!((bare.neighbour_for(at(to)), bare.next_hop_to(at(to))), (None, NextHop::NO_ROUTE));
        }
        let text = format!("{text}[[route]]\ndestination = \"::/0\"\nvia = \"2001:db8:1::fe\"\n");
        let routed = routes(&model(&text), true);
        assert_eq!(routed.neighbour_for(at("2001:db8::1")), Some((PortId(0), at("2001:db8:1::fe"))));
        assert_eq!(routed.next_hop_to(at("192.0.2.1")), NextHop::NO_ROUTE);
    }

    #[test]
    fn neighbours_are_known_by_port_and_address_or_made_up() {
        let model = model(TEXT);
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let mut neighbours = Neighbours::default();
        for address in ["10.0.0.7", "2001:db8:1::7", "fe80::fe"] {
            neighbours.known.insert((PortId(0), at(address)), mac);
        }
        let links = [PortLink { mac: MacAddr([2; 6]), filters: true, mtu: 1400 }; 2];
        let known = Routes::new(&model, &links, &neighbours);
        for to in ["10.0.0.7", "2001:db8:1::7", "2001:db8:8::1"] {
            let next = known.next_hop_to(at(to));
            assert_eq!(
                (next.hop.addresses, next.hop.mtu),
                (Addresses::new(mac, MacAddr([2; 6])), 1400),
                "{to}"
            );
        }
        assert_eq!(known.known_mac(PortId(0), at("2001:db8:1::7")), Some(mac));
        assert_eq!(known.known_mac(PortId(1), at("2001:db8:1::7")), None);
        let made_up = routes(&model, true).next_hop_to(at("2001:db8:1::1234:5678"));
        assert_eq!(made_up.hop.addresses.destination(), MacAddr([2, 0, 0x12, 0x34, 0x56, 0x78]));
    }

    /// What `destination` must come to, the slow way.
    fn reference(model: &Model, destination: IpAddr) -> Option<(PortId, IpAddr)> {
        let links = model.ports.iter().zip(0..).flat_map(|(port, id)| {
            port.addresses.iter().map(move |own| (*own, (PortId(id), destination), own.is_edge(destination)))
        });
        let routers = model.routes.iter().map(|route| (route.destination, (route.port, route.via), false));
        let gateways = model.ports.iter().zip(0..).find_map(|(port, id)| {
            let gateway = match destination {
                IpAddr::V4(_) => port.gateway.map(IpAddr::V4),
                IpAddr::V6(_) => port.gateway6.map(IpAddr::V6),
            };
            Some((PortId(id), gateway?))
        });
        let mut found: Vec<(Cidr, _, bool)> =
            links.chain(routers).filter(|(network, ..)| network.contains(destination)).collect();
        found.sort_by_key(|(network, ..)| std::cmp::Reverse(network.prefix_len));
        match found.first() {
            Some((_, _, true)) => None,
            Some((_, neighbour, _)) => Some(*neighbour),
            None if matches!(destination, IpAddr::V6(to) if to.is_unicast_link_local()) => None,
            None => gateways,
        }
    }

    proptest! {
        #[test]
        fn all_ways_to_ask_agree(near in any::<bool>(), narrow in any::<u32>(), wide in any::<u128>(), cut in 0..17_u32) {
            let model = model(TEXT);
            let routes = routes(&model, false);
            let narrow = if near { narrow >> 14 | 10 << 24 } else { narrow };
            let wide = if near { wide >> 48 & !0xff_ffff >> cut | 0x2001_0db8_0001 << 80 } else { wide };
            for to in [IpAddr::V4(narrow.into()), IpAddr::V6(wide.into())] {
                let expected = reference(&model, to);
                prop_assert_eq!(routes.neighbour_for(to), expected);
                let next = routes.next_hop_to(to);
                prop_assert_eq!(next.wanted(), expected);
                let resolved = match to {
                    IpAddr::V4(to) => routes.resolved(to),
                    IpAddr::V6(to) => routes.wide.resolved(u128::from_le_bytes(to.octets())),
                };
                prop_assert!(resolved.is_none_or(|hop| *hop == next));
                let is_near = expected.is_some_and(|(_, neighbour)| neighbour == to);
                prop_assert!(!is_near || resolved.is_none(), "a neighbour takes a look");
            }
        }
    }
}
