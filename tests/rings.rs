//! The whole dataplane over real DPDK ports made of the process's own rings: the test plays the network,
//! queue by queue. No privileges, no hugepages.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::sync::Arc;

use common::*;
use guideway::control::REPLAY_KEY;
use guideway::dataplane::{FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort, WorkerTotals};
use guideway::dpdk::eal::Eal;
use guideway::dpdk::mbuf::Mbuf;
use guideway::dpdk::mempool::{FRAME_BYTES, Mempool};
use guideway::dpdk::queue::{self, WorkerQueues};
use guideway::dpdk::ring_port::RingPort;
use guideway::io::PortId;
use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink, Publisher};
use guideway::wire::MacAddr;

const FRAMES: u32 = 1023;

/// A load balancer between two ports, and the far ends of their queues.
struct Bed {
    ends: Vec<RingPort>,
    workers: Vec<Worker<WorkerQueues>>,
    counters: Vec<Arc<WorkerCounters>>,
    mesh: Mesh<Mbuf>,
    publisher: Publisher,
    pool: Mempool,
}

impl Bed {
    /// With so many workers, and so many queues a port: where there are fewer, workers share.
    fn new(eal: &Eal, name: &str, workers: usize, queues: u16) -> Self {
        let pool = Mempool::new(eal, name, FRAMES, FRAME_BYTES, 0).unwrap();
        let mut ports = Vec::new();
        let mut ends = Vec::new();
        for id in [OUTSIDE, INSIDE] {
            let name = format!("{name}{}", id.0);
            let (port, end) = RingPort::open(eal, id, &name, queues, 256, &pool).unwrap();
            ports.push(port);
            ends.push(end);
        }
        let links =
            [OUTSIDE_MAC, INSIDE_MAC].map(|mac| PortLink { mac: MacAddr(mac), filters: true, mtu: 1500 });
        let neighbours = Neighbours { synthetic: true, ..Neighbours::default() };
        let conditions = Conditions { links: links.to_vec(), neighbours };
        let model = model(&with_backends(&numbered(4..=9, ""), ""));
        let world = Compiler::new(REPLAY_KEY).compile(&model, &conditions).unwrap();
        let (publisher, readers) = Publisher::new(world, workers);
        let mesh = Mesh::new(workers);
        let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
        let split = queue::split(&ports, workers as u16, &pool).unwrap();
        let made = split.into_iter().zip(readers).zip(0u8..).map(|((queues_of, reader), id)| {
            let own = |port: PortId| WorkerPort {
                port,
                keeps_flows: false,
                transmitter: WorkerId(id % queues as u8),
            };
            let flows = FlowTable::new(1024).unwrap();
            let counters = counters[usize::from(id)].clone();
            let seat = mesh.seat(WorkerId(id));
            Worker::new(seat, workers, vec![own(OUTSIDE), own(INSIDE)], queues_of, reader, flows, counters)
        });
        let workers = made.collect();
        Self { ends, workers, counters, mesh, publisher, pool }
    }

    /// Has `frame` arrive, lets all workers do what is to be done, and returns what left, and by which queue.
    fn frame(&mut self, port: PortId, queue: u16, frame: &[u8]) -> Vec<(PortId, u16, Vec<u8>)> {
        assert!(self.ends[port.index()].push(queue, frame));
        loop {
            let polled: usize = self.workers.iter_mut().map(|worker| worker.poll(seconds(0.0))).sum();
            if polled == 0 && !self.mesh.is_busy() {
                break;
            }
        }
        let mut left = Vec::new();
        for (end, port) in self.ends.iter().zip([OUTSIDE, INSIDE]) {
            for queue in 0..2 {
                left.extend(std::iter::from_fn(|| end.pop(queue)).map(|frame| (port, queue, frame)));
            }
        }
        left
    }

    fn totals(&self) -> WorkerTotals {
        let mut sum = WorkerTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.totals()));
        sum
    }
}

/// Every flow is answered by its backend, whichever queues its packets and the responses come by.
fn exchange(bed: &mut Bed, queues: u16) {
    let mut backends = std::collections::BTreeMap::new();
    for i in 0..400u16 {
        let flow = i % 100;
        let flags = if i < 100 { "S" } else { "A" };
        let spec = Spec { from: ([192, 0, 2, flow as u8], 5000 + flow), ..Spec::tcp(flags) };
        // A flow's packets come by one queue now and by the other then: fanout that rolls over.
        let left = bed.frame(OUTSIDE, (i / 100 + i) % queues, &spec.frame());
        let [(INSIDE, _, frame)] = &left[..] else { panic!("flow {flow}: {left:?}") };
        let backend = frame[33];
        assert_eq!(*backends.entry(flow).or_insert(backend), backend, "flow {flow} moved");
        let there = spec.at_backend([10, 0, 0, backend], 8443);
        assert_eq!(*frame, there.frame());
        let response = Spec { flags: Some("SA"), ..there.reversed() };
        let left = bed.frame(INSIDE, flow % queues, &response.frame());
        let back = Spec { macs: (OUTSIDE_MAC, ROUTER_MAC), from: (FRONTEND, 443), ttl: 63, ..response };
        let [(OUTSIDE, _, frame)] = &left[..] else { panic!("response of {flow}: {left:?}") };
        assert_eq!(*frame, back.frame());
    }
    assert_eq!(bed.totals().flows_created, 100, "each flow is recorded once");
}

#[test]
fn real_traffic_over_real_rings() {
    let args = ["rings", "-l", "0", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry"];
    let eal = Eal::init(&args.map(String::from)).unwrap();
    // One worker; two workers with a queue each; two workers on one queue; three on two.
    for (name, workers, queues) in [("a", 1, 1), ("b", 2, 2), ("c", 2, 1), ("d", 3, 2)] {
        let mut bed = Bed::new(&eal, name, workers, queues);
        exchange(&mut bed, queues);
        let totals = bed.totals();
        assert_eq!(totals.handed_over, totals.taken_over);
        assert_eq!(totals.handed_over > 0, workers > 1);
        assert_eq!((totals.received, totals.transmitted), (800, 800), "{totals:?}");
        assert_eq!(bed.publisher.reached(), 1);
        let Bed { ends, workers, pool, .. } = bed;
        drop((ends, workers));
        assert_eq!(pool.available(), pool.capacity(), "{name}: frames leaked");
    }
    a_full_transmit_queue_is_counted(&eal);
}

fn a_full_transmit_queue_is_counted(eal: &Eal) {
    let mut bed = Bed::new(eal, "e", 1, 1);
    let frame = Spec::udp().frame();
    // The rings hold 255, and nobody empties them.
    for _ in 0..300 {
        assert!(bed.ends[0].push(0, &frame));
        bed.workers[0].poll(seconds(0.0));
    }
    let totals = bed.totals();
    assert_eq!((totals.received, totals.transmitted, totals.dropped()), (300, 255, 45));
}
