//! Full NAT: the source of clients' packets is translated too, to an address and port of ours, so that the responses come
//! back here from wherever the backend is. Between families the packet is given the other's header (RFC 7915).

mod bindings;

use bindings::Free;
pub(super) use bindings::{Bindings, PORTS as SOURCE_PORTS, Place, PortMemory};

use super::classify::is_behind;
use super::counters::{Counter, WorkerCounters};
use super::ends::{self, NewEnds};
use super::flow_table::{Key, State, Value, settle_flow};
use super::icmp::Around;
use super::lanes::{Lane, LaneSet, Lanes, Outcome};
use super::nat::refuse;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{Flow, Packet, Parsed, WideKey, parse};
use crate::snapshot::{Backend, BackendId, Snapshot};
use crate::tick::Tick;
use crate::wire::Protocol;
use crate::wire::l4::TcpFlags;

/// Source addresses that are looked through for a new flow, at most: bounds what it costs.
const SOURCES_TRIED: usize = 4;

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
        around: Around<'_>,
    ) {
        if !self.bound.is_empty() || !self.to_sources.is_empty() {
            self.full_nat_all(burst, bindings, around);
        }
    }

    #[cold]
    fn full_nat_all<F: Frame>(&mut self, burst: &mut [F], bindings: &mut Bindings, around: Around<'_>) {
        let (to_backend, to_client) = (around.counters.to_backend(), around.counters.to_client());
        let mut forwarded = LaneSet::default();
        for lane in self.bound {
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            match self.bind(lane, bindings, around) {
                Ok((id, place)) => {
                    self.backends[lane.index()] = id;
                    let Some(backend) = around.world.backend(id) else { continue };
                    if let Some(total_len) = self.send_bound(lane, frame, backend, place, around.world) {
                        to_backend.get(id.index()).iter().for_each(|count| count.count(total_len));
                        forwarded.insert(lane);
                    }
                }
                Err(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
            }
        }
        for i in 0..self.to_sources.len() {
            let (lane, to) = self.to_sources[i];
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            match self.return_bound(lane, frame, &to, bindings, around) {
                Ok(Some((id, total_len))) => {
                    to_client.get(id.index()).iter().for_each(|count| count.count(total_len));
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
        around: Around<'_>,
    ) -> Result<(BackendId, Place), DropReason> {
        let Around { world, now, counters, .. } = around;
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
            forget(bindings, place, counters);
        }
        if let Some(flaw) = key.flaw() {
            return Err(flaw);
        }
        // Such a packet was made up, or loops.
        if key.is_ours(world) {
            return Err(DropReason::MartianSource);
        }
        let choice =
            frontend.selector.choose(&world.hash, key, hash).ok_or(DropReason::NoBackendAvailable)?;
        let value = Value::new(choice.backend, State::first(flags), now);
        let place = free(bindings, value, flags, hash, around)?;
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
    ) -> Option<u16> {
        let Ok(Parsed::Transport(packet)) = parse(frame.bytes()) else {
            self.outcomes.decide(lane, Outcome::Drop(DropReason::Fragment));
            return None;
        };
        let (source, port) = Bindings::source_of(place);
        let source = world.sources.address(source)?;
        let to = if backend.port == 0 { packet.destination_port } else { backend.port };
        let ends = NewEnds { source: (source, port).into(), destination: (backend.address, to).into() };
        self.outcomes.set_port(lane, backend.next_hop.hop.port);
        match ends::translate(frame, &packet, &backend.next_hop.hop, &ends) {
            Ok(total_len) => Some(total_len),
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, &backend.next_hop);
                None
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
        around: Around<'_>,
    ) -> Result<Option<(BackendId, u16)>, Outcome> {
        let Around { world, now, source: came_by, .. } = around;
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
        if !world.to_client.get(id.index()).is_some_and(|back| is_behind(back, came_by)) {
            return Err(Outcome::Drop(DropReason::WrongPort));
        }
        let frontend = world.frontend_of(key).ok_or(NOBODY)?;
        let port = key.destination_port().or(frontend.endpoint.one_port()).ok_or(NOBODY)?;
        let from = if backend.port == 0 { port } else { backend.port };
        // Only who was asked may answer.
        if (ip.source, source_port) != (backend.address, from) {
            return Err(Outcome::Drop(DropReason::NotOurs));
        }
        if value.is_over(frontend.idle_ticks, now) {
            return Err(NOBODY);
        }
        // What only the backend says keeps no flow alive whose client has said nothing more.
        if value.state() != State::HalfOpen {
            *value = value.seen_at(now);
        }
        self.backends[lane.index()] = id;
        let ends = NewEnds { source: (frontend.endpoint.address, port).into(), destination: key.client() };
        let next_hop = world.routes.next_hop_to(key.client().ip());
        self.outcomes.set_port(lane, next_hop.hop.port);
        match ends::translate(frame, &to.packet, &next_hop.hop, &ends) {
            Ok(total_len) => Ok(Some((id, total_len))),
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, &next_hop);
                Ok(None)
            }
        }
    }
}

/// A port for a new flow to a backend, of the rule's source addresses. Where all that is looked at is taken, a flow
/// gives way that has shown one packet only.
fn free(
    bindings: &mut Bindings,
    value: Value,
    flags: TcpFlags,
    hash: u64,
    around: Around<'_>,
) -> Result<Place, DropReason> {
    let Around { world, now, counters, .. } = around;
    let sources = world.backend(value.backend()).and_then(|backend| backend.sources);
    let sources = sources.ok_or(DropReason::NoSourcePort)?;
    let is_udp = flags == TcpFlags::default();
    let numbers = world.sources.of_set(sources);
    let start = (hash >> 32) as usize % numbers.len().max(1);
    let is_over = |key: WideKey, value: Value| value.is_over(idle_ticks(key, world), now);
    let (before, from_start) = numbers.split_at(start.min(numbers.len()));
    let mut gives_way = None;
    for source in from_start.iter().chain(before).take(SOURCES_TRIED) {
        match bindings.free(*source, is_udp, hash, is_over) {
            Free::Empty(place) => return Ok(place),
            Free::Over(place, value) => {
                count_ended(value, &counters.flow.expired, counters);
                bindings.forget(place);
                return Ok(place);
            }
            Free::GivesWay(place, value) => gives_way = gives_way.or(Some((place, value))),
            Free::None => {}
        }
    }
    let (place, value) = gives_way.ok_or(DropReason::NoSourcePort)?;
    count_ended(value, &counters.flow.reclaimed, counters);
    bindings.forget(place);
    Ok(place)
}

/// Places that are looked at in one sweep, at most, so that no packet waits long for it: some microseconds.
const SWEEP_PLACES: usize = 1024;

/// Frees the ports of flows that are over: of as large a part of all as `lines` are of `all_lines`.
pub(super) fn sweep(bindings: &mut Bindings, (lines, all_lines): (usize, usize), around: Swept<'_>) {
    if !bindings.is_empty() {
        let share = lines * bindings.places_in_use() / all_lines.max(1) + 1;
        sweep_some(bindings, share.min(SWEEP_PLACES), around);
    }
}

/// The same of all, however long that takes.
pub(super) fn sweep_all(bindings: &mut Bindings, around: Swept<'_>) {
    sweep_some(bindings, bindings.places_in_use(), around);
}

/// What a sweep goes by.
#[derive(Clone, Copy)]
pub(super) struct Swept<'a> {
    pub(super) world: &'a Snapshot,
    pub(super) now: Tick,
    pub(super) counters: &'a WorkerCounters,
}

fn sweep_some(bindings: &mut Bindings, places: usize, Swept { world, now, counters }: Swept<'_>) {
    bindings.sweep(places, |key, value| {
        let is_over = value.is_over(idle_ticks(key, world), now);
        if is_over {
            count_ended(value, &counters.flow.expired, counters);
        }
        is_over
    });
}

fn forget(bindings: &mut Bindings, place: Place, counters: &WorkerCounters) {
    if let Some((_, value)) = bindings.at(place) {
        count_ended(*value, &counters.flow.expired, counters);
        bindings.forget(place);
    }
}

fn count_ended(value: Value, as_what: &Counter, counters: &WorkerCounters) {
    as_what.add(1);
    if let Some(flows) = counters.flows(value.backend()) {
        flows.now.subtract(1);
    }
}

fn idle_ticks(key: WideKey, world: &Snapshot) -> u32 {
    world.frontend_of(key).map_or(0, |frontend| frontend.idle_ticks)
}
