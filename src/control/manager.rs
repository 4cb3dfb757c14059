//! What the management thread knows and decides, without the thread: events in, snapshots and frames out.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use super::check::Place;
use super::difference::Side;
use super::drain::{Drains, Progress};
use super::flows::{self, FlowDesk};
use super::neighbours::{Ask, NeighbourTable};
use super::runtime::Runtime;
use super::standing::{Standing, Standings};
use crate::config::{Backend, HashKey, Model, Port, Rule};
use crate::dataplane::{
    BackendTotals, ControlFrame, Event, Events, Surveys, Totals, WorkerCounters, WorkerTotals,
};
use crate::io::PortId;
use crate::snapshot::{
    BackendId, BackendIdentity, Compiler, Conditions, Neighbours, PortLink, Publisher, Reader, Snapshot,
    TooMany,
};
use crate::wire::MacAddr;
use crate::wire::arp;

/// Announcements of our addresses at start and when they change: two, two seconds apart (RFC 5227
/// section 2.3, ANNOUNCE_NUM and ANNOUNCE_INTERVAL).
const ANNOUNCEMENTS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(2)];

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
    baselines: std::collections::BTreeMap<BackendId, BackendTotals>,
    events: Arc<Events>,
    originated: Arc<ArrayQueue<ControlFrame>>,
    announcements: Vec<(Duration, PortId, Ipv4Addr)>,
    /// Not before then is a change of neighbours published.
    publish_at: Duration,
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
        let fixed = |port: &Port| (port.name.clone(), port.device.clone(), port.mac, port.mtu);
        if fixed(old) != fixed(new) {
            return Err(ReloadError::Ports(format!("port {}: name, device, mac and mtu", old.name)));
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
        let (publisher, readers) = Publisher::new(first, counters.len());
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
            baselines: std::collections::BTreeMap::new(),
            events,
            originated,
            announcements: Vec::new(),
            publish_at: Duration::ZERO,
            check_place: Place::default(),
            flow_desk: FlowDesk::default(),
            standings: Standings::default(),
            last_reload: None,
        };
        manager.standings.follow(&manager.model, &manager.runtime);
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
        for event in self.events.drain() {
            match event {
                Event::Neighbour { port, address, mac, is_reply } => {
                    self.neighbours.saw((port, address), mac, is_reply, now);
                }
                Event::Wanted { port, address } => self.neighbours.want((port, address), now),
            }
        }
        for ask in self.neighbours.advance(now) {
            self.send_request(&ask);
        }
        self.send_announcements(now);
        if now >= self.publish_at && self.neighbours.take_changed() {
            self.publish_at = now + PUBLISH_INTERVAL;
            self.conditions.neighbours.known = self.neighbours.known();
            self.publish_again();
        }
        if now >= self.drains_at + DRAIN_INTERVAL {
            self.drains_at = now;
            self.advance_drains(now);
        }
        self.release();
        self.publisher.free_passed();
        flows::advance(self, now);
    }

    /// The same model as before, which needs no more ids than before, under other conditions.
    fn publish_again(&mut self) {
        if let Ok(next) = self.compiler.compile(&self.runtime.apply(&self.model), &self.conditions) {
            self.publisher.publish(next);
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
        let resetting = self.drains.resetting();
        if resetting != before {
            self.compiler.reset_flows_of(resetting);
            self.publish_again();
        }
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
    pub fn drain_left(&self, pool: &str, address: Ipv4Addr) -> Option<Duration> {
        self.drains.left(pool, address, self.now)
    }

    /// Goes over to `model`, and returns the number of the new generation. What is fixed from start to stop
    /// stays as it was, with a warning.
    ///
    /// # Errors
    /// When it asks for other ports, or for too much; nothing has changed then.
    pub fn change(&mut self, mut model: Model, now: Duration) -> Result<u64, ReloadError> {
        refusal_of_ports(&self.model.ports, &model.ports)?;
        let (effective, drains) = (self.runtime.apply(&model), self.drains.follow(&self.runtime, &model));
        let next = self.compile(&effective, &drains).map_err(ReloadError::TooMany)?;
        self.drains = drains;
        let generation = next.generation;
        if model.dataplane != self.model.dataplane || model.control != self.model.control {
            log::warn!("[dataplane] or [control] has changed; that takes effect with the next start");
            model.dataplane = self.model.dataplane.clone();
            model.control = self.model.control.clone();
        }
        let before = self.addresses();
        self.publisher.publish(next);
        self.model = model;
        self.changes += 1;
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
            self.publisher.publish(next);
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
        self.last_reload = Some(LastReload { at: Instant::now(), by: by.to_owned(), errors });
    }

    /// What is laid over the file.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The next hops that the configuration needs and does not give; and those of backends that were
    /// removed, for their flows go on.
    fn require_neighbours(&mut self, now: Duration) {
        let snapshot = self.publisher.latest();
        let fixed: BTreeSet<Ipv4Addr> = self.model.neighbours.iter().map(|n| n.address).collect();
        let gateways = self.model.ports.iter().zip(0..).filter_map(|(p, id)| Some((PortId(id), p.gateway?)));
        let backends: BTreeSet<Ipv4Addr> =
            self.compiler.backends().map(|(identity, _)| identity.address).collect();
        let hops = backends.iter().filter_map(|address| snapshot.routes.neighbour_for(*address));
        let required = gateways.chain(hops).filter(|(_, address)| !fixed.contains(address)).collect();
        self.neighbours.require(&required, now);
    }

    /// Every address that we answer for, at each port where neighbours can be on its network.
    fn addresses(&self) -> BTreeSet<(PortId, Ipv4Addr)> {
        let mut addresses = BTreeSet::new();
        for (port, id) in self.model.ports.iter().zip(0..) {
            addresses.extend(port.addresses.iter().map(|own| (PortId(id), own.address)));
            let frontends = self.model.rules.iter().map(|rule| rule.frontend.address);
            let on_link = frontends.filter(|f| port.addresses.iter().any(|own| own.contains(*f)));
            addresses.extend(on_link.map(|frontend| (PortId(id), frontend)));
        }
        addresses
    }

    /// Plans announcements of the addresses that were not ours `before`.
    fn announce(&mut self, before: &BTreeSet<(PortId, Ipv4Addr)>, now: Duration) {
        for (port, address) in self.addresses().difference(before) {
            self.announcements.extend(ANNOUNCEMENTS.iter().map(|delay| (now + *delay, *port, *address)));
        }
    }

    fn send_announcements(&mut self, now: Duration) {
        if self.announcements.iter().all(|(at, ..)| *at > now) {
            return;
        }
        // What has been given up since may be another's by now.
        let ours = self.addresses();
        let mut planned = std::mem::take(&mut self.announcements);
        planned.retain(|(at, port, address)| {
            let is_due = *at <= now;
            // What finds no room is sent with the next tick.
            ours.contains(&(*port, *address)) && !(is_due && self.send(*port, *address, *address, None))
        });
        self.announcements = planned;
    }

    fn send_request(&self, ask: &Ask) {
        let (port, address) = ask.neighbour;
        let Some(config) = self.model.ports.get(port.index()) else { return };
        let own = config.addresses.iter().find(|own| own.contains(address)).or(config.addresses.first());
        // A port without an address asks as a probe does (RFC 5227 section 2.1).
        let sender = own.map_or(Ipv4Addr::UNSPECIFIED, |own| own.address);
        // What finds no room is asked again in a second.
        self.send(port, sender, address, ask.to);
    }

    /// Whether there was room for the request.
    fn send(&self, port: PortId, sender: Ipv4Addr, target: Ipv4Addr, to: Option<MacAddr>) -> bool {
        let Some(link) = self.conditions.links.get(port.index()) else { return true };
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: link.mac,
            sender,
            target_mac: MacAddr::ZERO,
            target,
        };
        let frame = ControlFrame::new(port, &request.to_frame(to.unwrap_or(MacAddr::BROADCAST)));
        frame.is_none_or(|frame| self.originated.push(frame).is_ok())
    }

    /// Frees the ids of removed backends to which no flow is left.
    fn release(&mut self) {
        // While a worker is behind, it can still make flows to them.
        if self.publisher.reached() < self.publisher.latest().generation {
            return;
        }
        let counters = &self.counters;
        let is_unused = |id| counters.iter().map(|worker| worker.flows_to(id)).sum::<u64>() == 0;
        for id in self.compiler.release(is_unused) {
            let stood_at = self.raw_totals(id);
            self.baselines.insert(id, stood_at);
        }
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

    /// Backends and gateways whose Ethernet address is not known yet.
    pub fn neighbours_missing(&self) -> usize {
        self.neighbours.missing()
    }

    /// Every neighbour that was asked for or has shown itself: whom, where it is if that is known, and whether the
    /// configuration needs it.
    pub fn neighbours(&self) -> Vec<((PortId, Ipv4Addr), Option<MacAddr>, bool)> {
        self.neighbours.all()
    }

    /// What workers tell.
    pub(super) fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Where frames to be sent are put.
    pub(super) fn originated(&self) -> Arc<ArrayQueue<ControlFrame>> {
        self.originated.clone()
    }

    /// What was published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.latest()
    }

    /// The generation that all workers have reached, and how many snapshots are not freed yet.
    pub fn progress(&self) -> (u64, usize) {
        (self.publisher.reached().min(self.generation()), self.publisher.held())
    }

    /// Each worker's counters.
    pub fn workers(&self) -> Vec<WorkerTotals> {
        self.counters.iter().map(|worker| worker.totals()).collect()
    }

    /// The sum of all workers' counters.
    pub fn totals(&self) -> Totals {
        let mut sum = WorkerTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.totals()));
        sum
    }

    /// The ids of all backends, those that linger included.
    pub fn backend_ids(&self) -> impl Iterator<Item = (BackendIdentity, BackendId)> {
        self.compiler.backends()
    }

    /// What every backend of every rule got and gave, those included that linger.
    pub fn backends(&self) -> Vec<(BackendIdentity, BackendTotals)> {
        let since_assigned = |id: BackendId| {
            let mut totals = self.raw_totals(id);
            if let Some(baseline) = self.baselines.get(&id) {
                totals.flows_total -= baseline.flows_total;
                totals.packets_in -= baseline.packets_in;
                totals.bytes_in -= baseline.bytes_in;
                totals.packets_out -= baseline.packets_out;
                totals.bytes_out -= baseline.bytes_out;
            }
            totals
        };
        self.compiler.backends().map(|(identity, id)| (identity, since_assigned(id))).collect()
    }

    fn raw_totals(&self, id: BackendId) -> BackendTotals {
        let mut sum = BackendTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.backend_totals(id)));
        sum
    }
}
