//! What stands around the benches: the script that runs them, and the report of their figures.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail, and shares a part with a bench"
)]

#[path = "../benches/harness/report.rs"]
mod report;
#[path = "../benches/beds/search.rs"]
mod search;

use std::convert::Infallible;
use std::process::{Command, Output};

use search::{Brake, Tried};

const FIGURES: &str = r#"{"bench":"path","calibration":2.2,"case":"hit","cpu_share":0.996,"flows":1,"max":22.1,"median":21.894,"min":21.8,"runs":25,"unit":"ns/packet"}
{"bench":"path","calibration":2.2,"case":"hit","cpu_share":1.0,"flows":1000000,"max":85.5,"median":36.4,"min":35.9,"runs":25,"unit":"ns/packet"}
{"bench":"instructions","case":"hit","flows":1000,"unit":"instructions/packet","median":1391.2,"min":1391.2,"max":1391.2,"runs":1,"calibration":null}"#;

fn bench(line: &str) -> Output {
    Command::new("scripts/bench").args(line.split_whitespace()).output().unwrap()
}

#[test]
fn figures_become_rows_of_a_table() {
    let table = report::table("somewhere", &report::read(FIGURES).unwrap());
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "somewhere");
    assert_eq!(rows[4], "| path | hit | 1 | **21.9** | 21.8 | 22.1 | ns/packet | 25 | 2.20 | 100 % |");
    assert_eq!(rows[5], "| path | hit | 1M | **36.4** | 35.9 | 85.5 | ns/packet | 25 | 2.20 | 100 % |");
    assert_eq!(
        rows[6],
        "| instructions | hit | 1k | **1391** | 1391 | 1391 | instructions/packet | 1 |  |  |"
    );
    assert_eq!(rows.len(), 7);
}

#[test]
fn the_plot_has_a_line_for_each_case_that_is_in_nanoseconds_a_packet() {
    let drawing = report::plot("somewhere", &report::read(FIGURES).unwrap()).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.trim_end().ends_with("</svg>"), "{drawing}");
    assert!(drawing.contains("path: hit") && !drawing.contains("instructions"), "{drawing}");
    let counted = FIGURES.lines().last().unwrap();
    assert!(report::plot("", &report::read(counted).unwrap()).is_none());
}

#[test]
fn a_line_that_is_no_figure_is_named() {
    let error = report::read("{\"bench\": 5}").err().unwrap();
    assert!(error.contains("{\"bench\": 5}"), "{error}");
}

#[test]
fn the_script_says_what_there_is_and_what_there_is_not() {
    let help = bench("--help");
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    for word in
        ["path", "instructions", "maglev", "snapshot", "forwarding", "--json", "--svg", "--quick", "--gate"]
    {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    for (line, says) in [
        ("everything", "there is no subset everything"),
        ("path --fast", "there is no option --fast"),
        ("path --json", "--json needs a file"),
        ("path --gate", "--gate is for the subset instructions"),
    ] {
        let refused = bench(line);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && text.contains(says), "{line}: {text}");
    }
}

/// What a tester offers at each brake: some nanoseconds a packet, some a burst, some for each step.
fn offered(brake: Brake) -> f64 {
    let step = if brake.step == 0 { 0.0 } else { 15.0 + 5.0 * f64::from(brake.step) };
    1e3 / (30.0 + 40.0 / f64::from(brake.burst) + step)
}

/// Searches for `limit` to 2 %. What passed, what failed, and how many rates were tried.
fn searched(limit: f64) -> (Option<Tried>, Option<Tried>, usize) {
    let mut attempts = 0;
    let attempt = |brake| {
        attempts += 1;
        let mpps = offered(brake);
        Ok::<_, Infallible>(Tried { brake, mpps, passed: mpps <= limit })
    };
    let Ok((passed, failed)) = search::search(0.02, attempt);
    (passed, failed, attempts)
}

#[test]
fn the_search_comes_as_close_to_a_limit_as_it_is_asked_to() {
    let fastest_with_a_brake = offered(Brake { step: 1, burst: search::BURST });
    for tenth in 3..330 {
        let limit = f64::from(tenth) / 10.0;
        let (passed, failed, attempts) = searched(limit);
        let (passed, failed) = (passed.unwrap().mpps, failed.unwrap().mpps);
        assert!(passed <= limit && limit < failed, "{limit} is not between {passed} and {failed}");
        // Above that there is only the tester's highest rate, and nothing between.
        let close = failed - passed <= 0.02 * failed || limit >= fastest_with_a_brake;
        assert!(close, "{limit} is only known to be from {passed} to {failed}");
        assert!(attempts <= 30, "{attempts} rates tried for {limit}");
    }
}

#[test]
fn a_limit_out_of_the_testers_reach_is_not_made_up() {
    let (passed, failed, attempts) = searched(40.0);
    assert_eq!(passed.unwrap().brake, Brake { step: 0, burst: search::BURST });
    assert!(failed.is_none() && attempts == 1);
    let (passed, failed, _) = searched(0.01);
    assert!(passed.is_none() && failed.is_some());
}
