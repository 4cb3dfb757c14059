//! The path of packets on in-memory frames, as a worker walks it: nanoseconds a packet, drivers apart.
//!
//! Prints a line of JSON for each figure, and its progress to standard error. What a packet costs is the
//! time of `Worker::poll` divided by the packets; to draw flows and fill frames is not in it.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod harness;

use std::hint::black_box;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use core_affinity::CoreId;
use guideway::dataplane::Worker;
use harness::arena::ArenaQueues;
use harness::figure::calibrate;
use harness::flood::{Between, FloodBench, Pace, Timed};
use harness::pair::Pair;
use harness::rounds::{Case, Plan, measure};
use harness::traffic::Packet;
use harness::walker::{Bench, walk};
use harness::world::{INSIDE, NAT, NAT6, OUTSIDE, Way, scatter};
use rand_distr::Zipf;

/// Packets of one run.
const PACKETS: usize = 1 << 20;
const RUNS: usize = 5;
/// Frames in the ring, where nothing else is said.
const RING: usize = 512;
/// Ways to forward that are measured beside NAT.
const FORWARDS: [&str; 5] = ["dsr", "ipip", "gre", "gue", "vxlan"];
/// After so long a half-open flow is over, and an established one is not.
const HALF_OPEN: Duration = Duration::from_secs(31);
/// After so long every flow is over.
const FOR_EVER: Duration = Duration::from_secs(25 * 3600);

fn case(name: &str, flows: u32, runs: usize, run: impl FnMut() -> f64 + 'static) -> Case {
    Case { name: name.into(), flows: flows.into(), unit: "ns/packet", runs, run: Box::new(run) }
}

/// `make` a bench at the first call, and `run` it.
fn lazily(
    make: impl Fn() -> Bench + 'static,
    run: impl Fn(&mut Bench) -> f64 + 'static,
) -> impl FnMut() -> f64 {
    let mut bench = None;
    move || run(bench.get_or_insert_with(&make))
}

fn hits(name: &str, way: Way, flows: u32, ring: usize) -> Case {
    let run = move |bench: &mut Bench| bench.run(PACKETS, |r| (r.below(flows), Packet::Established));
    case(name, flows, RUNS, lazily(move || Bench::with_flows(way, ring, flows), run))
}

fn zipf_hits(flows: u32) -> Case {
    let zipf = Zipf::new(f64::from(flows), 1.0).unwrap();
    let run = move |bench: &mut Bench| bench.run(PACKETS, |r| (r.rank(&zipf), Packet::Established));
    case("hit, zipf", flows, RUNS, lazily(move || Bench::with_flows(NAT, RING, flows), run))
}

/// Tables from empty to full, all packets new.
fn new_flows(name: &str, way: Way, flows: u32) -> Case {
    let tables = (PACKETS / flows as usize).max(1);
    let run = move |bench: &mut Bench| {
        let one = |_| {
            bench.wait(FOR_EVER);
            bench.run_new(flows as usize)
        };
        (0..tables).map(one).sum::<f64>() / tables as f64
    };
    // Ten million of them take seconds.
    let runs = if flows > 1_000_000 { 3 } else { RUNS };
    case(name, flows, runs, lazily(move || Bench::new(way, RING, flows, OUTSIDE), run))
}

/// Nine packets of established flows, one of a new one.
fn mix(flows: u32) -> Case {
    let run = move |bench: &mut Bench| {
        // What the last run has brought in is over.
        bench.wait(HALF_OPEN);
        let mut fresh = bench.fresh;
        let result = bench.run(PACKETS, |random| {
            if random.below(10) > 0 {
                return (random.below(flows), Packet::Established);
            }
            fresh += 1;
            // Of TCP: new flows of UDP are not over so soon. The first fourteen of sixteen frontends are TCP's.
            let flow = scatter(fresh) | 1 << 31;
            (if flow % 16 < 14 { flow } else { flow - 8 }, Packet::Opening)
        });
        bench.fresh = fresh;
        result
    };
    case("90 % hit, 10 % new", flows, RUNS, lazily(move || Bench::with_flows(NAT, RING, flows), run))
}

/// Ever new flows into a table that is full of half-open ones.
fn flood(flows: u32) -> Case {
    let make = move || {
        let mut bench = Bench::new(NAT, RING, flows, OUTSIDE);
        bench.run_new(3 * flows as usize);
        bench
    };
    case("flood", flows, RUNS, lazily(make, |bench| bench.run_new(PACKETS)))
}

fn responses(name: &str, way: Way, flows: u32) -> Case {
    let run = move |bench: &mut Bench| bench.run(PACKETS, |r| (r.below(flows), Packet::Response));
    case(name, flows, RUNS, lazily(move || Bench::new(way, RING, 1024, INSIDE), run))
}

/// Packets of known flows right after bursts of something else, or those.
fn flooded((name, between, pace, timed): (&str, Between, Pace, Timed)) -> Case {
    const FLOWS: u32 = 100_000;
    let mut bench = None;
    let run = move || bench.get_or_insert_with(|| FloodBench::new(FLOWS)).run(PACKETS, between, pace, timed);
    case(name, FLOWS, RUNS, run)
}

const FLOODS: [(&str, Between, Pace, Timed); 9] = [
    ("hit between hits", Between::Hits, Pace::Flood, Timed::Hits),
    ("hit between new flows", Between::New, Pace::Flood, Timed::Hits),
    ("hit between fragments", Between::Fragments, Pace::Flood, Timed::Hits),
    ("hit between later fragments", Between::LaterFragments, Pace::Flood, Timed::Hits),
    ("hit between hits, slowly", Between::Hits, Pace::Slow, Timed::Hits),
    ("hit between fragments, slowly", Between::Fragments, Pace::Slow, Timed::Hits),
    ("fragment beyond the limit", Between::Fragments, Pace::Flood, Timed::Between),
    ("fragment", Between::Fragments, Pace::Slow, Timed::Between),
    ("later fragment", Between::LaterFragments, Pace::Slow, Timed::Between),
];

/// What two workers move together against one of them alone.
fn two_workers(flows: u32, cpus: [CoreId; 2]) -> Case {
    let mut pair = None;
    let run = move || pair.get_or_insert_with(|| Pair::new(RING, flows, cpus)).ratio();
    let name = "two workers, hit".into();
    Case { name, flows: flows.into(), unit: "ratio", runs: RUNS, run: Box::new(run) }
}

fn cases(cpus: &[CoreId]) -> Vec<Case> {
    let sizes = [1, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    let mut cases: Vec<Case> = sizes.map(|flows| hits("hit", NAT, flows, RING)).into();
    cases.extend(sizes[1..].iter().map(|flows| zipf_hits(*flows)));
    cases.extend([1_000, 100_000, 1_000_000, 10_000_000].map(|flows| new_flows("new flow", NAT, flows)));
    let listed = Way { acl: 10_000, ..NAT };
    cases.extend([1_000, 1_000_000].map(|flows| new_flows("new flow, access list of 10,000", listed, flows)));
    cases.extend([1_000_000, 10_000_000].map(mix));
    cases.extend([1_000_000, 10_000_000].map(flood));
    cases.extend([1_000, 1_000_000].map(|flows| responses("response", NAT, flows)));
    for (name, ring) in [("hit, ring of 8k", 8192), ("hit, ring of 64k", 65_536)] {
        cases.extend([1_000, 1_000_000].map(|flows| hits(name, NAT, flows, ring)));
    }
    cases.extend([1_000, 100_000, 1_000_000, 10_000_000].map(|flows| hits("hit, IPv6", NAT6, flows, RING)));
    cases.extend([1_000, 1_000_000].map(|flows| new_flows("new flow, IPv6", NAT6, flows)));
    cases.extend([1_000, 1_000_000].map(|flows| responses("response, IPv6", NAT6, flows)));
    for forward in FORWARDS {
        let way = Way { forward, ..NAT };
        cases.extend([1_000, 1_000_000].map(|flows| hits(&format!("hit, {forward}"), way, flows, RING)));
    }
    cases.extend(FLOODS.map(flooded));
    match cpus {
        [.., other, own] => {
            cases.extend([1_000, 100_000, 1_000_000].map(|flows| two_workers(flows, [*own, *other])));
        }
        _ => eprintln!("path  two workers are left out: they need a CPU each, and there is one"),
    }
    cases
}

/// Nanoseconds a packet on the path of a worker, on in-memory frames, without drivers
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Subcommand)]
enum Mode {
    /// Print the calibration only: nanoseconds of a step of a loop that does nothing but work
    Calibration,
    /// Walk some packets for callgrind to count (scripts/bench instructions); print how many, of how many
    /// flows
    Instructions { kind: Kind },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Hit,
    New,
    Response,
    Flood,
    /// IPv6.
    Hit6,
    New6,
    Response6,
    /// Into a tunnel.
    Vxlan,
}

impl Kind {
    fn way(self) -> Way {
        match self {
            Kind::Hit | Kind::New | Kind::Response | Kind::Flood => NAT,
            Kind::Hit6 | Kind::New6 | Kind::Response6 => NAT6,
            Kind::Vxlan => Way { forward: "vxlan", ..NAT },
        }
    }
}

/// The same, and not inlined: callgrind is told to count in here and nowhere else.
#[inline(never)]
fn counted_walk(worker: &mut Worker<ArenaQueues>, now: Duration, polls: usize) {
    walk(black_box(worker), now, polls);
}

/// Walks packets of one kind, all of them to be counted; what is prepared goes another way.
fn instructions(kind: Kind) -> (usize, u32) {
    const PACKETS: u32 = 1 << 15;
    const FLOWS: u32 = 1000;
    let way = kind.way();
    let mut bench = match kind {
        Kind::Hit | Kind::Hit6 | Kind::Vxlan => Bench::with_flows(way, RING, FLOWS),
        Kind::New | Kind::New6 => Bench::new(way, RING, PACKETS, OUTSIDE),
        Kind::Response | Kind::Response6 => Bench::new(way, RING, FLOWS, INSIDE),
        Kind::Flood => {
            let mut bench = Bench::new(way, RING, FLOWS, OUTSIDE);
            bench.run_new(3 * FLOWS as usize);
            bench
        }
    };
    bench.walk = counted_walk;
    let packets = PACKETS as usize;
    match kind {
        Kind::Hit | Kind::Hit6 | Kind::Vxlan => bench.run(packets, |r| (r.below(FLOWS), Packet::Established)),
        Kind::New | Kind::New6 | Kind::Flood => bench.run_new(packets),
        Kind::Response | Kind::Response6 => bench.run(packets, |r| (r.below(FLOWS), Packet::Response)),
    };
    (packets, if let Kind::New | Kind::New6 = kind { PACKETS } else { FLOWS })
}

fn main() {
    let arguments: Arguments = harness::arguments();
    let cpus = harness::settle_on_last_cpu();
    match arguments.mode {
        None => measure("path", cases(&cpus), &arguments.plan),
        Some(Mode::Calibration) => println!("{:.3}", calibrate()),
        Some(Mode::Instructions { kind }) => {
            let (packets, flows) = instructions(kind);
            println!("{packets} {flows}");
        }
    }
}
