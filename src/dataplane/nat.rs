//! Network address translation: clients' packets to their backends, responses back to the clients.

use std::net::Ipv4Addr;

use super::counters::WorkerCounters;
use super::lanes::{Client, Event, Headers, Lanes, Outcome, Outcomes, Response};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::PLAIN_LEN;
use crate::snapshot::{Backend, Deltas, NextHop, Snapshot};
use crate::wire::ethernet::{self, Addresses};
use crate::wire::{ipv4, l4};

/// Where the segment of a plain packet begins.
const PLAIN_SEGMENT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// The way from a client to its backend.
const TO_BACKEND: bool = true;
/// The way back.
const TO_CLIENT: bool = false;

impl Lanes {
    /// Rewrites clients' packets, decides where they leave, and counts them for the backend.
    #[inline(always)]
    pub(super) fn to_backends<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let Self { clients, outcomes, .. } = self;
        for Client { headers, backend: id, .. } in clients.as_slice() {
            let Some(id) = *id else { continue };
            let (Some(backend), Some(frame)) = (world.backend(id), burst.get_mut(headers.lane.index()))
            else {
                outcomes.decide(headers.lane, Outcome::Drop(DropReason::NoBackendAvailable));
                continue;
            };
            let is_sent = forward::<F, TO_BACKEND>(outcomes, frame, headers, &backend.next_hop, backend);
            if is_sent && let Some(backend) = counters.backend(id) {
                backend.packets_in.add(1);
                backend.bytes_in.add(headers.total_len.into());
            }
        }
    }

    /// Rewrites responses, decides where they leave, and counts them for the backend.
    #[inline(always)]
    pub(super) fn to_clients<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let Self { responses, outcomes, .. } = self;
        for Response { headers, client, backend: id } in responses.as_slice() {
            let (Some(backend), Some(frame)) = (world.backend(*id), burst.get_mut(headers.lane.index()))
            else {
                outcomes.decide(headers.lane, Outcome::Drop(DropReason::NoBackendAvailable));
                continue;
            };
            let next_hop = world.routes.next_hop(Ipv4Addr::from(*client));
            let is_sent = forward::<F, TO_CLIENT>(outcomes, frame, headers, &next_hop, backend);
            if is_sent && let Some(backend) = counters.backend(*id) {
                backend.packets_out.add(1);
                backend.bytes_out.add(headers.total_len.into());
            }
        }
    }
}

/// Rewrites the packet and sends it on its way, if it can go there.
#[inline(always)]
fn forward<F: Frame, const WAY: bool>(
    outcomes: &mut Outcomes,
    frame: &mut F,
    headers: &Headers,
    next_hop: &NextHop,
    backend: &Backend,
) -> bool {
    if headers.ttl <= 1 || headers.total_len > next_hop.mtu {
        refuse(outcomes, headers, next_hop);
        return false;
    }
    let bytes = frame.bytes_mut();
    match bytes.first_chunk_mut::<PLAIN_LEN>() {
        Some(plain) if headers.are_plain() => {
            // The same as below, where the compiler knows all offsets.
            rewrite::<WAY>(plain, PLAIN_SEGMENT, headers, &next_hop.addresses, backend);
        }
        _ => rewrite_any::<WAY>(bytes, headers, &next_hop.addresses, backend),
    }
    outcomes.forward(headers.lane, next_hop.port);
    true
}

/// A packet that cannot go where it should.
#[cold]
fn refuse(outcomes: &mut Outcomes, headers: &Headers, next_hop: &NextHop) {
    if headers.ttl <= 1 {
        outcomes.decide(headers.lane, Outcome::Drop(DropReason::TtlExceeded));
        return;
    }
    if let Some((port, address)) = next_hop.wanted() {
        outcomes.tell(Event::Wanted { port, address });
    }
    outcomes.decide(headers.lane, Outcome::Drop(next_hop.refusal()));
}

#[cold]
fn rewrite_any<const WAY: bool>(
    frame: &mut [u8],
    headers: &Headers,
    ethernet: &Addresses,
    backend: &Backend,
) {
    rewrite::<WAY>(frame, headers.payload_offset.into(), headers, ethernet, backend);
}

/// The two checksums change by the differences that were worked out with the configuration (RFC 1624), the
/// rest is written over.
#[inline(always)]
fn rewrite<const WAY: bool>(
    frame: &mut [u8],
    segment: usize,
    headers: &Headers,
    ethernet: &Addresses,
    backend: &Backend,
) {
    const IP: usize = ethernet::HEADER_LEN;
    let (address_offset, address, port_offset, port, deltas) = if WAY == TO_BACKEND {
        let Backend { address, port, to_backend, .. } = backend;
        (ipv4::DESTINATION_OFFSET, address, l4::DESTINATION_PORT_OFFSET, port, to_backend)
    } else {
        let Backend { frontend_address, frontend_port, to_client, .. } = backend;
        (ipv4::SOURCE_OFFSET, frontend_address, l4::SOURCE_PORT_OFFSET, frontend_port, to_client)
    };
    write(frame, 0, ethernet.0);
    write(frame, IP + ipv4::TTL_OFFSET, [headers.ttl - 1]);
    let checksum = read(frame, IP + ipv4::CHECKSUM_OFFSET);
    write(frame, IP + ipv4::CHECKSUM_OFFSET, deltas.ip.apply(checksum));
    write(frame, IP + address_offset, address.octets());
    write(frame, segment + port_offset, *port);
    if headers.is_udp {
        let checksum = read(frame, segment + l4::UDP_CHECKSUM_OFFSET);
        write(frame, segment + l4::UDP_CHECKSUM_OFFSET, udp_checksum(deltas, checksum));
    } else {
        let checksum = read(frame, segment + l4::TCP_CHECKSUM_OFFSET);
        write(frame, segment + l4::TCP_CHECKSUM_OFFSET, deltas.l4.apply(checksum));
    }
}

/// Two bytes at `at`; zeros past the end, where no parsed header is.
#[inline(always)]
fn read(frame: &[u8], at: usize) -> [u8; 2] {
    frame.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default()
}

#[inline(always)]
fn write<const N: usize>(frame: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = bytes;
    }
}

/// Zero means that there is none, and stays; a sum that comes to zero is written as all ones (RFC 768).
#[inline]
fn udp_checksum(deltas: &Deltas, old: [u8; 2]) -> [u8; 2] {
    if old == [0, 0] {
        return old;
    }
    match deltas.l4.apply(old) {
        [0, 0] => [0xff, 0xff],
        new => new,
    }
}
