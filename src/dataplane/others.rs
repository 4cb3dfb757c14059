//! Packets that go to their backends, or come from them, otherwise than by plain translation.

use std::net::IpAddr;

use super::counters::WorkerCounters;
use super::encapsulate;
use super::ends::{self, NewEnds};
use super::lanes::Lanes;
use super::nat::{Refusal, refuse};
use crate::io::Frame;
use crate::packet::{Packet, Parsed, first_fragment, parse};
use crate::snapshot::{Backend, Forwarding, Hop, Snapshot};
use crate::wire::{ethernet, ipv4, ipv6};

impl Lanes {
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
