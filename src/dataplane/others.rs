//! Packets that go to their backends, or come from them, otherwise than by plain translation of IPv4.

use std::net::IpAddr;

use super::counters::WorkerCounters;
use super::encapsulate;
use super::ends::{self, NewEnds};
use super::lanes::{Lane, Lanes};
use super::nat::{Refusal, refuse};
use super::nat6::{self, Layout, Side};
use crate::io::Frame;
use crate::packet::{Packet, Parsed, first_fragment, parse};
use crate::snapshot::{Backend, Forwarding, Hop, Snapshot};
use crate::wire::{ethernet, ipv4, ipv6};

impl Lanes {
    /// Sends clients' packets on: all with wide keys, and those of narrow ones that plain translation has left.
    #[inline(always)]
    pub(super) fn send_others<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let others = self.others.with(self.wide);
        if others.is_empty() {
            return;
        }
        let mut forwarded = others;
        for lane in others {
            let id = self.backends[lane.index()];
            if let Some(backend) = world.backend(id)
                && let Some(counters) = counters.to_backend().get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
            {
                self.outcomes.set_port(lane, backend.next_hop.hop.port);
                match send_one(frame, backend, self.hashes[lane.index()]) {
                    Ok(total_len) => counters.count(total_len),
                    Err(refusal) => {
                        forwarded.remove(lane);
                        refuse(&mut self.outcomes, lane, refusal, &backend.next_hop);
                    }
                }
            } else {
                // None was chosen, and the outcome stands.
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// Sends backends' packets back to their clients: in IPv6, and of backends that answer from several ports.
    #[inline(always)]
    pub(super) fn return_others<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let mut forwarded = self.wide_responses;
        for lane in self.wide_responses {
            if !self.return_one(lane, burst, world, counters) {
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    fn return_one<F: Frame>(
        &mut self,
        lane: Lane,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> bool {
        let id = self.backends[lane.index()];
        let (Some(backend), Some(counters), Some(frame)) =
            (world.backend(id), counters.to_client().get(id.index()), burst.get_mut(lane.index()))
        else {
            return false;
        };
        let Some(destination) = destination(frame.bytes()) else { return false };
        let next_hop = world.routes.next_hop_to(destination);
        self.outcomes.set_port(lane, next_hop.hop.port);
        match return_to(frame, backend, &next_hop.hop, world) {
            Ok(total_len) => {
                counters.count(total_len);
                true
            }
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, &next_hop);
                false
            }
        }
    }
}

/// Sends a client's packet to its backend, and returns its length as it came in.
fn send_one<F: Frame>(frame: &mut F, backend: &Backend, hash: u64) -> Result<u16, Refusal> {
    let hop = &backend.next_hop.hop;
    match &backend.forwarding {
        // Other stages do.
        Forwarding::Translate | Forwarding::FullNat => Err(Refusal::Mtu),
        Forwarding::Translate6 { there, .. } => {
            let layout = Layout::of(frame.bytes()).ok_or(Refusal::Mtu)?;
            nat6::translate(frame.bytes_mut(), layout, hop, there, Side::Destination)?;
            Ok(layout.total_len)
        }
        Forwarding::TranslateAddress => {
            let packet = transport(frame.bytes()).ok_or(Refusal::Mtu)?;
            let source = (packet.ip.source, packet.source_port).into();
            let destination = (backend.address, packet.destination_port).into();
            ends::translate(frame, &packet, hop, &NewEnds { source, destination })
        }
        Forwarding::Direct => encapsulate::direct(frame.bytes_mut(), hop),
        Forwarding::Tunnel(template) => encapsulate::push(frame, hop, template, hash),
    }
}

/// Sends a backend's packet back to its client.
fn return_to<F: Frame>(
    frame: &mut F,
    backend: &Backend,
    hop: &Hop,
    world: &Snapshot,
) -> Result<u16, Refusal> {
    if let Forwarding::Translate6 { back, .. } = &backend.forwarding {
        let layout = Layout::of(frame.bytes()).ok_or(Refusal::Mtu)?;
        nat6::translate(frame.bytes_mut(), layout, hop, back, Side::Source)?;
        return Ok(layout.total_len);
    }
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
