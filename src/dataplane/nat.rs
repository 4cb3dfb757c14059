//! Network address translation: clients' packets to their backends, responses back to the clients.

use std::net::Ipv4Addr;

use zerocopy::FromBytes;

use super::counters::WorkerCounters;
use super::lanes::{Forwarding, Lane, Lanes, Outcome, Outcomes, Response};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::snapshot::{Backend, NextHop, Snapshot};
use crate::wire::ethernet::Addresses;
use crate::wire::plain::{EthernetIpv4, PlainHeadersMut};
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
        let mut forwarding = outcomes.forwarding();
        let (backends, counters) = (&*world.backends, counters.backends());
        for place in clients.places() {
            let (id, lane) = clients.chosen(place);
            // For some, none was chosen: their outcome stands.
            let (Some(backend), Some(counters)) = (backends.get(id.index()), counters.get(id.index())) else {
                continue;
            };
            let Some(frame) = burst.get_mut(lane.as_usize()) else { continue };
            let bytes = frame.bytes_mut();
            let sent = forward::<TO_BACKEND>(&mut forwarding, bytes, lane, &backend.next_hop, backend);
            if let Some(bytes) = sent {
                counters.packets_in.add(1);
                counters.bytes_in.add(bytes.into());
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
        let mut forwarding = outcomes.forwarding();
        let (backends, counters) = (&*world.backends, counters.backends());
        for Response { lane, backend: id } in responses.as_slice() {
            let (Some(backend), Some(counters)) = (backends.get(id.index()), counters.get(id.index())) else {
                continue;
            };
            let Some(frame) = burst.get_mut(lane.as_usize()) else { continue };
            let bytes = frame.bytes_mut();
            let destination = destination(bytes);
            let made;
            let next_hop = match world.routes.resolved(destination) {
                Some(next_hop) => next_hop,
                None => {
                    made = world.routes.next_hop(destination);
                    &made
                }
            };
            let sent = forward::<TO_CLIENT>(&mut forwarding, bytes, *lane, next_hop, backend);
            if let Some(bytes) = sent {
                counters.packets_out.add(1);
                counters.bytes_out.add(bytes.into());
            }
        }
    }
}

/// The address a parsed packet goes to.
#[inline(always)]
fn destination(frame: &[u8]) -> Ipv4Addr {
    let headers = EthernetIpv4::ref_from_prefix(frame).ok();
    headers.map_or(Ipv4Addr::UNSPECIFIED, |(headers, _)| headers.destination.into())
}

/// Rewrites the packet and sends it on its way, if it can go there. Returns its bytes then.
#[inline(always)]
fn forward<const WAY: bool>(
    forwarding: &mut Forwarding<'_>,
    frame: &mut [u8],
    lane: Lane,
    next_hop: &NextHop,
    backend: &Backend,
) -> Option<u16> {
    let Some(PlainHeadersMut { network, segment }) = PlainHeadersMut::of(frame) else {
        return forward_any::<WAY>(forwarding, frame, lane, next_hop, backend);
    };
    let total_len = fitting(forwarding, lane, network, next_hop)?;
    // The same as in `forward_any`, where the compiler knows all offsets.
    rewrite::<WAY>(network, segment, &next_hop.addresses, backend);
    forwarding.forward(lane, next_hop.port, next_hop.port_bit);
    Some(total_len)
}

/// Packets with IPv4 options, and very short ones.
#[cold]
fn forward_any<const WAY: bool>(
    forwarding: &mut Forwarding<'_>,
    frame: &mut [u8],
    lane: Lane,
    next_hop: &NextHop,
    backend: &Backend,
) -> Option<u16> {
    let (network, rest) = EthernetIpv4::mut_from_prefix(frame).ok()?;
    let total_len = fitting(forwarding, lane, network, next_hop)?;
    let options_len = (usize::from(network.version_and_len & 15) * 4).saturating_sub(ipv4::HEADER_LEN);
    rewrite::<WAY>(network, rest.get_mut(options_len..)?, &next_hop.addresses, backend);
    forwarding.forward(lane, next_hop.port, next_hop.port_bit);
    Some(total_len)
}

/// The packet's bytes, if it may go on; else it is dropped.
#[inline(always)]
fn fitting(
    forwarding: &mut Forwarding<'_>,
    lane: Lane,
    network: &EthernetIpv4,
    next_hop: &NextHop,
) -> Option<u16> {
    let total_len = u16::from_be_bytes(network.total_len);
    if network.ttl <= 1 {
        forwarding.outcomes.decide(lane, Outcome::Drop(DropReason::TtlExceeded));
        return None;
    }
    if total_len > next_hop.mtu {
        refuse(forwarding.outcomes, lane, next_hop);
        return None;
    }
    Some(total_len)
}

/// A packet that cannot go where it should.
#[cold]
fn refuse(outcomes: &mut Outcomes, lane: Lane, next_hop: &NextHop) {
    if let Some((port, address)) = next_hop.wanted() {
        outcomes.want(port, address);
    }
    outcomes.decide(lane, Outcome::Drop(next_hop.refusal()));
}

/// The two checksums change by the differences that were worked out with the configuration (RFC 1624), the
/// rest is written over.
#[inline(always)]
fn rewrite<const WAY: bool>(
    network: &mut EthernetIpv4,
    segment: &mut [u8],
    ethernet: &Addresses,
    backend: &Backend,
) {
    network.ethernet = ethernet.0;
    network.ttl -= 1;
    let deltas = if WAY == TO_BACKEND {
        network.destination = backend.address.octets();
        write(segment, l4::DESTINATION_PORT_OFFSET, backend.port);
        &backend.to_backend
    } else {
        network.source = backend.frontend_address.octets();
        write(segment, l4::SOURCE_PORT_OFFSET, backend.frontend_port);
        &backend.to_client
    };
    network.checksum = deltas.ip.apply(network.checksum);
    // The protocol changes from packet to packet: it decides on a place, not on a way through the code.
    let at = usize::from(backend.checksum_at);
    let old = read(segment, at);
    if old != NO_CHECKSUM || !backend.is_udp {
        let new = deltas.l4.apply(old);
        write(segment, at, if new == NO_CHECKSUM { backend.zero_checksum } else { new });
    }
}

/// What a UDP datagram has whose sender made no checksum (RFC 768).
const NO_CHECKSUM: [u8; 2] = [0, 0];

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
