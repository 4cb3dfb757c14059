//! The highest rate without loss, after RFC 2544, section 26.1, with `dpdk-testpmd` as the tester.
//!
//! On this machine against a guideway of its own, over virtual devices; or out of real ports against one elsewhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod beds;
mod harness;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use beds::balancer::{Balancer, frontends};
use beds::capture::{IMIX, Traffic};
use beds::machine::{self, Cpus, Urgency};
use beds::search::{BURST, Brake, Tried, search};
use beds::tester::{Back, Tester, Trial};
use beds::testpmd::{Eal, mebibytes};
use beds::{Result, Trying};
use harness::figure::Figure;

/// Finds the highest rate at which guideway loses no frame (RFC 2544, section 26.1), with dpdk-testpmd as the tester.
#[derive(Parser)]
#[command(name = "scripts/pktgen/throughput")]
struct Args {
    /// Test on this machine: start a guideway, with virtual devices between it and the tester.
    #[arg(long, required_unless_present = "ports")]
    vdev: bool,

    /// The virtual devices between them.
    #[arg(long, value_enum, default_value = "memif")]
    link: Link,

    /// Have frames come back to the tester, which takes a CPU more. Else guideway sends into a null port, and what it
    /// has sent counts as received.
    #[arg(long, requires = "vdev")]
    there_and_back: bool,

    /// The tester's own ports, for a guideway elsewhere: PCI addresses, or virtual devices with their parameters,
    /// separated by semicolons. The first leads to guideway, what is to come back comes by the second, or by the first
    /// where there is one.
    #[arg(long, value_name = "OUT[;BACK]", value_delimiter = ';', conflicts_with = "vdev", requires = "mac")]
    ports: Vec<String>,

    /// Ethernet address of guideway's port, for a guideway elsewhere.
    #[arg(long, value_parser = mac)]
    mac: Option<[u8; 6]>,

    /// Frontends (of TCP) of the guideway elsewhere [default: those of scripts/pktgen/guideway.toml].
    #[arg(long, value_name = "ADDR:PORT", value_delimiter = ',')]
    frontends: Vec<SocketAddrV4>,

    /// Lengths of frames in bytes on the wire, 64 to 1518, or "imix".
    #[arg(long, value_delimiter = ',', default_value = "64")]
    sizes: Vec<Size>,

    /// Numbers of flows.
    #[arg(long, value_delimiter = ',', default_value = "1,100000", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    flows: Vec<u32>,

    /// Seconds of a trial. RFC 2544 asks for 60 [default: 0.3 with --vdev, 2 with --ports].
    #[arg(long)]
    duration: Option<f64>,

    /// Share of the frames that may be lost, in per cent.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,

    /// How exact the rate is to be, in per cent.
    #[arg(long, default_value_t = 2.0)]
    resolution: f64,

    /// Trials that a rate has to pass, or to fail, in the end.
    #[arg(long, default_value_t = 2)]
    tries: u32,

    /// Write the figures to this file, one JSON object in a line.
    #[arg(long)]
    json: Option<PathBuf>,

    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Link {
    Memif,
    Vhost,
}

/// A length of frames, or a mixture.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Size(Vec<usize>);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size> {
        if text == "imix" {
            return Ok(Size(IMIX.to_vec()));
        }
        let bytes = text.parse().ok().filter(|bytes| (64..=1518).contains(bytes));
        bytes.map(|bytes| Size(vec![bytes])).ok_or_else(|| "it is neither 64 to 1518 nor imix".into())
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0[..] {
            [bytes] => write!(f, "{bytes} bytes"),
            _ => write!(f, "IMIX"),
        }
    }
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: std::result::Result<Vec<u8>, _> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "it is not like 02:00:00:00:00:01".into())
}

fn main() -> ExitCode {
    let args = Args::parse();
    machine::prefer(std::process::id(), Urgency::Control);
    if !args.vdev || args.there_and_back {
        eprintln!(
            "The tester needs a CPU for each direction that nobody else uses: on one, it loses frames itself."
        );
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// False where for some case there was no rate without loss.
fn run(args: &Args) -> Result<bool> {
    let mut json = args.json.as_ref().map(File::create).transpose().trying("the file of --json")?;
    let mut rows = Vec::new();
    for size in &args.sizes {
        for &flows in &args.flows {
            eprintln!("{size}, {flows} flows");
            let found = Case { args, size, flows, cpus: Cpus::choose()? }.search()?;
            let row = found.as_ref().map(|found| found.row(size, flows));
            rows.push(row.unwrap_or_else(|| format!("| {size} | {flows} | none without loss | | |")));
            if let (Some(found), Some(file)) = (&found, &mut json) {
                writeln!(file, "{}", found.figure(args, size, flows).json()).trying("the file of --json")?;
            }
        }
    }
    println!("| frames | flows | Mpps without loss | Gbit/s on the wire | loses at |");
    println!("|---|---|---|---|---|");
    rows.iter().for_each(|row| println!("{row}"));
    Ok(!rows.iter().any(|row| row.contains("none")))
}

/// What was found for one case.
struct Found {
    /// Rates that lost nothing, of the trials at the highest such.
    passed: Vec<f64>,
    /// The lowest rate that lost; none where the tester could not offer so much.
    failed: Option<f64>,
}

impl Found {
    fn rate(&self) -> f64 {
        self.passed.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn row(&self, size: &Size, flows: u32) -> String {
        // On the wire a frame has 20 bytes of preamble, delimiter and gap.
        let bytes = size.0.iter().sum::<usize>() as f64 / size.0.len() as f64 + 20.0;
        let failed =
            self.failed.map_or("more than the tester can offer".into(), |rate| format!("{rate:.2} Mpps"));
        let rate = self.rate();
        format!("| {size} | {flows} | {rate:.2} | {:.2} | {failed} |", rate * bytes * 8.0 / 1e3)
    }

    fn figure(&self, args: &Args, size: &Size, flows: u32) -> Figure {
        let bed = match (args.vdev, args.there_and_back, args.link) {
            (false, ..) => "real ports".to_owned(),
            (true, true, link) => format!("{link:?} there and back").to_lowercase(),
            (true, false, link) => format!("{link:?} to null").to_lowercase(),
        };
        let case = format!("no loss, {bed}, {size}");
        Figure::of("throughput", case, flows.into(), "Mpps", self.passed.clone())
    }
}

/// Lengths and flows to search for.
struct Case<'a> {
    args: &'a Args,
    size: &'a Size,
    flows: u32,
    cpus: Cpus,
}

impl Case<'_> {
    fn search(&self) -> Result<Option<Found>> {
        let directory =
            tempfile::Builder::new().prefix("guideway-throughput-").tempdir().trying("a directory")?;
        let directory = directory.path();
        let (passed, failed) =
            search(self.args.resolution / 100.0, |brake| self.attempt(brake, self.args.tries, directory))?;
        let Some(passed) = passed else { return Ok(None) };
        // Once more, for the spread.
        let mut rates = vec![passed.mpps];
        for _ in 0..CONFIRMATIONS {
            let again = self.attempt(passed.brake, 1, directory)?;
            rates.extend(again.passed.then_some(again.mpps));
        }
        Ok(Some(Found { passed: rates, failed: failed.map(|failed| failed.mpps) }))
    }

    /// Passes where one of `tries` trials loses no more than allowed; a rate that is too high fails each time. A trial
    /// that lost while the machine gave the CPU to others is void.
    fn attempt(&self, brake: Brake, tries: u32, directory: &Path) -> Result<Tried> {
        let duration = self.args.duration.unwrap_or(if self.args.vdev { 0.3 } else { 2.0 });
        let mut bed = self.start(brake.reads(), directory)?;
        let (mut failures, mut trials, mut tried) = (0, 0, None);
        while failures < tries.max(1) {
            let trial = bed.trial(brake.burst, Duration::from_secs_f64(duration))?;
            if trial.offered == 0 {
                return Err("the tester's link takes no frames".into());
            }
            let passed = trial.lost() as f64 <= trial.offered as f64 * self.args.loss / 100.0;
            let void = !passed && trial.is_void();
            report(brake, &trial, void);
            trials += 1;
            if void && trials < TRIALS_MAX {
                continue;
            }
            if void {
                return Err(format!(
                    "others had guideway's CPU in {trials} trials, so that no loss says anything; give the machine \
                     nothing else to do, or say a shorter --duration than {duration}"
                ));
            }
            failures += 1;
            tried = Some(Tried { brake, mpps: trial.offered_mpps(), passed });
            if passed {
                break;
            }
        }
        bed.stop()?;
        tried.ok_or_else(|| "there was no trial".into())
    }

    /// The tester, with a fresh guideway where that is on this machine, after a trial that teaches it all flows.
    fn start(&self, reads: Option<u32>, directory: &Path) -> Result<Bed> {
        let ours = format!("gwtput{}", std::process::id());
        let theirs = format!("{ours}-tester");
        let cpus = &self.cpus;
        let hugepages = self.hugepages();
        let capture = directory.join("flows.pcap");
        let source = format!("net_pcap9,rx_pcap={},infinite_rx=1", capture.display());
        let mut devices = vec![source];
        let balancer = if self.args.vdev {
            let (inner, outer) = self.links(directory);
            let eal = Eal {
                prefix: &ours,
                management: cpus.management,
                workers: &cpus.workers[..1],
                queues: 1,
                hugepages,
                frames: BALANCER_FRAMES,
                devices: &inner,
            };
            let balancer = Balancer::start(&eal, self.flows, directory)?;
            devices.extend(outer);
            Some(balancer)
        } else {
            devices.extend(self.args.ports.iter().cloned());
            None
        };
        let back = match (self.args.vdev, devices.len()) {
            (true, 2) => Back::Never,
            (false, 2) => Back::Second,
            _ => Back::Third,
        };
        devices.extend((back != Back::Never).then(|| "net_null9,no-rx=1".to_owned()));
        let mac =
            balancer.as_ref().map_or(self.args.mac.ok_or("there is no --mac".to_owned()), Balancer::mac)?;
        if !capture.exists() {
            let frontends =
                if self.args.frontends.is_empty() { frontends() } else { self.args.frontends.clone() };
            Traffic { frontends: &frontends, sizes: &self.size.0, mac }.write(&capture, 0..self.flows)?;
        }
        let eal = Eal {
            prefix: &theirs,
            management: cpus.management,
            workers: if back == Back::Never { &cpus.tester[..1] } else { &cpus.tester },
            queues: 1,
            hugepages,
            frames: self.tester_frames(),
            devices: &devices,
        };
        let tester = Tester::start(&eal, back, reads, directory)?;
        let mut bed = Bed { tester, balancer };
        bed.trial(BURST, LEARNING)?;
        Ok(bed)
    }

    fn tester_frames(&self) -> u32 {
        (self.flows + 16_384).next_power_of_two() - 1
    }

    fn hugepages(&self) -> bool {
        machine::free_hugepage_mebibytes()
            >= mebibytes(BALANCER_FRAMES) + mebibytes(self.tester_frames()) + 128
    }

    /// The devices of guideway, and those of the tester that they are linked to.
    fn links(&self, directory: &Path) -> ([String; 2], Vec<String>) {
        let pair = |number: usize| {
            let socket = directory.join(format!("{number}.socket")).display().to_string();
            match self.args.link {
                Link::Memif => (
                    format!(
                        "net_memif{number},role=server,id=0,socket={socket},socket-abstract=no,mac=02:00:00:00:00:1{number}"
                    ),
                    format!("net_memif{},role=client,id=0,socket={socket},socket-abstract=no", number + 2),
                ),
                Link::Vhost => (
                    format!("net_vhost{number},iface={socket},queues=1"),
                    format!("net_virtio_user{},path={socket},queues=1,{VIRTIO}", number + 2),
                ),
            }
        };
        let ((outside, out), (inside, back)) = (pair(0), pair(1));
        match self.args.there_and_back {
            true => ([outside, inside], vec![out, back]),
            false => ([outside, "net_null1,no-rx=1".to_owned()], vec![out]),
        }
    }
}

fn report(brake: Brake, trial: &Trial, void: bool) {
    eprintln!(
        "    {:7.3} Mpps offered ({}, bursts of {}): {} of {} lost, {} of them refused by the link{}",
        trial.offered_mpps(),
        brake.reads().map_or("no brake".into(), |reads| format!("{reads} reads")),
        brake.burst,
        trial.lost(),
        trial.offered,
        trial.refused,
        if void {
            format!("; void: its CPU was taken for {:.1} ms", trial.waited * 1e3)
        } else {
            String::new()
        }
    );
}

/// So many trials at one rate, if others have the CPU now and then.
const TRIALS_MAX: u32 = 20;
const BALANCER_FRAMES: u32 = (1 << 15) - 1;
/// A packed ring, and what the vectorised driver wants.
const VIRTIO: &str = "queue_size=1024,packed_vq=1,in_order=1,vectorized=1,mrg_rxbuf=0";
/// RFC 2544, section 23, sends learning frames before a trial.
const LEARNING: Duration = Duration::from_millis(300);
const CONFIRMATIONS: usize = 2;

/// A tester, and what it tests where that is here.
struct Bed {
    tester: Tester,
    balancer: Option<Balancer>,
}

impl Bed {
    fn trial(&mut self, burst: u32, duration: Duration) -> Result<Trial> {
        let Some(balancer) = &self.balancer else { return self.tester.trial(burst, duration) };
        let look = || -> Result<(u64, u64)> {
            Ok((balancer.telemetry.port(1)?.transmitted, balancer.program.worker_times_ns()?.1))
        };
        let before = look()?;
        let mut trial = self.tester.trial(burst, duration)?;
        let after = look()?;
        if self.tester.back == Back::Never {
            trial.received = after.0 - before.0;
        }
        trial.waited += (after.1 - before.1) as f64 / 1e9;
        Ok(trial)
    }

    /// guideway first: a memif server may crash when its client goes away.
    fn stop(self) -> Result<()> {
        self.balancer.map_or(Ok(()), |balancer| balancer.stop().map(drop))?;
        self.tester.quit()
    }
}
