//! The middle stages: the backend of each client's packet, from the flow table or, for new flows, from the
//! rule's Maglev table.

use super::counters::WorkerCounters;
use super::flow_table::{FlowTable, Found, Lines, Query, TURNS};
use super::lanes::{Client, Lanes, Outcome};
use crate::drop_reason::DropReason;
use crate::packet::flaw_of_source;
use crate::snapshot::{BackendId, Leaving, Snapshot};
use crate::tick::Tick;
use crate::wire::Protocol;

impl Lanes {
    /// Hashes the keys of all clients' packets, side by side.
    #[inline(always)]
    pub(super) fn hash_flows(&mut self, world: &Snapshot) {
        world.hash.words(self.clients.hashes());
    }

    /// Asks the memory for all lines that will be looked at first.
    #[inline(always)]
    pub(super) fn prefetch_flows(&mut self, flows: &mut FlowTable) {
        let lines = flows.open();
        self.clients.hashes().iter().for_each(|hash| lines.prefetch_first(*hash));
    }

    /// Finds the flows that are in their first line. For the others, asks the memory for the slot of the
    /// Maglev table, and for the second line where that matters.
    #[inline(always)]
    pub(super) fn look_up(
        &mut self,
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut lines = flows.open();
        let backends = &*world.backends;
        let stays = |id: BackendId| backends.get(id.index()).is_some_and(|b| b.leaving == Leaving::None);
        let Self { clients, misses, .. } = self;
        for place in clients.places() {
            let (client, hash) = clients.client(place);
            let Some(line) = lines.first(hash) else { continue };
            let backend = if let Some(value) = line.value_of(client.key) {
                let id = value.backend();
                if value.is_steady(now) && !client.tcp_flags.any(TURNS) && stays(id) {
                    clients.choose(place, id);
                    continue;
                }
                look_closer(&mut lines, &client, hash, world, now, counters)
            } else {
                if line.may_go_on() {
                    lines.prefetch_second(hash);
                }
                BackendId::NONE
            };
            clients.choose(place, backend);
            if backend == BackendId::NONE {
                if let Some(frontend) = world.frontend_of(client.key) {
                    frontend.selector.prefetch(hash);
                }
                misses.push(place as u8);
            }
        }
    }

    /// Settles the rest, in the order of their arrival: flows in their second line, and new ones. A flow's
    /// packets are all settled here or none is, so that they leave in order.
    #[inline(always)]
    pub(super) fn select(
        &mut self,
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut lines = flows.open();
        let Self { clients, misses, outcomes, .. } = self;
        for miss in misses.as_slice() {
            let place = usize::from(*miss);
            let (client, hash) = clients.client(place);
            let Some(query) = query(&client, hash, world, now) else { continue };
            let found = lines.find(&query);
            if found == Found::Stale {
                lines.forget(&query, counters);
            }
            let chosen = match found {
                Found::Backend(backend) => Ok(backend),
                _ => choose(&query).inspect(|backend| {
                    lines.record(&query, *backend, counters);
                }),
            };
            match chosen {
                Ok(backend) => clients.choose(place, backend),
                Err(reason) => outcomes.decide(client.lane, Outcome::Drop(reason)),
            }
        }
    }
}

/// For flows that begin or end, those that leave their backend, and the first packet of each tick.
#[inline(never)]
fn look_closer(
    lines: &mut Lines<'_>,
    client: &Client,
    hash: u64,
    world: &Snapshot,
    now: Tick,
    counters: &WorkerCounters,
) -> BackendId {
    let Some(query) = query(client, hash, world, now) else { return BackendId::NONE };
    match lines.find_first(&query) {
        Found::Backend(backend) => return backend,
        // At once, so that the flow's next packets in this burst wait for the choice as well.
        Found::Stale => lines.forget(&query, counters),
        Found::Absent => {}
    }
    BackendId::NONE
}

/// A backend for a new flow.
#[inline(always)]
fn choose(query: &Query<'_>) -> Result<BackendId, DropReason> {
    let Query { key, hash, frontend, world, .. } = query;
    let client = key.client_address();
    // Looked at for new flows only, which suffices: no such flow ever becomes an old one.
    if let Some(flaw) = flaw_of_source(client, key.client_port()) {
        return Err(flaw);
    }
    // Nobody but us sends from our addresses: such a packet was made up, or loops.
    if world.local(client).is_some() {
        return Err(DropReason::MartianSource);
    }
    let choice = frontend.selector.choose(&world.hash, *key, *hash).ok_or(DropReason::NoBackendAvailable)?;
    // It would get a packet from itself, and answer itself.
    if world.backend(choice.backend).is_some_and(|backend| backend.address == client) {
        return Err(DropReason::Hairpin);
    }
    Ok(choice.backend)
}

#[inline(always)]
fn query<'a>(client: &Client, hash: u64, world: &'a Snapshot, now: Tick) -> Option<Query<'a>> {
    let frontend = world.frontend_of(client.key)?;
    let Client { key, tcp_flags: flags, .. } = *client;
    let is_udp = frontend.endpoint.protocol == Protocol::Udp;
    Some(Query { key, hash, flags, is_udp, frontend, world, now })
}
