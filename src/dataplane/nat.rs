//! Network address translation: clients' packets to their backends, responses back to the clients.

use std::net::Ipv4Addr;

use zerocopy::FromBytes;

use super::counters::{Traffic, WorkerCounters};
use super::lanes::{Lane, Lanes, Outcome, Outcomes};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::snapshot::{Hop, NextHop, Rewrite, Snapshot, ToBackend, ToClient};
use crate::wire::plain::{EthernetIpv4, PlainHeadersMut};
use crate::wire::{ipv4, l4};

/// The way from a client to its backend.
const TO_BACKEND: bool = true;
/// The way back.
const TO_CLIENT: bool = false;

impl Lanes {
    /// Rewrites clients' packets, decides where they leave, and counts them for the backend.
    // Not inlined: a loop by itself has more registers.
    #[inline(never)]
    pub(super) fn rewrite_clients<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let (backends, counters) = equally_long(&world.to_backend, counters.to_backend());
        let translated = self.clients.without(self.others);
        let mut forwarded = translated;
        for lane in translated {
            let id = self.backends[lane.index()];
            if let Some(backend) = backends.get(id.index())
                && let Some(counters) = counters.get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
            {
                self.outcomes.set_port(lane, backend.hop.port);
                let way = Way { hop: &backend.hop, rewrite: &backend.rewrite, counters };
                if let Err(refusal) = way.take::<TO_BACKEND>(frame.bytes_mut()) {
                    forwarded.remove(lane);
                    let next_hop = world.backend(id).map_or(NextHop::NO_ROUTE, |backend| backend.next_hop);
                    refuse(&mut self.outcomes, lane, refusal, &next_hop);
                }
            } else {
                // None was chosen, and the outcome stands.
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// Rewrites responses, decides where they leave, and counts them for the backend.
    #[inline(always)]
    pub(super) fn rewrite_responses<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let (backends, counters) = equally_long(&world.to_client, counters.to_client());
        let mut forwarded = self.responses;
        for lane in self.responses {
            let id = self.backends[lane.index()];
            let (Some(backend), Some(counters), Some(frame)) =
                (backends.get(id.index()), counters.get(id.index()), burst.get_mut(lane.index()))
            else {
                forwarded.remove(lane);
                continue;
            };
            let destination = destination(frame.bytes());
            let made;
            let next_hop = match world.routes.resolved(destination) {
                Some(next_hop) => next_hop,
                None => {
                    made = world.routes.next_hop(destination);
                    &made
                }
            };
            self.outcomes.set_port(lane, next_hop.hop.port);
            let way = Way { hop: &next_hop.hop, rewrite: &backend.rewrite, counters };
            if let Err(refusal) = way.take::<TO_CLIENT>(frame.bytes_mut()) {
                forwarded.remove(lane);
                refuse(&mut self.outcomes, lane, refusal, next_hop);
            }
        }
        self.outcomes.forward_all(forwarded);
    }
}

/// The two up to the length of the shorter: an index of one is an index of the other then.
#[inline(always)]
pub(super) fn equally_long<'a, T, U>(a: &'a [T], b: &'a [U]) -> (&'a [T], &'a [U]) {
    let len = a.len().min(b.len());
    (a.get(..len).unwrap_or_default(), b.get(..len).unwrap_or_default())
}

/// The address a parsed packet goes to.
#[inline(always)]
fn destination(frame: &[u8]) -> Ipv4Addr {
    let headers = EthernetIpv4::ref_from_prefix(frame).ok();
    headers.map_or(Ipv4Addr::UNSPECIFIED, |(headers, _)| headers.destination.into())
}

/// What a packet needs on its way.
#[derive(Clone, Copy)]
struct Way<'a> {
    hop: &'a Hop,
    rewrite: &'a Rewrite,
    counters: &'a Traffic,
}

/// Why a packet cannot go its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has come too far.
    Ttl,
    /// It does not fit, or nothing does.
    Mtu,
    /// There is no room for what is to go in front.
    Headroom,
    /// Of what comes in parts, it lacks what the other family needs.
    Fragment,
}

impl Way<'_> {
    /// Rewrites the packet and counts it, if it can go this way.
    #[inline(always)]
    fn take<const WAY: bool>(self, frame: &mut [u8]) -> Result<(), Refusal> {
        match PlainHeadersMut::of(frame) {
            // The same as for others, where the compiler knows all offsets.
            Some(PlainHeadersMut { network, segment }) => self.translate::<WAY>(network, segment),
            None => take_any::<WAY>(self.hop, self.rewrite, self.counters, frame),
        }
    }

    /// The two checksums change by the differences that were worked out with the configuration (RFC 1624),
    /// the rest is written over.
    #[inline(always)]
    fn translate<const WAY: bool>(
        self,
        network: &mut EthernetIpv4,
        segment: &mut [u8],
    ) -> Result<(), Refusal> {
        let Self { hop, rewrite, counters } = self;
        let total_len = u16::from_be_bytes(network.total_len);
        if network.ttl <= 1 {
            return Err(Refusal::Ttl);
        }
        if total_len > hop.mtu {
            return Err(Refusal::Mtu);
        }
        counters.count(total_len);
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
        if let Some(field) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            update(field, rewrite);
        }
        Ok(())
    }
}

/// The same for a packet that is cut up before it leaves, which `hop` takes whole.
pub(super) fn to_backend(frame: &mut [u8], hop: &Hop, backend: &ToBackend, counters: &Traffic) -> Option<()> {
    take_any::<TO_BACKEND>(hop, &backend.rewrite, counters, frame).ok()
}

/// And for one to a client.
pub(super) fn to_client(frame: &mut [u8], hop: &Hop, backend: &ToClient, counters: &Traffic) -> Option<()> {
    take_any::<TO_CLIENT>(hop, &backend.rewrite, counters, frame).ok()
}

/// Packets with IPv4 options, and very short ones.
#[cold]
fn take_any<const WAY: bool>(
    hop: &Hop,
    rewrite: &Rewrite,
    counters: &Traffic,
    frame: &mut [u8],
) -> Result<(), Refusal> {
    let (network, rest) = EthernetIpv4::mut_from_prefix(frame).map_err(|_| Refusal::Mtu)?;
    let options_len = (usize::from(network.version_and_len & 15) * 4).saturating_sub(ipv4::HEADER_LEN);
    let segment = rest.get_mut(options_len..).unwrap_or_default();
    Way { hop, rewrite, counters }.translate::<WAY>(network, segment)
}

/// The checksum of TCP or UDP, after the rewrite.
#[inline(always)]
fn update(field: &mut [u8; 2], rewrite: &Rewrite) {
    if *field == NO_CHECKSUM && rewrite.is_udp {
        return;
    }
    *field = rewrite.l4.apply(*field);
    if *field == NO_CHECKSUM {
        *field = rewrite.zero_checksum;
    }
}

/// A packet that cannot go where it should.
#[cold]
pub(super) fn refuse(outcomes: &mut Outcomes, lane: Lane, refusal: Refusal, next_hop: &NextHop) {
    let reason = match refusal {
        Refusal::Ttl => DropReason::TtlExceeded,
        Refusal::Headroom => DropReason::NoHeadroom,
        Refusal::Fragment => DropReason::Fragment,
        Refusal::Mtu => next_hop.refusal(),
    };
    match reason {
        DropReason::TtlExceeded | DropReason::ExceedsMtu => outcomes.drop_aloud(lane, reason),
        _ => outcomes.decide(lane, Outcome::Drop(reason)),
    }
    if refusal == Refusal::Mtu
        && let Some((port, address)) = next_hop.wanted()
    {
        outcomes.want(port, address);
    }
}

/// What a UDP datagram has whose sender made no checksum (RFC 768).
const NO_CHECKSUM: [u8; 2] = [0, 0];

#[inline(always)]
fn write(segment: &mut [u8], at: usize, bytes: [u8; 2]) {
    if let Some(place) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}
