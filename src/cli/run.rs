//! `guideway run`.

use std::time::{Duration, SystemTime};

use super::Failure;
use crate::config::ConfigFlags;

/// Everything the file says can be said by flags; flags win.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) config: ConfigFlags,

    /// Print the counters every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stats: Option<u64>,

    /// Everything after `--` goes to EAL untouched.
    #[arg(last = true, value_name = "EAL ARGS")]
    eal: Vec<String>,
}

#[cfg(feature = "dpdk")]
pub(super) fn run(args: &Args, started: SystemTime) -> Result<(), Failure> {
    use crate::control;

    let mut model = super::load(&args.config)?;
    crate::config::require_devices(&model)?;
    model.dataplane.eal.extend(args.eal.iter().cloned());
    let key = model.dataplane.hash_key.unwrap_or_else(|| {
        let (key, error) = control::load_or_make_hash_key(&model.control.state_directory);
        if let Some(error) = error {
            log::warn!("{error}");
        }
        key
    });
    let stats = args.stats.map(Duration::from_secs);
    let load = || {
        let mut loaded = crate::config::load(&args.config)?;
        loaded.model.dataplane.eal.extend(args.eal.iter().cloned());
        Ok(loaded)
    };
    control::run(model, &load, key, stats, started).map_err(|error| match error {
        control::LaunchError::Cpus(_)
        | control::LaunchError::TooMany(_)
        | control::LaunchError::Doors(control::DoorsError::Token(_)) => Failure::Usage(error.to_string()),
        _ => Failure::Runtime(format!(
            "{error}\n`guideway doctor` with the same arguments says what this machine lacks, and how to mend it"
        )),
    })
}

#[cfg(not(feature = "dpdk"))]
pub(super) fn run(args: &Args, _: SystemTime) -> Result<(), Failure> {
    let model = super::load(&args.config)?;
    crate::config::require_devices(&model)?;
    let _: (Option<Duration>, &[String]) = (args.stats.map(Duration::from_secs), &args.eal);
    let message =
        "this program was built without DPDK and has no ports; build it without --no-default-features";
    Err(Failure::Runtime(message.into()))
}
