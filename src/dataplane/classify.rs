//! The first stages: what a frame is, and whose.

use super::lanes::{Class, Client, Lanes, Outcome, Source};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{EndpointKey, FlowKey, Ipv4Packet, Packet, Parsed, parse};
use crate::snapshot::{BackendId, FrontendId, NextHop, PortLink, Snapshot};
use crate::wire::ethernet;

impl Lanes {
    /// Reads every frame's headers.
    #[inline]
    pub(super) fn parse<F: Frame>(&mut self, burst: &[F]) {
        for (lane, frame) in burst.iter().take(self.len).enumerate() {
            match parse(frame.bytes()) {
                Ok(parsed) => {
                    self.parsed[lane] = parsed;
                    self.class[lane] = Class::Parsed;
                }
                Err(reason) => self.decide(lane, Outcome::Drop(reason)),
            }
        }
    }

    /// Finds out for every packet which frontend it is for, or which backend it is from.
    pub(super) fn classify<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let Some(link) = world.port(source.port()) else {
            (0..self.len).for_each(|lane| self.decide(lane, Outcome::Drop(DropReason::NotOurs)));
            return;
        };
        for (lane, frame) in burst.iter().take(self.len).enumerate() {
            if matches!(self.class[lane], Class::Decided) {
                continue;
            }
            let parsed = self.parsed[lane];
            match self.classify_one(lane, &parsed, frame, link, source, world) {
                Ok(class) => self.class[lane] = class,
                Err(reason) => self.decide(lane, Outcome::Drop(reason)),
            }
        }
    }

    #[inline]
    fn classify_one<F: Frame>(
        &mut self,
        lane: usize,
        parsed: &Parsed,
        frame: &F,
        link: &PortLink,
        source: Source,
        world: &Snapshot,
    ) -> Result<Class, DropReason> {
        match parsed {
            Parsed::Transport(packet) => {
                check_mac(frame, link, false)?;
                match classify_transport(packet, source, world)? {
                    Transport::ToFrontend(frontend) => {
                        let key = FlowKey::new(packet.ip.source, packet.source_port, frontend.0);
                        self.clients.push(Client { lane: lane as u8, frontend, key, backend: None });
                        Ok(Class::Client)
                    }
                    Transport::FromBackend(backend) => Ok(Class::Response(backend)),
                }
            }
            Parsed::Icmp(ip) | Parsed::OtherIpv4(ip) => {
                check_mac(frame, link, false)?;
                classify_other(ip, matches!(parsed, Parsed::Icmp(_)), world)
            }
            Parsed::Arp => check_mac(frame, link, true).map(|()| Class::Arp),
        }
    }
}

/// What a TCP or UDP packet is to us.
enum Transport {
    ToFrontend(FrontendId),
    FromBackend(BackendId),
}

/// Whether the frame is for this station. ARP may be broadcast, IP may not (RFC 1122 section 3.3.6).
#[inline]
fn check_mac<F: Frame>(frame: &F, link: &PortLink, broadcast_is_fine: bool) -> Result<(), DropReason> {
    if !link.filters {
        return Ok(());
    }
    let header = frame.bytes().first_chunk().ok_or(DropReason::EthernetTruncated)?;
    let destination = ethernet::addresses(header).destination();
    if destination == link.mac || broadcast_is_fine && destination.is_group() {
        Ok(())
    } else {
        Err(DropReason::WrongMac)
    }
}

#[inline]
fn classify_transport(packet: &Packet, source: Source, world: &Snapshot) -> Result<Transport, DropReason> {
    let to = EndpointKey::new(packet.ip.destination, packet.destination_port, packet.protocol);
    if let Some(frontend) = world.frontend_at(to) {
        // Nobody but us sends from our addresses: such a packet was made up, or loops.
        return match world.local(packet.ip.source) {
            None => Ok(Transport::ToFrontend(frontend)),
            Some(_) => Err(DropReason::MartianSource),
        };
    }
    let from = EndpointKey::new(packet.ip.source, packet.source_port, packet.protocol);
    let responder = world.responder_at(from);
    if world.local(packet.ip.destination).is_some() {
        let is_ours = world.local(packet.ip.source).is_some();
        return Err(if is_ours { DropReason::MartianSource } else { DropReason::NoRule });
    }
    let Some(id) = responder else {
        let is_ours = world.local(packet.ip.source).is_some();
        return Err(if is_ours { DropReason::MartianSource } else { DropReason::NotOurs });
    };
    let backend = world.backend(id).ok_or(DropReason::NotOurs)?;
    // From elsewhere the source address is made up, and translating it would lend it our name.
    match backend.next_hop {
        NextHop::Known { port, .. } | NextHop::Unresolved { port, .. } if port != source.port() => {
            Err(DropReason::WrongPort)
        }
        _ => Ok(Transport::FromBackend(id)),
    }
}

fn classify_other(ip: &Ipv4Packet, is_icmp: bool, world: &Snapshot) -> Result<Class, DropReason> {
    let from_us = world.local(ip.source).is_some();
    match world.local(ip.destination) {
        _ if from_us => Err(DropReason::MartianSource),
        Some(_) if is_icmp => Ok(Class::Icmp),
        Some(_) => Err(DropReason::NoRule),
        None => Err(DropReason::NotOurs),
    }
}
