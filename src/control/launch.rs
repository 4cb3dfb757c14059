//! The start: EAL, ports, workers, and the management thread's loop until a signal ends it.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use core_affinity::CoreId;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::api::{Context, Load, reload};
use super::devices::{self, Devices, keeps_flows};
use super::doors::{Doors, DoorsError};
use super::manager::Manager;
use super::metrics;
use super::nat_ports::{NatPortsFile, stored_nat_ports};
use super::plan::{POOL_CACHE, Plan, mtu_max, plan, pool_frames};
use super::probe::Probes;
use super::report::{counters_text, rule_names};
use crate::config::{HashKey, Idle, Model, Rule};
use crate::dataplane::{FlowTable, IdlePolicy, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use crate::dpdk::{eal, mempool, port, queue};
use crate::io::tagged::Tagged;
use crate::io::{PortId, Queues};
use crate::snapshot::{PortLink, TooMany};
use crate::wire::MacAddr;

/// How often the management thread looks at what the workers tell it.
const TICK: Duration = Duration::from_millis(10);

/// Why guideway cannot run.
#[derive(Debug)]
pub enum LaunchError {
    /// DPDK, its memory or a port.
    Dpdk(crate::dpdk::Error),
    /// No memory for the flow tables.
    Memory(std::io::Error),
    /// Too many rules or backends.
    TooMany(TooMany),
    /// The CPUs asked for are not there.
    Cpus(String),
    /// The control socket, or another way in.
    Doors(DoorsError),
    /// A thread or a signal handler could not be made.
    System(std::io::Error),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dpdk(error) => write!(f, "{error}"),
            Self::Memory(error) => {
                write!(f, "no memory for the flow tables: {error}; set flows_per_worker lower")
            }
            Self::TooMany(error) => write!(f, "{error}"),
            Self::Cpus(what) => write!(f, "{what}"),
            Self::Doors(error) => write!(f, "{error}"),
            Self::System(error) => write!(f, "cannot start a thread or watch for signals: {error}"),
        }
    }
}

/// Which CPUs do what, and what those of the workers do when there is nothing to do.
struct Cpus {
    management: usize,
    workers: Vec<usize>,
    idle: IdlePolicy,
}

/// Runs until SIGTERM or SIGINT. Prints the counters at the end, and every `stats` if that is given. `load`
/// is called for a reload; `started` is when the process was.
///
/// # Errors
/// When something that is needed cannot be had; nothing runs then.
pub fn run(
    mut model: Model,
    load: Load<'_>,
    key: HashKey,
    stats: Option<Duration>,
    started: SystemTime,
) -> Result<(), LaunchError> {
    // First of all, so that no signal ends the start half-way.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LaunchError::System)?;
    let mut signals = runtime.block_on(async { Signals::watch() }).map_err(LaunchError::System)?;
    let cpus = choose_cpus(&model)?;
    let mut doors = runtime.block_on(async { Doors::open(&model.control) }).map_err(LaunchError::Doors)?;
    let pool_frames = pool_frames(&model, cpus.workers.len());
    let eal = start_eal(&model, &cpus, pool_frames)?;
    let frame_bytes = mempool::frame_bytes(mtu_max(&model));
    let pool = mempool::Mempool::new(&eal, "frames", pool_frames, frame_bytes, POOL_CACHE);
    let pool = pool.map_err(LaunchError::Dpdk)?;
    let devices = Devices::open(&model, &eal, &pool, cpus.workers.len()).map_err(LaunchError::Dpdk)?;
    let mut probes = Probes::new().map_err(LaunchError::System)?;
    let stop = Arc::new(AtomicBool::new(false));
    let directory = model.control.state_directory.clone();
    let had = stored_nat_ports(&directory);
    model.keep_nat_ports(&had);
    let mut nat_ports = NatPortsFile::new(directory, had);
    let (mut manager, workers) = make_workers(model, key, &devices, &pool, cpus.workers.len())?;
    manager.tally_mut().started = started;
    let threads = start_workers(workers, &cpus, &eal, &stop);
    let served = threads.1.map(|()| {
        pin(cpus.management);
        let mut watched = Watched { signals: &mut signals, doors: &mut doors, nat_ports: &mut nat_ports };
        runtime.block_on(serve(&mut manager, &mut probes, &devices, &mut watched, load, stats));
    });
    stop.store(true, Ordering::Relaxed);
    for thread in threads.0 {
        // A worker that panics takes the process with it.
        let _ = thread.join();
    }
    print_counters(&manager, &devices);
    served
}

type PortWorker = Worker<Tagged<queue::WorkerQueues>>;

/// The manager, and the workers with all they need: from here on nothing more has to be found.
fn make_workers(
    model: Model,
    key: HashKey,
    devices: &Devices,
    pool: &mempool::Mempool,
    workers: usize,
) -> Result<(Manager, Vec<PortWorker>), LaunchError> {
    let flows = model.dataplane.flows_per_worker;
    let with_wide = model.rules.iter().any(Rule::has_wide_flows);
    let make = if with_wide { FlowTable::with_wide } else { FlowTable::new };
    let tables: Vec<FlowTable> =
        (0..workers).map(|_| make(flows).map_err(LaunchError::Memory)).collect::<Result<_, _>>()?;
    if let Some(table) = tables.first() {
        let pages = if table.is_on_hugepages() { "huge" } else { "ordinary" };
        log::info!("flow tables: {} MiB a worker, on {pages} pages", table.len_bytes() >> 20);
    }
    let link = |(port, config): (&port::Port, &crate::config::Port)| PortLink {
        mac: MacAddr(port.mac()),
        filters: true,
        mtu: config.mtu,
    };
    let links = devices.by_port().zip(&model.ports).map(link).collect();
    let mesh = Mesh::new(workers);
    let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
    let (manager, readers) =
        Manager::new(model, key, links, counters.clone(), mesh.events(), mesh.originated())
            .map_err(LaunchError::TooMany)?;
    let manager = manager.with_surveys(mesh.surveys());
    let queues = queue::split(devices.all(), workers as u16, pool).map_err(LaunchError::Dpdk)?;
    let parts = queues.into_iter().zip(readers).zip(counters).zip(tables).zip((0u8..).map(WorkerId));
    let made = parts.map(|((((queues, reader), counters), table), id)| {
        let queues = Tagged::new(queues, devices.places());
        let own = worker_ports(id, workers, devices, &queues);
        Worker::new(mesh.seat(id), workers, own, queues, reader, table, counters)
    });
    Ok((manager, made.collect()))
}

fn worker_ports(
    id: WorkerId,
    workers: usize,
    devices: &Devices,
    queues: &Tagged<queue::WorkerQueues>,
) -> Vec<WorkerPort> {
    let own = |(device, port): (&port::Port, u8)| {
        let port = PortId(port);
        let other = WorkerId(id.0 % device.tx_queues().max(1) as u8);
        let transmitter = if queues.can_transmit(port) { id } else { other };
        WorkerPort { port, keeps_flows: keeps_flows(device, workers), transmitter }
    };
    devices.by_port().zip(0..).map(own).collect()
}

/// Starts a thread for each worker. Those that run, and why there are not more.
fn start_workers(
    workers: Vec<PortWorker>,
    cpus: &Cpus,
    eal: &eal::Eal,
    stop: &Arc<AtomicBool>,
) -> (Vec<thread::JoinHandle<()>>, Result<(), LaunchError>) {
    let mut threads = Vec::new();
    for (mut worker, cpu) in workers.into_iter().zip(cpus.workers.iter().copied()) {
        let (eal, stop, idle) = (eal.clone(), stop.clone(), cpus.idle);
        let id = threads.len();
        let work = move || {
            pin(cpu);
            let registration = eal.register_worker();
            if let Err(error) = &registration {
                log::warn!("worker {id}: {error}; it works without a cache of frames");
            }
            worker.run(&stop, idle);
        };
        match thread::Builder::new().name(format!("worker-{id}")).spawn(work) {
            Ok(thread) => threads.push(thread),
            Err(error) => return (threads, Err(LaunchError::System(error))),
        }
    }
    (threads, Ok(()))
}

fn choose_cpus(model: &Model) -> Result<Cpus, LaunchError> {
    let online: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let Plan { management, workers } =
        plan(model, &online).map_err(|error| LaunchError::Cpus(error.to_string()))?;
    log::info!("management on CPU {management}, workers on {workers:?}");
    Ok(Cpus { management, workers, idle: idle_policy(model.dataplane.idle) })
}

fn start_eal(model: &Model, cpus: &Cpus, pool_frames: u32) -> Result<eal::Eal, LaunchError> {
    let devices = devices::arguments(model, cpus.workers.len());
    let device_refs: Vec<&str> = devices.iter().map(String::as_str).collect();
    let memory = eal::Memory::choose(pool_frames, mtu_max(model), eal::free_hugepage_bytes());
    match memory {
        eal::Memory::Hugepages => log::info!("packet memory on hugepages"),
        eal::Memory::Ordinary { mebibytes } => log::warn!(
            "packet memory on ordinary pages ({mebibytes} MiB): too few hugepages are free. Fine for a trial; \
             for speed reserve some: echo 512 > /proc/sys/vm/nr_hugepages"
        ),
    }
    let arguments = eal::arguments(&eal::Arguments {
        program: "guideway",
        devices: &device_refs,
        management_cpu: cpus.management,
        memory,
        user: &model.dataplane.eal,
    });
    log::debug!("EAL arguments: {}", arguments.join(" "));
    eal::Eal::init(&arguments).map_err(LaunchError::Dpdk)
}

fn idle_policy(idle: Idle) -> IdlePolicy {
    match idle {
        Idle::Spin => IdlePolicy::Spin,
        Idle::Pause => IdlePolicy::Pause,
        Idle::Sleep => IdlePolicy::Sleep,
    }
}

fn pin(cpu: usize) {
    if !core_affinity::set_for_current(CoreId { id: cpu }) {
        log::warn!("cannot pin a thread to CPU {cpu}");
    }
}

/// The management thread's loop.
async fn serve(
    manager: &mut Manager,
    probes: &mut Probes,
    devices: &Devices,
    Watched { signals, doors, nat_ports }: &mut Watched<'_>,
    load: Load<'_>,
    stats: Option<Duration>,
) {
    let start = Instant::now();
    log::info!(
        "ready: {} ports, {} rules, generation {}",
        manager.model().ports.len(),
        manager.model().rules.len(),
        manager.generation()
    );
    let workers = manager.workers().len();
    let mut next_stats = stats.map(|every| start + every);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        nat_ports.follow(manager);
        tokio::select! {
            _ = tick.tick() => {
                manager.advance(start.elapsed());
                probes.advance(manager);
            }
            Some(request) = doors.requests.recv() => {
                let ports = || devices.link_views(workers);
                let (probes, now) = (|| probes.report(), start.elapsed());
                request.answer(manager, &Context { load, ports: &ports, probes: &probes, now });
            }
            Some(scrape) = doors.scrapes.recv() => {
                scrape.answer(&metrics::Sources { manager, probes, ports: devices.link_views(workers) });
            }
            _ = signals.hang_up.recv() => {
                // It tells the log how it went.
                let _ = reload(manager, load, start.elapsed(), "SIGHUP");
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
        if let (Some(at), Some(every)) = (next_stats, stats)
            && Instant::now() >= at
        {
            next_stats = Some(at + every);
            print_counters(manager, devices);
        }
    }
    log::info!("stopping");
}

/// What the loop waits for, and what it leaves behind.
struct Watched<'a> {
    signals: &'a mut Signals,
    doors: &'a mut Doors,
    nat_ports: &'a mut NatPortsFile,
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they are waited for, and end nothing by themselves.
    fn watch() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// To standard output, for people; the log goes to standard error.
fn print_counters(manager: &Manager, devices: &Devices) {
    let mut text = counters_text(&manager.totals(), &manager.backends(), &rule_names(manager.model()));
    for port in devices.all() {
        let stats = port.stats();
        text += &format!(
            "port     {:<16} missed {}  receive errors {}  transmit errors {}  out of memory {}\n",
            port.name(),
            stats.imissed,
            stats.ierrors,
            stats.oerrors,
            stats.rx_nombuf
        );
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Nobody listens; that is no reason to stop.
        log::warn!("cannot print the counters: {error}");
    }
}
