//! Frames that are for us: ARP, and echo requests. They are rare; the stage returns at once without them.

use super::lanes::{Event, Lanes, Ours, Outcome, Source};
use crate::drop_reason::DropReason;
use crate::io::{Frame, PortId};
use crate::packet::IpPacket;
use crate::snapshot::{Local, PortLink, Snapshot};
use crate::wire::ethernet::{self, Addresses};
use crate::wire::{MacAddr, arp, checksum, icmp, ipv4};

impl Lanes {
    /// Answers what is asked of us.
    #[inline(always)]
    pub(super) fn answer<F: Frame>(&mut self, burst: &mut [F], source: Source, world: &Snapshot) {
        // In their order: of two that a neighbour says of itself the later one holds.
        for i in 0..self.ours.len() {
            let (lane, ours) = self.ours[i];
            if let (Some(frame), Some(link)) = (burst.get_mut(lane.index()), world.port(source.port())) {
                let outcome = self.answer_one(frame.bytes_mut(), ours, source.port(), link, world);
                self.outcomes.decide(lane, outcome.unwrap_or_else(Outcome::Drop));
            }
        }
    }

    #[cold]
    fn answer_one(
        &mut self,
        frame: &mut [u8],
        ours: Ours,
        port: PortId,
        link: &PortLink,
        world: &Snapshot,
    ) -> Result<Outcome, DropReason> {
        match ours {
            Ours::Arp => self.answer_arp(frame, port, link, world),
            Ours::Icmp(ip) => answer_echo(frame, &ip, link).map(|()| Outcome::Answer(port)),
            Ours::ProbeAnswer => Ok(Outcome::HandUp),
        }
    }

    /// RFC 826. That somebody else claims an address of ours is counted; we neither give way nor defend it.
    fn answer_arp(
        &mut self,
        frame: &mut [u8],
        port: PortId,
        link: &PortLink,
        world: &Snapshot,
    ) -> Result<Outcome, DropReason> {
        let packet = frame.get(ethernet::HEADER_LEN..).map(arp::Packet::parse);
        let Some(Ok(packet)) = packet else { return Err(DropReason::ArpMalformed) };
        if packet.sender_mac == MacAddr::BROADCAST || packet.sender_mac == MacAddr::ZERO {
            return Err(DropReason::ArpMalformed);
        }
        if is_ours_at(packet.sender, port, world) {
            return Err(DropReason::ArpConflict);
        }
        if !is_ours_at(packet.target, port, world) {
            return self.overhear(&packet, port, world);
        }
        let is_reply = packet.operation == arp::Operation::Reply;
        // A host behind a group address would have us send to all of the group (RFC 1812 section 3.3.2).
        if !packet.sender.is_unspecified() && !packet.sender_mac.is_group() {
            let (address, mac) = (packet.sender, packet.sender_mac);
            self.outcomes.tell(Event::Neighbour { port, address: address.into(), mac, is_reply });
        }
        if is_reply {
            return Ok(Outcome::Control);
        }
        let reply = arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: link.mac,
            sender: packet.target,
            target_mac: packet.sender_mac,
            target: packet.sender,
        };
        let answer = reply.to_frame(packet.sender_mac);
        // The request was as long as this or longer; padding stays.
        frame.get_mut(..answer.len()).ok_or(DropReason::ArpMalformed)?.copy_from_slice(&answer);
        Ok(Outcome::Answer(port))
    }

    /// What others say to each other: a neighbour that we send to may have moved (RFC 826, "Merge_flag").
    fn overhear(
        &mut self,
        packet: &arp::Packet,
        port: PortId,
        world: &Snapshot,
    ) -> Result<Outcome, DropReason> {
        let arp::Packet { sender: address, sender_mac: mac, .. } = *packet;
        if mac.is_group() || world.routes.known_mac(port, address.into()).is_none_or(|known| known == mac) {
            return Err(DropReason::ArpNotOurs);
        }
        // As an answer it only counts where somebody is known, or asked for.
        self.outcomes.tell(Event::Neighbour { port, address: address.into(), mac, is_reply: true });
        Ok(Outcome::Control)
    }
}

/// A port's own address is ours at that port; a frontend's is at every port.
fn is_ours_at(address: std::net::Ipv4Addr, port: PortId, world: &Snapshot) -> bool {
    match world.local(address) {
        Some(Local::Port(own)) => own == port,
        Some(Local::Frontend) => true,
        None => false,
    }
}

/// RFC 792: the same data back, to the station it came from.
fn answer_echo(frame: &mut [u8], ip: &IpPacket, link: &PortLink) -> Result<(), DropReason> {
    let packet = frame.get_mut(..ip.end()).ok_or(DropReason::IcmpMalformed)?;
    let (headers, message) =
        packet.split_at_mut_checked(ip.payload_offset.into()).ok_or(DropReason::IcmpMalformed)?;
    if checksum::sum(message) != 0xffff {
        return Err(DropReason::IcmpMalformed);
    }
    let header = message.first_chunk_mut::<{ icmp::HEADER_LEN }>().ok_or(DropReason::IcmpMalformed)?;
    if header[..2] != [icmp::TYPE_ECHO, 0] {
        return Err(DropReason::IcmpUnhandled);
    }
    header[0] = icmp::TYPE_ECHO_REPLY;
    header[icmp::CHECKSUM_OFFSET..icmp::CHECKSUM_OFFSET + 2].fill(0);
    let field = checksum::field(checksum::sum(message));
    if let Some(place) = message.get_mut(icmp::CHECKSUM_OFFSET..icmp::CHECKSUM_OFFSET + 2) {
        place.copy_from_slice(&field);
    }
    turn_round(headers, ip, link)
}

/// Sends the packet back to where it came from, on both layers.
fn turn_round(headers: &mut [u8], ip: &IpPacket, link: &PortLink) -> Result<(), DropReason> {
    let (ethernet, header) =
        headers.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>().ok_or(DropReason::EthernetTruncated)?;
    let station = ethernet::addresses(ethernet).source();
    if station == MacAddr::BROADCAST {
        return Err(DropReason::BroadcastSource);
    }
    ethernet[..12].copy_from_slice(&Addresses::new(station, link.mac).0);
    let fixed = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>().ok_or(DropReason::Ipv4Truncated)?;
    let (source, destination) = ip.v4().ok_or(DropReason::IcmpUnhandled)?;
    fixed[ipv4::SOURCE_OFFSET..ipv4::SOURCE_OFFSET + 4].copy_from_slice(&destination.octets());
    fixed[ipv4::DESTINATION_OFFSET..ipv4::DESTINATION_OFFSET + 4].copy_from_slice(&source.octets());
    fixed[ipv4::TTL_OFFSET] = ipv4::TTL_DEFAULT;
    ipv4::write_checksum(header);
    Ok(())
}
