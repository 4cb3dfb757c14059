//! The snapshot: a configuration compiled for reading. Whole and immutable; a change makes a new one, with
//! the next generation number, and the workers pass from one to the next between two bursts.
//!
//! What the path needs of a frontend or a backend lies in one record, found by index: addresses and ports
//! as bytes to be written, checksum differences worked out beforehand, the next hop resolved.

mod acl;
mod backend;
mod backend6;
mod broad;
mod compile;
mod forwarding;
mod frontend;
mod ids;
mod intervals;
mod kinds;
mod local;
mod outbound;
mod own_address;
mod publish;
mod quic;
mod routes;
mod select;
mod sources;
mod spread;
mod tables;
mod word_map;

pub(crate) use crate::config::MssClamp;
pub(crate) use acl::Acl;
pub use backend::Backend;
pub(crate) use backend::{Forwarding, Leaving, Rewrite, Rewrite6, ToBackend, ToClient};
pub(crate) use backend6::ToBackend6;
pub(crate) use broad::BroadFrontends;
pub use compile::{Compiler, Conditions, PortLink, TooMany};
pub use ids::BackendIdentity;
pub(crate) use local::{Echo, OwnAddresses};
pub(crate) use outbound::{
    BLOCK_LEN, BLOCKS, Claims, FIRST_PORT, MEMBERS_MAX, Member, MemberWay, OUTBOUND_ADDRESSES_MAX, Outbound,
    PortKind,
};
pub(crate) use own_address::BackendAddresses;
pub use publish::{Publisher, Reader};
pub(crate) use quic::QuicServers;
pub(crate) use routes::Hop;
pub use routes::{Neighbours, NextHop, Routes};
pub use select::{MaglevTable, Selector};
pub(crate) use sources::{ClientAddress, SOURCE_PORTS_END, SOURCES_MAX, SourceSet, Sources};
pub use spread::Spread;
pub use tables::selector_for;
pub use word_map::{WideMap, WordMap};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::config::{self, PROBE_PORT_FIRST, ProtocolSelector};
use crate::io::PortId;
use crate::packet::quic::Coding;
use crate::packet::{EndpointKey, Flow, FrontendWord, Pattern6, SipHash, WideKey, wide_endpoint};
use crate::watch::Watch;
use crate::wire::Protocol;
use crate::wire::encap::Front;
use crate::wire::plain::Pattern;

/// The position of a frontend's record. Stable while any flow refers to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct FrontendId(pub u16);

/// The position of a backend's record: one backend as one rule uses it. Stable from generation to
/// generation, and not given to another while any worker holds a flow to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct BackendId(pub u32);

impl BackendId {
    /// An id that no backend has.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The id as an index of the records.
    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Frontends a process can hold at once, those that linger included: a flow key has 16 bits for one, and
/// the value 0 is taken.
pub const FRONTENDS_MAX: usize = 65_535;

/// Backends (of each rule, so a pool used by two rules counts twice) a process can hold at once, those
/// that linger after their removal included. Bounds each worker's counters to 6 MiB.
pub const BACKENDS_MAX: usize = 131_072;

/// Everything the dataplane reads. See the module's text.
pub struct Snapshot {
    /// 1 for the first configuration, and one more for each that follows.
    pub generation: u64,
    /// The keyed hash, the same in all generations.
    pub hash: SipHash,
    /// Endpoint → [`FrontendWord`].
    pub(crate) by_frontend: WordMap,
    /// The same where keys of flows are wide.
    pub(crate) by_frontend_wide: WideMap,
    /// Frontends that are no endpoints.
    pub(crate) broad: BroadFrontends,
    /// Endpoint → word of its frontend, of full NAT.
    pub(crate) by_frontend_bound: WideMap,
    /// What sources are translated to.
    pub(crate) sources: Sources,
    /// Whose own connections are translated.
    pub(crate) outbound: Outbound,
    /// Backends that have an address for themselves.
    pub(crate) backend_addresses: BackendAddresses,
    /// Address of a backend and frontend that it may be a client of.
    pub(crate) hairpins: WideMap,
    /// Backend's endpoint → backend, for responses.
    pub(crate) by_response: WordMap,
    /// The same of IPv6.
    pub(crate) by_response_wide: WideMap,
    /// The same for backends that answer from several ports: address and protocol → backend.
    pub(crate) by_response_broad: WideMap,
    /// Endpoint that a probe asks out of a port → index of that port.
    pub(crate) probed: WideMap,
    /// The same, of backends whose TCP flows are reset: they lie apart, so that no other response meets a test for
    /// them.
    pub(crate) by_reset: WordMap,
    /// The same of IPv6.
    pub(crate) by_reset_wide: WideMap,
    /// Whether any backend is sent to otherwise than by plain translation: [`Forwarding::is_other`].
    pub(crate) has_others: bool,
    /// Who is who in QUIC connection ids.
    pub(crate) quic_servers: QuicServers,
    /// Whether any frontend has a [`Frontend::mss_clamp`].
    pub(crate) clamps_mss: bool,
    /// Whether any frontend's flows are reset when they are idle: how far they are is kept then.
    pub(crate) tracks: bool,
    /// Whether any backend's flows are to be reset.
    pub(crate) resets_flows: bool,
    /// Address → [`Local`], or what becomes of [`Echo`] requests to a frontend's, as a word.
    pub(crate) locals: WordMap,
    /// The same of IPv6.
    pub(crate) locals_wide: WideMap,
    /// No frontend's established flows are forgotten sooner.
    pub(crate) idle_ticks_min: u32,
    /// By `FrontendId`.
    pub(crate) frontends: Box<[Frontend]>,
    /// By `BackendId`.
    pub(crate) backends: Box<[Backend]>,
    /// By `BackendId`.
    pub(crate) to_backend: Box<[ToBackend]>,
    /// By `BackendId`: what goes in front of plain packets that go into tunnels. Empty where none do.
    pub(crate) fronts: Box<[Front]>,
    /// By `BackendId`.
    pub(crate) to_backend6: Box<[ToBackend6]>,
    /// By `BackendId`.
    pub(crate) to_client: Box<[ToClient]>,
    /// Where packets for other than backends leave.
    pub routes: Routes,
    /// By `PortId`.
    pub(crate) ports: Box<[PortLink]>,
    /// By `PortId`: its first address of each family.
    pub(crate) own: Box<[OwnAddresses]>,
    /// By `PortId`: how plain packets to a port begin.
    pub(crate) patterns: Box<[Pattern]>,
    /// The same of IPv6.
    pub(crate) patterns6: Box<[Pattern6]>,
    /// What operators watch just now. Set when it is published.
    pub(crate) watches: Box<[Arc<Watch>]>,
}

/// A frontend, as the path sees it.
pub struct Frontend {
    /// What clients use.
    pub endpoint: config::Frontend,
    /// Whether its flows have narrow keys.
    pub(crate) is_narrow: bool,
    /// Whether its flows have ports of ours: full NAT.
    pub(crate) is_bound: bool,
    /// Mixed into the client's address and port before hashing.
    pub(crate) flow_seed: u64,
    /// Whether its backends may be its clients: their sources are translated then.
    pub(crate) hairpin: bool,
    /// Who may begin flows; `None`: everybody.
    pub(crate) acl: Option<Arc<Acl>>,
    /// Whether new flows are looked at for either.
    pub(crate) may_refuse: bool,
    /// Whether both ends of a TCP flow that is forgotten for being idle are reset.
    pub(crate) tcp_reset: bool,
    /// Established flows without packets for more ticks than this are forgotten.
    pub(crate) idle_ticks: u32,
    /// What becomes of echo requests to it.
    pub(crate) echo: Echo,
    /// The most that either end may ask for as its maximum segment size.
    pub(crate) mss_clamp: Option<MssClamp>,
    /// How QUIC connection ids name backends, where they are asked.
    pub quic: Option<Coding>,
    /// How backends are told who their client is.
    pub(crate) client_address: ClientAddress,
    /// Chooses backends for new flows.
    pub selector: Selector,
}

/// Of what kind an address of ours is, if it is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Local {
    /// The own address of a port.
    Port(PortId),
    /// A frontend's, on all ports.
    Frontend,
}

impl Local {
    /// Of an address with this word. Ports come first.
    #[inline(always)]
    fn of_word(word: u64) -> Self {
        if word < local::FRONTEND { Self::Port(PortId(word as u8)) } else { Self::Frontend }
    }
}

impl Snapshot {
    /// The frontend that takes packets to `key`.
    #[inline]
    pub fn frontend_at(&self, key: EndpointKey) -> Option<FrontendId> {
        self.by_frontend.get(key.0).map(|word| FrontendId(FrontendWord(word).frontend()))
    }

    /// The same where keys of flows are wide.
    pub(crate) fn wide_frontend_at(
        &self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
    ) -> Option<FrontendId> {
        let word = self.by_frontend_wide.get(wide_endpoint(address, port, protocol.number()))?;
        Some(FrontendId(FrontendWord(word).frontend()))
    }

    /// The frontend of a rule.
    pub fn frontend_of_rule(&self, frontend: config::Frontend) -> Option<FrontendId> {
        let Some(config::Endpoint { address, port, protocol }) = frontend.exact() else {
            let is_it = |record: &Frontend| record.endpoint == frontend;
            return self.frontends.iter().position(is_it).map(|index| FrontendId(index as u16));
        };
        let narrow = match address {
            IpAddr::V4(address) => self.frontend_at(EndpointKey::new(address, port, protocol)),
            IpAddr::V6(_) => None,
        };
        let wide = || self.wide_frontend_at(address, port, protocol);
        narrow.or_else(wide).or_else(|| self.bound_frontend_at(address, port, protocol))
    }

    /// Which share of new flows to `frontend` each address gets; those that get none are left out.
    pub fn shares(&self, frontend: config::Frontend) -> BTreeMap<IpAddr, f64> {
        let frontend = self.frontend_of_rule(frontend).and_then(|id| self.frontend(id));
        let shares = frontend.map(Frontend::shares).unwrap_or_default().into_iter();
        shares.filter_map(|(id, share)| Some((self.backend(id)?.address, share))).collect()
    }

    /// The backend whose responses come from `key`.
    #[inline]
    pub(crate) fn responder_at(&self, key: EndpointKey) -> Option<BackendId> {
        self.by_response.get(key.0).map(|id| BackendId(id as u32))
    }

    /// The same for full NAT.
    pub(crate) fn bound_frontend_at(
        &self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
    ) -> Option<FrontendId> {
        let word = self.by_frontend_bound.get(wide_endpoint(address, port, protocol.number()))?;
        Some(FrontendId(FrontendWord(word).frontend()))
    }

    /// The key of a flow whose frontend may have several addresses, ports or protocols.
    pub(crate) fn broad_key(&self, key: WideKey, id: FrontendId, to: SocketAddr, protocol: u8) -> WideKey {
        let Some(endpoint) = self.frontend(id).map(|frontend| frontend.endpoint) else { return key };
        let key = if endpoint.one_port().is_some() { key } else { key.to_port(to.port()) };
        let key = if endpoint.is_one_address() { key } else { key.to_address(to.ip()) };
        if endpoint.protocol == ProtocolSelector::Any { key.of_protocol(protocol) } else { key }
    }

    /// The backend that answers from several ports there.
    pub(crate) fn broad_responder_at(&self, address: IpAddr, port: u16, protocol: u8) -> Option<BackendId> {
        let id = BackendId(self.by_response_broad.get(wide_endpoint(address, 0, protocol))? as u32);
        let endpoint = self.frontend(self.backend(id)?.frontend)?.endpoint;
        endpoint.takes(endpoint.address, Some(port), protocol).then_some(id)
    }

    /// The backend in IPv6 whose responses come from there, and whether its TCP flows are reset.
    pub(crate) fn wide_responder_at(
        &self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
    ) -> Option<(BackendId, bool)> {
        let key = wide_endpoint(address, port, protocol.number());
        let found = |map: &WideMap, is_reset| map.get(key).map(|id| (BackendId(id as u32), is_reset));
        found(&self.by_response_wide, false).or_else(|| found(&self.by_reset_wide, true))
    }

    /// The same, for backends whose TCP flows are reset.
    pub(crate) fn resetting_at(&self, key: EndpointKey) -> Option<BackendId> {
        self.by_reset.get(key.0).map(|id| BackendId(id as u32))
    }

    /// The record of a frontend; `None` for an id that this generation does not hold.
    #[inline]
    pub fn frontend(&self, id: FrontendId) -> Option<&Frontend> {
        self.frontends.get(usize::from(id.0))
    }

    /// The record of a flow's frontend.
    #[inline(always)]
    pub(crate) fn frontend_of(&self, key: impl Flow) -> Option<&Frontend> {
        self.frontend(FrontendId(key.frontend()))
    }

    /// The record of a backend; `None` for an id that this generation does not hold.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.index())
    }

    /// What packets to a backend need; `None` for an id that this generation does not hold.
    #[inline(always)]
    pub(crate) fn to_backend(&self, id: BackendId) -> Option<&ToBackend> {
        self.to_backend.get(id.index())
    }

    /// Whether `address` is ours.
    #[inline(always)]
    pub(crate) fn is_local(&self, address: Ipv4Addr) -> bool {
        self.locals.get(address_key(address)).is_some()
    }

    /// Whether, and how, an address of either family is ours.
    pub(crate) fn local_at(&self, address: IpAddr) -> Option<Local> {
        let of_network = || (!self.broad.is_empty() && self.broad.has(address)).then_some(Local::Frontend);
        self.local_word(address).map(Local::of_word).or_else(of_network)
    }

    /// Whether `address` is ours.
    #[inline(always)]
    pub(crate) fn is_local6(&self, address: Ipv6Addr) -> bool {
        let is_known = self.locals_wide.get(wide_endpoint(address.into(), 0, 0)).is_some();
        is_known || !self.broad.is_empty() && self.broad.has(address.into())
    }

    fn local_word(&self, address: IpAddr) -> Option<u64> {
        match address {
            IpAddr::V4(address) => self.locals.get(address_key(address)),
            IpAddr::V6(_) => self.locals_wide.get(wide_endpoint(address, 0, 0)),
        }
    }

    /// What becomes of echo requests to `address`, if it is ours.
    pub(crate) fn echo_at(&self, address: IpAddr) -> Option<Echo> {
        let of_address = self.local_word(address).map(Echo::of_word);
        let of_networks = self.broad.networks_with(address).filter_map(|id| Some(self.frontend(id)?.echo));
        of_address.into_iter().chain(of_networks).max()
    }

    /// Whether neighbours at `port` find `address` with us: a port's own at that port, a frontend's at every port.
    pub(crate) fn is_ours_at(&self, address: IpAddr, port: PortId) -> bool {
        match self.local_at(address) {
            Some(Local::Port(own)) => own == port,
            Some(Local::Frontend) => true,
            None => false,
        }
    }

    /// The port's own address of the family of `like`.
    pub(crate) fn own_address(&self, port: PortId, like: IpAddr) -> Option<IpAddr> {
        let own = self.own.get(port.index())?;
        if like.is_ipv4() { own.v4.map(IpAddr::V4) } else { own.v6.map(IpAddr::V6) }
    }

    /// Whether a segment that came in by `port`, for `to`, can be an endpoint's answer to a probe.
    pub(crate) fn answers_probe(&self, port: PortId, from: SocketAddr, to: SocketAddr) -> bool {
        let key = wide_endpoint(from.ip(), from.port(), Protocol::Tcp.number());
        to.port() >= PROBE_PORT_FIRST
            && self.probed.get(key) == Some(u64::from(port.0))
            && self.local_at(to.ip()) == Some(Local::Port(port))
    }

    /// The port's Ethernet address and limits.
    #[inline]
    pub(crate) fn port(&self, port: PortId) -> Option<&PortLink> {
        self.ports.get(port.index())
    }
}

/// The key of an address in a [`WordMap`]; never zero.
#[inline(always)]
pub(crate) fn address_key(address: Ipv4Addr) -> u64 {
    u64::from(u32::from_le_bytes(address.octets())) << 32 | 1
}
