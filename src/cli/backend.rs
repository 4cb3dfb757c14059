//! `guideway backend` and `guideway reload`: changes of the running program.

use std::time::Duration;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::Failure;
use super::client::Target;

/// Changes one backend of the running guideway, in every rule that uses its pool. The change outlives reloads and ends
/// with the process; what the file says stays as it is.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The pool and the backend's address, as in web/10.0.0.4.
    #[arg(value_name = "POOL/ADDRESS")]
    backend: String,

    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    target: Target,
}

#[derive(Subcommand)]
enum Action {
    /// Up, whatever its probe says.
    Up,
    /// No new flows; established TCP stays, UDP moves to other backends.
    Down,
    /// Follow the probe; without a probe it is up.
    Auto,
    /// No new flows; those that are there stay, or are reset at the deadline.
    Drain {
        /// From now on; as in 30s, 5m or 2h, 30 days at most. TCP flows that are left then are reset at both ends; those
        /// of UDP move to other backends. Another state before that calls it off.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        deadline: Option<Duration>,
    },
    /// Its share of new flows against the others'.
    Weight {
        /// 0 to 100; 0 is the same as drain.
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: u8,
    },
    /// Back to what the file says of state and weight.
    Reset,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (pool, address) = args
        .backend
        .split_once('/')
        .ok_or_else(|| Failure::Usage(format!("{}: not POOL/ADDRESS, as in web/10.0.0.4", args.backend)))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if pool.is_empty() || address.is_empty() || !format!("{pool}{address}").chars().all(is_plain) {
        return Err(Failure::Usage(format!("{}: not POOL/ADDRESS, as in web/10.0.0.4", args.backend)));
    }
    let (method, body) = match args.action {
        Action::Up => (Method::POST, json!({ "state": "up" }).to_string()),
        Action::Down => (Method::POST, json!({ "state": "down" }).to_string()),
        Action::Auto => (Method::POST, json!({ "state": "auto" }).to_string()),
        Action::Drain { deadline: None } => (Method::POST, json!({ "state": "drain" }).to_string()),
        Action::Drain { deadline: Some(deadline) } => {
            let change = json!({ "state": "drain", "deadline_seconds": deadline.as_secs_f64() });
            (Method::POST, change.to_string())
        }
        Action::Weight { weight } => (Method::POST, json!({ "weight": weight }).to_string()),
        Action::Reset => (Method::DELETE, String::new()),
    };
    let answer = args.target.ask(&method, &format!("/v1/backends/{pool}/{address}"), &body)?;
    super::print(&format!("done: generation {}\n", generation(&answer)))
}

/// Has the running guideway read its configuration anew: all of it, or nothing and the reasons.
#[derive(clap::Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    target: Target,
}

pub(super) fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    let answer = args.target.ask(&Method::POST, "/v1/reload", "")?;
    let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    warnings.filter_map(Value::as_str).for_each(super::warn);
    super::print(&format!("reloaded: generation {}\n", generation(&answer)))
}

fn generation(answer: &Value) -> u64 {
    answer.get("generation").and_then(Value::as_u64).unwrap_or_default()
}
