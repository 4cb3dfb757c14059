//! The dataplane over memory, frame after frame, by the clock that the frames carry. Nothing is opened and
//! nothing is left to chance: the same frames give the same frames, whatever the number of workers.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{HashKey, Model};
use crate::dataplane::{
    BackendTotals, FlowTable, Mesh, OutboundBackend, Totals, Worker, WorkerCounters, WorkerId, WorkerPort,
    WorkerTotals, outbound_backends,
};
use crate::io::PortId;
use crate::io::memory::{HeapFrame, MemoryQueues};
use crate::io::tagged::{Place, Tagged};
use crate::snapshot::{
    BackendId, BackendIdentity, Compiler, Conditions, Neighbours, PortLink, Publisher, TooMany,
};
use crate::tick::Tick;
use crate::wire::MacAddr;

/// Longer than any timeout, and far shorter than the ticks take to go round.
const LEAP: Duration = Duration::from_secs(25 * 60 * 60);

/// A load balancer without ports.
pub struct Replay {
    workers: Vec<Worker<Tagged<MemoryQueues>>>,
    counters: Vec<Arc<WorkerCounters>>,
    mesh: Mesh<HeapFrame>,
    compiler: Compiler,
    publisher: Publisher,
    conditions: Conditions,
    ports: usize,
    bursts: usize,
    swept_at: Duration,
}

/// Why a replay cannot begin.
#[derive(Debug)]
pub enum ReplayError {
    /// Too many rules and backends.
    TooMany(TooMany),
    /// No memory for the flow tables.
    Memory(std::io::Error),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany(error) => write!(f, "{error}"),
            Self::Memory(error) => {
                write!(f, "no memory for the flow tables: {error}; set flows_per_worker lower")
            }
        }
    }
}

impl Replay {
    /// For `model`, with so many workers, 1 to 64.
    ///
    /// # Errors
    /// When the model or its flow tables are too large.
    pub fn new(model: &Model, key: HashKey, workers: usize) -> Result<Self, ReplayError> {
        let conditions = conditions(model);
        let mut compiler = Compiler::new(key);
        let first = compiler.compile(model, &conditions).map_err(ReplayError::TooMany)?;
        let (publisher, readers) = Publisher::new(first, workers);
        let mesh = Mesh::new(workers);
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        let ports = model.ports.len();
        let mut made = Vec::new();
        for (reader, (id, counters)) in readers.into_iter().zip((0u8..).zip(&counters)) {
            let flows = FlowTable::new(model.dataplane.flows_per_worker).map_err(ReplayError::Memory)?;
            let id = WorkerId(id);
            // One frame of a flow comes by this worker, the next by that: the owner must be found.
            let own = |port| WorkerPort { port: PortId(port), keeps_flows: false, transmitter: id };
            let own = (0..ports as u8).map(own).collect();
            let queues = Tagged::new(MemoryQueues::new(ports), &model.places());
            made.push(Worker::new(mesh.seat(id), workers, own, queues, reader, flows, counters.clone()));
        }
        Ok(Self {
            workers: made,
            counters,
            mesh,
            compiler,
            publisher,
            conditions,
            ports,
            bursts: 0,
            swept_at: Duration::ZERO,
        })
    }

    /// Has `frame` arrive at `port`, `now` after the start, and returns what leaves on account of it.
    pub fn frame(&mut self, now: Duration, port: PortId, frame: Vec<u8>) -> Vec<(PortId, Vec<u8>)> {
        self.burst(now, port, [frame])
    }

    /// Has `frames` arrive at `port` at once, and returns what leaves on account of them.
    pub fn burst(
        &mut self,
        now: Duration,
        port: PortId,
        frames: impl IntoIterator<Item = Vec<u8>>,
    ) -> Vec<(PortId, Vec<u8>)> {
        // Flows end by the clock, not by the traffic: all that are over are gone before this burst.
        let last = std::mem::replace(&mut self.swept_at, now);
        // Ticks go round: after a leap, all is swept once beyond every timeout first.
        let leaps = now.saturating_sub(last) > LEAP;
        for at in [leaps.then_some(last + LEAP), Some(now)].into_iter().flatten() {
            if Tick::at(at) != Tick::at(last) {
                self.workers.iter_mut().for_each(|worker| worker.sweep_all(at));
            }
        }
        // Which worker has which flow must not be seen.
        let mut sent = self.take_sent();
        sent.sort_unstable();
        let first = self.bursts % self.workers.len();
        self.bursts += 1;
        let queues = self.workers[first].queues_mut();
        let device = queues.first_of(port);
        frames.into_iter().for_each(|frame| queues.devices_mut().push(device, frame));
        while self.workers[first].poll(now) > 0 {}
        while self.mesh.is_busy() {
            self.workers.iter_mut().for_each(|worker| {
                worker.poll(now);
            });
        }
        sent.extend(self.take_sent());
        // Nobody listens to what the workers would have the management thread know.
        self.mesh.events().drain().for_each(drop);
        self.mesh.events().take_answers().for_each(drop);
        sent
    }

    /// What the workers have sent, worker after worker and device after device.
    fn take_sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut sent = Vec::new();
        for worker in &mut self.workers {
            let queues = worker.queues_mut();
            for device in (0..self.ports as u8).map(PortId) {
                let frames: Vec<_> = queues.devices_mut().sent(device).collect();
                sent.extend(frames.into_iter().map(|frame| (queues.port_of(device, &frame), frame)));
            }
        }
        sent
    }

    /// Goes on with another configuration, as a reload does.
    ///
    /// # Errors
    /// When it is too large; the old one stays.
    pub fn reload(&mut self, model: &Model) -> Result<(), TooMany> {
        let conditions = conditions(model);
        let next = self.compiler.compile(model, &conditions)?;
        self.conditions = conditions;
        self.publisher.publish(next);
        Ok(())
    }

    /// The sum of all workers' counters.
    pub fn totals(&self) -> Totals {
        let mut sum = WorkerTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.totals()));
        sum
    }

    /// What backends have opened themselves, by outbound rules.
    pub fn outbound(&self) -> Vec<OutboundBackend> {
        outbound_backends(&self.publisher.latest(), &self.counters)
    }

    /// What every backend of every rule got and gave.
    pub fn backends(&self) -> Vec<(BackendIdentity, BackendTotals)> {
        let totals = |id: BackendId| {
            let mut sum = BackendTotals::default();
            self.counters.iter().for_each(|worker| sum.add(&worker.backend_totals(id)));
            sum
        };
        self.compiler.backends().map(|(identity, id)| (identity, totals(id))).collect()
    }
}

/// Devices with their own or made-up Ethernet addresses, and neighbours with made-up ones.
fn conditions(model: &Model) -> Conditions {
    let devices = model.devices();
    let link = |(port, place): (&crate::config::Port, Place)| {
        let mac = devices.iter().find(|device| device.first == place.first).and_then(|device| device.mac);
        PortLink {
            mac: mac.unwrap_or(MacAddr([2, 0xff, 0, 0, 0, place.first.0])),
            // What a capture holds has come in. Only a port that says who it is can tell what is not for it.
            filters: mac.is_some(),
            mtu: port.mtu,
        }
    };
    Conditions {
        links: model.ports.iter().zip(model.places()).map(link).collect(),
        neighbours: Neighbours { synthetic: true, ..Neighbours::default() },
    }
}
