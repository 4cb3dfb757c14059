//! Network address translation in IPv6: an address and a port replaced, one hop less, one checksum.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::counters::{Traffic, WorkerCounters};
use super::lanes::{Lane, Lanes};
use super::nat::{Refusal, equally_long, refuse};
use super::others::{destination, readdress_response};
use crate::io::Frame;
use crate::packet::{IpPacket, Parsed, parse};
use crate::snapshot::{Backend, Forwarding, Hop, NextHop, Rewrite6, Snapshot, ToBackend6};
use crate::wire::{ethernet, ipv4, ipv6, l4};

/// The headers of nearly all packets: no extension headers, and as much behind them as a TCP header takes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Plain {
    ethernet: [u8; 12],
    ether_type: [u8; 2],
    first_word: [u8; 4],
    payload_len: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
    segment: [u8; l4::TCP_HEADER_LEN],
}

const _: () = assert!(size_of::<Plain>() == AT + ipv6::HEADER_LEN + l4::TCP_HEADER_LEN, "no gaps");

impl Lanes {
    /// Rewrites clients' packets in IPv6, decides where they leave, and counts them for the backend. Those that are sent
    /// otherwise are left.
    #[inline(always)]
    pub(super) fn rewrite_clients6<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        if !self.wide.is_empty() {
            self.rewrite_all_clients6(burst, world, counters);
        }
    }

    // Not inlined: a loop by itself has more registers.
    #[inline(never)]
    fn rewrite_all_clients6<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let (backends, counters) = equally_long(&world.to_backend6, counters.to_backend());
        let mut forwarded = self.wide;
        for lane in self.wide {
            let id = self.backends[lane.index()];
            if let Some(backend) = backends.get(id.index())
                && let Some(counters) = counters.get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
            {
                self.outcomes.set_port(lane, backend.hop.port);
                let ToBackend6 { hop, rewrite, protocol, payload_end } = backend;
                let way = Way6 { hop, rewrite, protocol: *protocol, payload_end: *payload_end, counters };
                if let Err(refusal) = way.take::<TO_BACKEND>(frame.bytes_mut()) {
                    forwarded.remove(lane);
                    self.refuse_or_leave(lane, refusal, world);
                }
            } else {
                // None was chosen, and the outcome stands.
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// The same of responses; and of those of backends that answer from several ports, in either family.
    #[inline(always)]
    pub(super) fn rewrite_responses6<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        if !self.wide_responses.is_empty() {
            self.rewrite_all_responses6(burst, world, counters);
        }
    }

    #[inline(never)]
    fn rewrite_all_responses6<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let mut forwarded = self.wide_responses;
        for lane in self.wide_responses {
            let id = self.backends[lane.index()];
            if let Some(backend) = world.backends.get(id.index())
                && let Some(counters) = counters.to_client().get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
            {
                let made;
                let next_hop = match resolved(frame.bytes(), world) {
                    Some(next_hop) => next_hop,
                    None => {
                        made = made_next_hop(frame.bytes(), world);
                        &made
                    }
                };
                self.outcomes.set_port(lane, next_hop.hop.port);
                let hop = &next_hop.hop;
                let sent = match &backend.forwarding {
                    Forwarding::Translate6 { back, .. } => {
                        let (protocol, payload_end) = (back.protocol(), hop.payload_end6());
                        let way = Way6 { hop, rewrite: back, protocol, payload_end, counters };
                        way.take::<TO_CLIENT>(frame.bytes_mut())
                    }
                    _ => readdress_response(frame, backend, hop, world).map(|len| counters.count(len)),
                };
                if let Err(refusal) = sent {
                    forwarded.remove(lane);
                    refuse(&mut self.outcomes, lane, refusal, next_hop);
                }
            } else {
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// A packet that plain translation could not take: it is sent otherwise, or not at all.
    #[cold]
    fn refuse_or_leave(&mut self, lane: Lane, refusal: Refusal, world: &Snapshot) {
        match world.backend(self.backends[lane.index()]) {
            Some(Backend { forwarding: Forwarding::Translate6 { .. }, next_hop, .. }) => {
                refuse(&mut self.outcomes, lane, refusal, next_hop);
            }
            _ => self.others.insert(lane),
        }
    }
}

/// The next hop of a packet of IPv6 to beyond a router.
#[inline(always)]
fn resolved<'w>(frame: &[u8], world: &'w Snapshot) -> Option<&'w NextHop> {
    let (headers, _) = Plain::ref_from_prefix(frame).ok()?;
    if headers.ether_type != ethernet::TYPE_IPV6.to_be_bytes() {
        return None;
    }
    world.routes.resolved6(headers.destination.into())
}

/// Any packet's, looked up in full.
fn made_next_hop(frame: &[u8], world: &Snapshot) -> NextHop {
    destination(frame).map_or(NextHop::NO_ROUTE, |destination| world.routes.next_hop_to(destination))
}

/// The way from a client to its backend.
const TO_BACKEND: bool = true;
/// The way back.
const TO_CLIENT: bool = false;

/// What a packet needs on its way.
#[derive(Clone, Copy)]
struct Way6<'a> {
    hop: &'a Hop,
    rewrite: &'a Rewrite6,
    /// The rule's, as far as packets are plain.
    protocol: u8,
    /// A payload that is not shorter does not fit.
    payload_end: u16,
    counters: &'a Traffic,
}

impl Way6<'_> {
    /// Rewrites the packet and counts it, if it can go this way.
    #[inline(always)]
    fn take<const WAY: bool>(self, frame: &mut [u8]) -> Result<(), Refusal> {
        match Plain::mut_from_prefix(frame) {
            Ok((headers, _)) if headers.next_header == self.protocol => self.translate::<WAY>(headers),
            _ => take_any::<WAY>(self.hop, self.rewrite, self.counters, frame),
        }
    }

    /// The same as for others, where the compiler knows all offsets but that of the checksum.
    #[inline(always)]
    fn translate<const WAY: bool>(self, headers: &mut Plain) -> Result<(), Refusal> {
        let Self { hop, rewrite, counters, .. } = self;
        const HEADER_LEN: u16 = ipv6::HEADER_LEN as u16;
        let payload_len = u16::from_be_bytes(headers.payload_len);
        if headers.hop_limit <= 1 {
            return Err(Refusal::Ttl);
        }
        if payload_len >= self.payload_end {
            return Err(Refusal::Mtu);
        }
        // No more than the MTU.
        counters.count(payload_len + HEADER_LEN);
        headers.hop_limit -= 1;
        headers.ethernet = hop.addresses.0;
        if WAY == TO_BACKEND {
            headers.destination = rewrite.address;
            write(&mut headers.segment, l4::DESTINATION_PORT_OFFSET, &rewrite.port);
        } else {
            headers.source = rewrite.address;
            write(&mut headers.segment, l4::SOURCE_PORT_OFFSET, &rewrite.port);
        }
        update(&mut headers.segment, rewrite);
        Ok(())
    }
}

/// Packets with extension headers, and very short ones.
#[cold]
fn take_any<const WAY: bool>(
    hop: &Hop,
    rewrite: &Rewrite6,
    counters: &Traffic,
    frame: &mut [u8],
) -> Result<(), Refusal> {
    if rewrite.is_none() {
        return Err(Refusal::Mtu);
    }
    let layout = Layout::of(frame).ok_or(Refusal::Mtu)?;
    let side = if WAY == TO_BACKEND { Side::Destination } else { Side::Source };
    translate(frame, layout, hop, rewrite, side)?;
    counters.count(layout.total_len);
    Ok(())
}

/// The checksum of the segment, after the rewrite.
#[inline(always)]
fn update(segment: &mut [u8], rewrite: &Rewrite6) {
    let at = usize::from(rewrite.checksum_at);
    let Some(Ok(field)) = segment.get_mut(at..at + 2).map(<&mut [u8; 2]>::try_from) else { return };
    // UDP without a checksum is not IPv6 (RFC 8200 section 8.1), but who lets it be has his reasons (RFC 6936).
    if *field == [0, 0] && rewrite.is_udp {
        return;
    }
    *field = rewrite.l4.apply(*field);
    if *field == [0, 0] {
        *field = rewrite.zero_checksum;
    }
}

/// Where the parts of a packet lie in its frame.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of the packet.
    pub(super) total_len: u16,
    /// Where the segment or datagram begins.
    pub(super) segment_at: usize,
}

/// The frame's offset of the fixed header.
const AT: usize = ethernet::HEADER_LEN;

impl Layout {
    /// Of a parsed packet: behind the fixed header nearly always.
    #[inline(always)]
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let header = ipv6::Header(frame.get(AT..)?.first_chunk()?);
        let total_len = (header.payload_len() + ipv6::HEADER_LEN) as u16;
        match header.next_header() {
            ipv4::PROTOCOL_TCP | ipv4::PROTOCOL_UDP => {
                Some(Self { total_len, segment_at: AT + ipv6::HEADER_LEN })
            }
            _ => Self::behind_extensions(frame),
        }
    }

    #[cold]
    fn behind_extensions(frame: &[u8]) -> Option<Self> {
        let ip: IpPacket = match parse(frame).ok()? {
            Parsed::Transport(packet) => packet.ip,
            Parsed::Fragment(ip) => ip,
            _ => return None,
        };
        Some(Self { total_len: ip.total_len, segment_at: ip.payload_offset.into() })
    }
}

/// Which address and port are replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Rewrites the packet for its next hop.
#[inline(always)]
pub(super) fn translate(
    frame: &mut [u8],
    layout: Layout,
    hop: &Hop,
    rewrite: &Rewrite6,
    side: Side,
) -> Result<(), Refusal> {
    let Layout { total_len, segment_at } = layout;
    let (fixed, rest) = frame.split_at_mut_checked(AT + ipv6::HEADER_LEN).ok_or(Refusal::Mtu)?;
    let behind = segment_at.checked_sub(AT + ipv6::HEADER_LEN).ok_or(Refusal::Mtu)?;
    let segment = rest.get_mut(behind..).ok_or(Refusal::Mtu)?;
    let hop_limit = fixed.get_mut(AT + ipv6::HOP_LIMIT_OFFSET).ok_or(Refusal::Mtu)?;
    if *hop_limit <= 1 {
        return Err(Refusal::Ttl);
    }
    if total_len > hop.mtu {
        return Err(Refusal::Mtu);
    }
    *hop_limit -= 1;
    let (address_at, port_at) = match side {
        Side::Source => (ipv6::SOURCE_OFFSET, l4::SOURCE_PORT_OFFSET),
        Side::Destination => (ipv6::DESTINATION_OFFSET, l4::DESTINATION_PORT_OFFSET),
    };
    write(fixed, 0, &hop.addresses.0);
    write(fixed, AT + address_at, &rewrite.address);
    write(segment, port_at, &rewrite.port);
    update(segment, rewrite);
    Ok(())
}

#[inline(always)]
fn write<const N: usize>(bytes: &mut [u8], at: usize, new: &[u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = *new;
    }
}
