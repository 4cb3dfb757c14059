//! Which packets are of flows that backends have opened themselves, or open.

use std::net::IpAddr;

use crate::dataplane::classify::{Class, from_backend};
use crate::dataplane::lanes::Source;
use crate::drop_reason::DropReason;
use crate::packet::{IpPacket, Packet, flaw_of_source, is_martian};
use crate::snapshot::{PortKind, Snapshot};
use crate::wire::l4::TcpFlags;
use crate::wire::{Protocol, icmp, icmpv6};

/// A packet of such a flow. An echo's identifier stands for the port of the end that asks; the other has none.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Passing {
    pub(super) ip: IpPacket,
    pub(super) kind: PortKind,
    pub(super) flags: TcpFlags,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) way: Direction,
}

/// Which way it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// From the backend of this number.
    Out(u32),
    /// To the frontend of this number.
    In(u8),
}

impl Passing {
    fn of(packet: &Packet, way: Direction) -> Self {
        let Packet { ip, source_port, destination_port, protocol, tcp_flags: flags } = *packet;
        let kind = match protocol {
            Protocol::Tcp => PortKind::Tcp,
            Protocol::Udp => PortKind::Udp,
        };
        Self { ip, kind, flags, source_port, destination_port, way }
    }

    /// The same as others know packets; of an echo its addresses and headers.
    pub(super) fn packet(&self) -> Packet {
        let Self { ip, source_port, destination_port, flags: tcp_flags, .. } = *self;
        let protocol = if self.kind == PortKind::Tcp { Protocol::Tcp } else { Protocol::Udp };
        Packet { ip, source_port, destination_port, protocol, tcp_flags }
    }

    /// Whether it goes out.
    pub(super) fn is_out(&self) -> bool {
        matches!(self.way, Direction::Out(_))
    }
}

/// A packet that is for no rule: of a flow that a backend has opened, or a response.
pub(in crate::dataplane) fn from_inside(packet: &Packet, source: Source, world: &Snapshot) -> Class {
    if let Some(passing) = to_outside(packet, world) {
        return passing.map_or_else(Class::Drop, Class::Passing);
    }
    match from_backend(packet, source, world) {
        Ok(class) => class,
        Err(DropReason::NotOurs) if let Some(passing) = from_member(packet, world) => {
            passing.map_or_else(Class::Drop, Class::Passing)
        }
        Err(reason) => Class::Drop(reason),
    }
}

/// A packet that is for no rule, if it is to a frontend of outbound rules, at a port that flows can have.
fn to_outside(packet: &Packet, world: &Snapshot) -> Option<Result<Passing, DropReason>> {
    let number = world.outbound.number_of(packet.ip.destination)?;
    let passing = Passing::of(packet, Direction::In(number));
    world.outbound.owner(number, passing.kind, packet.destination_port)?;
    Some(check_source(packet.ip.source, packet.source_port, world).map(|()| passing))
}

/// Whether a packet can come from there to a frontend of ours.
fn check_source(source: IpAddr, port: u16, world: &Snapshot) -> Result<(), DropReason> {
    match flaw_of_source(source, port) {
        Some(flaw) => Err(flaw),
        None if world.local_at(source).is_some() => Err(DropReason::MartianSource),
        None if world.outbound.member_at(source).is_some() => Err(DropReason::OutboundHairpin),
        None => Ok(()),
    }
}

/// A packet that is neither for us nor a response, if a backend of outbound rules has sent it.
fn from_member(packet: &Packet, world: &Snapshot) -> Option<Result<Passing, DropReason>> {
    let member = world.outbound.member_at(packet.ip.source)?;
    if is_martian(packet.ip.destination) {
        return Some(Err(DropReason::MartianDestination));
    }
    Some(Ok(Passing::of(packet, Direction::Out(member))))
}

/// An echo request of such a backend's, or the answer to one; of a message that is neither for us nor about a flow. Of one
/// in parts this is the first.
pub(in crate::dataplane) fn of_echo(
    message: &[u8],
    ip: &IpPacket,
    world: &Snapshot,
) -> Option<Result<Passing, DropReason>> {
    if world.outbound.is_empty() {
        return None;
    }
    let [kind, 0, _, _, a, b, ..] = *message else { return None };
    let id = u16::from_be_bytes([a, b]);
    let (request, reply) = if ip.source.is_ipv4() {
        (icmp::TYPE_ECHO, icmp::TYPE_ECHO_REPLY)
    } else {
        (icmpv6::TYPE_ECHO, icmpv6::TYPE_ECHO_REPLY)
    };
    let passing = |source_port, destination_port, way| Passing {
        ip: *ip,
        kind: PortKind::Echo,
        flags: TcpFlags::default(),
        source_port,
        destination_port,
        way,
    };
    if kind == request && world.local_at(ip.destination).is_none() {
        let member = world.outbound.member_at(ip.source)?;
        if is_martian(ip.destination) {
            return Some(Err(DropReason::MartianDestination));
        }
        return Some(Ok(passing(id, 0, Direction::Out(member))));
    }
    let number = world.outbound.number_of(ip.destination).filter(|_| kind == reply)?;
    world.outbound.owner(number, PortKind::Echo, id)?;
    Some(check_source(ip.source, 1, world).map(|()| passing(0, id, Direction::In(number))))
}
