//! What the configuration costs those who read it, and how long a change takes to reach every worker.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod harness;

use std::cell::RefCell;
use std::fs;
use std::hint::{black_box, spin_loop};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use core_affinity::CoreId;
use guideway::config::{self, ConfigFlags, Model};
use guideway::control::{Manager, REPLAY_KEY};
use guideway::dataplane::{Event, FlowTable, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
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
    fn new(core: CoreId, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
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
    let first = Compiler::new(REPLAY_KEY).compile(&world::model(world::NAT), &conditions).unwrap();
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
#[derive(Clone, Copy)]
struct Steps {
    /// Reading the file, parsing it, and making a checked model of it.
    load: f64,
    /// From then until the last worker had the new snapshot: it was compiled, published and taken.
    reach: f64,
    /// Only the compiling, measured apart.
    compile: f64,
    /// What the management thread did after that.
    after: f64,
}

/// How five hundred rules with a hundred backends each are written down. All backends are different ones.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Every backend by itself; one of them goes down and up again.
    Listed,
    /// Ranges of addresses; one pool loses its last backend, and gets it back.
    Ranges,
}

impl Form {
    fn pool(self, r: usize, is_less: bool) -> String {
        let network = format!("10.{}.{}", 1 + r / 250, r % 250);
        let is_less = is_less && r == RULES / 2;
        match self {
            Self::Listed => {
                let state = |b| if is_less && b == BACKENDS { ", state = \"down\"" } else { "" };
                let backend = |b| format!("  {{ address = \"{network}.{b}\"{} }},\n", state(b));
                format!("backends = [\n{}]\n", (1..=BACKENDS).map(backend).collect::<String>())
            }
            Self::Ranges => {
                let instances = BACKENDS - usize::from(is_less);
                format!("addresses = \"{network}.1-{network}.{BACKENDS}\"\ninstances = {instances}\n")
            }
        }
    }

    fn text(self, is_less: bool) -> String {
        let mut text = String::from(
            "[[port]]\nname = \"outside\"\naddresses = [\"198.51.100.2/24\"]\ngateway = \"198.51.100.1\"\n\
             [[port]]\nname = \"inside\"\naddresses = [\"10.0.0.1/14\"]\n",
        );
        for r in 0..RULES {
            let (pool, network, host) = (self.pool(r, is_less), 113 + r / 250, 1 + r % 250);
            text += &format!(
                "[[pool]]\nname = \"p{r}\"\n{pool}[[rule]]\nname = \"r{r}\"\n\
                 frontend = \"203.0.{network}.{host}:443/tcp\"\npool = \"p{r}\"\nbackend_port = 8443\n"
            );
        }
        text
    }
}

/// When a worker has come to which generation.
#[derive(Default)]
struct Reached {
    generation: AtomicU64,
    /// Nanoseconds from the bed's beginning.
    at: AtomicU64,
}

/// A load balancer as it runs, without ports: workers that poll, and the management thread's part here.
struct Bed {
    manager: Manager,
    form: Form,
    file: PathBuf,
    flags: ConfigFlags,
    began: Instant,
    is_less: bool,
    /// A compiler of our own, to look at its share.
    twin: (Compiler, Conditions),
    reached: Vec<Arc<Reached>>,
    /// Workers spin while this is set, and sleep in between: their CPUs are others' then.
    awake: Arc<AtomicBool>,
    _workers: Vec<Background>,
}

impl Bed {
    fn new(cores: &[CoreId], form: Form) -> Self {
        let file = std::env::temp_dir().join(format!("guideway-bench-{}-{form:?}.toml", std::process::id()));
        fs::write(&file, form.text(false)).unwrap();
        let flags = ConfigFlags { config: Some(file.clone()), ..ConfigFlags::default() };
        let model = config::load(&flags).unwrap_or_else(|e| panic!("{e}")).model;
        let links = vec![link(0), link(1)];
        let mesh: Mesh<ArenaFrame> = Mesh::new(cores.len());
        // Two readers a worker: its own, and one beside it to see when it has moved.
        let counters: Vec<Arc<WorkerCounters>> = (0..2 * cores.len()).map(|_| Arc::default()).collect();
        let (ours, events, originated) = (counters.clone(), mesh.events(), mesh.originated());
        let (mut manager, mut readers) =
            Manager::new(model.clone(), REPLAY_KEY, links.clone(), ours, events, originated).unwrap();
        let began = Instant::now();
        let (awake, mut reached, mut workers) = (Arc::new(AtomicBool::new(false)), Vec::new(), Vec::new());
        for (core, id) in cores.iter().zip(0u8..) {
            let (me, noted) = (WorkerId(id), Arc::new(Reached::default()));
            let own = |port| WorkerPort { port: PortId(port), keeps_flows: true, transmitter: me };
            let queues = ArenaQueues::new(64, world::OUTSIDE);
            let table = FlowTable::new(1 << 20).unwrap();
            let (reader, beside) = (readers.remove(0), readers.remove(0));
            let counters = counters[usize::from(id)].clone();
            let ports = vec![own(0), own(1)];
            let worker = Worker::new(mesh.seat(me), cores.len(), ports, queues, reader, table, counters);
            reached.push(noted.clone());
            let awake = awake.clone();
            workers
                .push(Background::new(*core, move |stop| work(worker, beside, &noted, &awake, stop, began)));
        }
        let known = introduce_neighbours(&mut manager, &mesh, &model, began);
        let neighbours = Neighbours { known, ..Neighbours::default() };
        let mut twin = (Compiler::new(REPLAY_KEY), Conditions { links, neighbours });
        twin.0.compile(&model, &twin.1).unwrap();
        Self { manager, form, file, flags, began, is_less: false, twin, reached, awake, _workers: workers }
    }

    /// One backend of all goes or comes.
    fn reload(&mut self) -> Steps {
        self.is_less = !self.is_less;
        fs::write(&self.file, self.form.text(self.is_less)).unwrap();
        self.awake.store(true, Ordering::Relaxed);
        thread::sleep(2 * NAP);
        let started = self.began.elapsed();
        let model = config::load(&self.flags).unwrap_or_else(|e| panic!("{e}")).model;
        let loaded = self.began.elapsed();
        let generation = self.manager.change(model, loaded).unwrap();
        let changed = self.began.elapsed();
        let reached = self.reached.iter().map(|worker| worker.wait_for(generation)).max().unwrap_or_default();
        // What the loop around does a hundred times a second; it frees the old snapshot.
        self.manager.advance(self.began.elapsed());
        self.awake.store(false, Ordering::Relaxed);
        let twin_started = Instant::now();
        let compiled = self.twin.0.compile(self.manager.model(), &self.twin.1).unwrap();
        let compile = twin_started.elapsed();
        self.twin.0.release(|_| true);
        drop(compiled);
        let millis = |took: Duration| took.as_secs_f64() * 1e3;
        Steps {
            load: millis(loaded - started),
            reach: millis(reached - loaded),
            compile: millis(compile),
            after: millis(changed.saturating_sub(reached)),
        }
    }
}

/// Between two looks of a worker that sleeps.
const NAP: Duration = Duration::from_millis(1);

/// A worker's loop, and a note whenever it has come to another generation.
fn work(
    mut worker: Worker<ArenaQueues>,
    mut beside: Reader,
    noted: &Reached,
    awake: &AtomicBool,
    stop: &AtomicBool,
    began: Instant,
) {
    while !stop.load(Ordering::Relaxed) {
        worker.poll(began.elapsed());
        beside.refresh();
        let generation = beside.current().generation;
        if generation != noted.generation.load(Ordering::Relaxed) {
            noted.at.store(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            noted.generation.store(generation, Ordering::Release);
        }
        if !awake.load(Ordering::Relaxed) {
            thread::sleep(NAP);
        }
    }
}

impl Reached {
    fn wait_for(&self, generation: u64) -> Duration {
        while self.generation.load(Ordering::Acquire) < generation {
            spin_loop();
        }
        Duration::from_nanos(self.at.load(Ordering::Relaxed))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

type KnownNeighbours = std::collections::HashMap<(PortId, std::net::IpAddr), MacAddr>;

/// As if every backend had answered an ARP request.
fn introduce_neighbours(
    manager: &mut Manager,
    mesh: &Mesh<ArenaFrame>,
    model: &Model,
    began: Instant,
) -> KnownNeighbours {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let backends =
        model.pools.iter().flat_map(|pool| pool.backends.iter().map(|b| (world::INSIDE, b.address)));
    let gateways = model.ports.iter().filter_map(|port| Some((world::OUTSIDE, port.gateway?.into())));
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
fn reloads(workers: Vec<CoreId>, form: Form, word: &'static str) -> Vec<Case> {
    let all = Rc::new(RefCell::new(Vec::<Steps>::new()));
    let mut bed = None;
    let written = all.clone();
    let total = move || {
        let steps = bed.get_or_insert_with(|| Bed::new(&workers, form)).reload();
        written.borrow_mut().push(steps);
        steps.load + steps.reach
    };
    let case = |name: &str, run: Box<dyn FnMut() -> f64>| {
        let name = format!("reload, {RULES} rules x {BACKENDS} backends {word}: {name}");
        Case { name, flows: 0, unit: "ms", runs: RUNS, run }
    };
    let part = |name: &str, of: fn(&Steps) -> f64| {
        let all = all.clone();
        // The runs of the latest round, one by one.
        let mut at = 0;
        let run = move || {
            let all = all.borrow();
            at += 1;
            all.get(all.len().saturating_sub(RUNS) + at % RUNS).map_or(f64::NAN, of)
        };
        case(name, Box::new(run))
    };
    vec![
        case("until every worker has it", Box::new(total)),
        part("of that, to read, parse and check", |s| s.load),
        part("of that, to compile, publish and take", |s| s.reach),
        part("to compile, by itself", |s| s.compile),
        part("what is left to do after that", |s| s.after),
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
            cases.extend(reloads(others.to_vec(), Form::Listed, "listed"));
            cases.extend(reloads(others.to_vec(), Form::Ranges, "in ranges"));
        }
        None => eprintln!("snapshot: only one CPU: no reloads here, for workers need CPUs of their own"),
    }
    measure("snapshot", cases, &arguments.plan);
}
