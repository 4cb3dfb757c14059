//! Errors of others: which flow of ours they are about (RFC 5508 section 4, RFC 4443 section 3).

use super::tunnel;
use crate::dataplane::classify::{Class, is_behind, responder, to_frontend, to_source};
use crate::dataplane::flow_table::Key;
use crate::dataplane::full_nat::{Name, ToSource};
use crate::dataplane::lanes::Source;
use crate::dataplane::look_up::is_of_pool;
use crate::dataplane::outbound::AboutOutbound;
use crate::dataplane::own_address::AboutOwn;
use crate::drop_reason::DropReason;
use crate::packet::{
    FlowKey, IpPacket, Packet, Quote, WideKey, flaw_of_source, is_martian, parse_quote, quote_offset,
};
use crate::snapshot::{BackendId, Snapshot};
use crate::wire::l4::TcpFlags;
use crate::wire::{icmp, icmpv6};

/// An ICMP error about a packet of a flow of ours.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Notice {
    /// The packet that brings it.
    pub(super) ip: IpPacket,
    pub(super) quote: Quote,
    pub(super) about: About,
}

/// Which packet an error is about.
#[derive(Clone, Copy)]
pub(super) enum About {
    /// A response on its way to the client of this flow.
    Response(Conversation),
    /// A client's packet that was translated for this backend.
    Translated(BackendId),
    /// A packet of ours to a backend, that would be answered so: full NAT.
    Bound(ToSource),
    /// One of a flow that a backend has opened.
    Outbound(AboutOutbound),
    /// One to or from an address of a backend's own.
    Own(AboutOwn),
    /// Our own that had a client's in it.
    InTunnel(Conversation, IpPacket),
}

/// A flow, as it is found in the table.
#[derive(Clone, Copy)]
pub(super) enum Conversation {
    Narrow(FlowKey, u64),
    Wide(WideKey, u64),
    /// That has a port of ours.
    Bound(Name),
}

impl Conversation {
    /// That of a client's packet.
    fn of(packet: &Packet, world: &Snapshot) -> Option<Self> {
        match to_frontend(packet, world)? {
            Class::Client(client) => Some(Self::Narrow(client.key, world.hash.word(client.to_hash))),
            Class::WideClient(client) => Some(Self::Wide(client.key, client.hash)),
            Class::Bound(client) => {
                Some(Self::Bound(Name::new(client.key, client.hash, packet.ip.destination, world)))
            }
            _ => None,
        }
        .map(|flow| flow.of_hairpin(world).unwrap_or(flow))
    }

    /// The same of a backend that is a client of its own frontend.
    fn of_hairpin(self, world: &Snapshot) -> Option<Self> {
        let (key, hash) = match self {
            Self::Narrow(key, hash) => (key.widened(), hash),
            Self::Wide(key, hash) => (key, hash),
            Self::Bound(_) => return None,
        };
        let frontend = world.frontend_of(key).filter(|frontend| frontend.hairpin)?;
        let is_one = is_of_pool(key, world);
        is_one.then(|| Self::Bound(Name::new(key, hash, frontend.endpoint.address, world)))
    }

    pub(super) fn hash(self) -> u64 {
        match self {
            Self::Narrow(_, hash) | Self::Wide(_, hash) => hash,
            Self::Bound(name) => name.hash(),
        }
    }
}

impl Notice {
    /// `None` for messages that are no errors, or about nothing of ours. `message` is the frame's, its checksum right.
    pub(super) fn of(
        frame: &[u8],
        ip: &IpPacket,
        message: &[u8],
        source: Source,
        world: &Snapshot,
    ) -> Result<Option<Self>, DropReason> {
        let is_passed_on = message.first().is_some_and(|kind| is_passed_on(*kind, ip));
        let Some(at) = quote_offset(message, ip).filter(|_| is_passed_on) else { return Ok(None) };
        let whole = frame.get(..ip.end()).unwrap_or_default();
        let quote = match parse_quote(whole, at) {
            // An error goes to whom it quotes.
            Ok(quote) if quote.ip.source == ip.destination => quote,
            Err(reason) if world.local_at(ip.destination).is_some() => return Err(reason),
            _ => return Ok(None),
        };
        let about =
            if let Some(flow) = quoted(&quote).and_then(|sent| Conversation::of(&sent.turned(), world)) {
                About::Response(flow)
            } else if let Some(to) = quoted(&quote).and_then(|sent| to_source(&sent.turned(), world)) {
                // Tunnels of UDP may have the same address, and some of the same ports.
                let inner = tunnel::inner(whole, &quote, world).ok().flatten();
                inner.and_then(|inner| in_tunnel(&inner, world)).unwrap_or(About::Bound(to))
            } else if let Some(id) = quoted(&quote).and_then(|sent| backend_of(&sent, world)) {
                check_way(id, ip, source, world)?;
                About::Translated(id)
            } else if let Some(about) = AboutOwn::of(&quote, ip, source, world) {
                About::Own(about?)
            } else if let Some(about) = AboutOutbound::of(whole, &quote, world) {
                About::Outbound(about)
            } else if let Some(inner) = tunnel::inner(whole, &quote, world)? {
                let Some(about) = in_tunnel(&inner, world) else { return Ok(None) };
                about
            } else {
                return Ok(None);
            };
        if let Some(flaw) = flaw_of_source(ip.source, 1) {
            return Err(flaw);
        }
        if world.local_at(ip.source).is_some() {
            return Err(DropReason::MartianSource);
        }
        Ok(Some(Self { ip: *ip, quote, about }))
    }

    /// Who sent it.
    pub(in crate::dataplane) fn source(&self) -> std::net::IpAddr {
        self.ip.source
    }

    /// What is quoted.
    pub(in crate::dataplane) fn quoted(&self) -> IpPacket {
        self.quote.ip
    }

    /// Where the quoted packet's ports stand in the frame.
    pub(in crate::dataplane) fn quoted_ends_offset(&self) -> usize {
        self.quote.ip.payload_offset.into()
    }
}

/// That a client's packet was in a tunnel, if it is of a flow.
fn in_tunnel(inner: &Quote, world: &Snapshot) -> Option<About> {
    let flow = quoted(inner).and_then(|sent| Conversation::of(&sent.0, world))?;
    Some(About::InTunnel(flow, inner.ip))
}

/// Errors that the packet's sender has a use for. Source quench is not to be sent any more (RFC 6633), and a redirect is
/// for the host at its own link only.
fn is_passed_on(kind: u8, ip: &IpPacket) -> bool {
    if ip.source.is_ipv4() {
        matches!(kind, icmp::TYPE_UNREACHABLE | icmp::TYPE_TIME_EXCEEDED | icmp::TYPE_PARAMETER_PROBLEM)
    } else {
        matches!(kind, icmpv6::TYPE_UNREACHABLE..=icmpv6::TYPE_PARAMETER_PROBLEM)
    }
}

/// A quoted packet, as far as it names a flow.
struct Quoted(Packet);

fn quoted(quote: &Quote) -> Option<Quoted> {
    let ends = quote.ends?;
    Some(Quoted(Packet {
        ip: quote.ip,
        source_port: ends.source_port,
        destination_port: ends.destination_port,
        protocol: ends.protocol,
        tcp_flags: TcpFlags::default(),
    }))
}

impl Quoted {
    /// The packet that this one answers.
    fn turned(&self) -> Packet {
        let Packet { ip, source_port, destination_port, .. } = self.0;
        let ip = IpPacket { source: ip.destination, destination: ip.source, ..ip };
        Packet { ip, source_port: destination_port, destination_port: source_port, ..self.0 }
    }
}

/// The backend that the packet was translated for.
fn backend_of(sent: &Quoted, world: &Snapshot) -> Option<BackendId> {
    let Packet { ip, destination_port: port, protocol, .. } = sent.0;
    let one = responder(ip.destination, port, protocol, world).map(|(id, _)| id);
    one.or_else(|| world.broad_responder_at(ip.destination, port, protocol.number()))
}

/// Whether an error about a packet to the backend can come in here, and can go on to a client: it will bear our name.
fn check_way(id: BackendId, ip: &IpPacket, source: Source, world: &Snapshot) -> Result<(), DropReason> {
    if is_martian(ip.destination) || world.local_at(ip.destination).is_some() {
        return Err(DropReason::MartianDestination);
    }
    let backend = world.to_client.get(id.index()).ok_or(DropReason::NotOurs)?;
    if is_behind(backend, source) { Ok(()) } else { Err(DropReason::WrongPort) }
}
