//! The middle stages: the backend of each client's packet, from the flow table or, for new flows, from the
//! rule's Maglev table.

use super::counters::WorkerCounters;
use super::flow_table::{FlowTable, Found, Lines, Query, State, TURNS, Value};
use super::lanes::{Lane, LaneSet, Lanes, Outcome};
use crate::drop_reason::DropReason;
use crate::packet::{FlowKey, flaw_of_source};
use crate::snapshot::{BackendId, Frontend, Leaving, Snapshot};
use crate::tick::Tick;
use crate::wire::Protocol;

impl Lanes {
    /// Finds the flows that are in their first line. For the others, asks the memory for the slot of the
    /// Maglev table, and for the second line where that matters.
    #[inline(never)]
    pub(super) fn look_up(
        &mut self,
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut lines = flows.open();
        let backends = &*world.to_backend;
        let stays = |id: BackendId| backends.get(id.index()).is_some_and(|b| b.leaving == Leaving::None);
        let mut misses = LaneSet::default();
        for lane in self.clients {
            let hash = self.hashes[lane.index()];
            let key = self.keys[lane.index()];
            let Some(line) = lines.first(hash) else { continue };
            let backend = if let Some(value) = line.value_of(key) {
                let id = value.backend();
                if value.is_steady(now) && !self.tcp_flags[lane.index()].any(TURNS) && stays(id) {
                    self.backends[lane.index()] = id;
                    continue;
                }
                look_closer(&mut lines, self, lane, world, now, counters)
            } else {
                if line.may_go_on() {
                    lines.prefetch_second(hash);
                }
                BackendId::NONE
            };
            self.backends[lane.index()] = backend;
            if backend == BackendId::NONE {
                if let Some(frontend) = world.frontend_of(key) {
                    frontend.selector.prefetch(hash);
                }
                misses.insert(lane);
            }
        }
        self.misses = misses;
    }

    /// Settles the rest, in the order of their arrival: new flows, and those in their second line. A flow's
    /// packets are all settled here or none is, so that they leave in order.
    #[inline(never)]
    pub(super) fn select(
        &mut self,
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut lines = flows.open();
        let mut created = 0;
        for lane in self.misses {
            let (key, hash) = (self.keys[lane.index()], self.hashes[lane.index()]);
            let Some(frontend) = world.frontend_of(key) else { continue };
            let chosen = match lines.room_for(key, hash) {
                // Nearly all: there is a place in the first line, and the flow is nowhere.
                Some(place) => choose(key, hash, frontend, world).inspect(|backend| {
                    let state = State::first(self.tcp_flags[lane.index()]);
                    lines.fill(place, key, Value::new(*backend, state, false, now));
                    if let Some(flows) = counters.flows(*backend) {
                        flows.now.add(1);
                        flows.ever.add(1);
                    }
                    created += 1;
                }),
                None => select_rare(&mut lines, &self.query(lane, frontend, world, now), counters),
            };
            match chosen {
                Ok(backend) => self.backends[lane.index()] = backend,
                Err(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
            }
        }
        counters.flow.created.add(created);
    }

    #[inline(always)]
    fn query<'a>(&self, lane: Lane, frontend: &'a Frontend, world: &'a Snapshot, now: Tick) -> Query<'a> {
        let (key, hash) = (self.keys[lane.index()], self.hashes[lane.index()]);
        let is_udp = frontend.endpoint.protocol == Protocol::Udp;
        Query { key, hash, flags: self.tcp_flags[lane.index()], is_udp, frontend, world, now }
    }
}

/// For flows that begin or end, those that leave their backend, and the first packet of each tick.
#[inline(never)]
fn look_closer(
    lines: &mut Lines<'_>,
    lanes: &Lanes,
    lane: Lane,
    world: &Snapshot,
    now: Tick,
    counters: &WorkerCounters,
) -> BackendId {
    let Some(frontend) = world.frontend_of(lanes.keys[lane.index()]) else { return BackendId::NONE };
    let query = lanes.query(lane, frontend, world, now);
    match lines.find_first(&query) {
        Found::Backend(backend) => return backend,
        // At once, so that the flow's next packets in this burst wait for the choice as well.
        Found::Stale => lines.forget(&query, counters),
        Found::Absent => {}
    }
    BackendId::NONE
}

/// For flows that may be in their second line, or whose first line is full.
#[inline(never)]
fn select_rare(
    lines: &mut Lines<'_>,
    query: &Query<'_>,
    counters: &WorkerCounters,
) -> Result<BackendId, DropReason> {
    match lines.find(query) {
        Found::Backend(backend) => return Ok(backend),
        Found::Stale => lines.forget(query, counters),
        Found::Absent => {}
    }
    let backend = choose(query.key, query.hash, query.frontend, query.world)?;
    lines.record(query, backend, counters);
    Ok(backend)
}

/// A backend for a new flow.
#[inline(always)]
fn choose(
    key: FlowKey,
    hash: u64,
    frontend: &Frontend,
    world: &Snapshot,
) -> Result<BackendId, DropReason> {
    let client = key.client_address();
    // Looked at for new flows only, which suffices: no such flow ever becomes an old one.
    if let Some(flaw) = flaw_of_source(client, key.client_port()) {
        return Err(flaw);
    }
    // Nobody but us sends from our addresses: such a packet was made up, or loops.
    if world.local(client).is_some() {
        return Err(DropReason::MartianSource);
    }
    let choice = frontend.selector.choose(&world.hash, key, hash).ok_or(DropReason::NoBackendAvailable)?;
    // It would get a packet from itself, and answer itself.
    if world.to_backend(choice.backend).is_some_and(|backend| backend.rewrite.address == client.octets()) {
        return Err(DropReason::Hairpin);
    }
    Ok(choice.backend)
}
