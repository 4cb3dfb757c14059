//! All that metrics are made of, at one moment.

use std::time::{Duration, Instant};

use crate::control::api::Of;
use crate::control::manager::Manager;
use crate::control::probe::{ProbeReport, Probes};
use crate::control::tally::Tally;
use crate::control::views::{self, Probings};
use crate::dataplane::WorkerTotals;

/// Where a sample is taken from.
pub struct Sources<'a> {
    /// Nearly everything.
    pub manager: &'a Manager,
    /// What has been asked and answered.
    pub probes: &'a Probes,
    /// What the drivers say of the ports, in their order.
    pub ports: Vec<views::Link>,
}

/// What is known at one moment.
#[derive(Debug)]
pub struct Sample {
    pub(super) generation: u64,
    pub(super) generation_reached: u64,
    pub(super) snapshots: usize,
    pub(super) neighbours_missing: usize,
    pub(super) tally: Tally,
    /// Of the last reload; true where there was none.
    pub(super) is_reload_good: bool,
    pub(super) rules: Vec<views::Rule>,
    pub(super) backends: Vec<views::Backend>,
    pub(super) outbound: Vec<views::OutboundBackend>,
    pub(super) workers: Vec<WorkerTotals>,
    /// Flows in each worker's table, and how many one has room for.
    pub(super) flows_by_worker: Vec<u64>,
    pub(super) flows_per_worker: usize,
    /// Drops by reason, all of them, over all workers.
    pub(super) drops: Vec<views::Drop>,
    pub(super) ports: Vec<views::Port>,
    pub(super) probes: Vec<ProbeReport>,
    took: Duration,
}

impl Sample {
    /// Reads everything once.
    pub fn take(sources: &Sources<'_>) -> Self {
        let began = Instant::now();
        let manager = sources.manager;
        let probes = sources.probes.report();
        let (probings, all) = (Probings::new(probes.clone()), Of::default());
        let (generation_reached, snapshots) = manager.progress();
        let mut sample = Self {
            generation: manager.generation(),
            generation_reached,
            snapshots,
            neighbours_missing: manager.neighbours_missing(),
            tally: *manager.tally(),
            is_reload_good: manager.last_reload().is_none_or(|last| last.errors.is_none()),
            rules: views::rules(manager, &probings, &all).rules,
            backends: views::backends(manager, &probings, &all).backends,
            outbound: views::outbound(manager).backends,
            workers: manager.workers(),
            flows_by_worker: manager.flows_by_worker(),
            flows_per_worker: manager.model().dataplane.flows_per_worker,
            drops: views::counters(manager).drops,
            ports: views::ports(manager, sources.ports.clone()).ports,
            probes,
            took: Duration::ZERO,
        };
        sample.took = began.elapsed();
        sample
    }

    /// How long it took to take.
    pub fn took(&self) -> Duration {
        self.took
    }
}
