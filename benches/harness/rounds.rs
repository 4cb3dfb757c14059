//! Rounds: all cases one after the other, several times over, minutes apart. A disturbance from outside lasts
//! seconds to minutes, so that of several rounds some are quiet for each case.

use std::thread;
use std::time::{Duration, Instant};

use super::figure::{Figure, Round};

/// Something to be measured.
pub struct Case {
    pub name: String,
    pub flows: u64,
    pub unit: &'static str,
    /// Runs in a round.
    pub runs: usize,
    /// Measures once. The very first result is thrown away: all that has to be made is made in it.
    pub run: Box<dyn FnMut() -> f64>,
}

/// How to go about it.
#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    /// One round only: a minute instead of minutes, and figures that a busy neighbour can spoil
    #[arg(long)]
    pub quick: bool,
    /// How often to go round all cases; each figure is the median of its best round
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds from the beginning of one round to that of the next, at least
    #[arg(long, default_value_t = 75)]
    pub every: u64,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    pub only: String,
}

/// Measures all `cases`, and prints each figure as soon as its last round is over.
pub fn measure(bench: &'static str, cases: Vec<Case>, plan: &Plan) {
    let rounds = if plan.quick { 1 } else { plan.rounds.max(1) };
    let wanted = |case: &Case| case.name.contains(&plan.only);
    let figure = |case: Case| {
        let Case { name, flows, unit, .. } = &case;
        (Figure { bench, case: name.clone(), flows: *flows, unit, rounds: Vec::new() }, case)
    };
    let mut all: Vec<(Figure, Case)> = cases.into_iter().filter(wanted).map(figure).collect();
    for round in 1..=rounds {
        let began = Instant::now();
        for (figure, case) in &mut all {
            if round == 1 {
                (case.run)();
            }
            let mut measured = Round::of(case.runs, &mut case.run);
            // A ratio is of other threads than this one.
            if figure.unit == "ratio" {
                measured.cpu_share = f64::NAN;
            }
            let flows = if figure.flows > 0 { format!("{} flows", figure.flows) } else { String::new() };
            let (name, median, unit) = (&figure.case, measured.median(), figure.unit);
            eprintln!("{bench} {round}/{rounds}  {name:<24} {flows:>15} {median:>10.2} {unit}");
            figure.rounds.push(measured);
            if round == rounds {
                println!("{}", figure.json());
            }
        }
        let rest = Duration::from_secs(plan.every).saturating_sub(began.elapsed());
        if round < rounds && !rest.is_zero() {
            eprintln!("{bench} {round}/{rounds}  the next round begins in {} s", rest.as_secs());
            thread::sleep(rest);
        }
    }
}
