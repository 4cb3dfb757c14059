//! Sending on what has no ports: the addresses are replaced, or the packet goes as it is.

use std::net::IpAddr;

use super::table::Fate;
use crate::dataplane::classify::is_behind;
use crate::dataplane::counters::Traffic;
use crate::dataplane::cut::{self, Cut, may_be_cut, unlimited};
use crate::dataplane::full_nat::Aside;
use crate::dataplane::icmp::Around;
use crate::dataplane::nat::Refusal;
use crate::dataplane::{encapsulate, ends};
use crate::drop_reason::DropReason;
use crate::io::{Frame, PortId};
use crate::packet::IpPacket;
use crate::snapshot::{Backend, BackendId, Forwarding, Hop, NextHop};

/// How a fragment leaves.
pub(super) enum Way {
    Whole(PortId),
    InParts(Cut),
}

/// Sends a later fragment to where the first of its datagram went.
pub(super) fn send<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    fate: Fate,
    around: Around<'_>,
) -> Result<Way, DropReason> {
    let world = around.world;
    match fate {
        Fate::ToBackend(id, hash) => {
            let backend = world.backend(id).ok_or(DropReason::NoBackendAvailable)?;
            let hop = &backend.next_hop.hop;
            let sent = to_backend(frame, ip, (id, hash), backend, hop, around);
            if sent != Err(DropReason::ExceedsMtu) {
                return sent.map(Way::Whole);
            }
            let cut = cut::to_backend_in_parts(backend, (id, hash));
            if !may_be_cut(frame.bytes(), cut.mtu) {
                return Err(DropReason::ExceedsMtu);
            }
            if cut.tunnel.is_some() {
                count(around.counters.to_backend().get(id.index()), ip.total_len);
            } else {
                to_backend(frame, ip, (id, hash), backend, &unlimited(hop), around)?;
            }
            Ok(Way::InParts(cut))
        }
        Fate::ToClient(id) => {
            let hop = world.routes.next_hop_to(ip.destination);
            let sent = to_client(frame, ip, id, &hop.hop, around);
            if sent != Err(DropReason::ExceedsMtu) || !may_be_cut(frame.bytes(), hop.hop.mtu) {
                return sent.map(Way::Whole);
            }
            to_client(frame, ip, id, &unlimited(&hop.hop), around)?;
            Ok(Way::InParts(Cut { port: hop.hop.port, mtu: hop.hop.mtu, tunnel: None }))
        }
        Fate::FullNat(id, way) => by_full_nat(frame, ip, id, &way, around).map(Way::Whole),
        Fate::Outbound(member, way) => by_outbound(frame, ip, member, &way, around).map(Way::Whole),
        // Those are not sent.
        _ => Err(DropReason::FragmentTimedOut),
    }
}

fn count(counters: Option<&Traffic>, total_len: u16) {
    if let Some(counters) = counters {
        counters.count(total_len);
    }
}

fn to_backend<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    (id, hash): (BackendId, u64),
    backend: &Backend,
    hop: &Hop,
    around: Around<'_>,
) -> Result<PortId, DropReason> {
    let sent = match &backend.forwarding {
        Forwarding::Translate | Forwarding::Translate6 { .. } | Forwarding::TranslateAddress => {
            ends::readdress(frame, ip, hop, ip.source, backend.address)
        }
        // They have a way of their own.
        Forwarding::FullNat => return Err(DropReason::Fragment),
        Forwarding::Direct => encapsulate::direct(frame.bytes_mut(), hop),
        Forwarding::Tunnel(template) => encapsulate::push(frame, hop, template, hash),
    };
    let total_len = sent.map_err(|refusal| reason(refusal, &backend.next_hop))?;
    count(around.counters.to_backend().get(id.index()), total_len);
    Ok(hop.port)
}

fn to_client<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    id: BackendId,
    hop: &Hop,
    around: Around<'_>,
) -> Result<PortId, DropReason> {
    let world = around.world;
    let to_client = world.to_client.get(id.index()).ok_or(DropReason::NotOurs)?;
    // As the first did.
    if !is_behind(to_client, around.source) {
        return Err(DropReason::WrongPort);
    }
    let source =
        world.backend(id).and_then(|backend| frontend_of(backend, around)).ok_or(DropReason::NotOurs)?;
    let total_len = ends::readdress(frame, ip, hop, source, ip.destination)
        .map_err(|refusal| reason(refusal, &world.routes.next_hop_to(ip.destination)))?;
    count(around.counters.to_client().get(id.index()), total_len);
    Ok(hop.port)
}

/// With the addresses that the first was given.
fn by_full_nat<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    id: BackendId,
    way: &Aside,
    around: Around<'_>,
) -> Result<PortId, DropReason> {
    let Around { world, counters, .. } = around;
    let backend = world.backend(id).ok_or(DropReason::NoBackendAvailable)?;
    if way.to_client && !world.to_client.get(id.index()).is_some_and(|back| is_behind(back, around.source)) {
        return Err(DropReason::WrongPort);
    }
    let (next_hop, counters) = if way.to_client {
        (world.routes.next_hop_to(way.destination), counters.to_client())
    } else {
        (backend.next_hop, counters.to_backend())
    };
    let total_len = ends::readdress(frame, ip, &next_hop.hop, way.source, way.destination)
        .map_err(|refusal| reason(refusal, &next_hop))?;
    if let Some(counters) = counters.get(id.index()) {
        counters.count(total_len);
    }
    Ok(next_hop.hop.port)
}

/// The same of a flow that a backend has opened.
fn by_outbound<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    number: u32,
    way: &Aside,
    around: Around<'_>,
) -> Result<PortId, DropReason> {
    let Around { world, counters, source, .. } = around;
    let member = world.outbound.member(number).ok_or(DropReason::NotOurs)?;
    if way.to_client && member.from.is_some_and(|port| port != source.port()) {
        return Err(DropReason::WrongPort);
    }
    let next_hop = if way.to_client { world.routes.next_hop_to(way.destination) } else { member.next_hop };
    let total_len = ends::readdress(frame, ip, &next_hop.hop, way.source, way.destination)
        .map_err(|refusal| reason(refusal, &next_hop))?;
    counters.outbound.count(number, way.to_client, total_len);
    Ok(next_hop.hop.port)
}

fn frontend_of(backend: &Backend, around: Around<'_>) -> Option<IpAddr> {
    Some(around.world.frontend(backend.frontend)?.endpoint.address)
}

/// Nobody is told of it: errors are about first fragments only (RFC 1812 section 4.3.2.7), and the first has asked for
/// the next hop.
fn reason(refusal: Refusal, next_hop: &NextHop) -> DropReason {
    match refusal {
        Refusal::Ttl => DropReason::TtlExceeded,
        Refusal::Headroom => DropReason::NoHeadroom,
        Refusal::Fragment => DropReason::Fragment,
        Refusal::Mtu => next_hop.refusal(),
    }
}
