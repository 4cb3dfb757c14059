//! The first stages: what a frame is, and whose.

use std::net::Ipv4Addr;

use super::lanes::{Client, Lane, Lanes, Ours, Outcome, Response, Source};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{
    EndpointKey, FlowKey, Ipv4Packet, Packet, Parsed, PlainPacket, flaw_of_source, is_martian, parse,
};
use crate::snapshot::{BackendId, PortLink, Snapshot};
use crate::wire::ethernet;

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
    /// Reads every frame's headers, and finds out which frontend it is for. What is for none is left for the
    /// next stages: plain packets on one list, all other frames on another.
    #[inline(always)]
    pub(super) fn find_clients<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let Self { clients, strangers, rest, outcomes, .. } = self;
        let mut clients = clients.fill();
        let Some(link) = world.port(source.port()) else {
            let drop = Outcome::Drop(DropReason::NotOurs);
            Self::numbered(burst).for_each(|(lane, _)| outcomes.decide(lane, drop));
            return;
        };
        // Where the port takes frames to any station, nothing is compared.
        let mask = if link.filters { ethernet::DESTINATION_MASK } else { 0 };
        let station = ethernet::destination_word(link.mac);
        let (by_frontend, frontends) = (&world.by_frontend, &*world.frontends);
        for (lane, frame) in Self::numbered(burst) {
            let plain = PlainPacket::parse(frame.bytes());
            let Some(packet) = plain.filter(|p| (p.destination_station() ^ station) & mask == 0) else {
                rest.push(lane);
                continue;
            };
            if let Some(id) = by_frontend.get(packet.destination().0)
                && let Some(frontend) = frontends.get(id as usize)
            {
                let client = packet.client_word();
                let key = FlowKey::of_client(client, id as u16);
                let tcp_flags = packet.tcp_flags;
                clients.push(Client { key, lane, tcp_flags }, client ^ frontend.flow_seed);
            } else {
                strangers.push(lane);
            }
        }
    }

    /// Finds out which backends the plain packets that are for no frontend come from.
    #[inline(always)]
    pub(super) fn find_responses<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let Self { strangers, rest, responses, .. } = self;
        for lane in strangers.as_slice() {
            let packet = burst.get(lane.as_usize()).and_then(|frame| PlainPacket::parsed(frame.bytes()));
            let backend = packet.and_then(|packet| {
                let id = BackendId(world.by_response.get(packet.source().0)?);
                let to = packet.destination_address();
                let is_behind = world.backend(id)?.next_hop.is_behind(source.port());
                let is_fine = is_behind
                    && world.local(to).is_none()
                    && !is_martian(to)
                    && packet.destination_port_word() != 0;
                is_fine.then_some(id)
            });
            match backend {
                Some(backend) => responses.push(Response { backend, lane: *lane }),
                // What is wrong with it is found out there.
                None => rest.push(*lane),
            }
        }
    }

    /// Looks closely at all that is left: what is not plain TCP or UDP, and what has something wrong with it.
    #[inline(always)]
    pub(super) fn sort_rest<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        for i in 0..self.rest.as_slice().len() {
            let lane = self.rest.as_slice()[i];
            let (Some(frame), Some(link)) = (burst.get(lane.as_usize()), world.port(source.port())) else {
                continue;
            };
            match classify_rare(frame.bytes(), lane, link, source, world) {
                Class::Client(client, to_hash) => self.clients.push(client, to_hash),
                Class::Response(backend) => self.responses.push(Response { backend, lane }),
                Class::Ours(what) => self.ours.push((lane, what)),
                Class::Drop(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
            }
        }
    }
}

/// A client's packet, and what is to be hashed of it, if it is to a frontend.
fn to_frontend(packet: &Packet, lane: Lane, world: &Snapshot) -> Option<(Client, u64)> {
    let to = EndpointKey::new(packet.ip.destination, packet.destination_port, packet.protocol);
    let id = world.frontend_at(to)?;
    let client = FlowKey::client_word(packet.ip.source, packet.source_port);
    let key = FlowKey::of_client(client, id.0);
    let to_hash = client ^ world.frontend(id)?.flow_seed;
    Some((Client { key, lane, tcp_flags: packet.tcp_flags }, to_hash))
}

/// Frames that are not plain TCP or UDP, or that have something wrong with them.
#[cold]
fn classify_rare(bytes: &[u8], lane: Lane, link: &PortLink, source: Source, world: &Snapshot) -> Class {
    let parsed = parse(bytes).and_then(|parsed| {
        check_mac(bytes, link, matches!(parsed, Parsed::Arp))?;
        Ok(parsed)
    });
    match parsed {
        Ok(Parsed::Transport(packet)) => match to_frontend(&packet, lane, world) {
            Some((client, to_hash)) => Class::Client(client, to_hash),
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
