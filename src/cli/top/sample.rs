//! One look at the running program.

use std::time::Instant;

use hyper::Method;
use serde::de::DeserializeOwned;

use crate::cli::Failure;
use crate::cli::client::Target;
use crate::cli::show::read;
use crate::control::views::{Backends, Counters, Rules, Status};

/// All that rates are made of, and when it was so.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) rules: Rules,
    pub(super) backends: Backends,
    pub(super) counters: Counters,
}

impl Sample {
    pub(super) fn take(target: &Target) -> Result<Self, Failure> {
        let at = Instant::now();
        let status = get(target, "/v1/status")?;
        let (rules, backends) = (get(target, "/v1/rules")?, get(target, "/v1/backends")?);
        Ok(Self { at, status, rules, backends, counters: get(target, "/v1/counters")? })
    }
}

fn get<T: DeserializeOwned>(target: &Target, path: &str) -> Result<T, Failure> {
    read(target.ask(&Method::GET, path, "")?)
}
