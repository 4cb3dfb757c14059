//! The model: a configuration that has been found free of contradictions. What holds a `Model` need not
//! check it again: names are resolved, ranges hold, and no two rules are in each other's way.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::probe::Probe;
use crate::wire::{MacAddr, Protocol};

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
    /// Neighbours that need not be asked for.
    pub neighbours: Vec<StaticNeighbour>,
    /// Every pool, used or not, in the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// The load-balancing rules, in the order of the file.
    pub rules: Vec<Rule>,
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

/// An address in its network, as in 198.51.100.2/24.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// The address itself.
    pub address: IpAddr,
    /// Bits of the network, 0 to 32 of IPv4 and to 128 of IPv6.
    pub prefix_len: u8,
}

impl Cidr {
    /// Bits of an address that are no part of the network.
    fn host_bits(self) -> u32 {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        bits - u32::from(self.prefix_len).min(bits)
    }

    /// The bits of `address` in the network, all ones where it is the last.
    fn host_mask(self) -> u128 {
        u128::MAX.checked_shl(self.host_bits()).map_or(u128::MAX, |network| !network)
    }

    /// Whether `address` lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && (number(self.address) ^ number(address)) & !self.host_mask() == 0
    }

    /// Whether `address` is the network's first.
    pub fn is_first(self, address: IpAddr) -> bool {
        self.contains(address) && number(address) & self.host_mask() == 0
    }

    /// Whether `address` is the network's last.
    pub fn is_last(self, address: IpAddr) -> bool {
        self.contains(address) && number(address) | !self.host_mask() == u128::MAX
    }

    /// Whether no host has `address`, being IPv4, the network's first or last (RFC 1122 section 3.2.1.3); or
    /// IPv6, and its first, all routers' own (RFC 4291 section 2.6.1). Networks of one or two addresses have only
    /// hosts (RFC 3021, RFC 6164).
    pub fn is_edge(self, address: IpAddr) -> bool {
        let is_last = self.address.is_ipv4() && self.is_last(address);
        self.host_bits() > 1 && (self.is_first(address) || is_last)
    }
}

/// An address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
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

/// An address, a port and a protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// `[[rule]]`: traffic to one frontend is spread over one pool. Forwarded by NAT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Unique.
    pub name: String,
    /// What clients use. No two rules share one.
    pub frontend: Endpoint,
    /// Who serves. No two rules use one backend on the same port and protocol, for responses could
    /// not be told apart.
    pub pool: Arc<Pool>,
    /// The port on the backends, 1 to 65535.
    pub backend_port: u16,
    /// Which fields of a packet choose the backend.
    pub distribution: Distribution,
    /// An established flow without packets for so long is forgotten. 1 s to 24 h.
    pub idle_timeout: Duration,
    /// What tells whether its `auto` backends are up; without it they are.
    pub probe: Option<Arc<Probe>>,
    /// Its name; `None` where the rule has one of its own, or none.
    pub probe_name: Option<String>,
    /// What happens to new flows while no backend is available.
    pub no_healthy_backends: NoHealthyBackends,
}

/// Which fields are hashed to choose a backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// Source address and port, destination address and port, protocol.
    FiveTuple,
    /// Source and destination address: a client keeps its backend over all ports and protocols.
    SourceIp,
    /// Source and destination address, and protocol.
    SourceIpProtocol,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FiveTuple => "5-tuple",
            Self::SourceIp => "source-ip",
            Self::SourceIpProtocol => "source-ip-protocol",
        })
    }
}

/// What happens to new flows while no backend of the rule is available.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHealthyBackends {
    /// They are dropped and counted.
    Drop,
    /// They are spread over all backends that are not drained, as if these were up.
    All,
}

impl fmt::Display for NoHealthyBackends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drop => "drop",
            Self::All => "all",
        })
    }
}
