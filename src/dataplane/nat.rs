//! Network address translation: clients' packets to their backends, responses back to the clients.

use std::net::Ipv4Addr;

use zerocopy::FromBytes;

use super::counters::{Traffic, WorkerCounters};
use super::lanes::{Forwarding, Lane, Lanes, Outcome, Outcomes};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::snapshot::{Hop, NextHop, Rewrite, Snapshot};
use crate::wire::plain::EthernetIpv4;
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
        let mut forwarding = self.outcomes.forwarding();
        let backends = &*world.to_backend;
        let counters = counters.to_backend(backends.len());
        for lane in self.clients {
            let id = self.backends[lane.index()];
            // For some, none was chosen: their outcome stands.
            let (Some(backend), Some(counters)) = (backends.get(id.index()), counters.get(id.index())) else {
                continue;
            };
            let Some(frame) = burst.get_mut(lane.as_usize()) else { continue };
            let next_hop = || world.backend(id).map_or(NextHop::NO_ROUTE, |backend| backend.next_hop);
            let way = Way { hop: &backend.hop, rewrite: &backend.rewrite, counters };
            way.take::<TO_BACKEND>(&mut forwarding, lane, frame.bytes_mut(), next_hop);
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
        let mut forwarding = self.outcomes.forwarding();
        let backends = &*world.to_client;
        let counters = counters.to_client(backends.len());
        for lane in self.responses {
            let id = self.backends[lane.index()];
            let (Some(backend), Some(counters)) = (backends.get(id.index()), counters.get(id.index())) else {
                continue;
            };
            let Some(frame) = burst.get_mut(lane.as_usize()) else { continue };
            let destination = destination(frame.bytes());
            let made;
            let next_hop = match world.routes.resolved(destination) {
                Some(next_hop) => next_hop,
                None => {
                    made = world.routes.next_hop(destination);
                    &made
                }
            };
            let way = Way { hop: &next_hop.hop, rewrite: &backend.rewrite, counters };
            way.take::<TO_CLIENT>(&mut forwarding, lane, frame.bytes_mut(), || *next_hop);
        }
    }
}

/// The address a parsed packet goes to.
#[inline(always)]
fn destination(frame: &[u8]) -> Ipv4Addr {
    let headers = EthernetIpv4::ref_from_prefix(frame).ok();
    headers.map_or(Ipv4Addr::UNSPECIFIED, |(headers, _)| headers.destination.into())
}

/// What a packet needs on its way.
struct Way<'a> {
    hop: &'a Hop,
    rewrite: &'a Rewrite,
    counters: &'a Traffic,
}

impl Way<'_> {
    /// Rewrites the packet and sends it on its way, if it can go there. `next_hop` is the one that `hop` is a
    /// part of.
    #[inline(always)]
    fn take<const WAY: bool>(
        &self,
        forwarding: &mut Forwarding<'_>,
        lane: Lane,
        frame: &mut [u8],
        next_hop: impl FnOnce() -> NextHop,
    ) {
        let Ok((network, rest)) = EthernetIpv4::mut_from_prefix(frame) else { return };
        let total_len = u16::from_be_bytes(network.total_len);
        if network.ttl <= 1 {
            forwarding.outcomes.decide(lane, Outcome::Drop(DropReason::TtlExceeded));
            return;
        }
        if total_len > self.hop.mtu {
            refuse(forwarding.outcomes, lane, &next_hop());
            return;
        }
        forwarding.forward(lane, self.hop.port);
        self.counters.count(total_len);
        match rest.first_chunk_mut::<{ l4::TCP_HEADER_LEN }>() {
            // The same as for others, where the compiler knows all offsets.
            Some(segment) if network.is_without_options() => self.translate::<WAY>(network, segment),
            _ => self.translate_any::<WAY>(network, rest),
        }
    }

    /// Packets with IPv4 options, and very short ones.
    #[cold]
    fn translate_any<const WAY: bool>(&self, network: &mut EthernetIpv4, rest: &mut [u8]) {
        let options_len = (usize::from(network.version_and_len & 15) * 4).saturating_sub(ipv4::HEADER_LEN);
        self.translate::<WAY>(network, rest.get_mut(options_len..).unwrap_or_default());
    }

    /// The two checksums change by the differences that were worked out with the configuration (RFC 1624),
    /// the rest is written over.
    #[inline(always)]
    fn translate<const WAY: bool>(&self, network: &mut EthernetIpv4, segment: &mut [u8]) {
        let Self { hop, rewrite, .. } = self;
        network.ethernet = hop.addresses.0;
        network.ttl -= 1;
        network.checksum = rewrite.ip.apply(network.checksum);
        if WAY == TO_BACKEND {
            network.destination = rewrite.address;
            write(segment, l4::DESTINATION_PORT_OFFSET, rewrite.port);
        } else {
            network.source = rewrite.address;
            write(segment, l4::SOURCE_PORT_OFFSET, rewrite.port);
        }
        // The protocol changes from packet to packet: it decides on a place, not on a way through the code.
        let at = usize::from(rewrite.checksum_at);
        let old = read(segment, at);
        if old != NO_CHECKSUM || !rewrite.is_udp {
            let new = rewrite.l4.apply(old);
            write(segment, at, if new == NO_CHECKSUM { rewrite.zero_checksum } else { new });
        }
    }
}

/// A packet that does not fit, or that cannot go where it should.
#[cold]
fn refuse(outcomes: &mut Outcomes, lane: Lane, next_hop: &NextHop) {
    if let Some((port, address)) = next_hop.wanted() {
        outcomes.want(port, address);
    }
    outcomes.decide(lane, Outcome::Drop(next_hop.refusal()));
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
