//! Figures: a median with its spread, and the calibration that tells a quiet minute from a busy one.

use std::hint::black_box;
use std::time::Instant;

/// One figure.
pub struct Figure {
    pub bench: &'static str,
    pub case: String,
    pub flows: u64,
    pub unit: &'static str,
    pub runs: Vec<f64>,
    /// Nanoseconds of a dependent addition in the same moment: what the clock and the neighbours allow.
    pub calibration: f64,
}

impl Figure {
    pub fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub fn min(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    pub fn max(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// One JSON object in a line.
    pub fn json(&self) -> String {
        serde_json::json!({
            "bench": self.bench, "case": self.case, "flows": self.flows, "unit": self.unit,
            "median": round(self.median()), "min": round(self.min()), "max": round(self.max()),
            "runs": self.runs.len(), "calibration": round(self.calibration),
        })
        .to_string()
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Nanoseconds of one dependent addition, the best of a few tries.
pub fn calibrate() -> f64 {
    const STEPS: u64 = 2_000_000;
    let once = || {
        let start = Instant::now();
        let mut x = black_box(1u64);
        for _ in 0..STEPS {
            x = black_box(x.wrapping_add(3));
        }
        black_box(x);
        start.elapsed().as_nanos() as f64 / STEPS as f64
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}
