//! Network address translation: clients' packets to their backends, responses back to the clients.

use super::counters::WorkerCounters;
use super::lanes::{Event, Headers, Lanes, Outcome, Response};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::PLAIN_LEN;
use crate::snapshot::{Deltas, NextHop, Snapshot};
use crate::wire::ethernet::{self, Addresses};
use crate::wire::{ipv4, l4};

/// Where the segment of a plain packet begins.
const PLAIN_SEGMENT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// Everything that changes in a packet.
struct Rewrite<'a> {
    address_offset: usize,
    address: [u8; 4],
    port_offset: usize,
    port: [u8; 2],
    deltas: &'a Deltas,
}

impl Lanes {
    /// Rewrites clients' packets, decides where they leave, and counts them for the backend.
    #[inline(always)]
    pub(super) fn to_backends<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        for i in 0..self.clients.as_slice().len() {
            let client = self.clients.as_slice()[i];
            let Some(id) = client.backend else { continue };
            let Headers { lane, total_len, .. } = client.headers;
            let (Some(backend), Some(frame)) = (world.backend(id), burst.get_mut(lane.index())) else {
                self.decide(lane, Outcome::Drop(DropReason::NoBackendAvailable));
                continue;
            };
            let rewrite = Rewrite {
                address_offset: ipv4::DESTINATION_OFFSET,
                address: backend.address.octets(),
                port_offset: l4::DESTINATION_PORT_OFFSET,
                port: backend.port,
                deltas: &backend.to_backend,
            };
            if self.forward_by(&backend.next_hop, &client.headers, frame, &rewrite)
                && let Some(backend) = counters.backend(id)
            {
                backend.packets_in.add(1);
                backend.bytes_in.add(total_len.into());
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
        for i in 0..self.responses.as_slice().len() {
            let Response { headers, client, backend: id } = self.responses.as_slice()[i];
            let Headers { lane, total_len, .. } = headers;
            let (Some(backend), Some(frame)) = (world.backend(id), burst.get_mut(lane.index())) else {
                self.decide(lane, Outcome::Drop(DropReason::NoBackendAvailable));
                continue;
            };
            let rewrite = Rewrite {
                address_offset: ipv4::SOURCE_OFFSET,
                address: backend.frontend_address.octets(),
                port_offset: l4::SOURCE_PORT_OFFSET,
                port: backend.frontend_port,
                deltas: &backend.to_client,
            };
            let next_hop = world.routes.next_hop(client.into());
            if self.forward_by(&next_hop, &headers, frame, &rewrite)
                && let Some(backend) = counters.backend(id)
            {
                backend.packets_out.add(1);
                backend.bytes_out.add(total_len.into());
            }
        }
    }

    #[inline(always)]
    fn forward_by<F: Frame>(
        &mut self,
        next_hop: &NextHop,
        headers: &Headers,
        frame: &mut F,
        rewrite: &Rewrite<'_>,
    ) -> bool {
        if headers.ttl <= 1 || headers.total_len > next_hop.mtu {
            self.refuse(next_hop, headers);
            return false;
        }
        let bytes = frame.bytes_mut();
        match bytes.first_chunk_mut::<PLAIN_LEN>() {
            Some(plain) if headers.are_plain() => {
                // The same as below, where the compiler knows all offsets.
                rewrite_headers(plain, PLAIN_SEGMENT, headers, &next_hop.addresses, rewrite);
            }
            _ => apply(bytes, headers, &next_hop.addresses, rewrite),
        }
        self.forward(headers.lane, next_hop.port);
        true
    }

    /// A packet that cannot go where it should.
    #[cold]
    fn refuse(&mut self, next_hop: &NextHop, headers: &Headers) {
        if headers.ttl <= 1 {
            self.decide(headers.lane, Outcome::Drop(DropReason::TtlExceeded));
            return;
        }
        if let Some((port, address)) = next_hop.wanted() {
            self.tell(Event::Wanted { port, address });
        }
        self.decide(headers.lane, Outcome::Drop(next_hop.refusal()));
    }
}

/// The two checksums change by the differences that were worked out with the configuration (RFC 1624), the
/// rest is written over.
#[cold]
fn apply(frame: &mut [u8], headers: &Headers, ethernet: &Addresses, rewrite: &Rewrite<'_>) {
    rewrite_headers(frame, headers.payload_offset.into(), headers, ethernet, rewrite);
}

#[inline(always)]
fn rewrite_headers(
    frame: &mut [u8],
    segment: usize,
    headers: &Headers,
    ethernet: &Addresses,
    rewrite: &Rewrite<'_>,
) {
    const IP: usize = ethernet::HEADER_LEN;
    let Rewrite { address_offset, address, port_offset, port, deltas } = rewrite;
    write(frame, 0, ethernet.0);
    write(frame, IP + ipv4::TTL_OFFSET, [headers.ttl - 1]);
    let checksum = read(frame, IP + ipv4::CHECKSUM_OFFSET);
    write(frame, IP + ipv4::CHECKSUM_OFFSET, deltas.ip.apply(checksum));
    write(frame, IP + address_offset, *address);
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
