//! The command line: one file a subcommand.

mod against;
mod backend;
mod capture;
mod check;
mod client;
mod doctor;
mod explain;
mod import;
mod logging;
mod rates;
mod replay;
mod run;
mod show;
mod top;
mod trace;

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};

use crate::config::{ConfigFlags, Finding, Findings, HashKey, Loaded, Model};
use crate::control::{REPLAY_KEY, stored_hash_key, stored_nat_ports};

/// A layer-4 load balancer on DPDK.
#[derive(Parser)]
#[command(name = "guideway", version, about, long_version = LONG_VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Log more: once for debug messages, twice for all. RUST_LOG says it more finely.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\nbuilt against DPDK: ", env!("GUIDEWAY_DPDK_VERSION"));

#[derive(Subcommand)]
enum Command {
    /// Run the load balancer.
    Run(run::Args),
    /// Validate a configuration and print what would run.
    Check(check::Args),
    /// Look at this machine before `run`: what is missing or in the way, and how to mend it.
    Doctor(doctor::Args),
    /// Put capture files through the load balancer, without ports or privileges.
    Replay(replay::Args),
    /// Say which backend a client's new flow goes to, and why.
    Explain(explain::Args),
    /// Make a configuration of Azure's own files: service definitions, templates.
    Import(import::Args),
    /// Show what the running guideway does: status, rules, backends, flows, counters, neighbours, ports.
    Show(show::Args),
    /// Watch rates: packets, bits, flows and drops a second, by rule, backend, worker and reason.
    Top(top::Args),
    /// Take a backend of the running guideway up or down, drain it, or change its weight.
    Backend(backend::Args),
    /// Have the running guideway read its configuration anew.
    Reload(backend::ReloadArgs),
    /// Write what the running guideway receives, sends and drops to a pcapng file.
    ///
    /// It has an interface for each port, and as comment of each frame what became of it. A frame that goes on is there
    /// twice, as it came and as it left. Conditions can be combined, and all must hold. An existing file is overwritten.
    /// Ends at --count, at --duration, with Ctrl-C, or when guideway stops; the file is complete in each case.
    Capture(capture::Args),
    /// Follow the next packets of one flow through the running guideway, step by step.
    ///
    /// Both ways: what was received, what the worker found, and what it sent or why it did not. The hash and its slot are
    /// worked out beside it, from the same tables; the worker asks them for new flows only.
    Trace(trace::Args),
}

/// Why a command ends without having done its work.
enum Failure {
    /// Bad usage or configuration; nothing was changed. Exit code 2.
    Usage(String),
    /// Anything else. Exit code 1.
    Runtime(String),
    /// The same, of which all has been said.
    Told,
}

impl From<Findings> for Failure {
    fn from(findings: Findings) -> Self {
        Self::Usage(findings.to_string())
    }
}

/// Reads the command line and does what it says.
#[allow(clippy::print_stderr, reason = "errors go to standard error")]
pub fn main() -> ExitCode {
    let started = SystemTime::now();
    if crate::doctor::lacks_cpu_feature() {
        eprintln!(
            "guideway: this program is built for CPUs with AVX2 and BMI2, which this one lacks; for any x86-64 CPU \
             build it with RUSTFLAGS='' cargo build --release"
        );
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    logging::start(cli.verbose);
    let result = match cli.command {
        Command::Run(args) => run::run(&args, started),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Backend(args) => backend::run(&args),
        Command::Reload(args) => backend::reload(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Trace(args) => trace::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            logging::print_error(&message);
            ExitCode::from(2)
        }
        Err(Failure::Runtime(message)) => {
            logging::print_error(&format!("guideway: {message}"));
            ExitCode::FAILURE
        }
        Err(Failure::Told) => ExitCode::FAILURE,
    }
}

/// Writes the result of a command to standard output. Who reads it may have seen enough: a closed pipe is
/// no failure.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Runtime(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Loads the configuration and shows its warnings.
fn load(flags: &ConfigFlags) -> Result<Model, Failure> {
    let Loaded { model, warnings } = crate::config::load(flags)?;
    warnings.iter().for_each(|warning: &Finding| warn(&warning.to_string()));
    Ok(model)
}

/// The same, with the ports of NAT rules as this machine keeps them: for commands that only look.
fn load_to_look(flags: &ConfigFlags) -> Result<Model, Failure> {
    let mut model = load(flags)?;
    model.keep_nat_ports(&stored_nat_ports(&model.control.state_directory));
    Ok(model)
}

#[allow(clippy::print_stderr, reason = "warnings go to standard error")]
fn warn(warning: &str) {
    eprintln!("warning: {warning}");
}

/// The hash key for commands that only look: the configured one, else the one this machine keeps, else the
/// fixed one; and how to call it.
fn key_to_look_with(model: &Model) -> (HashKey, &'static str) {
    match (model.dataplane.hash_key, stored_hash_key(&model.control.state_directory)) {
        (Some(key), _) => (key, "configured"),
        (None, Some(key)) => (key, "kept in the state directory"),
        (None, None) => (REPLAY_KEY, "fixed, for want of a configured one"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn flags_do_not_collide() {
        super::Cli::command().debug_assert();
    }
}
