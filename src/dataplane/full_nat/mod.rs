//! Full NAT: the source of clients' packets is translated too, to an address and port of ours, so that the responses come
//! back here from wherever the backend is. Between families the packet is given the other's header (RFC 7915).

mod bindings;

pub(super) use bindings::{Bindings, PORTS as SOURCE_PORTS, Place, PortMemory};

use super::counters::WorkerCounters;
use super::ends::{self, NewEnds};
use super::flow_table::{Key, State, Value, settle_flow};
use super::lanes::{Lane, LaneSet, Lanes, Outcome};
use super::nat::refuse;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{Flow, Packet, Parsed, WideKey, parse};
use crate::snapshot::{Backend, BackendId, Frontend, Snapshot};
use crate::tick::Tick;
use crate::wire::Protocol;
use crate::wire::l4::TcpFlags;

/// A packet to a source address and port of ours: a response, if a flow has them.
#[derive(Clone, Copy)]
pub(super) struct ToSource {
    pub(super) source: u16,
    pub(super) packet: Packet,
}

impl Lanes {
    /// Finds which ports clients' flows have, or gives them some, and sends them on; and responses back.
    #[inline(always)]
    pub(super) fn full_nat<F: Frame>(
        &mut self,
        burst: &mut [F],
        bindings: &mut Bindings,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        if !self.bound.is_empty() || !self.to_sources.is_empty() {
            self.full_nat_all(burst, bindings, world, now, counters);
        }
    }

    #[cold]
    fn full_nat_all<F: Frame>(
        &mut self,
        burst: &mut [F],
        bindings: &mut Bindings,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut forwarded = LaneSet::default();
        for lane in self.bound {
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            match self.bind(lane, bindings, world, now, counters) {
                Ok((id, place)) => {
                    self.backends[lane.index()] = id;
                    let Some(backend) = world.backend(id) else { continue };
                    if self.send_bound(lane, frame, backend, place, world) {
                        counters
                            .to_backend()
                            .get(id.index())
                            .iter()
                            .for_each(|count| count.count(len(frame)));
                        forwarded.insert(lane);
                    }
                }
                Err(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
            }
        }
        for i in 0..self.to_sources.len() {
            let (lane, to) = self.to_sources[i];
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            match self.return_bound(lane, frame, &to, bindings, world, now) {
                Ok(Some(id)) => {
                    counters.to_client().get(id.index()).iter().for_each(|count| count.count(len(frame)));
                    forwarded.insert(lane);
                }
                Ok(None) => {}
                Err(outcome) => self.outcomes.decide(lane, outcome),
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// The backend and the port of the flow.
    fn bind(
        &mut self,
        lane: Lane,
        bindings: &mut Bindings,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) -> Result<(BackendId, Place), DropReason> {
        let (key, hash) = (self.wide_key(lane), self.hashes[lane.index()]);
        let flags = self.tcp_flags[lane.index()];
        let frontend = world.frontend_of(key).ok_or(DropReason::NoRule)?;
        if let Some(place) = bindings.find(key, hash) {
            let settled = bindings.at(place).and_then(|(_, value)| {
                let new = settle_flow(*value, flags, frontend.idle_ticks, world, now)?;
                *value = new;
                Some(new.backend())
            });
            if let Some(id) = settled {
                return Ok((id, place));
            }
            forget(bindings, place, world, counters);
        }
        if let Some(flaw) = key.flaw() {
            return Err(flaw);
        }
        let choice =
            frontend.selector.choose(&world.hash, key, hash).ok_or(DropReason::NoBackendAvailable)?;
        let value = Value::new(choice.backend, State::first(flags), now);
        let place = free(bindings, frontend, value, flags, hash, world, now, counters)?;
        bindings.bind(place, key, hash, value);
        counters.flow.created.add(1);
        if let Some(flows) = counters.flows(choice.backend) {
            flows.now.add(1);
            flows.ever.add(1);
        }
        Ok((choice.backend, place))
    }

    fn send_bound<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        backend: &Backend,
        place: Place,
        world: &Snapshot,
    ) -> bool {
        let Ok(Parsed::Transport(packet)) = parse(frame.bytes()) else {
            self.outcomes.decide(lane, Outcome::Drop(DropReason::Fragment));
            return false;
        };
        let (source, port) = Bindings::source_of(place);
        let Some(source) = world.sources.address(source) else { return false };
        let to = if backend.port == 0 { packet.destination_port } else { backend.port };
        let ends = NewEnds { source: (source, port).into(), destination: (backend.address, to).into() };
        self.outcomes.set_port(lane, backend.next_hop.hop.port);
        match ends::translate(frame, &packet, &backend.next_hop.hop, &ends) {
            Ok(_) => true,
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, &backend.next_hop);
                false
            }
        }
    }

    /// Translates a response; `None` where it cannot go its way.
    fn return_bound<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        to: &ToSource,
        bindings: &mut Bindings,
        world: &Snapshot,
        now: Tick,
    ) -> Result<Option<BackendId>, Outcome> {
        let Packet { ip, source_port, destination_port, protocol, .. } = to.packet;
        const NOBODY: Outcome = Outcome::Drop(DropReason::NoRule);
        let owner = bindings.owner(destination_port).ok_or(NOBODY)?;
        if owner != bindings.me() {
            return Err(Outcome::HandOver(owner));
        }
        let place = Bindings::place(to.source, protocol == Protocol::Udp, destination_port).ok_or(NOBODY)?;
        let (key, value) = bindings.at(place).ok_or(NOBODY)?;
        let id = value.backend();
        let backend = world.backend(id).ok_or(NOBODY)?;
        let frontend = world.frontend_of(key).ok_or(NOBODY)?;
        let port = key.destination_port().or(frontend.endpoint.one_port()).ok_or(NOBODY)?;
        let from = if backend.port == 0 { port } else { backend.port };
        // Only who was asked may answer.
        if (ip.source, source_port) != (backend.address, from) {
            return Err(Outcome::Drop(DropReason::NotOurs));
        }
        *value = value.seen_at(now);
        let ends = NewEnds { source: (frontend.endpoint.address, port).into(), destination: key.client() };
        let next_hop = world.routes.next_hop_to(key.client().ip());
        self.outcomes.set_port(lane, next_hop.hop.port);
        match ends::translate(frame, &to.packet, &next_hop.hop, &ends) {
            Ok(_) => Ok(Some(id)),
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, &next_hop);
                Ok(None)
            }
        }
    }
}

/// A port for a new flow to a backend, of the rule's source addresses.
#[allow(clippy::too_many_arguments, reason = "what a flow is")]
fn free(
    bindings: &mut Bindings,
    frontend: &Frontend,
    value: Value,
    flags: TcpFlags,
    hash: u64,
    world: &Snapshot,
    now: Tick,
    counters: &WorkerCounters,
) -> Result<Place, DropReason> {
    let sources = world.backend(value.backend()).and_then(|backend| backend.sources);
    let sources = sources.ok_or(DropReason::NoSourcePort)?;
    let is_udp = flags == TcpFlags::default();
    let numbers = world.sources.of_set(sources);
    let start = (hash >> 32) as usize % numbers.len().max(1);
    let ended = |key: WideKey, value: Value| {
        let is_over = value.is_over(idle_ticks(key, world), now);
        if is_over {
            count_ended(value, counters);
        }
        is_over
    };
    debug_assert!(frontend.idle_ticks > 0, "a rule has a timeout");
    let (before, from_start) = numbers.split_at(start.min(numbers.len()));
    let mut tried = from_start.iter().chain(before);
    tried.find_map(|source| bindings.free(*source, is_udp, hash, ended)).ok_or(DropReason::NoSourcePort)
}

/// Frees the ports of flows that are over, some places at a time.
pub(super) fn sweep(
    bindings: &mut Bindings,
    count: usize,
    world: &Snapshot,
    now: Tick,
    counters: &WorkerCounters,
) {
    if !bindings.is_empty() {
        bindings.sweep(count, |key, value| {
            let is_over = value.is_over(idle_ticks(key, world), now);
            if is_over {
                count_ended(value, counters);
            }
            is_over
        });
    }
}

fn forget(bindings: &mut Bindings, place: Place, _world: &Snapshot, counters: &WorkerCounters) {
    if let Some((_, value)) = bindings.at(place) {
        count_ended(*value, counters);
        bindings.forget(place);
    }
}

fn count_ended(value: Value, counters: &WorkerCounters) {
    counters.flow.expired.add(1);
    if let Some(flows) = counters.flows(value.backend()) {
        flows.now.subtract(1);
    }
}

fn idle_ticks(key: WideKey, world: &Snapshot) -> u32 {
    world.frontend_of(key).map_or(0, |frontend| frontend.idle_ticks)
}

/// Bytes of the packet in a frame, for the counters.
fn len<F: Frame>(frame: &F) -> u16 {
    (frame.bytes().len().saturating_sub(crate::wire::ethernet::HEADER_LEN)) as u16
}
