//! Errors of others go to whom they concern: those about responses to the backend, those about clients' packets to the
//! client. Whoever has the flow knows the backend.

use super::notice::{About, Conversation, Notice};
use super::turn::Turn;
use super::{Around, Limits, tunnel};
use crate::dataplane::encapsulate;
use crate::dataplane::flow_table::Tables;
use crate::dataplane::full_nat::Bindings;
use crate::dataplane::lanes::{Lane, Lanes, Outcome};
use crate::dataplane::nat::{Refusal, refuse};
use crate::dataplane::nat6::Side;
use crate::dataplane::outbound;
use crate::dataplane::steer::Steering;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::Flow;
use crate::snapshot::{Backend, BackendId, Forwarding, Snapshot};

impl Lanes {
    /// Sends errors about our flows on.
    #[inline(always)]
    pub(in crate::dataplane) fn relay<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut Tables,
        flows_with_ports: (&mut Bindings, &mut outbound::Flows),
        steering: &Steering,
        around: Around<'_>,
        limits: &mut Limits,
    ) {
        if !self.notices.is_empty() {
            self.relay_all(burst, flows, flows_with_ports, steering, around, limits);
        }
    }

    #[cold]
    fn relay_all<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut Tables,
        flows_with_ports: (&mut Bindings, &mut outbound::Flows),
        steering: &Steering,
        around: Around<'_>,
        limits: &mut Limits,
    ) {
        let (bindings, outbound) = flows_with_ports;
        for i in 0..self.notices.len() {
            let (lane, notice) = self.notices[i];
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            let outcome = match notice.about {
                About::Translated(id) => self.tell_client(lane, frame, &notice, id, around),
                About::Bound(to) => self.tell_bound_client(lane, frame, &notice, &to, bindings, around).err(),
                About::Response(Conversation::Bound(name)) => {
                    self.tell_bound_backend(lane, frame, &notice, name, bindings, steering, around).err()
                }
                About::Outbound(about) => {
                    self.tell_outbound(lane, frame, &notice, about, outbound, steering, around).err()
                }
                About::Own(about) => self.tell_own(lane, frame, &notice, about, around).err(),
                About::Response(flow) => match backend_of(flow, flows, steering, around) {
                    Ok(id) => self.tell_backend(lane, frame, &notice, (id, flow.hash()), around),
                    Err(outcome) => Some(outcome),
                },
                About::InTunnel(flow, inner) => match backend_of(flow, flows, steering, around) {
                    Ok(id) => self.about_tunnel(frame, &notice, (id, &inner), around, limits),
                    Err(outcome) => Some(outcome),
                },
            };
            if let Some(outcome) = outcome {
                self.outcomes.decide(lane, outcome);
            }
        }
    }

    /// What becomes of an error about a response; `None` where that has been decided.
    fn tell_backend<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        (id, hash): (BackendId, u64),
        around: Around<'_>,
    ) -> Option<Outcome> {
        let Some(backend) = around.world.backend(id) else {
            return Some(Outcome::Drop(DropReason::NoBackendAvailable));
        };
        let next_hop = &backend.next_hop;
        match send(frame, notice, backend, hash) {
            Ok(()) => {
                around.counters.icmp.to_backend.add(1);
                Some(Outcome::Forward(next_hop.hop.port))
            }
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, next_hop);
                None
            }
        }
    }

    /// What becomes of an error about a client's packet; likewise. It bears the frontend's name (RFC 5508 section 4.2,
    /// REQ-5), for the client knows no other.
    fn tell_client<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        id: BackendId,
        around: Around<'_>,
    ) -> Option<Outcome> {
        let world = around.world;
        let backend = world.backend(id).filter(|backend| backend.forwarding.translates());
        // Else it is not by us that the backend got the packet in this form.
        let frontend = backend.and_then(|backend| world.frontend(backend.frontend));
        let (Some(frontend), Some(ends)) = (frontend, notice.quote.ends) else {
            return Some(Outcome::Drop(DropReason::NotOurs));
        };
        let port = frontend.endpoint.one_port().unwrap_or(ends.destination_port);
        let next_hop = world.routes.next_hop_to(notice.ip.destination);
        let turn = Turn { quoted: Side::Destination, to: (frontend.endpoint.address, port).into() };
        let taken = turn.take(frame.bytes_mut(), notice, &next_hop.hop);
        if let Err(refusal) = taken {
            refuse(&mut self.outcomes, lane, refusal, &next_hop);
            return None;
        }
        around.counters.icmp.to_client.add(1);
        Some(Outcome::Forward(next_hop.hop.port))
    }

    fn about_tunnel<F: Frame>(
        &mut self,
        frame: &mut F,
        notice: &Notice,
        (id, inner): (BackendId, &crate::packet::IpPacket),
        around: Around<'_>,
        limits: &mut Limits,
    ) -> Option<Outcome> {
        let told = around.world.backend(id).ok_or(DropReason::IcmpUnknownTunnel).and_then(|backend| {
            tunnel::tell_client(frame, notice, inner, backend, around, limits, &mut self.outcomes)
        });
        Some(told.unwrap_or_else(Outcome::Drop))
    }
}

/// The backend of the flow that an error is about: whoever has it recorded knows; where nobody has, Maglev chooses as it
/// would for a packet of the flow. Records nothing. An error is what becomes of the frame before that is known.
fn backend_of(
    flow: Conversation,
    flows: &mut Tables,
    steering: &Steering,
    around: Around<'_>,
) -> Result<BackendId, Outcome> {
    let recorded = match flow {
        Conversation::Narrow(key, hash) => flows.narrow.open().peek(key, hash),
        Conversation::Wide(key, hash) => flows.wide.open().peek(key, hash),
        Conversation::Bound(_) => None,
    };
    if let Some(value) = recorded {
        return Ok(value.backend());
    }
    if let Some(outcome) = steering.elsewhere(flow.hash(), around.source) {
        return Err(outcome);
    }
    let chosen = match flow {
        Conversation::Narrow(key, hash) => choose(key, hash, around.world),
        Conversation::Wide(key, hash) => choose(key, hash, around.world),
        // It goes through no tunnel.
        Conversation::Bound(_) => Err(DropReason::NoBackendAvailable),
    };
    chosen.map_err(Outcome::Drop)
}

fn choose(key: impl Flow, hash: u64, world: &Snapshot) -> Result<BackendId, DropReason> {
    let frontend = world.frontend_of(key).ok_or(DropReason::NoBackendAvailable)?;
    // Who may not begin a flow is told nothing of one.
    if frontend.acl.as_ref().is_some_and(|acl| !acl.permits(key.client().ip())) {
        return Err(DropReason::AclDenied);
    }
    let choice = frontend.selector.choose(&world.hash, key, hash).ok_or(DropReason::NoBackendAvailable)?;
    Ok(choice.backend)
}

/// Sends an error about a response to the backend, in the same way as the flow's packets.
fn send<F: Frame>(frame: &mut F, notice: &Notice, backend: &Backend, hash: u64) -> Result<(), Refusal> {
    let hop = &backend.next_hop.hop;
    match &backend.forwarding {
        // Those flows have names of their own.
        Forwarding::FullNat => Err(Refusal::Mtu),
        Forwarding::Direct => encapsulate::direct(frame.bytes_mut(), hop).map(|_| ()),
        Forwarding::Tunnel(template) => encapsulate::push(frame, hop, template, hash).map(|_| ()),
        Forwarding::Translate | Forwarding::Translate6 { .. } | Forwarding::TranslateAddress => {
            let keeps_port = matches!(backend.forwarding, Forwarding::TranslateAddress);
            let port = notice.quote.ends.filter(|_| keeps_port).map_or(backend.port, |ends| ends.source_port);
            let turn = Turn { quoted: Side::Source, to: (backend.address, port).into() };
            turn.take(frame.bytes_mut(), notice, hop)
        }
    }
}
