//! Looks into the flow tables from outside. A table is its worker's own, so nobody else may read it: the management
//! thread hands each worker a [`Survey`], the worker passes its table by, some lines a poll, writes what is wanted into
//! memory that the survey has brought along, and hands it back. Workers neither allocate nor free anything for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::flow_table::{Key, KeyFilter, Standing, State, Table, Tables};
use super::full_nat::Bindings;
use super::lanes::WorkerId;
use super::outbound::{self, FoundOutbound, OutboundFilter};
use crate::packet::Flow;
use crate::snapshot::{BackendId, FrontendId, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};

pub use super::flow_table::State as FlowState;

/// Surveys that one worker has at once, waiting, under way or done; it works at one at a time.
pub const SURVEYS_MAX: usize = 4;

/// Lines looked at after a poll with packets: a third of a microsecond, of the ten or so that a full poll takes.
const LINES_BUSY: usize = 32;
/// And after an empty one.
const LINES_IDLE: usize = 512;
/// Ports of full NAT that are looked at in the time of a line: it holds four flows.
const PLACES_A_LINE: usize = 4;

/// Which flows are wanted.
#[derive(Clone, Debug)]
pub struct FlowFilter {
    keys: KeyFilter,
    /// A bit for each state.
    states: u8,
    /// A bit for each backend's id; without it any will do.
    backends: Option<Arc<[u64]>>,
    /// Of those that backends have opened; `None`: none of them.
    outbound: Option<OutboundFilter>,
}

impl Default for FlowFilter {
    /// All flows.
    fn default() -> Self {
        let outbound = Some(OutboundFilter::default());
        Self { keys: KeyFilter::default(), states: u8::MAX, backends: None, outbound }
    }
}

impl FlowFilter {
    /// Only flows from this address, and from this port of it if one is given.
    #[must_use]
    pub fn client(self, address: IpAddr, port: Option<u16>) -> Self {
        Self { keys: self.keys.client(address, port), ..self }
    }

    /// Only flows to this frontend.
    #[must_use]
    pub fn frontend(self, frontend: FrontendId) -> Self {
        Self { keys: self.keys.frontend(frontend), ..self }
    }

    /// Only flows in this state.
    #[must_use]
    pub fn state(self, state: FlowState) -> Self {
        Self { states: 1 << state as u8, ..self }
    }

    /// Only flows to these backends.
    #[must_use]
    pub fn backends(self, ids: impl IntoIterator<Item = BackendId>) -> Self {
        let mut bits = Vec::new();
        for id in ids {
            if id.index() >= bits.len() * 64 {
                bits.resize(id.index() / 64 + 1, 0);
            }
            bits[id.index() / 64] |= 1 << (id.index() % 64);
        }
        Self { backends: Some(bits.into()), ..self }
    }

    /// Of flows that backends have opened only these, or none.
    #[must_use]
    pub fn outbound(self, outbound: Option<OutboundFilter>) -> Self {
        Self { outbound, ..self }
    }

    fn wants<K: Key>(&self, flow: &Standing<K>) -> bool {
        let is_chosen = |backends: &Arc<[u64]>| {
            let id = flow.backend.index();
            backends.get(id / 64).is_some_and(|bits| bits >> (id % 64) & 1 == 1)
        };
        flow.key.is_wanted(&self.keys)
            && self.states >> flow.state as u8 & 1 == 1
            && self.backends.as_ref().is_none_or(is_chosen)
    }
}

/// A flow that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundFlow {
    /// The client's end.
    pub client: SocketAddr,
    /// What the client talks to.
    pub frontend: FrontendId,
    /// Which of the frontend's ports, if it has several.
    pub destination_port: Option<u16>,
    /// Where its packets go.
    pub backend: BackendId,
    /// Whom the backend sees in place of the client: full NAT.
    pub source: Option<SocketAddr>,
    /// How far it has come.
    pub state: FlowState,
    idle_ticks: u32,
    left_ticks: u32,
}

impl FoundFlow {
    const NONE: Self = Self {
        client: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        frontend: FrontendId(0),
        destination_port: None,
        backend: BackendId(0),
        source: None,
        state: State::HalfOpen,
        idle_ticks: 0,
        left_ticks: 0,
    };

    fn new<K: Key>(flow: &Standing<K>) -> Self {
        let Standing { key, backend, state, idle_ticks, left_ticks } = *flow;
        let (client, frontend) = (key.client(), FrontendId(key.frontend()));
        let destination_port = key.destination_port();
        Self { client, frontend, destination_port, backend, source: None, state, idle_ticks, left_ticks }
    }

    /// Since the client's last packet, to a quarter of a second.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(1) * self.idle_ticks / TICKS_PER_SECOND
    }

    /// Until it is forgotten, if no further packet comes, to a quarter of a second.
    pub fn left(&self) -> Duration {
        Duration::from_secs(1) * self.left_ticks / TICKS_PER_SECOND
    }
}

/// What a worker holds flows in, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Narrow,
    Wide,
    /// Of full NAT, by port.
    Bound,
    Outbound,
}

/// The flows of one worker.
pub(super) struct Held<'a> {
    pub(super) flows: &'a mut Tables,
    pub(super) bindings: &'a mut Bindings,
    pub(super) outbound: &'a mut outbound::Flows,
}

/// What one worker is asked, and what it has found.
pub struct Survey {
    /// Whose answer it is part of.
    pub number: u64,
    filter: FlowFilter,
    limit: usize,
    is_given_up: Arc<AtomicBool>,
    /// Where to go on; `None` when all have been looked at.
    next: Option<(Part, usize)>,
    found: Vec<FoundFlow>,
    found_outbound: Vec<FoundOutbound>,
    looked_at: u64,
    has_more: bool,
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Survey").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Survey {
    /// For at most `limit` flows. Once `is_given_up` is set, the worker hands it back as it is.
    pub fn new(number: u64, filter: FlowFilter, limit: usize, is_given_up: Arc<AtomicBool>) -> Box<Self> {
        // Written to once, so that it is the management thread that waits for the pages.
        let mut found = vec![FoundFlow::NONE; limit];
        found.clear();
        let room = if filter.outbound.is_some() { limit } else { 0 };
        let mut found_outbound = vec![FoundOutbound::NONE; room];
        found_outbound.clear();
        let (next, looked_at, has_more) = (Some((Part::Narrow, 0)), 0, false);
        Box::new(Self {
            number,
            filter,
            limit,
            is_given_up,
            next,
            found,
            found_outbound,
            looked_at,
            has_more,
        })
    }

    /// The flows that were wanted, in no order.
    pub fn found(&self) -> &[FoundFlow] {
        &self.found
    }

    /// Those that backends have opened, likewise.
    pub fn found_outbound(&self) -> &[FoundOutbound] {
        &self.found_outbound
    }

    /// Flows that were compared with the filter.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Whether more are wanted than there was room for.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether the table's end was reached.
    pub fn is_complete(&self) -> bool {
        self.next.is_none()
    }

    /// Goes on for so many lines; whether it is done.
    fn advance(&mut self, held: &mut Held<'_>, lines: usize, world: &Snapshot, now: Tick) -> bool {
        let Some((part, at)) = self.next else { return true };
        if self.is_given_up.load(Ordering::Relaxed) {
            return true;
        }
        let (next, behind) = match part {
            Part::Narrow => (self.pass(&mut held.flows.narrow, at, lines, world, now), Some(Part::Wide)),
            Part::Wide => (self.pass(&mut held.flows.wide, at, lines, world, now), Some(Part::Bound)),
            Part::Bound => {
                let outbound = self.filter.outbound.is_some().then_some(Part::Outbound);
                (self.pass_ports(held.bindings, at, lines, world, now), outbound)
            }
            Part::Outbound => (self.pass_outbound(held.outbound, at, lines, world, now), None),
        };
        self.next = next.map(|at| (part, at)).or(behind.map(|part| (part, 0)));
        self.next.is_none() || self.has_more
    }

    fn pass_outbound(
        &mut self,
        flows: &mut outbound::Flows,
        at: usize,
        lines: usize,
        world: &Snapshot,
        now: Tick,
    ) -> Option<usize> {
        let Self { filter, limit, found, found_outbound, looked_at, has_more, .. } = self;
        flows.walk(at, lines * PLACES_A_LINE, world, now, |flow| {
            *looked_at += 1;
            if !filter.outbound.as_ref().is_some_and(|filter| filter.wants(&flow)) {
                return ControlFlow::Continue(());
            }
            if found.len() + found_outbound.len() == *limit {
                *has_more = true;
                return ControlFlow::Break(());
            }
            found_outbound.push(flow);
            ControlFlow::Continue(())
        })
    }

    fn pass_ports(
        &mut self,
        bindings: &mut Bindings,
        at: usize,
        lines: usize,
        world: &Snapshot,
        now: Tick,
    ) -> Option<usize> {
        let Self { filter, limit, found, looked_at, has_more, .. } = self;
        bindings.walk(at, lines * PLACES_A_LINE, |place, binding| {
            *looked_at += 1;
            let Some(flow) = binding.standing(world, now).filter(|flow| filter.wants(flow)) else {
                return ControlFlow::Continue(());
            };
            if found.len() == *limit {
                *has_more = true;
                return ControlFlow::Break(());
            }
            let (number, port) = Bindings::source_of(place);
            let source = world.sources.address(number).map(|address| (address, port).into());
            let destination_port = binding.key().destination_port();
            found.push(FoundFlow { source, destination_port, ..FoundFlow::new(&flow) });
            ControlFlow::Continue(())
        })
    }

    fn pass<K: Key>(
        &mut self,
        table: &mut Table<K>,
        at: usize,
        lines: usize,
        world: &Snapshot,
        now: Tick,
    ) -> Option<usize> {
        let Self { filter, limit, found, looked_at, has_more, .. } = self;
        table.walk(at, lines, world, now, |flow| {
            *looked_at += 1;
            if !filter.wants(&flow) {
                return ControlFlow::Continue(());
            }
            if found.len() == *limit {
                *has_more = true;
                return ControlFlow::Break(());
            }
            found.push(FoundFlow::new(&flow));
            ControlFlow::Continue(())
        })
    }
}

/// Where surveys are handed over, a desk for each worker.
#[derive(Clone)]
pub struct Surveys(Arc<[Desk]>);

struct Desk {
    asked: ArrayQueue<Box<Survey>>,
    done: ArrayQueue<Box<Survey>>,
}

impl Surveys {
    pub(super) fn new(workers: usize) -> Self {
        let desk = |_| Desk { asked: ArrayQueue::new(SURVEYS_MAX), done: ArrayQueue::new(SURVEYS_MAX) };
        Self((0..workers).map(desk).collect())
    }

    /// The workers that can be asked.
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// Hands it to a worker. Gives it back where that one has enough to do. The caller has at most [`SURVEYS_MAX`] with
    /// one worker, those included that it has not taken back yet.
    ///
    /// # Errors
    /// The survey itself.
    pub fn ask(&self, worker: usize, survey: Box<Survey>) -> Result<(), Box<Survey>> {
        match self.0.get(worker) {
            Some(desk) => desk.asked.push(survey),
            None => Err(survey),
        }
    }

    /// What the worker has done.
    pub fn take_back(&self, worker: usize) -> Option<Box<Survey>> {
        self.0.get(worker)?.done.pop()
    }
}

/// A worker's end.
pub(super) struct Surveyor {
    desks: Surveys,
    me: usize,
    at_hand: Option<Box<Survey>>,
}

impl Surveyor {
    pub(super) fn new(desks: Surveys, me: WorkerId) -> Self {
        Self { desks, me: me.0.into(), at_hand: None }
    }

    /// Whether there is anything to do.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.at_hand.is_some() || self.desks.0.get(self.me).is_some_and(|desk| !desk.asked.is_empty())
    }

    /// Goes on with the survey at hand, or begins the next one.
    #[cold]
    pub(super) fn advance(&mut self, mut held: Held<'_>, is_busy: bool, world: &Snapshot, now: Tick) {
        let Some(desk) = self.desks.0.get(self.me) else { return };
        let Some(mut survey) = self.at_hand.take().or_else(|| desk.asked.pop()) else { return };
        let lines = if is_busy { LINES_BUSY } else { LINES_IDLE };
        if !survey.advance(&mut held, lines, world, now) {
            self.at_hand = Some(survey);
        } else if let Err(survey) = desk.done.push(survey) {
            // There is room for as many as there can be. Were there none, it would have to wait: no worker frees memory.
            self.at_hand = Some(survey);
        }
    }
}
