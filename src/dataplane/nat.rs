//! Network address translation: clients' packets to their backends, responses back to the clients.

use std::net::Ipv4Addr;

use zerocopy::FromBytes;

use super::counters::WorkerCounters;
use super::lanes::{Client, Lane, Lanes, Outcome, Outcomes, Response};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::snapshot::{Backend, NextHop, Snapshot};
use crate::wire::ethernet::Addresses;
use crate::wire::plain::{self, EthernetIpv4};
use crate::wire::{ipv4, l4};

/// The way from a client to its backend.
const TO_BACKEND: bool = true;
/// The way back.
const TO_CLIENT: bool = false;

impl Lanes {
    /// Rewrites clients' packets, decides where they leave, and counts them for the backend.
    #[inline(always)]
    pub(super) fn rewrite_clients<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let Self { clients, outcomes, .. } = self;
        for Client { lane, backend: id, .. } in clients.as_slice() {
            // For some, none was chosen: their outcome stands.
            let (Some(backend), Some(frame)) = (world.backend(*id), burst.get_mut(lane.as_usize())) else {
                continue;
            };
            let sent = forward::<TO_BACKEND>(outcomes, frame.bytes_mut(), *lane, &backend.next_hop, backend);
            if let (Some(bytes), Some(backend)) = (sent, counters.backend(*id)) {
                backend.packets_in.add(1);
                backend.bytes_in.add(bytes.into());
            }
        }
    }

    /// Rewrites responses, decides where they leave, and counts them for the backend.
    #[inline(always)]
    pub(super) fn rewrite_responses<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let Self { responses, outcomes, .. } = self;
        for Response { lane, backend: id } in responses.as_slice() {
            let (Some(backend), Some(frame)) = (world.backend(*id), burst.get_mut(lane.as_usize())) else {
                outcomes.decide(*lane, Outcome::Drop(DropReason::NotOurs));
                continue;
            };
            let bytes = frame.bytes_mut();
            let next_hop = destination(bytes).map_or(NextHop::NO_ROUTE, |to| world.routes.next_hop(to));
            let sent = forward::<TO_CLIENT>(outcomes, bytes, *lane, &next_hop, backend);
            if let (Some(bytes), Some(backend)) = (sent, counters.backend(*id)) {
                backend.packets_out.add(1);
                backend.bytes_out.add(bytes.into());
            }
        }
    }
}

#[inline(always)]
fn destination(frame: &[u8]) -> Option<Ipv4Addr> {
    EthernetIpv4::ref_from_prefix(frame).ok().map(|(headers, _)| headers.destination.into())
}

/// Rewrites the packet and sends it on its way, if it can go there. Returns its bytes then.
#[inline(always)]
fn forward<const WAY: bool>(
    outcomes: &mut Outcomes,
    frame: &mut [u8],
    lane: Lane,
    next_hop: &NextHop,
    backend: &Backend,
) -> Option<u16> {
    let is_long = frame.len() >= plain::LEN;
    let (headers, rest) = EthernetIpv4::mut_from_prefix(frame).ok()?;
    let total_len = u16::from_be_bytes(headers.total_len);
    if headers.ttl <= 1 || total_len > next_hop.mtu {
        refuse(outcomes, lane, headers.ttl, next_hop);
        return None;
    }
    if u32::from(headers.version_and_len) == plain::VERSION_AND_LEN && is_long {
        let segment = rest.first_chunk_mut::<{ l4::TCP_HEADER_LEN }>()?;
        // The same as below, where the compiler knows all offsets.
        rewrite::<WAY>(headers, segment, &next_hop.addresses, backend);
    } else {
        rewrite_any::<WAY>(headers, rest, &next_hop.addresses, backend);
    }
    outcomes.forward(lane, next_hop.port, next_hop.port_bit);
    Some(total_len)
}

/// A packet that cannot go where it should.
#[cold]
fn refuse(outcomes: &mut Outcomes, lane: Lane, ttl: u8, next_hop: &NextHop) {
    if ttl <= 1 {
        outcomes.decide(lane, Outcome::Drop(DropReason::TtlExceeded));
        return;
    }
    if let Some((port, address)) = next_hop.wanted() {
        outcomes.want(port, address);
    }
    outcomes.decide(lane, Outcome::Drop(next_hop.refusal()));
}

/// Packets with IPv4 options, and very short ones.
#[cold]
fn rewrite_any<const WAY: bool>(
    headers: &mut EthernetIpv4,
    rest: &mut [u8],
    ethernet: &Addresses,
    backend: &Backend,
) {
    let options_len = (usize::from(headers.version_and_len & 15) * 4).saturating_sub(ipv4::HEADER_LEN);
    if let Some(segment) = rest.get_mut(options_len..) {
        rewrite::<WAY>(headers, segment, ethernet, backend);
    }
}

/// The two checksums change by the differences that were worked out with the configuration (RFC 1624), the
/// rest is written over.
#[inline(always)]
fn rewrite<const WAY: bool>(
    headers: &mut EthernetIpv4,
    segment: &mut [u8],
    ethernet: &Addresses,
    backend: &Backend,
) {
    headers.ethernet = ethernet.0;
    headers.ttl -= 1;
    let deltas = if WAY == TO_BACKEND {
        headers.destination = backend.address.octets();
        write(segment, l4::DESTINATION_PORT_OFFSET, backend.port);
        &backend.to_backend
    } else {
        headers.source = backend.frontend_address.octets();
        write(segment, l4::SOURCE_PORT_OFFSET, backend.frontend_port);
        &backend.to_client
    };
    headers.checksum = deltas.ip.apply(headers.checksum);
    // The protocol changes from packet to packet: it decides on a place, not on a way through the code.
    let is_udp = headers.protocol == ipv4::PROTOCOL_UDP;
    let at = if is_udp { l4::UDP_CHECKSUM_OFFSET } else { l4::TCP_CHECKSUM_OFFSET };
    let old = read(segment, at);
    let new = deltas.l4.apply(old);
    write(segment, at, if is_udp { udp_checksum(old, new) } else { new });
}

/// Two bytes at `at`; zeros past the end, where no parsed header is.
#[inline(always)]
fn read(segment: &[u8], at: usize) -> [u8; 2] {
    segment.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default()
}

#[inline(always)]
fn write(segment: &mut [u8], at: usize, bytes: [u8; 2]) {
    if let Some(place) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

/// Zero means that there is none, and stays; a sum that comes to zero is written as all ones (RFC 768).
#[inline(always)]
fn udp_checksum(old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let new = if new == [0, 0] { [0xff, 0xff] } else { new };
    if old == [0, 0] { old } else { new }
}
