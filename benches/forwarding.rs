//! Whole programs on real DPDK ports: guideway against `dpdk-testpmd`, on the same virtual devices, in turns.
//!
//! Progress goes to standard error, one JSON object for each figure to standard output. `forwarding [--quick]
//! [TEXT...]` runs the beds whose names contain one of the texts, or all.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod beds;
mod harness;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use beds::balancer::{Balancer, frontends};
use beds::capture::Traffic;
use beds::machine::{self, Cpus, Urgency};
use beds::side::{Side, Window};
use beds::testpmd::{Eal, Testpmd, mebibytes};
use beds::{Result, Trying};
use harness::figure::Figure;

/// Where packets come from; they all go into a null port, which takes everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// A pcap port of the same process, which copies a capture from memory again and again.
    Pcap,
    /// A generator of its own, over shared memory.
    Memif,
    /// The same, by vhost-user: a packed ring.
    Vhost,
}

#[derive(Clone, Copy, Debug)]
struct Bed {
    source: Source,
    flows: u32,
    workers: usize,
    hugepages: bool,
    /// Whether a quick run has it too.
    quick: bool,
}

const fn bed(source: Source, flows: u32, workers: usize, hugepages: bool, quick: bool) -> Bed {
    Bed { source, flows, workers, hugepages, quick }
}

const BEDS: &[Bed] = &[
    bed(Source::Pcap, 1, 1, true, false),
    bed(Source::Pcap, 1_000, 1, true, true),
    bed(Source::Pcap, 10_000, 1, true, false),
    bed(Source::Pcap, 100_000, 1, true, true),
    bed(Source::Pcap, 1_000_000, 1, true, false),
    bed(Source::Pcap, 1_000, 1, false, true),
    bed(Source::Pcap, 100_000, 1, false, false),
    bed(Source::Pcap, 1_000, 2, true, true),
    bed(Source::Pcap, 100_000, 2, true, false),
    bed(Source::Memif, 1_000, 1, true, true),
    bed(Source::Memif, 100_000, 1, true, false),
    bed(Source::Memif, 1_000, 1, false, false),
    bed(Source::Vhost, 1_000, 1, true, true),
    bed(Source::Vhost, 100_000, 1, true, false),
];

impl Bed {
    fn name(&self) -> String {
        let source = match self.source {
            Source::Pcap => "pcap",
            Source::Memif => "memif",
            Source::Vhost => "vhost",
        };
        let pages = if self.hugepages { "hugepages" } else { "ordinary pages" };
        let s = if self.workers == 1 { "" } else { "s" };
        format!("{source} to null, {pages}, {} worker{s}", self.workers)
    }

    /// Frames of packet memory. A pcap port that repeats keeps its whole capture there.
    fn frames(&self) -> u32 {
        let kept = if self.source == Source::Pcap { self.flows } else { 0 };
        (kept + 16_384).next_power_of_two() - 1
    }

    fn captures(&self, directory: &Path) -> Vec<String> {
        let file = |worker| directory.join(format!("{}-{worker}.pcap", self.flows)).display().to_string();
        (0..self.workers).map(file).collect()
    }

    fn pcap_device(&self, directory: &Path) -> String {
        let files: Vec<String> =
            self.captures(directory).iter().map(|file| format!("rx_pcap={file}")).collect();
        format!("net_pcap0,{},infinite_rx=1", files.join(","))
    }

    /// The source and the sink of the program with this prefix.
    fn devices(&self, prefix: &str, directory: &Path) -> [String; 2] {
        let socket = directory.join(format!("{prefix}.socket")).display().to_string();
        let source = match self.source {
            Source::Pcap => self.pcap_device(directory),
            Source::Memif => {
                format!("net_memif0,role=server,id=0,socket={socket},socket-abstract=no,mac={LINK_MAC}")
            }
            Source::Vhost => format!("net_vhost0,iface={socket},queues=1"),
        };
        [source, "net_null1,no-rx=1".to_owned()]
    }

    /// The generator's end of the link to the program with this prefix.
    fn link(&self, prefix: &str, directory: &Path) -> Option<String> {
        let socket = directory.join(format!("{prefix}.socket")).display().to_string();
        match self.source {
            Source::Pcap => None,
            Source::Memif => Some(format!("net_memif1,role=client,id=0,socket={socket},socket-abstract=no")),
            Source::Vhost => Some(format!(
                "net_virtio_user1,path={socket},queues=1,queue_size=1024,packed_vq=1,in_order=1,vectorized=1,mrg_rxbuf=0"
            )),
        }
    }
}

const LINK_MAC: &str = "02:00:00:00:00:10";
/// What net_pcap gives its first port.
const PCAP_MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];

/// What testpmd does when it is its turn: pass on, swap two addresses, swap all addresses and the ports.
const MODES: [&str; 3] = ["io", "macswap", "5tswap"];

/// How long, and how often.
#[derive(Clone, Copy)]
struct Pace {
    rounds: usize,
    settle: Duration,
    window: Duration,
}

const THOROUGH: Pace =
    Pace { rounds: 7, settle: Duration::from_millis(100), window: Duration::from_millis(400) };
const QUICK: Pace =
    Pace { rounds: 3, settle: Duration::from_millis(100), window: Duration::from_millis(250) };

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (quick, texts): (Vec<String>, Vec<String>) = args.into_iter().partition(|arg| arg == "--quick");
    let quick = !quick.is_empty();
    let wanted = |bed: &&Bed| {
        let name = format!("{} {};", bed.name(), bed.flows);
        (!quick || bed.quick) && (texts.is_empty() || texts.iter().any(|text| name.contains(text.as_str())))
    };
    let beds: Vec<&Bed> = BEDS.iter().filter(wanted).collect();
    let pace = if quick { QUICK } else { THOROUGH };
    machine::prefer(std::process::id(), Urgency::Control);
    let mut failures = 0;
    for (number, bed) in beds.iter().enumerate() {
        eprintln!("[{}/{}] {}, {} flows", number + 1, beds.len(), bed.name(), bed.flows);
        match measure(bed, pace) {
            Ok(figures) => figures.iter().for_each(|figure| println!("{}", figure.json())),
            Err(why) => {
                failures += 1;
                eprintln!("    FAILED: {why}");
            }
        }
    }
    if failures == 0 && !beds.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All figures of one bed; none where there are too few hugepages for it.
fn measure(bed: &Bed, pace: Pace) -> Result<Vec<Figure>> {
    let cpus = Cpus::choose()?;
    let directory =
        tempfile::Builder::new().prefix("guideway-forwarding-").tempdir().trying("a directory")?;
    let directory = directory.path();
    let prefix = |who: &str| format!("gwbench{}-{who}", std::process::id());
    let (ours, theirs) = (prefix("guideway"), prefix("testpmd"));
    let eal = |prefix, devices| Eal {
        prefix,
        management: cpus.management,
        workers: &cpus.workers[..bed.workers],
        queues: bed.workers,
        hugepages: bed.hugepages,
        frames: bed.frames(),
        devices,
    };
    let (our_devices, their_devices) = (bed.devices(&ours, directory), bed.devices(&theirs, directory));
    let (our_eal, their_eal) = (eal(&ours, &our_devices), eal(&theirs, &their_devices));
    let feeders = if bed.source == Source::Pcap { 0 } else { 2 * mebibytes(feeder_frames(bed)) };
    let needed = 2 * mebibytes(bed.frames()) + 128 + feeders;
    let free = machine::free_hugepage_mebibytes();
    if bed.hugepages && free < needed {
        eprintln!("    skipped: it needs {needed} MiB of free hugepages, and there are {free}");
        return Ok(Vec::new());
    }
    if bed.source == Source::Pcap {
        write_captures(bed, directory, PCAP_MAC)?;
    }
    let balancer = Balancer::start(&our_eal, bed.flows, directory)?;
    if bed.source != Source::Pcap {
        write_captures(bed, directory, balancer.mac()?)?;
    }
    let guideway = Side { feeder: feeder(bed, &cpus, &ours, directory)?, it: balancer };
    guideway.pause()?;
    let mut testpmd = Side {
        it: Testpmd::start(&their_eal, &[], directory)?,
        feeder: feeder(bed, &cpus, &theirs, directory)?,
    };
    testpmd.pause()?;
    let mut windows: [Vec<Window>; 4] = Default::default();
    for _ in 0..pace.rounds {
        windows[0].push(guideway.window(pace.settle, pace.window)?);
        for (mode, windows) in MODES.iter().zip(&mut windows[1..]) {
            testpmd.resume()?;
            testpmd.it.forward(mode)?;
            testpmd.pause()?;
            windows.push(testpmd.window(pace.settle, pace.window)?);
        }
    }
    testpmd.stop()?;
    let shortfall = check(bed, guideway)?;
    Ok(figures(bed, &windows, &shortfall))
}

fn write_captures(bed: &Bed, directory: &Path, mac: [u8; 6]) -> Result<()> {
    let files = bed.captures(directory);
    let each = (bed.flows / files.len() as u32).max(1);
    let traffic = Traffic { frontends: &frontends(), sizes: &[64], mac };
    (0..).zip(&files).try_for_each(|(n, file)| traffic.write(Path::new(file), n * each..(n + 1) * each))
}

/// Whoever feeds the program with this prefix, where that is another program.
fn feeder(bed: &Bed, cpus: &Cpus, prefix: &str, directory: &Path) -> Result<Option<Testpmd>> {
    let Some(link) = bed.link(prefix, directory) else { return Ok(None) };
    let prefix = format!("{prefix}-feeder");
    let eal = Eal {
        prefix: &prefix,
        management: cpus.management,
        workers: &cpus.tester[..1],
        queues: 1,
        hugepages: bed.hugepages,
        frames: feeder_frames(bed),
        devices: &[bed.pcap_device(directory), link],
    };
    let mut feeder = Testpmd::start(&eal, &[], directory)?;
    feeder.forward("io")?;
    Ok(Some(feeder))
}

fn feeder_frames(bed: &Bed) -> u32 {
    (bed.flows + 16_384).next_power_of_two() - 1
}

/// What guideway did not forward.
struct Shortfall {
    /// Frames that its link took and that it did not send on; of a bed with a link.
    behind_link: Option<u64>,
    /// The share that it dropped, in per cent; of a bed with two workers. A source that never waits fills the rings
    /// between them.
    dropped: Option<f64>,
}

/// Ends guideway. An error where it did not do its work.
fn check(bed: &Bed, mut side: Side<Balancer>) -> Result<Shortfall> {
    let fed = side.drain()?;
    let totals = side.stop()?;
    let (received, transmitted) = (totals.get("received")?, totals.get("transmitted")?);
    let (created, dropped) = (totals.get("created")?, totals.get("dropped")?);
    if bed.workers == 1 && (dropped > 0 || received != transmitted) {
        return Err(format!("guideway dropped {dropped} frames, of {received} that it received: {totals:?}"));
    }
    // A flow that finds both of its lines full comes and goes; of a million some hundreds do.
    let flows = u64::from(bed.flows);
    if !(flows..=flows + flows / 100).contains(&created) {
        return Err(format!("guideway saw {created} flows instead of {flows}"));
    }
    Ok(Shortfall {
        behind_link: fed.map(|fed| fed.saturating_sub(transmitted)),
        dropped: (bed.workers > 1).then(|| dropped as f64 * 100.0 / received as f64),
    })
}

/// A pair of processes over shared memory has two states: one runs ahead of the other, or they hinder each other with
/// every frame. Windows of the slow state say nothing about a program; they are told apart by this share of the best.
const FAST: f64 = 0.6;

fn figures(bed: &Bed, windows: &[Vec<Window>; 4], shortfall: &Shortfall) -> Vec<Figure> {
    let best: Vec<f64> = windows.iter().map(|all| all.iter().map(|w| w.mpps).fold(0.0, f64::max)).collect();
    let fast = |who: usize, round: usize| windows[who][round].mpps >= FAST * best[who];
    let rounds = windows[0].len();
    let name = bed.name();
    let figure = |what: &str, unit, runs: Vec<f64>| {
        Figure::of("forwarding", format!("{name}: {what}"), bed.flows.into(), unit, runs)
    };
    let mut all = Vec::new();
    let who =
        |index: usize| index.checked_sub(1).map_or("guideway".into(), |i| format!("testpmd {}", MODES[i]));
    for (index, windows) in windows.iter().enumerate() {
        let runs: Vec<f64> =
            (0..rounds).filter(|&round| fast(index, round)).map(|round| windows[round].mpps).collect();
        let share = windows.iter().map(|w| w.share).fold(1.0, f64::min);
        let figure = figure(&who(index), "Mpps", runs);
        eprintln!(
            "    {:16} {:7.2} Mpps ({:.2} to {:.2}), {:5.1} ns; {} of {rounds} windows fast; at least {:.0} % of its CPU",
            who(index),
            figure.median(),
            figure.min(),
            figure.max(),
            1e3 / figure.median(),
            figure.runs().count(),
            share * 100.0
        );
        all.push(figure);
    }
    for other in 1..windows.len() {
        let both: Vec<(f64, f64)> = (0..rounds)
            .filter(|&round| fast(0, round) && fast(other, round))
            .map(|round| (windows[0][round].mpps, windows[other][round].mpps))
            .collect();
        let ratios = both.iter().map(|(ours, theirs)| ours / theirs).collect();
        let added = both.iter().map(|(ours, theirs)| 1e3 / ours - 1e3 / theirs).collect();
        let ratio = figure(&format!("guideway / {}", who(other)), "ratio", ratios);
        let added = figure(&format!("guideway - {}", who(other)), "added ns/packet", added);
        eprintln!("    {:.2} of {}'s packets, {:+.1} ns each", ratio.median(), who(other), added.median());
        all.extend([ratio, added]);
    }
    if let Some(lost) = shortfall.behind_link {
        all.push(figure("guideway, lost behind the link", "frames", vec![lost as f64]));
    }
    if let Some(dropped) = shortfall.dropped {
        eprintln!("    guideway dropped {dropped:.1} % between its workers: its source never waits");
        all.push(figure("guideway, dropped between workers", "%", vec![dropped]));
    }
    all
}
