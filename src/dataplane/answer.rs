//! Frames that are for us: ARP, echo requests, and neighbour discovery. They are rare; the stage returns at once without them.

use super::icmp::{Around, Limits, answer_echo, answer_neighbour};
use super::lanes::{Event, Lane, Lanes, Ours, Outcome};
use crate::drop_reason::DropReason;
use crate::io::{Frame, PortId};
use crate::snapshot::{PortLink, Snapshot};
use crate::wire::{MacAddr, arp, ethernet};

impl Lanes {
    /// Answers what is asked of us.
    #[inline(always)]
    pub(super) fn answer<F: Frame>(&mut self, burst: &mut [F], around: Around<'_>, limits: &mut Limits) {
        // In their order: of two that a neighbour says of itself the later one holds.
        for i in 0..self.ours.len() {
            let (lane, ours) = self.ours[i];
            if let Some(frame) = burst.get_mut(lane.index()) {
                let outcome = self.answer_one(lane, frame, ours, around, limits);
                self.outcomes.decide(lane, outcome.unwrap_or_else(Outcome::Drop));
            }
        }
    }

    #[cold]
    fn answer_one<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        ours: Ours,
        around: Around<'_>,
        limits: &mut Limits,
    ) -> Result<Outcome, DropReason> {
        let (world, port) = (around.world, around.source.port());
        let link = world.port(port).ok_or(DropReason::NotOurs)?;
        match ours {
            Ours::Arp => self.answer_arp(frame.bytes_mut(), port, link, world),
            Ours::Echo(ip) => answer_echo(frame, &ip, around, limits),
            Ours::Neighbour(message) => {
                answer_neighbour(frame, &message, port, link, world, &mut self.outcomes)
            }
            Ours::ProbeAnswer => Ok(Outcome::HandUp),
            Ours::Readdressed(one) => self.readdress(lane, frame, &one, around),
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
        if world.is_ours_at(packet.sender.into(), port) {
            self.outcomes.tell_conflict(port, packet.sender.into(), packet.sender_mac, world);
            return Err(DropReason::ArpConflict);
        }
        if !world.is_ours_at(packet.target.into(), port) {
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
