//! Maglev tables: how long they take to build, how many slots move that need not, and how even the shares are.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod harness;

use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use guideway::control::REPLAY_KEY;
use guideway::maglev::{self, Preference};
use guideway::packet::SipHash;
use harness::figure::Figure;
use harness::rounds::{Case, Plan, measure};

const TABLE_LENS: [usize; 3] = [65_537, 655_373, 1_048_573];
const BACKENDS: [u32; 5] = [3, 10, 100, 1_000, 10_000];
const RUNS: usize = 5;

/// The time to build Maglev tables, and what they are worth
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
}

/// A backend by name, as the compiler of snapshots hashes it.
fn preference(name: u32, weight: u8, table_len: usize) -> Preference {
    let hash = SipHash::new(REPLAY_KEY.0);
    let (offset, skip) = (hash.word(u64::from(name) | 1 << 62), hash.word(u64::from(name) | 1 << 63));
    Preference::from_hashes(offset, skip, weight, table_len)
}

fn preferences(names: impl Iterator<Item = u32>, table_len: usize) -> Vec<Preference> {
    names.map(|name| preference(name, 1, table_len)).collect()
}

fn build(kind: &str, backends: u32, table_len: usize, weight: fn(u32) -> u8) -> Case {
    let all: Vec<_> = (0..backends).map(|name| preference(name, weight(name), table_len)).collect();
    let run = move || {
        let start = Instant::now();
        black_box(maglev::fill(table_len, black_box(&all)));
        start.elapsed().as_secs_f64() * 1e3
    };
    let name = format!("{kind}, {backends} backends, {table_len} slots");
    Case { name, flows: 0, unit: "ms", runs: RUNS, run: Box::new(run) }
}

fn builds() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in TABLE_LENS {
        cases.extend(BACKENDS.map(|backends| build("build", backends, len, |_| 1)));
    }
    for len in TABLE_LENS {
        cases.extend(
            BACKENDS.map(|n| build("build by weights 1 to 100", n, len, |name| 1 + (name % 100) as u8)),
        );
    }
    cases
}

/// The table of the backends that have these names: who sits in each slot.
fn table(names: impl Iterator<Item = u32> + Clone, table_len: usize) -> Vec<u32> {
    let names: Vec<u32> = names.collect();
    let filled = maglev::fill(table_len, &preferences(names.iter().copied(), table_len));
    filled.iter().map(|index| names[usize::from(*index)]).collect()
}

/// Slots that were not those of `gone`, nor are those of `come`, and changed hands all the same. Per cent
/// of all.
fn needlessly_moved(
    before: &[u32],
    after: &[u32],
    gone: impl Fn(u32) -> bool,
    come: impl Fn(u32) -> bool,
) -> f64 {
    let moved = before.iter().zip(after).filter(|(b, a)| b != a && !gone(**b) && !come(**a)).count();
    100.0 * moved as f64 / before.len() as f64
}

fn print(what: &str, backends: u32, table_len: usize, unit: &'static str, value: f64) {
    let case = format!("{what}, {backends} backends, {table_len} slots");
    println!("{}", Figure::exact("maglev", case, unit, value).json());
}

fn disruption(backends: u32, table_len: usize) {
    let before = table(0..backends, table_len);
    let middle = backends / 2;
    let after = table((0..backends).filter(|name| *name != middle), table_len);
    let moved = needlessly_moved(&before, &after, |name| name == middle, |_| false);
    print("moved needlessly when one goes", backends, table_len, "% of slots", moved);
    let after = table(0..=backends, table_len);
    let moved = needlessly_moved(&before, &after, |_| false, |name| name == backends);
    print("moved needlessly when one comes", backends, table_len, "% of slots", moved);
    if backends >= 10 {
        let after = table((0..backends).filter(|name| name % 10 != 5), table_len);
        let moved = needlessly_moved(&before, &after, |name| name % 10 == 5, |_| false);
        print("moved needlessly when a tenth goes", backends, table_len, "% of slots", moved);
    }
}

fn evenness(backends: u32, table_len: usize) {
    let mut shares = vec![0u32; backends as usize];
    table(0..backends, table_len).iter().for_each(|name| shares[*name as usize] += 1);
    let average = table_len as f64 / f64::from(backends);
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    print("largest share", backends, table_len, "of the average", f64::from(*most) / average);
    print("smallest share", backends, table_len, "of the average", f64::from(*least) / average);
}

fn main() {
    let arguments: Arguments = harness::arguments();
    harness::settle_on_last_cpu();
    measure("maglev", builds(), &arguments.plan);
    for len in TABLE_LENS {
        for backends in BACKENDS {
            disruption(backends, len);
            evenness(backends, len);
        }
    }
}
