//! What the management thread knows and decides, without the thread: events in, snapshots and frames out.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::neighbours::{Ask, NeighbourTable};
use super::runtime::Runtime;
use crate::config::{HashKey, Model};
use crate::dataplane::{BackendTotals, ControlFrame, Event, Events, Totals, WorkerCounters, WorkerTotals};
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

/// The management thread's state.
pub struct Manager {
    /// As the file has it.
    model: Model,
    runtime: Runtime,
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
            runtime: Runtime::default(),
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
        };
        manager.announce(&BTreeSet::new(), Duration::ZERO);
        manager.require_neighbours(Duration::ZERO);
        Ok((manager, readers))
    }

    /// Does what is due: learns from the workers, asks for neighbours, publishes what has changed, frees
    /// what is no longer used.
    pub fn advance(&mut self, now: Duration) {
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
            // The same model as before needs no more ids than before.
            if let Ok(next) = self.compiler.compile(&self.runtime.apply(&self.model), &self.conditions) {
                self.publisher.publish(next);
            }
        }
        self.release();
        self.publisher.free_passed();
    }

    /// Goes over to `model`, and returns the number of the new generation. What is fixed from start to stop
    /// stays as it was, with a warning.
    ///
    /// # Errors
    /// When it asks for other ports, or for too much; nothing has changed then.
    pub fn change(&mut self, mut model: Model, now: Duration) -> Result<u64, ReloadError> {
        self.check_ports(&model)?;
        let effective = self.runtime.apply(&model);
        let next = self.compiler.compile(&effective, &self.conditions).map_err(ReloadError::TooMany)?;
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
            let next = self.compiler.compile(&runtime.apply(&self.model), &self.conditions)?;
            self.publisher.publish(next);
            self.runtime = runtime;
        }
        Ok(self.generation())
    }

    /// What is laid over the file.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn check_ports(&self, model: &Model) -> Result<(), ReloadError> {
        if model.ports.len() != self.model.ports.len() {
            return Err(ReloadError::Ports("the number of ports".into()));
        }
        for (old, new) in self.model.ports.iter().zip(&model.ports) {
            let fixed =
                |port: &crate::config::Port| (port.name.clone(), port.device.clone(), port.mac, port.mtu);
            if fixed(old) != fixed(new) {
                return Err(ReloadError::Ports(format!("port {}: name, device, mac and mtu", old.name)));
            }
        }
        Ok(())
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
