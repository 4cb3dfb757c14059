//! The middle stages: the backend of each client's packet, from the flow table or, for new flows, from the
//! rule's Maglev table.

use super::counters::WorkerCounters;
use super::flow_table::{Found, Key, Lines, Query, State, TURNS, Tables, Value};
use super::lanes::{Lane, LaneSet, Lanes, Outcome};
use crate::drop_reason::DropReason;
use crate::packet::{Flow, wide_endpoint};
use crate::snapshot::{BackendId, Frontend, FrontendId, Leaving, Snapshot};
use crate::tick::Tick;
use crate::wire::l4::TcpFlags;

impl Lanes {
    /// Of the clients' packets in `wanted`: finds the flows that are in their first line. For the others, asks the memory for the slot of the
    /// Maglev table, and for the second line where that matters.
    // Not inlined: a loop by itself has more registers.
    #[inline(never)]
    pub(super) fn look_up<K: Key>(
        &mut self,
        wanted: LaneSet,
        mut lines: Lines<'_, K>,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let backends = &*world.to_backend;
        let stays = |id: BackendId| backends.get(id.index()).is_some_and(|b| b.leaving == Leaving::None);
        let (mut misses, secret) = (LaneSet::default(), lines.secret());
        for lane in wanted {
            let hash = self.hashes[lane.index()];
            let key = K::in_lane(self, lane);
            let Some(line) = lines.first(hash) else {
                self.backends[lane.index()] = BackendId::NONE;
                continue;
            };
            let backend = if let Some(value) = line.value_of(key.tag(secret)) {
                let id = value.backend();
                if !self.tcp_flags[lane.index()].any(TURNS) && stays(id) {
                    // No timeout is shorter than the shortest.
                    let lives = || value.is_established() && now.since(value.seen()) <= world.idle_ticks_min;
                    if value.is_steady(now) || lives() {
                        if !value.is_steady(now) {
                            *value = value.seen_at(now);
                        }
                        self.backends[lane.index()] = id;
                        continue;
                    }
                }
                look_closer(&mut lines, self, lane, world, now, counters)
            } else {
                if line.may_go_on() {
                    lines.prefetch_second(hash);
                }
                lines.prefetch_rest(hash);
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
    // Not inlined: a loop by itself has more registers.
    #[inline(never)]
    pub(super) fn select<K: Key>(
        &mut self,
        mut lines: Lines<'_, K>,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let (mut created, mut turned) = (0, LaneSet::default());
        for lane in self.misses {
            let (key, hash) = (K::in_lane(self, lane), self.hashes[lane.index()]);
            let Some(frontend) = world.frontend_of(key) else { continue };
            if !lines.is_nowhere(key, hash)
                && let Some(backend) = find_second(&mut lines, self, lane, frontend, world, now, counters)
            {
                self.backends[lane.index()] = backend;
                continue;
            }
            match choose(key, hash, frontend, world) {
                Ok(backend) => {
                    let state = State::first(self.tcp_flags[lane.index()]);
                    let value = Value::new(backend, state, now);
                    created += u64::from(lines.record(key, hash, value, world, counters));
                    self.backends[lane.index()] = backend;
                }
                Err(DropReason::Hairpin) if frontend.hairpin => turned.insert(lane),
                Err(DropReason::AclDenied) => self.deny(lane, key, counters),
                Err(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
            }
        }
        counters.flow.created.add(created);
        if !turned.is_empty() {
            self.turn_back::<K>(turned);
        }
    }

    /// The same for flows with wide keys.
    #[inline(always)]
    pub(super) fn find_wide(
        &mut self,
        flows: &mut Tables,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        if !self.wide.is_empty() {
            self.look_up(self.wide.without(self.by_server_id), flows.wide.open(), world, now, counters);
            self.select(flows.wide.open(), world, now, counters);
        }
    }

    #[cold]
    pub(super) fn deny(&mut self, lane: Lane, key: impl Flow, counters: &WorkerCounters) {
        counters.count_denied(FrontendId(key.frontend()));
        self.outcomes.decide(lane, Outcome::Drop(DropReason::AclDenied));
    }

    /// Backends' packets to their own frontend: their source is translated too.
    #[cold]
    fn turn_back<K: Key>(&mut self, lanes: LaneSet) {
        for lane in lanes {
            self.clients.remove(lane);
            self.wide.remove(lane);
            let key = K::in_lane(self, lane).widened();
            self.set_wide_key(lane, key);
            self.bound.insert(lane);
        }
    }

    #[inline(always)]
    pub(super) fn query<'a, K: Key>(
        &self,
        lane: Lane,
        frontend: &'a Frontend,
        world: &'a Snapshot,
        now: Tick,
    ) -> Query<'a, K> {
        let (key, hash) = (K::in_lane(self, lane), self.hashes[lane.index()]);
        // A packet of TCP has flags.
        let flags = self.tcp_flags[lane.index()];
        let is_udp = flags == TcpFlags::default();
        Query { key, hash, flags, is_udp, frontend, world, now }
    }
}

/// For flows that begin or end, those that leave their backend, and those long idle.
#[inline(never)]
fn look_closer<K: Key>(
    lines: &mut Lines<'_, K>,
    lanes: &mut Lanes,
    lane: Lane,
    world: &Snapshot,
    now: Tick,
    counters: &WorkerCounters,
) -> BackendId {
    let Some(frontend) = world.frontend_of(K::in_lane(lanes, lane)) else { return BackendId::NONE };
    let query = lanes.query(lane, frontend, world, now);
    match lines.find_first(&query) {
        Found::Backend(backend) => return backend,
        Found::Reset(backend) => {
            lanes.resets.insert(lane);
            return backend;
        }
        // At once, so that the flow's next packets in this burst wait for the choice as well.
        Found::Stale => lines.forget(&query, counters),
        Found::Absent => {}
    }
    BackendId::NONE
}

/// For flows that are recorded after all: in their second line, or by an earlier packet of the burst.
#[inline(never)]
fn find_second<K: Key>(
    lines: &mut Lines<'_, K>,
    lanes: &mut Lanes,
    lane: Lane,
    frontend: &Frontend,
    world: &Snapshot,
    now: Tick,
    counters: &WorkerCounters,
) -> Option<BackendId> {
    let query = lanes.query(lane, frontend, world, now);
    match lines.find(&query) {
        Found::Backend(backend) => return Some(backend),
        Found::Reset(backend) => {
            lanes.resets.insert(lane);
            return Some(backend);
        }
        Found::Stale => lines.forget(&query, counters),
        Found::Absent => {}
    }
    None
}

/// Whether the client is one of its frontend's backends.
#[cold]
pub(super) fn is_of_pool<K: Key>(key: K, world: &Snapshot) -> bool {
    world.hairpins.get(wide_endpoint(key.client().ip(), key.frontend(), 0)).is_some()
}

#[cold]
fn flaw_of<K: Key>(key: K) -> DropReason {
    key.flaw().unwrap_or(DropReason::MartianSource)
}

/// Why a client is not sent to a backend of its rule in the usual way, if it is not.
#[cold]
pub(super) fn refusal<K: Key>(key: K, frontend: &Frontend, world: &Snapshot) -> Option<DropReason> {
    if frontend.acl.as_ref().is_some_and(|acl| !acl.permits(key.client().ip())) {
        return Some(DropReason::AclDenied);
    }
    // A neighbour would wait for another's answer.
    (frontend.hairpin && is_of_pool(key, world)).then_some(DropReason::Hairpin)
}

/// A backend for a new flow.
#[inline(always)]
fn choose<K: Key>(key: K, hash: u64, frontend: &Frontend, world: &Snapshot) -> Result<BackendId, DropReason> {
    // Looked at for new flows only, which suffices: no such flow ever becomes an old one.
    if key.is_flawed() {
        return Err(flaw_of(key));
    }
    // Nobody but us sends from our addresses: such a packet was made up, or loops.
    if key.is_ours(world) {
        return Err(DropReason::MartianSource);
    }
    if frontend.may_refuse
        && let Some(reason) = refusal(key, frontend, world)
    {
        return Err(reason);
    }
    let choice = frontend.selector.choose(&world.hash, key, hash).ok_or(DropReason::NoBackendAvailable)?;
    // It would get a packet from itself, and answer itself.
    if key.is_of_backend(choice.backend, world) {
        return Err(DropReason::Hairpin);
    }
    Ok(choice.backend)
}
