//! A manager and one worker, on memory.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "of tests")]

use std::sync::Arc;

use guideway::control::{Manager, REPLAY_KEY};
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort, WorkerTotals};
use guideway::io::PortId;
use guideway::io::memory::{HeapFrame, MemoryQueues};
use guideway::snapshot::PortLink;
use guideway::wire::MacAddr;

use crate::common::{model, seconds};

pub struct Bed {
    pub manager: Manager,
    pub worker: Worker<MemoryQueues>,
    pub counters: Arc<WorkerCounters>,
    pub mesh: Mesh<HeapFrame>,
}

impl Bed {
    pub fn new(config: &str) -> Self {
        let model = model(config);
        let ports = model.ports.len();
        let link = |i| PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, i]), filters: true, mtu: 1500 };
        let mesh = Mesh::new(1);
        let counters: Arc<WorkerCounters> = Arc::default();
        let links = (0..ports as u8).map(link).collect();
        let (manager, mut readers) =
            Manager::new(model, REPLAY_KEY, links, vec![counters.clone()], mesh.events(), mesh.originated())
                .unwrap();
        let me = WorkerId(0);
        let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
        let own = (0..ports as u8).map(own).collect();
        let (queues, flows) = (MemoryQueues::new(ports), FlowTable::new(1024).unwrap());
        let worker = Worker::new(mesh.seat(me), 1, own, queues, readers.remove(0), flows, counters.clone());
        Self { manager, worker, counters, mesh }
    }

    pub fn push(&mut self, port: PortId, frame: Vec<u8>) {
        self.worker.queues_mut().push(port, frame);
    }

    /// Both threads do what is to be done at `second`; returns what left by `port`.
    pub fn turn(&mut self, second: f64, port: PortId) -> Vec<Vec<u8>> {
        self.worker.poll(seconds(second));
        self.manager.advance(seconds(second));
        self.worker.poll(seconds(second));
        self.worker.queues_mut().sent(port).collect()
    }

    pub fn totals(&self) -> WorkerTotals {
        self.counters.totals()
    }
}
