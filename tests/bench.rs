//! What stands around the benches: the script that runs them, and the report of their figures.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail, and shares with a bench"
)]

#[path = "../benches/harness/report.rs"]
mod report;

use std::process::{Command, Output};

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
