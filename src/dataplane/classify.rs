//! The first stage: what a frame is, and whose.

use std::net::Ipv4Addr;

use super::lanes::{Client, Lane, Lanes, Ours, Outcome, Response, Source};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{
    EndpointKey, FlowKey, Ipv4Packet, Packet, Parsed, flaw_of_source, is_martian, parse, parse_plain,
};
use crate::snapshot::{BackendId, PortLink, Snapshot};
use crate::wire::ethernet;
use crate::wire::plain::PlainHeaders;

/// What a frame is to us.
enum Class {
    /// A client's packet to a frontend, and what is to be hashed of it.
    Client(Client, u64),
    /// A backend's packet to a client.
    Response(BackendId),
    /// For us to answer.
    Ours(Ours),
    /// Nothing.
    Drop(DropReason),
}

impl Lanes {
    /// Reads every frame's headers, and finds out which frontend it is for or which backend it is from.
    #[inline(always)]
    pub(super) fn classify<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let Self { clients, hashes, responses, ours, outcomes, .. } = self;
        let Some(link) = world.port(source.port()) else {
            let drop = Outcome::Drop(DropReason::NotOurs);
            Self::numbered(burst).for_each(|(lane, _)| outcomes.decide(lane, drop));
            return;
        };
        // Where the port takes frames to any station, nothing is compared.
        let mask = if link.filters { ethernet::DESTINATION_MASK } else { 0 };
        let station = ethernet::destination_word(link.mac);
        let is_for_us = |h: &PlainHeaders| (h.destination_and_source.get() ^ station) & mask == 0;
        for (lane, frame) in Self::numbered(burst) {
            let bytes = frame.bytes();
            let plain = parse_plain(bytes).filter(|_| PlainHeaders::of(bytes).is_some_and(is_for_us));
            let class = match plain {
                Some(packet) => match to_frontend(&packet, world) {
                    // Filed here, because nearly all are such.
                    Some((client, word)) => {
                        clients.push(Client { lane, ..client });
                        hashes.push(word);
                        continue;
                    }
                    None => from_backend(&packet, source, world).map_or_else(Class::Drop, Class::Response),
                },
                None => classify_rare(bytes, link, source, world),
            };
            match class {
                Class::Client(client, word) => {
                    clients.push(Client { lane, ..client });
                    hashes.push(word);
                }
                Class::Response(backend) => responses.push(Response { backend, lane }),
                Class::Ours(what) => ours.push((lane, what)),
                Class::Drop(reason) => outcomes.decide(lane, Outcome::Drop(reason)),
            }
        }
    }
}

/// A client's packet, and what is to be hashed of it, if it is to a frontend.
#[inline(always)]
fn to_frontend(packet: &Packet, world: &Snapshot) -> Option<(Client, u64)> {
    let to = EndpointKey::new(packet.ip.destination, packet.destination_port, packet.protocol);
    let id = world.frontend_at(to)?;
    let frontend = world.frontend(id)?;
    let key = FlowKey::new(packet.ip.source, packet.source_port, id.0);
    let backend = BackendId::NONE;
    let client = Client { key, backend, frontend: id, lane: Lane::default(), tcp_flags: packet.tcp_flags };
    Some((client, key.client() ^ frontend.flow_seed))
}

/// Frames that are not plain TCP or UDP, or that have something wrong with them.
#[cold]
fn classify_rare(bytes: &[u8], link: &PortLink, source: Source, world: &Snapshot) -> Class {
    let parsed = parse(bytes).and_then(|parsed| {
        check_mac(bytes, link, matches!(parsed, Parsed::Arp))?;
        Ok(parsed)
    });
    match parsed {
        Ok(Parsed::Transport(packet)) => match to_frontend(&packet, world) {
            Some((client, word)) => Class::Client(client, word),
            None => from_backend(&packet, source, world).map_or_else(Class::Drop, Class::Response),
        },
        Ok(Parsed::Icmp(ip)) => {
            classify_other(&ip, world).map_or_else(Class::Drop, |()| Class::Ours(Ours::Icmp(ip)))
        }
        Ok(Parsed::OtherIpv4(ip)) => {
            Class::Drop(classify_other(&ip, world).err().unwrap_or(DropReason::NoRule))
        }
        Ok(Parsed::Arp) => Class::Ours(Ours::Arp),
        Err(reason) => Class::Drop(reason),
    }
}

/// Whether the frame is for this station. ARP may be broadcast, IP may not (RFC 1122 section 3.3.6).
fn check_mac(bytes: &[u8], link: &PortLink, broadcast_is_fine: bool) -> Result<(), DropReason> {
    let header = bytes.first_chunk().ok_or(DropReason::EthernetTruncated)?;
    let destination = ethernet::addresses(header).destination();
    if destination == link.mac || !link.filters || broadcast_is_fine && destination.is_group() {
        Ok(())
    } else {
        Err(DropReason::WrongMac)
    }
}

/// The backend that sent the packet to a client.
#[inline(always)]
fn from_backend(packet: &Packet, source: Source, world: &Snapshot) -> Result<BackendId, DropReason> {
    let from = EndpointKey::new(packet.ip.source, packet.source_port, packet.protocol);
    let Some(id) = world.responder_at(from) else {
        // Either port will do to name the flaw that a port can have.
        let port = if packet.destination_port == 0 { 0 } else { packet.source_port };
        return Err(stranger(packet.ip.source, port, packet.ip.destination, world));
    };
    if world.local(packet.ip.destination).is_some() {
        return Err(DropReason::NoRule);
    }
    if is_martian(packet.ip.destination) || packet.destination_port == 0 {
        return Err(DropReason::MartianDestination);
    }
    let backend = world.backend(id).ok_or(DropReason::NotOurs)?;
    // From elsewhere the source address is made up, and translating it would lend it our name.
    if backend.next_hop.is_behind(source.port()) { Ok(id) } else { Err(DropReason::WrongPort) }
}

/// Why a packet is not for us to forward.
#[cold]
fn stranger(source: Ipv4Addr, port: u16, destination: Ipv4Addr, world: &Snapshot) -> DropReason {
    if let Some(flaw) = flaw_of_source(source, port) {
        flaw
    } else if world.local(source).is_some() {
        // Nobody but us sends from our addresses: such a packet was made up, or loops.
        DropReason::MartianSource
    } else if world.local(destination).is_some() {
        DropReason::NoRule
    } else {
        DropReason::NotOurs
    }
}

/// Whether a packet that is neither TCP nor UDP is for us.
fn classify_other(ip: &Ipv4Packet, world: &Snapshot) -> Result<(), DropReason> {
    // Without ports there is none that could be wrong.
    match stranger(ip.source, 1, ip.destination, world) {
        DropReason::NoRule => Ok(()),
        reason => Err(reason),
    }
}
