//! What the management thread knows and decides, without the thread: events in, snapshots and frames out.

mod asking;
mod denied;
mod outbound;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use super::api::Refusal;
use super::capture::{CaptureAsk, Captures, Stream, TraceAsk};
use super::check::Place;
use super::conflicts::Conflicts;
use super::difference::Side;
use super::drain::{Drains, Progress};
use super::flows::{self, FlowDesk};
use super::groups::Groups;
use super::neighbours::NeighbourTable;
use super::runtime::{Runtime, find};
use super::standing::{Standing, Standings};
use super::tally::Tally;
use crate::config::{Backend, Frontend, HashKey, Model, Port, Rule};
use crate::dataplane::{BackendTotals, ControlFrame, Event, Events, Surveys, WorkerCounters};
use crate::snapshot::{
    BackendId, BackendIdentity, Compiler, Conditions, Neighbours, PortLink, Publisher, Reader, Snapshot,
    TooMany,
};

/// Between two snapshots that differ in neighbours only: to compile a large configuration takes some
/// milliseconds, and a station that plays with its address must not keep the thread busy.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);

/// Between two looks at how drains get on.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// The management thread's state.
pub struct Manager {
    /// As the file has it.
    model: Model,
    key: HashKey,
    runtime: Runtime,
    drains: Drains,
    /// When they were looked at last.
    drains_at: Duration,
    /// As the manager was last told.
    now: Duration,
    /// How often the file has been changed.
    changes: u64,
    conditions: Conditions,
    compiler: Compiler,
    publisher: Publisher,
    neighbours: NeighbourTable,
    counters: Vec<Arc<WorkerCounters>>,
    /// What the counters of a backend stood at when its id was given to it.
    baselines: BTreeMap<BackendId, BackendTotals>,
    /// What backends that are gone for good got and gave, by frontend: a rule's counters must not fall with them.
    retired: BTreeMap<Frontend, BackendTotals>,
    denied: denied::Denied,
    outbound_baselines: outbound::Baselines,
    tally: Tally,
    events: Arc<Events>,
    originated: Arc<ArrayQueue<ControlFrame>>,
    announcements: Vec<asking::Announcement>,
    groups: Groups,
    conflicts: Conflicts,
    /// Not before then is a change of neighbours published.
    publish_at: Duration,
    captures: Captures,
    check_place: Place,
    pub(super) flow_desk: FlowDesk,
    standings: Standings,
    last_reload: Option<LastReload>,
}

/// How the last attempt to read the configuration anew went.
pub(super) struct LastReload {
    pub(super) at: Instant,
    pub(super) by: String,
    /// Why nothing has changed, if nothing has.
    pub(super) errors: Option<String>,
}

/// A reload that changed nothing.
#[derive(Debug)]
pub enum ReloadError {
    /// Ports cannot be changed while they run.
    Ports(String),
    /// Too many frontends or backends.
    TooMany(TooMany),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports(what) => write!(f, "{what} cannot change while guideway runs; restart it for that"),
            Self::TooMany(error) => write!(f, "{error}"),
        }
    }
}

/// Whether a process with the ports `old` can go over to `new`.
///
/// # Errors
/// When it would have to open a port anew.
pub(super) fn refusal_of_ports(old: &[Port], new: &[Port]) -> Result<(), ReloadError> {
    if new.len() != old.len() {
        return Err(ReloadError::Ports("the number of ports".into()));
    }
    for (old, new) in old.iter().zip(new) {
        let fixed =
            |port: &Port| (port.name.clone(), port.device.clone(), port.vlan.clone(), port.mac, port.mtu);
        if fixed(old) != fixed(new) {
            return Err(ReloadError::Ports(format!("port {}: name, device, vlan, mac and mtu", old.name)));
        }
    }
    Ok(())
}

impl Manager {
    /// For `model` on ports with these links, and so many workers, whose snapshot readers it returns.
    ///
    /// # Errors
    /// When the model is too large.
    pub fn new(
        model: Model,
        key: HashKey,
        links: Vec<PortLink>,
        counters: Vec<Arc<WorkerCounters>>,
        events: Arc<Events>,
        originated: Arc<ArrayQueue<ControlFrame>>,
    ) -> Result<(Self, Vec<Reader>), TooMany> {
        let conditions = Conditions { links, neighbours: Neighbours::default() };
        let mut compiler = Compiler::new(key);
        let first = compiler.compile(&model, &conditions)?;
        let mut outbound_baselines = outbound::Baselines::default();
        outbound_baselines.follow(&first, &counters);
        let (publisher, readers) = Publisher::new(first, counters.len());
        let captures = Captures::new(&model);
        let mut manager = Self {
            model,
            key,
            runtime: Runtime::default(),
            drains: Drains::default(),
            drains_at: Duration::ZERO,
            now: Duration::ZERO,
            changes: 0,
            conditions,
            compiler,
            publisher,
            neighbours: NeighbourTable::default(),
            counters,
            baselines: BTreeMap::new(),
            retired: BTreeMap::new(),
            denied: denied::Denied::default(),
            outbound_baselines,
            tally: Tally::new(),
            events,
            originated,
            announcements: Vec::new(),
            groups: Groups::default(),
            conflicts: Conflicts::default(),
            publish_at: Duration::ZERO,
            captures,
            check_place: Place::default(),
            flow_desk: FlowDesk::default(),
            standings: Standings::default(),
            last_reload: None,
        };
        manager.standings.follow(&manager.model, &manager.runtime);
        manager.follow_denied();
        manager.announce(&BTreeSet::new(), Duration::ZERO);
        manager.require_neighbours(Duration::ZERO);
        Ok((manager, readers))
    }

    /// What time it is, for who only asks.
    pub fn tell_time(&mut self, now: Duration) {
        self.now = now;
    }

    /// Makes the flows that the workers hold known to those who ask.
    #[must_use]
    pub fn with_surveys(self, surveys: Surveys) -> Self {
        Self { flow_desk: FlowDesk::new(surveys), ..self }
    }

    /// Does what is due: learns from the workers, asks for neighbours, publishes what has changed, frees
    /// what is no longer used.
    pub fn advance(&mut self, now: Duration) {
        self.tell_time(now);
        let events = Arc::clone(&self.events);
        for event in events.drain() {
            match event {
                Event::Neighbour { port, address, mac, is_reply } => {
                    self.neighbours.saw((port, address), mac, is_reply, now);
                }
                Event::Conflict { port, address, mac } => self.tell_conflict(port, address, mac),
                Event::Wanted { port, address } => self.neighbours.want((port, address), now),
            }
        }
        for ask in self.neighbours.advance(now) {
            self.send_request(&ask);
        }
        self.send_reports(now);
        self.send_announcements(now);
        if now >= self.publish_at && self.neighbours.take_changed() {
            self.publish_at = now + PUBLISH_INTERVAL;
            self.conditions.neighbours.known = self.neighbours.known();
            self.publish_again();
        }
        if now >= self.drains_at + DRAIN_INTERVAL {
            self.drains_at = now;
            self.advance_drains(now);
            self.hand_out_ports(now);
        }
        if self.captures.forget_ended() {
            self.publish_watches();
        }
        self.release();
        self.publisher.free_passed();
        flows::advance(self, now);
    }

    /// The same model as before, which needs no more ids than before, under other conditions.
    fn publish_again(&mut self) {
        if let Ok(next) = self.compiler.compile(&self.runtime.apply(&self.model), &self.conditions) {
            self.publish(next);
        }
    }

    /// Tells of drains that are done, and has flows reset that are over their time.
    fn advance_drains(&mut self, now: Duration) {
        // While a worker is behind, it can still make flows to the backend.
        if self.publisher.reached() < self.publisher.latest().generation {
            return;
        }
        let (compiler, counters) = (&self.compiler, &self.counters);
        let flows = |identity: &BackendIdentity| {
            let id = compiler.backend_id(identity);
            id.map_or(0, |id| counters.iter().map(|worker| worker.flows_to(id)).sum::<u64>())
        };
        let before = self.drains.resetting();
        for Progress { backend, news } in self.drains.advance(now, flows) {
            log::info!("backend {backend}: {news}");
        }
        self.forget_absent();
        let resetting = self.drains.resetting();
        if resetting != before {
            self.compiler.reset_flows_of(resetting);
            self.publish_again();
        }
    }

    /// Forgets what was said of backends that have left the configuration and are drained.
    fn forget_absent(&mut self) {
        let forgotten = self.forgotten(&self.model);
        let before = self.runtime.let_go.len();
        let drains = &self.drains;
        self.runtime.let_go.retain(|key, _| find(&self.model, key).is_some() || drains.is_under_way(key));
        if !forgotten.is_empty() || self.runtime.let_go.len() < before {
            log_forgotten(&forgotten);
            self.runtime.overrides.retain(|key, _| !forgotten.contains(key));
            self.drains = self.drains.follow(&self.runtime, &self.model);
        }
    }

    /// Backends that `model` does not have, and whose drain, if there is one, is done.
    fn forgotten(&self, model: &Model) -> Vec<(String, IpAddr)> {
        let mut absent = self.runtime.absent(model);
        absent.retain(|key| !self.drains.is_under_way(key));
        absent
    }

    /// The next snapshot, for what the model comes to and with these drains. Nothing has changed where it is too much.
    fn compile(&mut self, effective: &Model, drains: &Drains) -> Result<Snapshot, TooMany> {
        self.compiler.reset_flows_of(drains.resetting());
        let next = self.compiler.compile(effective, &self.conditions);
        if next.is_err() {
            self.compiler.reset_flows_of(self.drains.resetting());
        }
        next
    }

    /// How long the flows of a backend have until they are reset, where a drain has a deadline.
    pub fn drain_left(&self, pool: &str, address: IpAddr) -> Option<Duration> {
        self.drains.left(pool, address, self.now)
    }

    /// Has the workers know what is watched, by a generation that is the same otherwise.
    fn publish_watches(&mut self) {
        self.publisher.set_watches(self.captures.watches());
        self.publish_again();
    }

    /// Starts a capture; it goes on until its stream ends.
    pub(super) fn capture(&mut self, ask: &CaptureAsk) -> Result<Stream, Refusal> {
        let stream = self.captures.capture(ask, &self.model)?;
        self.publish_watches();
        Ok(stream)
    }

    /// Starts a trace; it goes on until its stream ends.
    pub(super) fn trace(&mut self, ask: &TraceAsk) -> Result<Stream, Refusal> {
        let stream = self.captures.trace(ask, &self.model)?;
        self.publish_watches();
        Ok(stream)
    }

    /// Goes over to `model`, and returns the number of the new generation. What is fixed from start to stop
    /// stays as it was.
    ///
    /// # Errors
    /// When it asks for other ports, or for too much; nothing has changed then.
    pub fn change(&mut self, mut model: Model, now: Duration) -> Result<u64, ReloadError> {
        refusal_of_ports(&self.model.ports, &model.ports)?;
        model.keep_nat_ports(&self.model.nat_ports());
        let (mut runtime, forgotten) = (self.runtime.clone(), self.forgotten(&model));
        runtime.overrides.retain(|key, _| !forgotten.contains(key));
        runtime.follow_file(&self.model, &model, now);
        let effective = runtime.apply(&model);
        // First the rules that backends are taken out of: whose flows they have.
        let drains = self.drains.follow(&runtime, &self.model).follow(&runtime, &model);
        let next = self.compile(&effective, &drains).map_err(ReloadError::TooMany)?;
        log_forgotten(&forgotten);
        (self.runtime, self.drains) = (runtime, drains);
        let generation = next.generation;
        model.dataplane = self.model.dataplane.clone();
        model.control = self.model.control.clone();
        let before = self.addresses();
        self.publish(next);
        self.captures.rename(&model);
        self.model = model;
        self.changes += 1;
        self.follow_denied();
        self.standings.follow(&self.model, &self.runtime);
        self.announce(&before, now);
        self.require_neighbours(now);
        Ok(generation)
    }

    /// Changes what is laid over the file, all at once, and returns the number of the generation that has it.
    /// Nothing is published where nothing changes.
    ///
    /// # Errors
    /// When it is too much; nothing has changed then.
    pub fn adjust(&mut self, change: impl FnOnce(&mut Runtime)) -> Result<u64, TooMany> {
        let mut runtime = self.runtime.clone();
        change(&mut runtime);
        if runtime != self.runtime {
            let (effective, drains) = (runtime.apply(&self.model), self.drains.follow(&runtime, &self.model));
            let next = self.compile(&effective, &drains)?;
            self.publish(next);
            self.runtime = runtime;
            self.drains = drains;
            self.standings.follow(&self.model, &self.runtime);
        }
        Ok(self.generation())
    }

    /// The state of a backend of a rule, and who says so.
    pub(super) fn standing(&self, rule: &Rule, backend: &Backend) -> Option<Standing> {
        self.standings.of(rule, backend)
    }

    pub(super) fn last_reload(&self) -> Option<&LastReload> {
        self.last_reload.as_ref()
    }

    pub(super) fn note_reload(&mut self, by: &str, errors: Option<String>) {
        self.tally.reload(errors.is_none());
        self.last_reload = Some(LastReload { at: Instant::now(), by: by.to_owned(), errors });
    }

    /// What is laid over the file.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Frees the ids of removed backends to which no flow is left.
    fn release(&mut self) {
        // While a worker is behind, it can still make flows to them.
        if self.publisher.reached() < self.publisher.latest().generation {
            return;
        }
        let counters = &self.counters;
        let is_unused = |id| counters.iter().map(|worker| worker.flows_to(id)).sum::<u64>() == 0;
        let released = self.compiler.release(is_unused);
        if released.is_empty() {
            return;
        }
        for (identity, id) in released {
            let stands_at = self.raw_totals(id);
            let gone = self.since_assigned(id, stands_at);
            self.retired.entry(identity.frontend).or_default().add(&gone);
            self.baselines.insert(id, stands_at);
        }
        let rules = self.model.rules.iter().map(|rule| rule.frontend);
        let known: BTreeSet<Frontend> =
            rules.chain(self.compiler.backends().map(|(identity, _)| identity.frontend)).collect();
        self.retired.retain(|frontend, _| known.contains(frontend));
    }

    /// The number of the configuration in force.
    pub fn generation(&self) -> u64 {
        self.publisher.latest().generation
    }

    /// How often that configuration has been changed since the start.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The configuration in force.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What the configuration in force and its key are. The key is not for telling.
    pub fn side(&self) -> Side<'_> {
        Side { model: &self.model, key: self.key }
    }

    pub(super) fn check_place(&self) -> &Place {
        &self.check_place
    }
}

fn log_forgotten(backends: &[(String, IpAddr)]) {
    for (pool, address) in backends {
        log::info!("backend {pool}/{address} is gone, and with it what operators have said of it");
    }
}
