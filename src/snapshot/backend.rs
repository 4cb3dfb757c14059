//! What the path needs of a backend: a record for each purpose, and no larger than it has to be, so that those
//! of many backends stay in the nearest caches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::routes::Hop;
use super::{BackendIdentity, FrontendId, NextHop, SourceSet};
use crate::config::Endpoint;
use crate::config::ProtocolSelector;
use crate::io::PortId;
use crate::wire::checksum::Delta;
use crate::wire::encap::{Front, Template};
use crate::wire::{Protocol, l4};

/// A backend of one rule.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its own address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whose backend it is.
    pub frontend: FrontendId,
    /// Where it is.
    pub(crate) next_hop: NextHop,
    /// How clients' packets get to it.
    pub(crate) forwarding: Forwarding,
    /// What sources are translated to: by full NAT, and by NAT those of backends that are clients themselves.
    pub(crate) sources: Option<SourceSet>,
}

/// How clients' packets get to a backend, and its own to them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forwarding {
    /// Translated in IPv4, by [`ToBackend`] and [`ToClient`]. These are not for the other ways: but for [`Self::Direct`],
    /// nothing fits into the MTU of their [`ToBackend::hop`].
    Translate,
    /// Translated in IPv6.
    Translate6 { there: Rewrite6, back: Rewrite6 },
    /// Translated, the address alone: for frontends of several ports.
    TranslateAddress,
    /// Translated, both ends.
    FullNat,
    /// To the backend's station, the packet as it is.
    Direct,
    /// In a tunnel: its headers in front of the packet as it is.
    Tunnel(Template),
}

/// How clients' packets get to a backend, as far as loops over many of them tell ways apart: two bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Sent {
    /// By plain translation in IPv4; or they come to no such loop.
    Translated = 0,
    /// Behind the [`Front`] of the backend.
    Behind = 1,
    /// As they are, to the backend's station.
    Direct = 2,
    /// Otherwise, as [`Forwarding`] says.
    Otherwise = 3,
}

impl Forwarding {
    fn sent(&self, hop: &Hop) -> Sent {
        match self {
            _ if !self.is_other() => Sent::Translated,
            Self::Direct => Sent::Direct,
            _ if self.front(hop).is_some() => Sent::Behind,
            _ => Sent::Otherwise,
        }
    }

    /// What goes in front of plain packets, where it can be written at once.
    fn front(&self, hop: &Hop) -> Option<Front> {
        match self {
            Self::Tunnel(template) => Front::new(template, hop.addresses, hop.mtu),
            _ => None,
        }
    }

    /// Whether packets get there neither by plain translation nor by way of a port of ours.
    pub(crate) fn is_other(&self) -> bool {
        matches!(self, Self::TranslateAddress | Self::Direct | Self::Tunnel(_))
    }

    /// Whether the backend's packets to clients come by us.
    pub(crate) fn translates(&self) -> bool {
        matches!(self, Self::Translate | Self::Translate6 { .. } | Self::TranslateAddress)
    }
}

/// What a translation in IPv6 writes over, and what that does to the checksum of TCP or UDP; there is no other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewrite6 {
    /// For the address that is replaced.
    pub(crate) address: [u8; 16],
    /// For its port, in wire order.
    pub(crate) port: [u8; 2],
    /// An address, in the pseudo header, and a port replaced.
    pub(crate) l4: Delta,
    /// What is written for a sum that comes to zero.
    pub(crate) zero_checksum: [u8; 2],
    /// Where the checksum lies in a segment of the rule's protocol.
    pub(crate) checksum_at: u8,
    /// Whether the rule's protocol is UDP, else TCP.
    pub(crate) is_udp: bool,
}

/// A client's packet on its way to a backend. Half a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(crate) struct ToBackend {
    pub(crate) hop: Hop,
    pub(crate) rewrite: Rewrite,
    pub(crate) leaving: Leaving,
    pub(crate) sent: Sent,
}

/// A backend's packet on its way to a client. A quarter of a cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToClient {
    pub(crate) rewrite: Rewrite,
    /// The port that leads to the backend. From elsewhere the source address is made up, and translating
    /// it would lend it our name.
    pub(crate) from: Option<PortId>,
}

const _: () =
    assert!(size_of::<ToBackend>() == 32 && size_of::<ToClient>() == 16, "they are read for each packet");

/// What a translation writes over, and what that does to the checksums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rewrite {
    /// For the address that is replaced.
    pub(crate) address: [u8; 4],
    /// For its port, in wire order.
    pub(crate) port: [u8; 2],
    /// The IPv4 header's sum: an address replaced, and the TTL one less.
    pub(crate) ip: Delta,
    /// TCP's or UDP's sum: an address, in the pseudo header, and a port replaced.
    pub(crate) l4: Delta,
    /// What is written for a sum that comes to zero: UDP keeps zero for "no checksum" (RFC 768).
    pub(crate) zero_checksum: [u8; 2],
    /// Where the checksum lies in a segment of the rule's protocol.
    pub(crate) checksum_at: u8,
    /// Whether the rule's protocol is UDP or another without connections, else TCP.
    pub(crate) is_udp: bool,
}

/// Which flows of a backend choose another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Leaving {
    /// None.
    None = 0,
    /// It is down: those of UDP, and TCP connections that are only now asked for.
    Udp = 1,
    /// Its responses belong to another rule now, or nobody has the id: all.
    All = 2,
    /// The deadline of its drain has passed: those of UDP choose another, those of TCP are reset.
    Reset = 3,
}

impl Leaving {
    /// Whether a flow in the middle of its life chooses another.
    #[inline(always)]
    pub(crate) fn takes(self, is_udp: bool) -> bool {
        // All but `None` take UDP; of TCP all but `Udp` do, and who resets flows has asked for that first.
        self as u8 > u8::from(!is_udp)
    }
}

/// The records of all backends, by `BackendId`; those of an id that nobody has let nothing pass.
pub(super) struct Records {
    pub(super) backends: Vec<Backend>,
    pub(super) to_backend: Vec<ToBackend>,
    pub(super) to_client: Vec<ToClient>,
}

impl Records {
    /// For so many ids, of which nobody has any yet.
    pub(super) fn new(ids: usize) -> Self {
        let (next_hop, rewrite) = (NextHop::NO_ROUTE, Rewrite::default());
        let nobody = Backend {
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: 0,
            frontend: FrontendId(u16::MAX),
            next_hop,
            forwarding: Forwarding::Translate,
            sources: None,
        };
        Self {
            backends: vec![nobody; ids],
            to_backend: vec![
                ToBackend {
                    hop: next_hop.hop,
                    rewrite,
                    leaving: Leaving::All,
                    sent: Sent::Translated
                };
                ids
            ],
            to_client: vec![ToClient { rewrite, from: None }; ids],
        }
    }

    /// `otherwise` says how packets get there that are not translated by NAT.
    pub(super) fn set(
        &mut self,
        index: usize,
        identity: BackendIdentity,
        frontend: FrontendId,
        next_hop: NextHop,
        leaving: Leaving,
        (otherwise, sources): (Option<Forwarding>, Option<SourceSet>),
    ) {
        let BackendIdentity { frontend: front, address, port } = identity;
        let from = next_hop.leads_out_of();
        let is_udp = !matches!(front.protocol, ProtocolSelector::Tcp | ProtocolSelector::Any);
        // Nothing fits there: plain translation leaves all packets to the other ways.
        let hop = Hop { mtu: 0, ..next_hop.hop };
        let rewrite = Rewrite { is_udp, ..Rewrite::default() };
        let mut to_backend = ToBackend { hop, rewrite, leaving, sent: Sent::Translated };
        let mut to_client = ToClient { rewrite: Rewrite::default(), from };
        let forwarding = match (otherwise, front.exact(), front.address, address) {
            (Some(forwarding), ..) => forwarding,
            (None, Some(endpoint), IpAddr::V4(front), IpAddr::V4(address)) => {
                let (there, back) = rewrites(endpoint, front, address, port);
                to_backend = ToBackend { hop: next_hop.hop, rewrite: there, ..to_backend };
                to_client = ToClient { rewrite: back, from };
                Forwarding::Translate
            }
            (None, Some(endpoint), IpAddr::V6(front), IpAddr::V6(address)) => {
                let (there, back) = rewrites6(endpoint, front, address, port);
                Forwarding::Translate6 { there, back }
            }
            (None, ..) => Forwarding::TranslateAddress,
        };
        to_backend.sent = forwarding.sent(&next_hop.hop);
        if to_backend.sent == Sent::Direct {
            to_backend.hop = next_hop.hop;
        }
        self.to_backend[index] = to_backend;
        self.to_client[index] = to_client;
        self.backends[index] = Backend { address, port, frontend, next_hop, forwarding, sources };
    }
}

/// By id, what goes in front of plain packets to each of `backends`. None where no packet goes behind anything.
pub(super) fn fronts(backends: &[Backend]) -> Box<[Front]> {
    let front = |backend: &Backend| backend.forwarding.front(&backend.next_hop.hop);
    if !backends.iter().any(|backend| front(backend).is_some()) {
        return Box::default();
    }
    backends.iter().map(|backend| front(backend).unwrap_or(Front::CLOSED)).collect()
}

/// The way to the backend, and the way back.
fn rewrites(frontend: Endpoint, front: Ipv4Addr, back: Ipv4Addr, back_port: u16) -> (Rewrite, Rewrite) {
    let is_udp = frontend.protocol == Protocol::Udp;
    let (front, back) = (front.octets(), back.octets());
    let (front_port, back_port) = (frontend.port.to_be_bytes(), back_port.to_be_bytes());
    // One hop less: the TTL is the high byte of its word, the protocol the low one.
    let hop = Delta::NONE.replace([1, 0], [0, 0]);
    let rewrite = |from: [u8; 4], to: [u8; 4], from_port: [u8; 2], to_port: [u8; 2]| Rewrite {
        address: to,
        port: to_port,
        ip: hop.replace(from, to),
        l4: Delta::NONE.replace(from, to).replace(from_port, to_port),
        zero_checksum: if is_udp { [0xff, 0xff] } else { [0, 0] },
        checksum_at: if is_udp { l4::UDP_CHECKSUM_OFFSET } else { l4::TCP_CHECKSUM_OFFSET } as u8,
        is_udp,
    };
    (rewrite(front, back, front_port, back_port), rewrite(back, front, back_port, front_port))
}

/// The same in IPv6.
fn rewrites6(frontend: Endpoint, front: Ipv6Addr, back: Ipv6Addr, back_port: u16) -> (Rewrite6, Rewrite6) {
    let is_udp = frontend.protocol == Protocol::Udp;
    let (front, back) = (front.octets(), back.octets());
    let (front_port, back_port) = (frontend.port.to_be_bytes(), back_port.to_be_bytes());
    let rewrite = |from: [u8; 16], to: [u8; 16], from_port: [u8; 2], to_port: [u8; 2]| Rewrite6 {
        address: to,
        port: to_port,
        l4: Delta::NONE.replace(from, to).replace(from_port, to_port),
        zero_checksum: if is_udp { [0xff, 0xff] } else { [0, 0] },
        checksum_at: if is_udp { l4::UDP_CHECKSUM_OFFSET } else { l4::TCP_CHECKSUM_OFFSET } as u8,
        is_udp,
    };
    (rewrite(front, back, front_port, back_port), rewrite(back, front, back_port, front_port))
}
