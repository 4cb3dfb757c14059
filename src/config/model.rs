//! The model: a configuration that has been found free of contradictions. What holds a `Model` need not
//! check it again: names are resolved, ranges hold, and no two rules are in each other's way.

mod acl;
mod address;
mod device;
mod forward;
mod frontend;
mod nat_rule;
mod outbound;
mod quic;
mod rule;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use acl::{Acl, AclRule};
pub(crate) use address::number;
pub use address::{AddressRange, Cidr};
pub use device::Device;
pub use forward::{Encapsulation, Forward, ForwardMode, FullNat, GueVariant, Tunnel, TunnelSource};
pub use frontend::{Endpoint, Frontend, ProtocolSelector};
pub(crate) use nat_rule::only;
pub use nat_rule::{NatPorts, NatRule, NatTarget, Spread};
pub use outbound::{OUTBOUND_BLOCK_LEN, OUTBOUND_PORTS_PER_FRONTEND, OutboundProtocol, OutboundRule};
pub(crate) use quic::QUIC_SERVER_ID_LEN_MAX;
pub use quic::{Quic, QuicLb, QuicServerId};
pub use rule::{Distribution, MssClamp, NoHealthyBackends, Rule};

use crate::io::PortId;
use crate::wire::MacAddr;

/// A whole configuration, ready to be compiled into a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// How packets are worked on. Fixed from start to stop.
    pub dataplane: DataplaneSettings,
    /// How the running program is talked to.
    pub control: ControlSettings,
    /// The ports, in the order of the file; a port's index is its `PortId`. At most `io::PORTS_MAX`;
    /// none where only rules are looked at.
    pub ports: Vec<Port>,
    /// Networks beyond routers that are no gateways.
    pub routes: Vec<StaticRoute>,
    /// Neighbours that need not be asked for.
    pub neighbours: Vec<StaticNeighbour>,
    /// Every pool, used or not, in the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// Every access list, used or not, in the order of the file.
    pub acls: Vec<Arc<Acl>>,
    /// The NAT rules, in the order of the file.
    pub nat_rules: Vec<NatRule>,
    /// The load-balancing rules, in the order of the file, and what NAT rules come to: one for each backend.
    pub rules: Vec<Rule>,
    /// The outbound rules, in the order of the file.
    pub outbound: Vec<OutboundRule>,
}

impl Model {
    /// Every router that some port leads to, and whether it is one for all that no network has.
    pub fn routers(&self) -> impl Iterator<Item = (PortId, IpAddr, bool)> {
        let of_port = |(port, id): (&Port, u8)| {
            let gateways = [port.gateway.map(IpAddr::V4), port.gateway6.map(IpAddr::V6)];
            gateways.into_iter().flatten().map(move |gateway| (PortId(id), gateway, true))
        };
        let of_route = |route: &StaticRoute| (route.port, route.via, route.destination.prefix_len == 0);
        self.ports.iter().zip(0..).flat_map(of_port).chain(self.routes.iter().map(of_route))
    }
}

/// `[dataplane]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataplaneSettings {
    /// One worker on each of these CPUs; `None`: chosen at start (all but the management CPU).
    pub workers: Option<Vec<usize>>,
    /// The CPU of the management thread; `None`: chosen at start.
    pub management_cpu: Option<usize>,
    /// Flows one worker's table is made for: all but about one in a hundred find a place.
    pub flows_per_worker: usize,
    /// Frames of packet memory in all; `None`: enough for all queues.
    pub frames: Option<u32>,
    /// What a worker does while nothing arrives.
    pub idle: Idle,
    /// The secret of the hash, the same on all nodes; `None`: random, kept in the state directory.
    pub hash_key: Option<HashKey>,
    /// Further arguments for EAL.
    pub eal: Vec<String>,
}

/// What a worker does while nothing arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Polls again at once: the lowest latency, a whole core.
    Spin,
    /// Polls again after a few `pause` instructions: leaves a sibling hyperthread more of the core.
    Pause,
    /// Sleeps for some tens of microseconds after a thousand empty polls: for machines that have
    /// other work for the core.
    Sleep,
}

/// The 128-bit key of SipHash. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// `[control]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlSettings {
    /// The Unix socket of the control API.
    pub socket: PathBuf,
    /// The group of that socket; `None`: the process's.
    pub socket_group: Option<u32>,
    /// The control API over TCP, where it is wanted.
    pub remote: Option<Remote>,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// Where what must survive a restart is kept (the generated hash key).
    pub state_directory: PathBuf,
}

/// The control API over TCP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Where it listens.
    pub address: SocketAddr,
    /// What callers must know is in there.
    pub token_file: PathBuf,
}

/// Where metrics are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metrics {
    /// At the usual place, or nowhere where that is taken.
    Default,
    /// There.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// `[[port]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Unique.
    pub name: String,
    /// A PCI address or a vdev string; `None` only where no port is opened (`replay`, `check`, `explain`).
    pub device: Option<String>,
    /// The VLAN tags that its frames have, the outer first: none, one or two, each 1 to 4094. Ports of one device
    /// differ in them.
    pub vlan: Vec<u16>,
    /// Our own addresses on this port, each with its connected network.
    pub addresses: Vec<Cidr>,
    /// The next hop for IPv4 that is on no connected network.
    pub gateway: Option<Ipv4Addr>,
    /// The same for IPv6. It may be link-local.
    pub gateway6: Option<Ipv6Addr>,
    /// The Ethernet address to use instead of the device's own.
    pub mac: Option<MacAddr>,
    /// Bytes of IP packet a frame may carry.
    pub mtu: u16,
}

/// `[[route]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaticRoute {
    /// What lies there; the address is the network's first. Unique.
    pub destination: Cidr,
    /// The router: on a connected network of the port, or link-local.
    pub via: IpAddr,
    /// The port that leads to the router.
    pub port: PortId,
}

/// `[[neighbour]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaticNeighbour {
    /// On a connected network of some port.
    pub address: IpAddr,
    /// Where frames for it go.
    pub mac: MacAddr,
}

/// `[[pool]]`: a named set of backends. Addresses are unique in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Unique.
    pub name: String,
    /// In the order of the file, which means nothing.
    pub backends: Vec<Backend>,
    /// How long a backend that the file lets go keeps its flows, 0 s to 24 h; `None`: until they end.
    pub drain_timeout: Option<Duration>,
}

/// One server of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Unique in its pool.
    pub address: IpAddr,
    /// Its share of new flows against the others', 0 to 100; 0 is the same as `Drain`.
    pub weight: u8,
    /// What the operator says of it.
    pub state: AdminState,
    /// What it calls itself in QUIC connection ids, where that is not said by its address.
    pub quic_server_id: Option<QuicServerId>,
}

/// What the operator says of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminState {
    /// Follow the probe; without a probe it is up.
    Auto,
    /// Up, whatever a probe says.
    Up,
    /// No new flows; established TCP stays, UDP moves.
    Down,
    /// No new flows; those that are there stay.
    Drain,
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Up => "up",
            Self::Down => "down",
            Self::Drain => "drain",
        })
    }
}
