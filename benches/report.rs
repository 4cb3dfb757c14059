//! Figures for people: reads lines of JSON, one figure each; prints a Markdown table and draws a plot.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use harness::report::{plot, read, table};

/// Makes a table and a plot of figures
#[derive(Parser)]
struct Arguments {
    /// The figures: a line of JSON each
    figures: PathBuf,
    /// Where and when they were measured
    #[arg(long, default_value = "")]
    title: String,
    /// Draw nanoseconds a packet against flows
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Write the table here as well
    #[arg(long)]
    markdown: Option<PathBuf>,
}

fn main() {
    let arguments: Arguments = harness::arguments();
    let text = fs::read_to_string(&arguments.figures)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", arguments.figures.display()));
    let figures = read(&text).unwrap_or_else(|e| panic!("{e}"));
    let table = table(&arguments.title, &figures);
    print!("{table}");
    if let Some(path) = &arguments.markdown {
        write(path, &table);
    }
    if let Some(path) = &arguments.svg {
        match plot(&arguments.title, &figures) {
            Some(drawing) => write(path, &drawing),
            None => eprintln!("nothing to draw: no figure is in ns/packet"),
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    eprintln!("written: {}", path.display());
}
