//! `guideway top`: rates of the running program, over and over, or once as text.

mod board;
mod sample;
mod screen;

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use self::board::{Board, Order};
use self::sample::Sample;
use super::Failure;
use super::client::Target;

/// Watches rates: packets, bits, new flows and drops a second, by rule, backend, worker and reason.
///
/// Keys: q quits; tab or 1 to 4 put rules, backends, workers or drops first; s sorts these by the next column; arrows,
/// page keys and Home scroll.
#[derive(clap::Args)]
pub(super) struct Args {
    /// From one look to the next, 100 ms to 1 h. Rates are those of this time.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Look twice, an interval apart, print the rates as plain text, and end.
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    target: Target,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    if allowed.contains(&interval) { Ok(interval) } else { Err("not in 100ms to 1h".into()) }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.once {
        let before = Sample::take(&args.target)?;
        thread::sleep(args.interval);
        let now = Sample::take(&args.target)?;
        return super::print(&Board::new(&now, Some(&before)).text(&Order::default()));
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("top needs a terminal; --once prints the rates as plain text".into()));
    }
    screen::run(&args.target, args.interval)
}
