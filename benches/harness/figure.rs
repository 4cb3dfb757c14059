//! Figures: a median with its spread, and the calibration that tells a quiet minute from a busy one.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// One figure.
pub struct Figure {
    pub bench: &'static str,
    pub case: String,
    pub flows: u64,
    pub unit: &'static str,
    /// What was measured in each round: a few runs, one after the other.
    pub rounds: Vec<Round>,
}

/// A few runs, and what the machine was like in the same moment.
pub struct Round {
    pub runs: Vec<f64>,
    /// See [`calibrate`].
    pub calibration: f64,
    /// The share of a CPU that the measuring thread had; `NAN` where others did the work.
    pub cpu_share: f64,
}

impl Round {
    /// Runs `run` so often.
    pub fn of(runs: usize, run: &mut dyn FnMut() -> f64) -> Self {
        let share = CpuShare::default();
        let runs = (0..runs).map(|_| run()).collect();
        let cpu_share = share.so_far();
        Self { runs, calibration: calibrate(), cpu_share }
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Figure {
    /// One that is the same whenever it is worked out.
    pub fn exact(bench: &'static str, case: String, unit: &'static str, value: f64) -> Self {
        let round = Round { runs: vec![value], calibration: f64::NAN, cpu_share: f64::NAN };
        Self { bench, case, flows: 0, unit, rounds: vec![round] }
    }

    /// Of runs that were measured in one go. The calibration is taken now.
    pub fn of(bench: &'static str, case: String, flows: u64, unit: &'static str, runs: Vec<f64>) -> Self {
        let round = Round { runs, calibration: calibrate(), cpu_share: f64::NAN };
        Self { bench, case, flows, unit, rounds: vec![round] }
    }

    /// The median of the best round.
    pub fn median(&self) -> f64 {
        self.best().map_or(f64::NAN, Round::median)
    }

    /// All runs of all rounds.
    pub fn runs(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().flat_map(|round| round.runs.iter().copied())
    }

    pub fn min(&self) -> f64 {
        self.runs().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.runs().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The round that was disturbed least: the one with the lowest median; of ratios, the one with the highest.
    pub fn best(&self) -> Option<&Round> {
        let more_is_better = self.unit == "ratio";
        self.rounds.iter().min_by(|a, b| {
            let order = a.median().total_cmp(&b.median());
            if more_is_better { order.reverse() } else { order }
        })
    }

    /// One JSON object in a line: the best round, and the spread over all runs of all rounds.
    pub fn json(&self) -> String {
        let best = self.best();
        serde_json::json!({
            "bench": self.bench, "case": self.case, "flows": self.flows, "unit": self.unit,
            "median": best.map(|round| rounded(round.median())),
            "min": rounded(self.min()),
            "max": rounded(self.max()),
            "runs": self.runs().count(),
            "calibration": best.map(|round| rounded(round.calibration)),
            "cpu_share": best.map(|round| rounded(round.cpu_share)),
        })
        .to_string()
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The kernel counts in ticks of some milliseconds: of less time than this nothing can be said.
const SHARE_AFTER: Duration = Duration::from_millis(5);

/// How much of a CPU this thread gets, from when it is made.
pub struct CpuShare {
    began: Instant,
    ran_nanos: u64,
}

impl Default for CpuShare {
    fn default() -> Self {
        Self { began: Instant::now(), ran_nanos: ran_nanos() }
    }
}

impl CpuShare {
    /// 1 is a whole CPU, `NAN` is "cannot tell". 0 where the kernel does not count.
    pub fn so_far(&self) -> f64 {
        let elapsed = self.began.elapsed();
        if elapsed < SHARE_AFTER {
            return f64::NAN;
        }
        ((ran_nanos() - self.ran_nanos) as f64 / elapsed.as_nanos() as f64).min(1.0)
    }
}

/// Nanoseconds this thread has had a CPU.
fn ran_nanos() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// Nanoseconds of one step of a loop that keeps several of the core's units busy, the best of a few tries.
///
/// It grows with everything that makes the core slower without a trace inside a virtual machine: a lower clock,
/// and a neighbour on the other half of the core, which a loop that waits for its own results would not see.
pub fn calibrate() -> f64 {
    const STEPS: u64 = 500_000;
    let once = || {
        let mut lanes: [u64; 8] = black_box(std::array::from_fn(|i| i as u64 + 1));
        let start = Instant::now();
        for step in 0..STEPS {
            for lane in &mut lanes {
                *lane = (*lane ^ step).rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
        }
        let took = start.elapsed();
        black_box(lanes);
        took.as_nanos() as f64 / STEPS as f64
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}
