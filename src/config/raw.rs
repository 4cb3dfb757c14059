//! What was said, by file or flags: each value understood by itself, with its place; nothing compared yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::error::Place;
use super::model::{
    AclRule, AddressRange, AdminState, Cidr, Distribution, ForwardMode, Frontend, HashKey, Idle,
    NoHealthyBackends, OutboundProtocol, QuicServerId, TunnelSource,
};
use super::probe::{ProbeKind, Statuses, Via};
use super::text::{ClientAddress, QuicKind, RawClamp};
use crate::wire::MacAddr;

/// A value and where it was said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A key that may be absent, or there but not understood. What is broken has been reported; whoever
/// needs it says nothing more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Broken,
    Given(At<T>),
}

impl<T> Field<T> {
    pub(crate) fn at(value: T, place: Place) -> Self {
        Self::Given(At { value, place })
    }

    pub(crate) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            _ => None,
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    pub(crate) fn place_or(&self, other: Place) -> Place {
        self.given().map_or(other, |at| at.place)
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }
}

/// A whole configuration, unchecked.
#[derive(Debug, Default)]
pub(crate) struct RawConfig {
    pub(crate) dataplane: RawDataplane,
    pub(crate) control: RawControl,
    pub(crate) ports: Vec<RawPort>,
    pub(crate) routes: Vec<RawRoute>,
    pub(crate) neighbours: Vec<RawNeighbour>,
    pub(crate) pools: Vec<RawPool>,
    pub(crate) probes: Vec<RawProbe>,
    pub(crate) rules: Vec<RawRule>,
    pub(crate) nat_rules: Vec<RawNatRule>,
    pub(crate) outbound: Vec<RawOutbound>,
    pub(crate) acls: Vec<RawAcl>,
    /// Syntax errors may have swallowed sections: that something is not there proves nothing.
    pub(crate) is_partial: bool,
}

#[derive(Debug, Default)]
pub(crate) struct RawDataplane {
    pub(crate) workers: Field<Vec<usize>>,
    pub(crate) management_cpu: Field<i128>,
    pub(crate) flows_per_worker: Field<i128>,
    pub(crate) frames: Field<i128>,
    pub(crate) idle: Field<Idle>,
    pub(crate) hash_key: Field<HashKey>,
    pub(crate) eal: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct RawControl {
    pub(crate) socket: Field<String>,
    pub(crate) socket_group: Field<u32>,
    pub(crate) listen: Field<SocketAddr>,
    pub(crate) listen_anywhere: Field<bool>,
    pub(crate) token_file: Field<String>,
    /// `None` is "off".
    pub(crate) metrics: Field<Option<SocketAddr>>,
    pub(crate) state_directory: Field<String>,
}

#[derive(Debug)]
pub(crate) struct RawPort {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) device: Field<String>,
    pub(crate) vlan: Field<Vec<i128>>,
    pub(crate) addresses: Vec<At<Cidr>>,
    /// Whether every address that was said has been understood.
    pub(crate) addresses_are_whole: bool,
    pub(crate) gateway: Field<Ipv4Addr>,
    pub(crate) gateway6: Field<Ipv6Addr>,
    pub(crate) mac: Field<MacAddr>,
    pub(crate) mtu: Field<i128>,
}

impl RawPort {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            name: Field::Absent,
            device: Field::Absent,
            vlan: Field::Absent,
            addresses: Vec::new(),
            addresses_are_whole: true,
            gateway: Field::Absent,
            gateway6: Field::Absent,
            mac: Field::Absent,
            mtu: Field::Absent,
        }
    }
}

#[derive(Debug)]
pub(crate) struct RawRoute {
    pub(crate) place: Place,
    pub(crate) destination: Field<Cidr>,
    pub(crate) via: Field<IpAddr>,
    pub(crate) port: Field<String>,
}

#[derive(Debug)]
pub(crate) struct RawNeighbour {
    pub(crate) place: Place,
    pub(crate) address: Field<IpAddr>,
    pub(crate) mac: Field<MacAddr>,
}

#[derive(Debug)]
pub(crate) struct RawPool {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) backends: Field<Vec<RawBackend>>,
    pub(crate) addresses: Field<AddressRange>,
    pub(crate) instances: Field<i128>,
    pub(crate) drain_timeout: Field<Duration>,
}

impl RawPool {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            name: Field::Absent,
            backends: Field::Absent,
            addresses: Field::Absent,
            instances: Field::Absent,
            drain_timeout: Field::Absent,
        }
    }
}

#[derive(Debug)]
pub(crate) struct RawBackend {
    pub(crate) place: Place,
    pub(crate) address: Field<IpAddr>,
    pub(crate) weight: Field<i128>,
    pub(crate) state: Field<AdminState>,
    pub(crate) quic_server_id: Field<QuicServerId>,
}

#[derive(Debug)]
pub(crate) struct RawProbe {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) kind: Field<ProbeKind>,
    pub(crate) port: Field<i128>,
    pub(crate) path: Field<String>,
    pub(crate) host: Field<String>,
    pub(crate) status: Field<Statuses>,
    pub(crate) body: Field<String>,
    pub(crate) verify: Field<bool>,
    pub(crate) ca_file: Field<String>,
    pub(crate) via: Field<Via>,
    pub(crate) interval: Field<Duration>,
    pub(crate) timeout: Field<Duration>,
    pub(crate) rise: Field<i128>,
    pub(crate) fall: Field<i128>,
}

impl RawProbe {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            name: Field::Absent,
            kind: Field::Absent,
            port: Field::Absent,
            path: Field::Absent,
            host: Field::Absent,
            status: Field::Absent,
            body: Field::Absent,
            verify: Field::Absent,
            ca_file: Field::Absent,
            via: Field::Absent,
            interval: Field::Absent,
            timeout: Field::Absent,
            rise: Field::Absent,
            fall: Field::Absent,
        }
    }
}

/// The probe of a rule.
#[derive(Debug)]
pub(crate) enum RuleProbe {
    /// A `[[probe]]`.
    Named(String),
    /// Given whole, by `--probe`.
    Own(Box<RawProbe>),
}

/// What only some ways to forward know.
#[derive(Debug, Default)]
pub(crate) struct RawWay {
    pub(crate) source_addresses: Field<Vec<At<AddressRange>>>,
    pub(crate) client_address: Field<Vec<At<ClientAddress>>>,
    pub(crate) tunnel_source: Field<TunnelSource>,
    pub(crate) tunnel_port: Field<i128>,
    pub(crate) gue_variant: Field<i128>,
    pub(crate) vni: Field<i128>,
    pub(crate) inner_mac: Field<MacAddr>,
}

/// How connection ids of QUIC name the backend.
#[derive(Debug, Default)]
pub(crate) struct RawQuic {
    pub(crate) kind: Field<QuicKind>,
    pub(crate) config: Field<i128>,
    pub(crate) server_id_length: Field<i128>,
    pub(crate) nonce_length: Field<i128>,
    pub(crate) key: Field<HashKey>,
}

#[derive(Debug)]
pub(crate) struct RawOutbound {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) pool: Field<String>,
    pub(crate) frontends: Field<Vec<At<IpAddr>>>,
    pub(crate) protocol: Field<OutboundProtocol>,
    pub(crate) ports_per_backend: Field<i128>,
    pub(crate) idle_timeout: Field<Duration>,
    pub(crate) tcp_reset: Field<bool>,
}

#[derive(Debug)]
pub(crate) struct RawRule {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) frontend: Field<Frontend>,
    pub(crate) pool: Field<String>,
    pub(crate) backend_port: Field<i128>,
    pub(crate) forward: Field<ForwardMode>,
    pub(crate) way: RawWay,
    pub(crate) tcp_reset: Field<bool>,
    pub(crate) hairpin: Field<bool>,
    pub(crate) icmp_echo: Field<bool>,
    pub(crate) mss_clamp: Field<RawClamp>,
    pub(crate) quic: RawQuic,
    pub(crate) distribution: Field<Distribution>,
    pub(crate) idle_timeout: Field<Duration>,
    pub(crate) probe: Field<RuleProbe>,
    pub(crate) no_healthy_backends: Field<NoHealthyBackends>,
    pub(crate) acl: Field<String>,
}

impl RawRule {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            name: Field::Absent,
            frontend: Field::Absent,
            pool: Field::Absent,
            backend_port: Field::Absent,
            forward: Field::Absent,
            way: RawWay::default(),
            tcp_reset: Field::Absent,
            hairpin: Field::Absent,
            icmp_echo: Field::Absent,
            mss_clamp: Field::Absent,
            quic: RawQuic::default(),
            distribution: Field::Absent,
            idle_timeout: Field::Absent,
            probe: Field::Absent,
            no_healthy_backends: Field::Absent,
            acl: Field::Absent,
        }
    }
}

#[derive(Debug)]
pub(crate) struct RawNatRule {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) frontend: Field<Frontend>,
    /// With its port, if that is said.
    pub(crate) backend: Field<(IpAddr, Option<u16>)>,
    pub(crate) pool: Field<String>,
    pub(crate) backend_port: Field<i128>,
    pub(crate) ports: Field<Vec<At<(IpAddr, u16)>>>,
    pub(crate) forward: Field<ForwardMode>,
    pub(crate) idle_timeout: Field<Duration>,
    pub(crate) tcp_reset: Field<bool>,
    pub(crate) icmp_echo: Field<bool>,
    pub(crate) acl: Field<String>,
}

#[derive(Debug)]
pub(crate) struct RawAcl {
    pub(crate) place: Place,
    pub(crate) name: Field<String>,
    pub(crate) rules: Field<Vec<At<AclRule>>>,
}
