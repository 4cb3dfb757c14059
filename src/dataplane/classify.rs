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

impl Lanes {
    /// Reads every frame's headers, and finds out which frontend it is for or which backend it is from.
    #[inline(always)]
    pub(super) fn classify<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let Some(link) = world.port(source.port()) else {
            (Self::numbered(burst))
                .for_each(|(lane, _)| self.outcomes.decide(lane, Outcome::Drop(DropReason::NotOurs)));
            return;
        };
        // Where the port takes frames to any station, nothing is compared.
        let mask = if link.filters { ethernet::DESTINATION_MASK } else { 0 };
        let station = ethernet::destination_word(link.mac);
        for (lane, frame) in Self::numbered(burst) {
            let bytes = frame.bytes();
            let is_for_us = |h: &PlainHeaders| (h.destination_and_source.get() ^ station) & mask == 0;
            match parse_plain(bytes).filter(|_| PlainHeaders::of(bytes).is_some_and(is_for_us)) {
                Some(packet) => self.classify_transport(lane, &packet, source, world),
                None => self.classify_rare(lane, bytes, link, source, world),
            }
        }
    }

    #[inline(always)]
    fn classify_transport(&mut self, lane: Lane, packet: &Packet, source: Source, world: &Snapshot) {
        let to = EndpointKey::new(packet.ip.destination, packet.destination_port, packet.protocol);
        if let Some(frontend) = world.frontend_at(to) {
            let key = FlowKey::new(packet.ip.source, packet.source_port, frontend.0);
            let seed = world.frontend(frontend).map_or(0, |frontend| frontend.flow_seed);
            let tcp_flags = packet.tcp_flags;
            self.clients.push(Client { key, backend: BackendId::NONE, frontend, lane, tcp_flags });
            self.hashes.push(key.client() ^ seed);
            return;
        }
        match classify_response(packet, source, world) {
            Ok(backend) => self.responses.push(Response { backend, lane }),
            Err(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
        }
    }

    /// Frames that are not plain TCP or UDP, or that have something wrong with them.
    #[cold]
    fn classify_rare(&mut self, lane: Lane, bytes: &[u8], link: &PortLink, source: Source, world: &Snapshot) {
        let parsed = match parse(bytes) {
            Ok(parsed) => parsed,
            Err(reason) => return self.outcomes.decide(lane, Outcome::Drop(reason)),
        };
        let is_arp = matches!(parsed, Parsed::Arp);
        if let Err(reason) = check_mac(bytes, link, is_arp) {
            return self.outcomes.decide(lane, Outcome::Drop(reason));
        }
        match parsed {
            Parsed::Transport(packet) => self.classify_transport(lane, &packet, source, world),
            Parsed::Icmp(ip) => match classify_other(&ip, world) {
                Ok(()) => self.ours.push((lane, Ours::Icmp(ip))),
                Err(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
            },
            Parsed::OtherIpv4(ip) => {
                let reason = classify_other(&ip, world).err().unwrap_or(DropReason::NoRule);
                self.outcomes.decide(lane, Outcome::Drop(reason));
            }
            Parsed::Arp => self.ours.push((lane, Ours::Arp)),
        }
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

#[inline(always)]
fn classify_response(packet: &Packet, source: Source, world: &Snapshot) -> Result<BackendId, DropReason> {
    let from = EndpointKey::new(packet.ip.source, packet.source_port, packet.protocol);
    let Some(id) = world.responder_at(from) else {
        return Err(stranger(packet.ip.source, packet.source_port, packet.ip.destination, world));
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
fn stranger(source: Ipv4Addr, source_port: u16, destination: Ipv4Addr, world: &Snapshot) -> DropReason {
    if let Some(flaw) = flaw_of_source(source, source_port) {
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
