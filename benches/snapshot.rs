//! What the configuration costs those who read it, and how long a change takes to reach every worker.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod harness;

use std::cell::RefCell;
use std::fs;
use std::hint::{black_box, spin_loop};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use core_affinity::CoreId;
use guideway::config::{self, ConfigFlags, Model};
use guideway::control::{Manager, REPLAY_KEY};
use guideway::dataplane::{Event, FlowTable, IdlePolicy, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use guideway::io::PortId;
use guideway::snapshot::{Compiler, Conditions, Neighbours, PortLink, Publisher, Reader};
use guideway::wire::MacAddr;
use harness::arena::{ArenaFrame, ArenaQueues};
use harness::rounds::{Case, Plan, measure};
use harness::world;

const RUNS: usize = 9;
const RULES: usize = 500;
const BACKENDS: usize = 100;

/// What workers pay for the configuration, and how long a reload takes to reach them
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
}

fn pin(core: CoreId) {
    assert!(core_affinity::set_for_current(core), "cannot pin a thread to CPU {}", core.id);
}

fn link(index: u8) -> PortLink {
    PortLink { mac: MacAddr([2, 0xff, 0, 0, 0, index]), filters: true, mtu: 1500 }
}

/// A thread that goes on until this is dropped.
struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    fn new(core: CoreId, mut work: impl FnMut(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            pin(core);
            work(&told);
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

// ---- readers ---------------------------------------------------------------------------------------------

/// What a worker does once a burst.
fn read(reader: &mut Reader) -> f64 {
    const BURSTS: u32 = 10_000_000;
    let start = Instant::now();
    for _ in 0..BURSTS {
        reader.refresh();
        black_box(reader.current());
    }
    start.elapsed().as_nanos() as f64 / f64::from(BURSTS)
}

fn quiet_reader() -> Case {
    let conditions = Conditions { links: vec![link(0), link(1)], neighbours: Neighbours::default() };
    let first = Compiler::new(REPLAY_KEY).compile(&world::model(), &conditions).unwrap();
    let (publisher, mut readers) = Publisher::new(first, 1);
    let run = move || {
        black_box(&publisher);
        read(&mut readers[0])
    };
    Case { name: "read".into(), flows: 0, unit: "ns/burst", runs: RUNS, run: Box::new(run) }
}

/// While another CPU publishes one snapshot after the other, as fast as it can make them.
fn disturbed_reader(other: CoreId) -> Case {
    const FLAGS: &str = "[[port]]\nname = \"p\"\naddresses = [\"10.0.0.1/24\"]\n[[pool]]\nname = \"p\"\n\
        backends = [{ address = \"10.0.0.4\" }]\n[[rule]]\nname = \"r\"\nfrontend = \"203.0.113.1:80/tcp\"\n\
        pool = \"p\"\n";
    let run = move || {
        let model = config::load_text("small", FLAGS, &ConfigFlags::default()).unwrap().model;
        let conditions = Conditions { links: vec![link(0)], neighbours: Neighbours::default() };
        let mut compiler = Compiler::new(REPLAY_KEY);
        let (mut publisher, mut readers) = Publisher::new(compiler.compile(&model, &conditions).unwrap(), 1);
        let _publishing = Background::new(other, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                publisher.publish(compiler.compile(&model, &conditions).unwrap());
            }
        });
        read(&mut readers[0])
    };
    let name = "read, while the other CPU publishes".into();
    Case { name, flows: 0, unit: "ns/burst", runs: RUNS, run: Box::new(run) }
}

// ---- reloads ---------------------------------------------------------------------------------------------

/// What a step of a reload took, in milliseconds.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// Reading the file, parsing it, and making a checked model of it.
    load: f64,
    /// Compiling and publishing the snapshot, and what the management thread has to do besides.
    change: f64,
    /// Until the last worker has taken it.
    reach: f64,
    /// Only the compiling, measured apart.
    compile: f64,
}

/// A load balancer as it runs, without ports: workers that poll, and the management thread's part here.
struct Bed {
    manager: Manager,
    file: PathBuf,
    flags: ConfigFlags,
    began: Instant,
    /// Whether the one backend is down at the moment.
    is_down: bool,
    /// A compiler of our own, to look at its share.
    twin: (Compiler, Conditions),
    _workers: Vec<Background>,
}

/// Five hundred rules with a pool of a hundred backends each, all of them different; one of them down or not.
fn file_text(is_down: bool) -> String {
    let mut text = String::from(
        "[[port]]\nname = \"outside\"\naddresses = [\"198.51.100.2/24\"]\ngateway = \"198.51.100.1\"\n\
         [[port]]\nname = \"inside\"\naddresses = [\"10.0.0.1/14\"]\n",
    );
    for r in 0..RULES {
        let address = |b: usize| format!("10.{}.{}.{}", 1 + r / 250, r % 250, b + 1);
        let state = |b: usize| if is_down && (r, b) == (250, 50) { ", state = \"down\"" } else { "" };
        let backends: Vec<String> =
            (0..BACKENDS).map(|b| format!("  {{ address = \"{}\"{} }}", address(b), state(b))).collect();
        text += &format!(
            "[[pool]]\nname = \"p{r}\"\nbackends = [\n{}\n]\n[[rule]]\nname = \"r{r}\"\n\
             frontend = \"203.0.{}.{}:443/tcp\"\npool = \"p{r}\"\nbackend_port = 8443\n",
            backends.join(",\n"),
            113 + r / 250,
            1 + r % 250
        );
    }
    text
}

impl Bed {
    fn new(cores: &[CoreId]) -> Self {
        let file = std::env::temp_dir().join(format!("guideway-bench-{}.toml", std::process::id()));
        fs::write(&file, file_text(false)).unwrap();
        let flags = ConfigFlags { config: Some(file.clone()), ..ConfigFlags::default() };
        let model = config::load(&flags).unwrap_or_else(|e| panic!("{e}")).model;
        let links = vec![link(0), link(1)];
        let mesh: Mesh<ArenaFrame> = Mesh::new(cores.len());
        let counters: Vec<Arc<WorkerCounters>> = cores.iter().map(|_| Arc::default()).collect();
        let (mut manager, readers) = Manager::new(
            model.clone(),
            REPLAY_KEY,
            links.clone(),
            counters.clone(),
            mesh.events(),
            mesh.originated(),
        )
        .unwrap();
        let began = Instant::now();
        let parts = cores.iter().zip(readers).zip(counters).zip(0u8..);
        let workers = parts
            .map(|(((core, reader), counters), id)| {
                let me = WorkerId(id);
                let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
                let queues = ArenaQueues::new(64, world::OUTSIDE);
                let table = FlowTable::new(1 << 20).unwrap();
                let ports = vec![own(0), own(1)];
                let mut worker =
                    Worker::new(mesh.seat(me), cores.len(), ports, queues, reader, table, counters);
                Background::new(*core, move |stop| worker.run(stop, IdlePolicy::Spin))
            })
            .collect();
        let known = introduce_neighbours(&mut manager, &mesh, &model, began);
        let neighbours = Neighbours { known, ..Neighbours::default() };
        let mut twin = (Compiler::new(REPLAY_KEY), Conditions { links, neighbours });
        twin.0.compile(&model, &twin.1).unwrap();
        Self { manager, file, flags, began, is_down: false, twin, _workers: workers }
    }

    /// One backend of all goes up or down.
    fn reload(&mut self) -> Steps {
        self.is_down = !self.is_down;
        fs::write(&self.file, file_text(self.is_down)).unwrap();
        let started = Instant::now();
        let model = config::load(&self.flags).unwrap_or_else(|e| panic!("{e}")).model;
        let loaded = Instant::now();
        let generation = self.manager.change(model, self.began.elapsed()).unwrap();
        let changed = Instant::now();
        while self.manager.reached() < generation {
            spin_loop();
        }
        let reached = Instant::now();
        // What the loop around does a hundred times a second; it frees the old snapshot.
        self.manager.advance(self.began.elapsed());
        let twin_started = Instant::now();
        let compiled = self.twin.0.compile(self.manager.model(), &self.twin.1).unwrap();
        let compile = twin_started.elapsed();
        drop(compiled);
        let millis = |took: Duration| took.as_secs_f64() * 1e3;
        Steps {
            load: millis(loaded - started),
            change: millis(changed - loaded),
            reach: millis(reached - changed),
            compile: millis(compile),
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

type KnownNeighbours = std::collections::HashMap<(PortId, std::net::Ipv4Addr), MacAddr>;

/// As if every backend had answered an ARP request.
fn introduce_neighbours(
    manager: &mut Manager,
    mesh: &Mesh<ArenaFrame>,
    model: &Model,
    began: Instant,
) -> KnownNeighbours {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let backends = model.pools.iter().flat_map(|pool| pool.backends.iter().map(|b| (world::INSIDE, b.address)));
    let gateways = model.ports.iter().filter_map(|port| Some((world::OUTSIDE, port.gateway?)));
    let known: KnownNeighbours = backends.chain(gateways).map(|neighbour| (neighbour, mac)).collect();
    for (index, (port, address)) in known.keys().enumerate() {
        mesh.events().push(Event::Neighbour { port: *port, address: *address, mac, is_reply: true });
        if index % 64 == 63 {
            manager.advance(began.elapsed());
        }
    }
    // A change of neighbours alone waits for a while before it is published.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(20));
        manager.advance(began.elapsed());
    }
    assert_eq!(manager.neighbours_missing(), 0, "every neighbour has answered");
    known
}

/// The same reloads, looked at from several sides: each is one run of the first case.
fn reloads(workers: Vec<CoreId>) -> Vec<Case> {
    let steps = Rc::new(RefCell::new((0usize, Vec::<Steps>::new())));
    let mut bed = None;
    let written = steps.clone();
    let total = move || {
        let steps = bed.get_or_insert_with(|| Bed::new(&workers)).reload();
        written.borrow_mut().1.push(steps);
        steps.load + steps.change + steps.reach
    };
    let case = |name: &str, run: Box<dyn FnMut() -> f64>| {
        let name = format!("reload, {RULES} rules x {BACKENDS} backends: {name}");
        Case { name, flows: 0, unit: "ms", runs: RUNS, run }
    };
    let part = |name: &str, of: fn(&Steps) -> f64| {
        let steps = steps.clone();
        // The runs of the last round, one by one.
        let mut at = 0;
        let run = move || {
            let steps = &steps.borrow().1;
            at += 1;
            steps.get(steps.len().saturating_sub(RUNS) + at % RUNS).map_or(f64::NAN, of)
        };
        case(name, Box::new(run))
    };
    vec![
        case("until every worker has it", Box::new(total)),
        part("read, parse and check", |s| s.load),
        part("compile and publish", |s| s.change),
        part("of that, compile", |s| s.compile),
        part("the workers", |s| s.reach),
    ]
}

fn main() {
    let arguments: Arguments = harness::arguments();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let Some((first, others)) = cores.split_first() else { panic!("which CPUs are there?") };
    pin(*first);
    let mut cases = vec![quiet_reader()];
    // A worker never lets go of its CPU, so it must not be the one that manages.
    match others.first() {
        Some(other) => {
            cases.push(disturbed_reader(*other));
            cases.extend(reloads(others.to_vec()));
        }
        None => eprintln!("snapshot: only one CPU: no reloads here, for workers need CPUs of their own"),
    }
    measure("snapshot", cases, &arguments.plan);
}
