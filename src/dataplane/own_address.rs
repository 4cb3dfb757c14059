//! Addresses that backends have for themselves: what has no ports, or none that we know, goes by the address alone, without
//! a flow, so any worker will do. TCP and UDP go as flows do. `docs/NAT-RULES.md` is the long form.

use std::net::IpAddr;

use super::classify::{Class, is_behind};
use super::cut;
use super::ends::{self, NewEnds};
use super::icmp::{Around, Notice, Retelling};
use super::lanes::{Lane, Lanes, Ours, Outcome, Source};
use super::nat::Refusal;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{IpPacket, Quote, flaw_of_source, is_martian};
use crate::snapshot::{BackendId, Echo, FrontendId, Hop, NextHop, Snapshot};
use crate::wire::checksum::{self, Delta};
use crate::wire::{icmp, icmpv6, ipv6};

/// A packet that gets another address, and nothing else.
#[derive(Clone, Copy)]
pub(super) struct Readdressed {
    ip: IpPacket,
    backend: BackendId,
    is_to_backend: bool,
}

impl Readdressed {
    /// One of a backend with an address of its own, or to such an address; of a protocol whose ports nobody looks at.
    pub(super) fn of(ip: &IpPacket, source: Source, world: &Snapshot) -> Option<Result<Self, DropReason>> {
        if world.backend_addresses.is_empty() {
            return None;
        }
        if let Some(backend) = world.backend_addresses.leading_to(ip.destination) {
            let readdressed = Self { ip: *ip, backend, is_to_backend: true };
            return Some(check_client(ip.source, backend, world).map(|()| readdressed));
        }
        let backend = world.backend_addresses.of_backend(ip.source)?;
        if world.local_at(ip.destination).is_some() {
            return None;
        }
        let readdressed = Self { ip: *ip, backend, is_to_backend: false };
        Some(check_way(ip.destination, backend, source, world).map(|()| readdressed))
    }

    /// The same of ICMP: who asks whether somebody is there, and the answer. Of a message in parts the later ones do not say
    /// what they are.
    pub(super) fn of_echo(
        message: &[u8],
        ip: &IpPacket,
        source: Source,
        world: &Snapshot,
    ) -> Option<Result<Self, DropReason>> {
        let readdressed = Self::of(ip, source, world)?;
        let (request, reply) = if ip.source.is_ipv4() {
            (icmp::TYPE_ECHO, icmp::TYPE_ECHO_REPLY)
        } else {
            (icmpv6::TYPE_ECHO, icmpv6::TYPE_ECHO_REPLY)
        };
        let kind = *message.first()?;
        let is_later_part = ip.fragment.is_some_and(|part| part.offset > 0);
        if !is_later_part && kind != request && kind != reply {
            return None;
        }
        Some(readdressed.and_then(|one| {
            let is_asked = one.is_to_backend && !is_later_part && kind == request;
            let is_off = is_asked && echo_of(one.backend, world) == Some(Echo::Off);
            if is_off { Err(DropReason::EchoOff) } else { Ok(one) }
        }))
    }

    /// What it is to the stages.
    pub(super) fn class(readdressed: Result<Self, DropReason>) -> Class {
        readdressed.map_or_else(Class::Drop, |one| Class::Ours(Ours::Readdressed(one)))
    }

    fn route(&self, world: &Snapshot) -> Option<(NewEnds, NextHop)> {
        let backend = world.backend(self.backend)?;
        let IpPacket { source, destination, .. } = self.ip;
        if self.is_to_backend {
            return Some((ends_of(source, backend.address), backend.next_hop));
        }
        let own = world.frontend(backend.frontend)?.endpoint.address;
        Some((ends_of(own, destination), world.routes.next_hop_to(destination)))
    }
}

fn ends_of(source: IpAddr, destination: IpAddr) -> NewEnds {
    NewEnds { source: (source, 0).into(), destination: (destination, 0).into() }
}

fn echo_of(backend: BackendId, world: &Snapshot) -> Option<Echo> {
    Some(world.frontend(world.backend(backend)?.frontend)?.echo)
}

/// Whether somebody may send to a backend's own address from there.
fn check_client(source: IpAddr, backend: BackendId, world: &Snapshot) -> Result<(), DropReason> {
    if let Some(flaw) = flaw_of_source(source, 1) {
        return Err(flaw);
    }
    let backend = world.backend(backend).ok_or(DropReason::NoBackendAvailable)?;
    if world.local_at(source).is_some() {
        return Err(DropReason::MartianSource);
    }
    if backend.address == source {
        return Err(DropReason::Hairpin);
    }
    Ok(())
}

/// Whether the access list has nothing against a client.
fn permits(client: IpAddr, frontend: FrontendId, world: &Snapshot) -> bool {
    let acl = world.frontend(frontend).and_then(|frontend| frontend.acl.as_ref());
    acl.is_none_or(|acl| acl.permits(client))
}

/// Whether a backend's packet can come in here, and go on to `destination`.
fn check_way(
    destination: IpAddr,
    backend: BackendId,
    source: Source,
    world: &Snapshot,
) -> Result<(), DropReason> {
    if is_martian(destination) {
        return Err(DropReason::MartianDestination);
    }
    let backend = world.to_client.get(backend.index()).ok_or(DropReason::NotOurs)?;
    if is_behind(backend, source) { Ok(()) } else { Err(DropReason::WrongPort) }
}

impl Lanes {
    /// Sends the packet on with its other address.
    pub(super) fn readdress<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        readdressed: &Readdressed,
        around: Around<'_>,
    ) -> Result<Outcome, DropReason> {
        let Readdressed { ip, backend: id, is_to_backend } = readdressed;
        let frontend = around.world.backend(*id).ok_or(DropReason::NoBackendAvailable)?.frontend;
        if *is_to_backend && !permits(ip.source, frontend, around.world) {
            around.counters.count_denied(frontend);
            return Err(DropReason::AclDenied);
        }
        let (ends, next_hop) = readdressed.route(around.world).ok_or(DropReason::NoBackendAvailable)?;
        let hop = &next_hop.hop;
        let mut sent = write(frame, ip, hop, &ends);
        let is_cut = sent == Err(Refusal::Mtu) && cut::may_be_cut(frame.bytes(), hop.mtu);
        if is_cut {
            sent = write(frame, ip, &cut::unlimited(hop), &ends);
        }
        let Some(total_len) = self.sent(lane, sent, &ends, ip, next_hop, !is_to_backend) else {
            return Ok(self.outcomes.decided(lane));
        };
        let all = if *is_to_backend { around.counters.to_backend() } else { around.counters.to_client() };
        all.get(id.index()).into_iter().for_each(|counters| counters.count(total_len));
        if is_cut {
            self.outcomes.cut(lane, cut::Cut { port: hop.port, mtu: hop.mtu, tunnel: None });
            return Ok(self.outcomes.decided(lane));
        }
        Ok(Outcome::Forward(hop.port))
    }
}

/// Gives a packet its new ends; its length.
fn write<F: Frame>(frame: &mut F, ip: &IpPacket, hop: &Hop, ends: &NewEnds) -> Result<u16, Refusal> {
    let total_len = ends::readdress(frame, ip, hop, ends.source.ip(), ends.destination.ip())?;
    if ip.fragment.is_none_or(|part| part.offset == 0) {
        let carried = frame.bytes_mut().get_mut(usize::from(ip.payload_offset)..ip.end());
        carried.and_then(|carried| update_checksum(carried, ip, ends));
    }
    Ok(total_len)
}

/// UDP-Lite (RFC 3828 section 3.1) and DCCP (RFC 4340 section 9.1), whose checksums are over the addresses too, and stand at
/// one place.
const WITH_PSEUDO_HEADER: [u8; 2] = [PROTOCOL_UDP_LITE, 33];
const PROTOCOL_UDP_LITE: u8 = 136;
const THEIR_CHECKSUM_AT: usize = 6;

/// The checksum of what a packet carries, where that is over the addresses. Those of ICMP in IPv4, GRE, ESP and SCTP are not.
fn update_checksum(carried: &mut [u8], ip: &IpPacket, ends: &NewEnds) -> Option<()> {
    let at = match ip.protocol {
        ipv6::PROTOCOL_ICMPV6 if ip.source.is_ipv6() => icmp::CHECKSUM_OFFSET,
        number if WITH_PSEUDO_HEADER.contains(&number) => THEIR_CHECKSUM_AT,
        _ => return None,
    };
    let field = carried.get_mut(at..)?.first_chunk_mut::<2>()?;
    let new = Delta::NONE
        .replace_sum(sum_of(ip.source), sum_of(ends.source.ip()))
        .replace_sum(sum_of(ip.destination), sum_of(ends.destination.ip()))
        .apply(*field);
    // Zero is none, which UDP-Lite may not be without (RFC 3828 section 3.1); all ones are the same sum.
    *field = if ip.protocol == PROTOCOL_UDP_LITE && new == [0, 0] { [0xff, 0xff] } else { new };
    Some(())
}

fn sum_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}

/// A packet that an error is about.
#[derive(Clone, Copy)]
pub(super) enum AboutOwn {
    /// What such a backend has sent.
    Sent(BackendId),
    /// What it got.
    Got(BackendId),
}

impl AboutOwn {
    /// What is quoted, if it went by the address alone. The error is for its source.
    pub(super) fn of(
        quote: &Quote,
        ip: &IpPacket,
        source: Source,
        world: &Snapshot,
    ) -> Option<Result<Self, DropReason>> {
        if world.backend_addresses.is_empty() {
            return None;
        }
        let IpPacket { source: from, destination: to, .. } = quote.ip;
        if let Some(backend) = world.backend_addresses.leading_to(from) {
            return Some(check_client(to, backend, world).map(|()| Self::Sent(backend)));
        }
        let backend = world.backend_addresses.of_backend(to)?;
        if world.local_at(ip.destination).is_some() {
            return None;
        }
        Some(check_way(ip.destination, backend, source, world).map(|()| Self::Got(backend)))
    }
}

impl Lanes {
    /// Sends an error on to whom it concerns.
    pub(super) fn tell_own<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        about: AboutOwn,
        around: Around<'_>,
    ) -> Result<(), Outcome> {
        const NOBODY: Outcome = Outcome::Drop(DropReason::NoBackendAvailable);
        let Around { world, counters, .. } = around;
        let (AboutOwn::Sent(id) | AboutOwn::Got(id)) = about;
        let backend = world.backend(id).ok_or(NOBODY)?;
        let own = world.frontend(backend.frontend).ok_or(NOBODY)?.endpoint.address;
        let quote = notice.quoted();
        if matches!(about, AboutOwn::Sent(_)) && !permits(quote.destination, backend.frontend, world) {
            // Who may send nothing is told of nothing.
            return Err(Outcome::Drop(DropReason::AclDenied));
        }
        let (quoted, from, to, next_hop, told) = match about {
            AboutOwn::Sent(_) => (
                ends_of(backend.address, quote.destination),
                notice.source(),
                backend.address,
                backend.next_hop,
                &counters.icmp.to_backend,
            ),
            AboutOwn::Got(_) => (
                ends_of(quote.source, own),
                own,
                quote.source,
                world.routes.next_hop_to(quote.source),
                &counters.icmp.to_client,
            ),
        };
        if quote.fragment.is_none_or(|part| part.offset == 0) {
            let carried = frame.bytes_mut().get_mut(notice.quoted_ends_offset()..);
            carried.and_then(|carried| update_checksum(carried, &quote, &quoted));
        }
        let mtu = next_hop.hop.mtu;
        let retelling = Retelling { from, to, quoted, sequence: None, mtu, mtu_there: mtu };
        self.tell_bound(lane, frame, notice, &retelling, &next_hop)?;
        told.add(1);
        Ok(())
    }
}
