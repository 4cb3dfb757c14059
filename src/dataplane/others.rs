//! Packets that go to their backends, or come from them, otherwise than by plain translation.

use std::net::IpAddr;

use super::counters::WorkerCounters;
use super::encapsulate;
use super::ends::{self, NewEnds};
use super::lanes::{LaneSet, Lanes};
use super::nat::{Refusal, equally_long, refuse};
use crate::io::Frame;
use crate::packet::{Packet, Parsed, first_fragment, parse};
use crate::snapshot::{Backend, Forwarding, Hop, Snapshot};
use crate::wire::{ethernet, ipv4, ipv6};

impl Lanes {
    /// Finds those of clients' packets that are sent to their backends in other ways. With their narrow keys they are all of
    /// IPv4, and whole or the first of a datagram.
    #[inline(always)]
    pub(super) fn find_others(&mut self, world: &Snapshot) {
        if world.has_others {
            self.find_all_others(world);
        }
    }

    // Not inlined: a loop by itself has more registers.
    #[inline(never)]
    fn find_all_others(&mut self, world: &Snapshot) {
        let (mut low, mut high) = (LaneSet::default(), LaneSet::default());
        for lane in self.clients {
            let Some(backend) = world.to_backend(self.backends[lane.index()]) else { continue };
            // The ways may be mixed, and cannot be predicted then.
            low.insert_if(lane, backend.sent as u8 & 1 == 1);
            high.insert_if(lane, backend.sent as u8 & 2 == 2);
            self.outcomes.set_port(lane, backend.hop.port);
        }
        (self.behind, self.direct, self.others) = (low.without(high), high.without(low), low.with(high));
    }

    /// Sends plain packets that go behind a tunnel's headers, or to the backend's station as they are. What cannot go so is
    /// left for the next stage.
    #[inline(always)]
    pub(super) fn send_plain<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        if self.others.is_empty() {
            return;
        }
        if !self.behind.is_empty() {
            self.send_behind(burst, world, counters);
        }
        if !self.direct.is_empty() {
            self.send_direct(burst, world, counters);
        }
    }

    #[inline(never)]
    fn send_behind<F: Frame>(&mut self, burst: &mut [F], world: &Snapshot, counters: &WorkerCounters) {
        let (fronts, counters) = equally_long(&world.fronts, counters.to_backend());
        let mut sent = self.behind;
        for lane in self.behind {
            let id = self.backends[lane.index()];
            let hash = self.hashes[lane.index()];
            if let Some(front) = fronts.get(id.index())
                && let Some(counters) = counters.get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
                && let Some(total_len) = encapsulate::push_plain(frame, front, hash)
            {
                counters.count(total_len);
            } else {
                sent.remove(lane);
            }
        }
        self.others = self.others.without(sent);
        self.outcomes.forward_all(sent);
    }

    #[inline(never)]
    fn send_direct<F: Frame>(&mut self, burst: &mut [F], world: &Snapshot, counters: &WorkerCounters) {
        let (backends, counters) = equally_long(&world.to_backend, counters.to_backend());
        let mut sent = self.direct;
        for lane in self.direct {
            let id = self.backends[lane.index()];
            if let Some(backend) = backends.get(id.index())
                && let Some(counters) = counters.get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
                && let Some(total_len) = encapsulate::direct_plain(frame.bytes_mut(), &backend.hop)
            {
                counters.count(total_len);
            } else {
                sent.remove(lane);
            }
        }
        self.others = self.others.without(sent);
        self.outcomes.forward_all(sent);
    }

    /// Sends clients' packets on that plain translation is not for.
    #[inline(always)]
    pub(super) fn send_others<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        if !self.others.is_empty() {
            self.send_all_others(burst, world, counters);
        }
    }

    #[inline(never)]
    fn send_all_others<F: Frame>(&mut self, burst: &mut [F], world: &Snapshot, counters: &WorkerCounters) {
        let mut forwarded = self.others;
        for lane in self.others {
            let id = self.backends[lane.index()];
            if let Some(backend) = world.backend(id)
                && let Some(counters) = counters.to_backend().get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
            {
                let next_hop = &backend.next_hop;
                self.outcomes.set_port(lane, next_hop.hop.port);
                match send_one(frame, backend, &next_hop.hop, self.hashes[lane.index()]) {
                    Ok(total_len) => counters.count(total_len),
                    Err(refusal) => {
                        forwarded.remove(lane);
                        refuse(&mut self.outcomes, lane, refusal, next_hop);
                    }
                }
            } else {
                // None was chosen, and the outcome stands.
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }
}

/// Sends a client's packet to its backend, and returns its length as it came in.
#[inline(always)]
pub(super) fn send_one<F: Frame>(
    frame: &mut F,
    backend: &Backend,
    hop: &Hop,
    hash: u64,
) -> Result<u16, Refusal> {
    match &backend.forwarding {
        Forwarding::Tunnel(template) => encapsulate::push(frame, hop, template, hash),
        Forwarding::Direct => encapsulate::direct(frame.bytes_mut(), hop),
        _ => readdress(frame, backend, hop),
    }
}

/// Gives a client's packet its backend's address, and keeps its port.
fn readdress<F: Frame>(frame: &mut F, backend: &Backend, hop: &Hop) -> Result<u16, Refusal> {
    let packet = transport(frame.bytes()).ok_or(Refusal::Mtu)?;
    let source = (packet.ip.source, packet.source_port).into();
    let destination = (backend.address, packet.destination_port).into();
    ends::translate(frame, &packet, hop, &NewEnds { source, destination })
}

/// Gives a response the address of its frontend, and keeps its port; likewise.
pub(super) fn readdress_response<F: Frame>(
    frame: &mut F,
    backend: &Backend,
    hop: &Hop,
    world: &Snapshot,
) -> Result<u16, Refusal> {
    let packet = transport(frame.bytes()).ok_or(Refusal::Mtu)?;
    let frontend = world.frontend(backend.frontend).ok_or(Refusal::Mtu)?.endpoint.address;
    let source = (frontend, packet.source_port).into();
    let destination = (packet.ip.destination, packet.destination_port).into();
    ends::translate(frame, &packet, hop, &NewEnds { source, destination })
}

/// A packet that is whole, or the first fragment of one.
pub(super) fn transport(frame: &[u8]) -> Option<Packet> {
    match parse(frame).ok()? {
        Parsed::Transport(packet) => Some(packet),
        Parsed::Fragment(ip) => first_fragment(frame, &ip),
        _ => None,
    }
}

/// Whom a parsed packet is for.
pub(super) fn destination(frame: &[u8]) -> Option<IpAddr> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    match packet.first()? >> 4 {
        4 => Some(ipv4::Header(packet.first_chunk()?).destination().into()),
        _ => Some(ipv6::Header(packet.first_chunk()?).destination().into()),
    }
}
