//! Metrics of the program and of its configuration.

use std::fmt::Result;

use super::page::{Page, since_1970};
use super::sample::Sample;

impl Sample {
    pub(super) fn program(&self, page: &mut Page<'_>) -> Result {
        let features = match (cfg!(feature = "dpdk"), cfg!(feature = "dpdk-shared")) {
            (false, _) => "",
            (true, false) => "dpdk",
            (true, true) => "dpdk,dpdk-shared",
        };
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("dpdk", env!("GUIDEWAY_DPDK_VERSION")),
            ("features", features),
        ];
        page.info(
            "guideway_build",
            "The program: its version, the DPDK it is built with, its features.",
            [build],
        )?;
        let tally = &self.tally;
        page.one_gauge(
            "process_start_time_seconds",
            "When the program was started, in seconds since 1970.",
            since_1970(tally.started),
        )?;
        page.one_gauge("guideway_generation", "Number of the configuration in force.", self.generation)?;
        page.one_gauge(
            "guideway_generation_reached",
            "The oldest configuration that a worker still uses.",
            self.generation_reached,
        )?;
        page.one_gauge(
            "guideway_snapshots",
            "Compiled configurations that are not freed yet, the one in force included.",
            self.snapshots,
        )?;
        page.counter(
            "guideway_reloads",
            "Reloads, by whether the configuration was taken.",
            [("success", tally.reloads), ("failure", tally.reloads_failed)]
                .map(|(r, n)| ([("result", r)], n)),
        )?;
        page.one_gauge(
            "guideway_last_reload_successful",
            "Whether the last reload was taken; 1 where there was none.",
            u64::from(self.is_reload_good),
        )?;
        page.one_gauge(
            "guideway_config_loaded_timestamp_seconds",
            "When the configuration in force was loaded, in seconds since 1970.",
            since_1970(tally.loaded),
        )?;
        page.one_counter(
            "guideway_runtime_changes",
            "Changes of backends by operators, by the control API.",
            tally.changes,
        )?;
        page.one_gauge(
            "guideway_neighbours_missing",
            "Backends and gateways whose Ethernet address is not known.",
            self.neighbours_missing,
        )
    }
}
