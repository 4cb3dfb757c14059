//! The start: EAL, ports, workers, and the management thread's loop until a signal ends it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::manager::Manager;
use super::report::{counters_text, rule_names};
use crate::config::{ConfigFlags, HashKey, Idle, Model};
use crate::dataplane::{FlowTable, IdlePolicy, Mesh, Worker, WorkerCounters, WorkerId, WorkerPort};
use crate::dpdk::{eal, mempool, port, queue};
use crate::io::Queues;
use crate::snapshot::{PortLink, Reader, TooMany};
use crate::wire::MacAddr;

/// Frames in a receive or transmit queue: what common drivers offer, and a few tenths of a millisecond
/// at ten million frames a second.
const QUEUE_LEN: u16 = 1024;

/// Frames a worker's cache of the pool holds: the most DPDK allows (RTE_MEMPOOL_CACHE_MAX_SIZE).
const POOL_CACHE: u32 = 512;

/// How often the management thread looks at what the workers tell it.
const TICK: Duration = Duration::from_millis(10);

/// The most workers one process can have: `WorkerId` and the bits that choose an owner allow for it.
const WORKERS_MAX: usize = 64;

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
            Self::System(error) => write!(f, "cannot start a thread or watch for signals: {error}"),
        }
    }
}

/// Which CPUs do what.
struct Cpus {
    management: usize,
    workers: Vec<usize>,
}

/// Runs until SIGTERM or SIGINT. Prints the counters at the end, and every `stats` if that is given.
///
/// # Errors
/// When something that is needed cannot be had; nothing runs then.
pub fn run(
    model: Model,
    flags: &ConfigFlags,
    key: HashKey,
    stats: Option<Duration>,
) -> Result<(), LaunchError> {
    let cpus = choose_cpus(&model)?;
    let workers = cpus.workers.len();
    let pool_frames = pool_frames(&model, workers);
    let eal = start_eal(&model, &cpus, pool_frames)?;
    let pool = mempool::Mempool::new(&eal, "frames", pool_frames, POOL_CACHE).map_err(LaunchError::Dpdk)?;
    let ports = open_ports(&model, &eal, &pool, workers)?;
    let link = |(port, config): (&port::Port, &crate::config::Port)| PortLink {
        mac: MacAddr(port.mac()),
        filters: true,
        mtu: config.mtu,
    };
    let links = ports.iter().zip(&model.ports).map(link).collect();
    let mesh = Mesh::new(workers);
    let counters: Vec<Arc<WorkerCounters>> = (0..workers).map(|_| Arc::default()).collect();
    let idle = idle_policy(model.dataplane.idle);
    let flows = model.dataplane.flows_per_worker;
    let (mut manager, readers) =
        Manager::new(model, key, links, counters.clone(), mesh.events(), mesh.originated())
            .map_err(LaunchError::TooMany)?;

    let stop = Arc::new(AtomicBool::new(false));
    let queues = queue::split(&ports, workers as u16, &pool).map_err(LaunchError::Dpdk)?;
    let mut threads = Vec::new();
    let parts = queues.into_iter().zip(readers).zip(counters).zip(0u8..);
    for (((queues, reader), counters), id) in parts {
        let worker = NewWorker { id: WorkerId(id), workers, queues, reader, counters, flows };
        let cpu = cpus.workers[usize::from(id)];
        threads.push(start_worker(worker, &ports, &mesh, &eal, cpu, idle, stop.clone())?);
    }
    pin(cpus.management);
    let served = serve(&mut manager, flags, stats);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        // A worker that panics takes the process with it.
        let _ = thread.join();
    }
    print_counters(&manager);
    served
}

fn choose_cpus(model: &Model) -> Result<Cpus, LaunchError> {
    let online: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let first = online.first().copied().unwrap_or(0);
    let configured = model.dataplane.workers.clone();
    let management = model.dataplane.management_cpu.unwrap_or_else(|| {
        let taken = configured.clone().unwrap_or_default();
        online.iter().copied().find(|cpu| !taken.contains(cpu)).unwrap_or(first)
    });
    let workers = configured.unwrap_or_else(|| {
        let others: Vec<usize> = online.iter().copied().filter(|cpu| *cpu != management).collect();
        if others.is_empty() { vec![management] } else { others }
    });
    if let Some(absent) = workers.iter().chain([&management]).find(|cpu| !online.contains(cpu)) {
        let what = format!("CPU {absent} is not among those this process may use: {online:?}");
        return Err(LaunchError::Cpus(what));
    }
    let workers: Vec<usize> = workers.into_iter().take(WORKERS_MAX).collect();
    log::info!("management on CPU {management}, workers on {workers:?}");
    Ok(Cpus { management, workers })
}

/// Enough for all queues to be full, each worker's cache too, and as many again on their way.
fn pool_frames(model: &Model, workers: usize) -> u32 {
    let queues = (model.ports.len() * workers.max(4)) as u32;
    let wanted = queues * u32::from(QUEUE_LEN) * 2 + workers as u32 * POOL_CACHE * 2;
    // One less than a power of two uses the pool's ring to the full.
    wanted.next_power_of_two() - 1
}

fn start_eal(model: &Model, cpus: &Cpus, pool_frames: u32) -> Result<eal::Eal, LaunchError> {
    let devices: Vec<String> = model.ports.iter().filter_map(|port| port.device.clone()).collect();
    let devices: Vec<String> = devices.iter().map(|device| with_queues(device, cpus.workers.len())).collect();
    let device_refs: Vec<&str> = devices.iter().map(String::as_str).collect();
    let memory = eal::Memory::choose(pool_frames, eal::free_hugepage_bytes());
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

/// af_packet gives a device one queue unless told otherwise, and there is no telling it later.
fn with_queues(device: &str, workers: usize) -> String {
    if device.starts_with("net_af_packet") && !device.contains("qpairs=") && workers > 1 {
        format!("{device},qpairs={workers}")
    } else {
        device.to_owned()
    }
}

fn open_ports(
    model: &Model,
    eal: &eal::Eal,
    pool: &mempool::Mempool,
    workers: usize,
) -> Result<Vec<port::Port>, LaunchError> {
    let mut ports = Vec::new();
    for (config, id) in model.ports.iter().zip(0..) {
        let opened = port::Port::open(
            eal,
            &port::PortConfig {
                id: crate::io::PortId(id),
                name: config.name.clone(),
                device: config.device.clone().unwrap_or_default(),
                workers: workers as u16,
                mtu: config.mtu,
                mac: config.mac.map(|mac| mac.0),
                promiscuous: false,
                rx_desc: QUEUE_LEN,
                tx_desc: QUEUE_LEN,
            },
            pool,
        )
        .map_err(LaunchError::Dpdk)?;
        let spread = if keeps_flows(&opened, workers) { "by the device" } else { "in software" };
        log::info!(
            "port {}: {}, {}, {} receive and {} transmit queues, flows spread {spread}",
            config.name,
            opened.driver(),
            MacAddr(opened.mac()),
            opened.rx_queues(),
            opened.tx_queues()
        );
        ports.push(opened);
    }
    Ok(ports)
}

/// Whether each worker can take what its queues of the port give it for its own.
fn keeps_flows(port: &port::Port, workers: usize) -> bool {
    workers == 1 || port.keeps_flows_on_one_queue() && usize::from(port.rx_queues()) >= workers
}

fn idle_policy(idle: Idle) -> IdlePolicy {
    match idle {
        Idle::Spin => IdlePolicy::Spin,
        Idle::Pause => IdlePolicy::Pause,
        Idle::Sleep => IdlePolicy::Sleep,
    }
}

/// What a worker is made of.
struct NewWorker {
    id: WorkerId,
    workers: usize,
    queues: queue::WorkerQueues,
    reader: Reader,
    counters: Arc<WorkerCounters>,
    flows: usize,
}

fn start_worker(
    new: NewWorker,
    ports: &[port::Port],
    mesh: &Mesh<crate::dpdk::mbuf::Mbuf>,
    eal: &eal::Eal,
    cpu: usize,
    idle: IdlePolicy,
    stop: Arc<AtomicBool>,
) -> Result<thread::JoinHandle<()>, LaunchError> {
    let NewWorker { id, workers, queues, reader, counters, flows } = new;
    let transmitter = |port: &port::Port| {
        if queues.can_transmit(port.id()) { id } else { WorkerId(id.0 % port.tx_queues().max(1) as u8) }
    };
    let own = ports
        .iter()
        .map(|port| WorkerPort {
            port: port.id(),
            keeps_flows: keeps_flows(port, workers),
            transmitter: transmitter(port),
        })
        .collect();
    let seat = mesh.seat(id);
    let eal = eal.clone();
    let table = FlowTable::new(flows).map_err(LaunchError::Memory)?;
    log::debug!(
        "worker {}: {} MiB of flow table on {} pages",
        id.0,
        table.len_bytes() >> 20,
        if table.is_on_hugepages() { "huge" } else { "ordinary" }
    );
    let work = move || {
        pin(cpu);
        let registration = eal.register_worker();
        if let Err(error) = &registration {
            log::warn!("worker {}: {error}; it works without a cache of frames", id.0);
        }
        Worker::new(seat, workers, own, queues, reader, table, counters).run(&stop, idle);
    };
    thread::Builder::new().name(format!("worker-{}", id.0)).spawn(work).map_err(LaunchError::System)
}

fn pin(cpu: usize) {
    if !core_affinity::set_for_current(CoreId { id: cpu }) {
        log::warn!("cannot pin a thread to CPU {cpu}");
    }
}

/// The management thread's loop.
fn serve(manager: &mut Manager, flags: &ConfigFlags, stats: Option<Duration>) -> Result<(), LaunchError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LaunchError::System)?;
    runtime.block_on(async {
        let watch = |kind| signal(kind).map_err(LaunchError::System);
        let mut signals = Signals {
            hang_up: watch(SignalKind::hangup())?,
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        };
        let start = Instant::now();
        log::info!(
            "ready: {} ports, {} rules, generation {}",
            manager.model().ports.len(),
            manager.model().rules.len(),
            manager.generation()
        );
        let mut next_stats = stats.map(|every| start + every);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => manager.advance(start.elapsed()),
                _ = signals.hang_up.recv() => reload(manager, flags, start.elapsed()),
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
            if let (Some(at), Some(every)) = (next_stats, stats)
                && Instant::now() >= at
            {
                next_stats = Some(at + every);
                print_counters(manager);
            }
        }
        log::info!("stopping");
        Ok(())
    })
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

fn reload(manager: &mut Manager, flags: &ConfigFlags, now: Duration) {
    match manager.reload(flags, now) {
        Ok(generation) => {
            let rules = manager.model().rules.len();
            log::info!("reloaded: {rules} rules, generation {generation}");
        }
        Err(error) => {
            error.to_string().lines().for_each(|line| log::error!("{line}"));
            log::error!("not reloaded; generation {} goes on", manager.generation());
        }
    }
}

/// To standard output, for people; the log goes to standard error.
#[allow(clippy::print_stdout, reason = "this is what `run` has to say")]
fn print_counters(manager: &Manager) {
    print!("{}", counters_text(&manager.totals(), &manager.backends(), &rule_names(manager.model())));
}
