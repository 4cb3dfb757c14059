//! Where a packet leaves: connected networks, the gateway, and the Ethernet addresses of next hops.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{PortLink, WordMap, address_key};
use crate::config::{self, Cidr, Model};
use crate::drop_reason::DropReason;
use crate::io::PortId;
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
    /// Whether all others have an address made of theirs: 02:00 and the four bytes. For captures, where
    /// there is nobody to ask.
    pub synthetic: bool,
}

fn synthetic_mac(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([2, 0, a, b, c, d])
}

/// A network as two words, in the order of memory.
struct Network {
    mask: u32,
    address: u32,
}

impl Network {
    fn of(network: &Connected) -> Self {
        let word = |value: u32| u32::from_le_bytes(value.to_be_bytes());
        Self { mask: word(network.mask), address: word(network.address & network.mask) }
    }

    #[inline(always)]
    fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from_le_bytes(address.octets()) & self.mask == self.address
    }
}

/// A connected network.
#[derive(Clone, Copy)]
struct Connected {
    address: u32,
    mask: u32,
    port: PortId,
}

impl Connected {
    fn new(cidr: Cidr, port: PortId) -> Option<Self> {
        let IpAddr::V4(address) = cidr.address else { return None };
        let mask = u32::MAX.checked_shl(32 - u32::from(cidr.prefix_len)).unwrap_or(0);
        Some(Self { address: address.into(), mask, port })
    }

    #[inline]
    fn contains(&self, address: Ipv4Addr) -> bool {
        (self.address ^ u32::from(address)) & self.mask == 0
    }

    /// Whether `address`, of this network, belongs to no host: [`Cidr::is_edge`].
    #[inline]
    fn is_edge(&self, address: Ipv4Addr) -> bool {
        let host = u32::from(address) & !self.mask;
        !self.mask > 1 && (host == 0 || host == !self.mask)
    }
}

/// Connected networks and the gateway, compiled for lookups.
pub struct Routes {
    /// Longest prefix first.
    connected: Box<[Connected]>,
    /// The same networks, as words to be compared with an address.
    networks: Box<[Network]>,
    default: Option<(PortId, Ipv4Addr)>,
    default_hop: NextHop,
    /// Port and address → index into `macs`.
    by_neighbour: WordMap,
    macs: Box<[MacAddr]>,
    synthetic: bool,
    ports: Box<[PortLink]>,
}

impl Routes {
    /// For the ports of `model`, whose links are `ports`. Of several gateways the first port's serves.
    pub fn new(model: &Model, ports: &[PortLink], neighbours: &Neighbours) -> Self {
        let with_id = || model.ports.iter().zip(0..).map(|(port, id)| (port, PortId(id)));
        let of_port = |(port, id): (&config::Port, PortId)| {
            port.addresses.iter().filter_map(move |own| Connected::new(*own, id)).collect::<Vec<_>>()
        };
        let mut connected: Vec<Connected> = with_id().flat_map(of_port).collect();
        connected.sort_by_key(|network| std::cmp::Reverse(network.mask));
        let networks = connected.iter().map(Network::of).collect();
        let mut macs = Vec::new();
        let index = |((port, address), mac): (&(PortId, IpAddr), &MacAddr)| {
            let IpAddr::V4(address) = address else { return None };
            macs.push(*mac);
            Some((neighbour_key(*port, *address), macs.len() as u64 - 1))
        };
        let by_neighbour = WordMap::new(neighbours.known.iter().filter_map(index).collect::<Vec<_>>());
        let mut routes = Self {
            connected: connected.into(),
            networks,
            default: with_id().find_map(|(port, id)| Some((id, port.gateway?))),
            default_hop: NextHop::NO_ROUTE,
            by_neighbour,
            macs: macs.into(),
            synthetic: neighbours.synthetic,
            ports: ports.into(),
        };
        if let Some((port, gateway)) = routes.default {
            routes.default_hop = routes.neighbour(port, gateway);
        }
        routes
    }

    /// Where a packet to `destination` goes. A few comparisons, and a cache line for a neighbour.
    #[inline]
    pub fn next_hop(&self, destination: Ipv4Addr) -> NextHop {
        match self.connected.iter().find(|network| network.contains(destination)) {
            Some(network) if network.is_edge(destination) => NextHop::NO_ROUTE,
            Some(network) => self.neighbour(network.port, destination),
            None => self.default_hop,
        }
    }

    /// The same for either family.
    pub fn next_hop_to(&self, destination: IpAddr) -> NextHop {
        match destination {
            IpAddr::V4(destination) => self.next_hop(destination),
            IpAddr::V6(_) => NextHop::NO_ROUTE,
        }
    }

    /// Where a packet to `destination` goes, if that can be said without a look at the neighbours: beyond the
    /// gateway.
    #[inline(always)]
    pub(crate) fn resolved(&self, destination: Ipv4Addr) -> Option<&NextHop> {
        let is_beyond = !self.networks.iter().any(|network| network.contains(destination));
        is_beyond.then_some(&self.default_hop)
    }

    /// The neighbour that a packet to `destination` is handed to, and the port that leads there.
    pub fn neighbour_for(&self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
        let IpAddr::V4(destination) = destination else { return None };
        let connected = self.connected.iter().find(|network| network.contains(destination));
        let (port, address) = connected.map(|network| (network.port, destination)).or(self.default)?;
        Some((port, address.into()))
    }

    /// The Ethernet address that is known of a neighbour.
    pub(crate) fn known_mac(&self, port: PortId, address: IpAddr) -> Option<MacAddr> {
        let IpAddr::V4(address) = address else { return None };
        let index = self.by_neighbour.get(neighbour_key(port, address))?;
        self.macs.get(index as usize).copied()
    }

    fn neighbour(&self, port: PortId, address: Ipv4Addr) -> NextHop {
        let mac = self.known_mac(port, address.into());
        let mac = mac.or_else(|| self.synthetic.then(|| synthetic_mac(address)));
        match (mac, self.ports.get(port.index())) {
            (Some(mac), Some(link)) => {
                let hop = Hop { addresses: Addresses::new(mac, link.mac), mtu: link.mtu, port };
                NextHop { hop, state: HopState::Known }
            }
            _ => {
                let hop = Hop { port, ..NextHop::NO_ROUTE.hop };
                NextHop { hop, state: HopState::Unresolved(address.into()) }
            }
        }
    }
}

fn neighbour_key(port: PortId, address: Ipv4Addr) -> u64 {
    address_key(address) | u64::from(port.0) << 8
}
