//! Where a packet leaves: connected networks, the gateway, and the Ethernet addresses of next hops.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::{PortLink, WordMap, address_key};
use crate::config::{Cidr, Model};
use crate::drop_reason::DropReason;
use crate::io::PortId;
use crate::wire::MacAddr;
use crate::wire::ethernet::Addresses;

/// Where a frame to some address goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// Destination and source of the frame.
    pub(crate) addresses: Addresses,
    /// The port it leaves by.
    pub(crate) port: PortId,
    /// 1 shifted left by the port's number.
    pub(crate) port_bit: u32,
    /// The largest IP packet that fits; none does where the hop cannot be used.
    pub(crate) mtu: u16,
    state: HopState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HopState {
    Known,
    /// The neighbour's Ethernet address is not known yet.
    Unresolved(Ipv4Addr),
    NoRoute,
}

impl NextHop {
    /// Nowhere.
    pub const NO_ROUTE: Self = Self {
        addresses: Addresses([0; 12]),
        port: PortId(0),
        port_bit: 0,
        mtu: 0,
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
    pub(crate) fn wanted(self) -> Option<(PortId, Ipv4Addr)> {
        match self.state {
            HopState::Unresolved(address) => Some((self.port, address)),
            _ => None,
        }
    }

    /// Whether packets from there can only come in by this port.
    pub(crate) fn is_behind(self, port: PortId) -> bool {
        self.state == HopState::NoRoute || self.port == port
    }
}

/// The neighbours whose Ethernet addresses are known.
#[derive(Clone, Default, Debug)]
pub struct Neighbours {
    /// Known for a port each.
    pub known: HashMap<(PortId, Ipv4Addr), MacAddr>,
    /// Whether all others have an address made of theirs: 02:00 and the four bytes. For captures, where
    /// there is nobody to ask.
    pub synthetic: bool,
}

fn synthetic_mac(address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([2, 0, a, b, c, d])
}

/// Connected networks and the gateway, compiled for lookups.
pub struct Routes {
    /// Longest prefix first.
    connected: Box<[(Cidr, PortId)]>,
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
        let mut connected: Vec<(Cidr, PortId)> =
            with_id().flat_map(|(port, id)| port.addresses.iter().map(move |a| (*a, id))).collect();
        connected.sort_by_key(|(cidr, _)| std::cmp::Reverse(cidr.prefix_len));
        let mut macs = Vec::new();
        let index = |((port, address), mac): (&(PortId, Ipv4Addr), &MacAddr)| {
            macs.push(*mac);
            (neighbour_key(*port, *address), macs.len() as u32 - 1)
        };
        let by_neighbour = WordMap::new(neighbours.known.iter().map(index).collect::<Vec<_>>());
        let mut routes = Self {
            connected: connected.into(),
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
        match self.connected.iter().find(|(network, _)| network.contains(destination)) {
            Some((network, _)) if network.is_edge(destination) => NextHop::NO_ROUTE,
            Some((_, port)) => self.neighbour(*port, destination),
            None => self.default_hop,
        }
    }

    /// Where a packet to `destination` goes, if that can be said without a look at the neighbours: beyond the
    /// gateway.
    #[inline(always)]
    pub(crate) fn resolved(&self, destination: Ipv4Addr) -> Option<&NextHop> {
        let is_beyond = !self.connected.iter().any(|(network, _)| network.contains(destination));
        is_beyond.then_some(&self.default_hop)
    }

    /// The neighbour that a packet to `destination` is handed to, and the port that leads there.
    pub fn neighbour_for(&self, destination: Ipv4Addr) -> Option<(PortId, Ipv4Addr)> {
        let connected = self.connected.iter().find(|(network, _)| network.contains(destination));
        connected.map(|(_, port)| (*port, destination)).or(self.default)
    }

    /// The Ethernet address that is known of a neighbour.
    pub(crate) fn known_mac(&self, port: PortId, address: Ipv4Addr) -> Option<MacAddr> {
        let index = self.by_neighbour.get(neighbour_key(port, address))?;
        self.macs.get(index as usize).copied()
    }

    fn neighbour(&self, port: PortId, address: Ipv4Addr) -> NextHop {
        let mac = self.known_mac(port, address);
        let mac = mac.or_else(|| self.synthetic.then(|| synthetic_mac(address)));
        match (mac, self.ports.get(port.index())) {
            (Some(mac), Some(link)) => {
                let addresses = Addresses::new(mac, link.mac);
                let port_bit = 1u32.checked_shl(port.0.into()).unwrap_or(0);
                NextHop { addresses, port, port_bit, mtu: link.mtu, state: HopState::Known }
            }
            _ => NextHop { port, state: HopState::Unresolved(address), ..NextHop::NO_ROUTE },
        }
    }
}

fn neighbour_key(port: PortId, address: Ipv4Addr) -> u64 {
    address_key(address) | u64::from(port.0) << 40
}
