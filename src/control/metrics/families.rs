//! What each metric is called, what it means, and where its values come from. `docs/METRICS.md` lists them.

use std::collections::BTreeMap;
use std::fmt::Result;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::sample::Sample;
use crate::control::probe::Verdict;
use crate::control::views::{Backend, Traffic};
use crate::dataplane::WorkerTotals;

/// What a backend can be.
const STATES: [&str; 4] = ["up", "down", "drain", "removed"];

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut page = Page(encoder);
        self.program(&mut page)?;
        self.of_rules(&mut page)?;
        self.of_backends(&mut page)?;
        self.of_workers(&mut page)?;
        self.of_ports(&mut page)?;
        self.of_probes(&mut page)
    }
}

/// Where metrics are written, family by family.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// `name` is without the "_total" that its values have.
    fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    /// One counter without labels.
    fn one_counter(&mut self, name: &str, help: &str, value: u64) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// One gauge without labels.
    fn one_gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// `name` is without the "_info" that its values have.
    fn info<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = L>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        rows.into_iter().try_for_each(|labels| family.encode_info(&labels))
    }
}

impl Sample {
    fn program(&self, page: &mut Page<'_>) -> Result {
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
            u64::from(tally.is_last_good),
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

    fn of_rules(&self, page: &mut Page<'_>) -> Result {
        page.info(
            "guideway_rule",
            "A rule, its pool, and how it spreads flows.",
            self.rules.iter().map(|rule| {
                [
                    ("rule", rule.rule.as_str()),
                    ("frontend", &rule.frontend),
                    ("pool", &rule.pool),
                    ("distribution", &rule.distribution),
                    ("no_healthy_backends", &rule.no_healthy_backends),
                ]
            }),
        )?;
        let rows: Vec<_> = self
            .rules
            .iter()
            .map(|rule| ([("rule", rule.rule.as_str()), ("frontend", &rule.frontend)], &rule.traffic))
            .collect();
        traffic(page, "guideway_rule", "the rule's backends", &rows)?;
        let counts = |of: fn(&crate::control::views::Rule) -> usize| {
            self.rules
                .iter()
                .map(move |rule| ([("rule", rule.rule.as_str()), ("frontend", &rule.frontend)], of(rule)))
        };
        page.gauge("guideway_rule_backends", "Backends of the rule's pool.", counts(|rule| rule.backends))?;
        page.gauge(
            "guideway_rule_backends_taking_flows",
            "Backends of the rule's pool that take new flows.",
            counts(|rule| rule.backends_taking_flows),
        )
    }

    fn of_backends(&self, page: &mut Page<'_>) -> Result {
        let rules: BTreeMap<&str, (&str, &str)> = self
            .rules
            .iter()
            .map(|rule| (rule.frontend.as_str(), (rule.rule.as_str(), rule.pool.as_str())))
            .collect();
        let endpoints: Vec<String> =
            self.backends.iter().map(|backend| format!("{}:{}", backend.address, backend.port)).collect();
        let rows: Vec<([(&str, &str); 4], &Backend)> = self
            .backends
            .iter()
            .zip(&endpoints)
            .map(|(backend, endpoint)| {
                // One that was taken out of its pool keeps its labels while its rule stands.
                let (rule, pool) = rules.get(backend.frontend.as_str()).copied().unwrap_or_default();
                let labels =
                    [("rule", rule), ("frontend", &backend.frontend), ("pool", pool), ("backend", endpoint)];
                (labels, backend)
            })
            .collect();
        let flows: Vec<_> = rows.iter().map(|(labels, backend)| (*labels, &backend.traffic)).collect();
        traffic(page, "guideway_backend", "the backend", &flows)?;
        page.gauge(
            "guideway_backend_state",
            "1 for the state that the backend is in, 0 for the others.",
            rows.iter().flat_map(|(labels, backend)| {
                STATES.map(|state| ((*labels, [("state", state)]), u64::from(backend.state == state)))
            }),
        )?;
        page.gauge(
            "guideway_backend_weight",
            "Weight in force, 0 to 100.",
            rows.iter().map(|(labels, backend)| (*labels, u64::from(backend.weight))),
        )?;
        page.gauge(
            "guideway_backend_share_ratio",
            "Part of new flows that the backend gets by the Maglev table, 0 to 1.",
            rows.iter().map(|(labels, backend)| (*labels, backend.share)),
        )
    }

    fn of_workers(&self, page: &mut Page<'_>) -> Result {
        let names: Vec<String> = (0..self.workers.len()).map(|worker| worker.to_string()).collect();
        let mut count = |name: &str, help: &str, of: fn(&WorkerTotals) -> u64| {
            let rows = names.iter().zip(&self.workers).map(|(name, w)| ([("worker", name.as_str())], of(w)));
            page.counter(name, help, rows)
        };
        count("guideway_worker_polls", "Times the worker asked its receive queues.", |w| w.polls)?;
        count("guideway_worker_busy_polls", "Polls that found frames.", |w| w.busy_polls)?;
        count("guideway_worker_bursts", "Bursts of frames worked on.", |w| w.bursts)?;
        count("guideway_worker_received_frames", "Frames taken from ports.", |w| w.received)?;
        count("guideway_worker_transmitted_frames", "Frames forwarded out of ports.", |w| w.transmitted)?;
        count("guideway_worker_answered_frames", "Frames turned into ARP and echo replies.", |w| w.answered)?;
        count("guideway_worker_controlled_frames", "ARP frames for the management thread.", |w| {
            w.controlled
        })?;
        count("guideway_worker_dropped_frames", "Frames dropped, for any reason.", |w| w.dropped())?;
        count("guideway_worker_handed_over_frames", "Frames given to other workers.", |w| w.handed_over)?;
        count("guideway_worker_taken_over_frames", "Frames got from other workers.", |w| w.taken_over)?;
        count("guideway_worker_originated_frames", "Frames of the management thread's sent.", |w| {
            w.originated
        })?;
        count("guideway_worker_created_flows", "Entries made in the flow table.", |w| w.flows_created)?;
        count("guideway_worker_expired_flows", "Entries forgotten after their timeout.", |w| {
            w.flows_expired
        })?;
        count("guideway_worker_reclaimed_flows", "Entries that gave way in a full table.", |w| {
            w.flows_reclaimed
        })?;
        count("guideway_worker_untracked_packets", "Packets forwarded without an entry.", |w| w.untracked)?;
        let flows = names.iter().zip(&self.flows_by_worker);
        page.gauge(
            "guideway_flow_table_flows",
            "Flows in the worker's table.",
            flows.map(|(name, flows)| ([("worker", name.as_str())], *flows)),
        )?;
        page.gauge(
            "guideway_flow_table_capacity_flows",
            "Flows that the worker's table has room for.",
            names.iter().map(|name| ([("worker", name.as_str())], self.flows_per_worker)),
        )?;
        page.counter(
            "guideway_dropped_frames",
            "Frames dropped by all workers, by reason.",
            self.drops.iter().map(|drop| ([("reason", drop.reason.as_str())], drop.frames)),
        )
    }

    fn of_ports(&self, page: &mut Page<'_>) -> Result {
        page.info(
            "guideway_port",
            "A port, its device, driver and Ethernet address.",
            self.ports.iter().map(|port| {
                [
                    ("port", port.port.as_str()),
                    ("device", port.device.as_deref().unwrap_or_default()),
                    ("driver", &port.link.driver),
                    ("mac", &port.link.mac),
                ]
            }),
        )?;
        let mut count = |name: &str, help: &str, of: fn(&crate::control::views::Link) -> u64| {
            let rows = self.ports.iter().map(|port| ([("port", port.port.as_str())], of(&port.link)));
            page.counter(name, help, rows)
        };
        count("guideway_port_received_frames", "Frames received, as the driver counts.", |l| l.received)?;
        count("guideway_port_transmitted_frames", "Frames sent, as the driver counts.", |l| l.transmitted)?;
        count("guideway_port_missed_frames", "Frames lost because receive queues were full.", |l| l.missed)?;
        count("guideway_port_receive_errors", "Frames received with errors.", |l| l.receive_errors)?;
        count("guideway_port_transmit_errors", "Frames not sent because of errors.", |l| l.transmit_errors)?;
        count("guideway_port_no_memory_frames", "Frames lost because the pool of frames was empty.", |l| {
            l.out_of_memory
        })?;
        page.gauge(
            "guideway_port_up",
            "Whether the link is up.",
            self.ports.iter().map(|port| ([("port", port.port.as_str())], u64::from(port.link.is_up))),
        )?;
        page.gauge(
            "guideway_port_speed_bytes",
            "Speed of the link in bytes a second, where the driver knows it.",
            self.ports.iter().filter_map(|port| {
                // A megabit is 125,000 bytes.
                Some(([("port", port.port.as_str())], u64::from(port.link.speed_mbps?) * 125_000))
            }),
        )
    }

    fn of_probes(&self, page: &mut Page<'_>) -> Result {
        let rules: BTreeMap<&str, &str> =
            self.rules.iter().map(|rule| (rule.frontend.as_str(), rule.rule.as_str())).collect();
        let mut asked = Vec::new();
        for report in &self.probes {
            let (target, kind) = (report.target.to_string(), report.probe.kind.to_string());
            for frontend in report.frontends.iter().map(ToString::to_string) {
                let rule = rules.get(frontend.as_str()).copied().unwrap_or_default();
                asked.push((rule, frontend, target.clone(), kind.clone(), report));
            }
        }
        let rows: Vec<_> = asked
            .iter()
            .map(|(rule, frontend, target, kind, report)| {
                let labels: [(&str, &str); 4] =
                    [("rule", rule), ("frontend", frontend), ("target", target), ("kind", kind)];
                (labels, *report)
            })
            .collect();
        page.counter(
            "guideway_probe_answers",
            "Answers to the rule's probe of this endpoint, by result.",
            rows.iter().flat_map(|(labels, report)| {
                [("good", report.good), ("bad", report.bad)]
                    .map(|(result, count)| ((*labels, [("result", result)]), count))
            }),
        )?;
        page.gauge(
            "guideway_probe_up",
            "Whether the endpoint is up by its probe; absent until the first answer.",
            rows.iter().filter_map(|(labels, report)| match report.verdict {
                Verdict::Unknown => None,
                verdict => Some((*labels, u64::from(verdict == Verdict::Up))),
            }),
        )?;
        page.gauge(
            "guideway_probe_last_duration_seconds",
            "What the last good answer took; absent until there was one.",
            rows.iter().filter_map(|(labels, report)| Some((*labels, report.latency?.as_secs_f64()))),
        )
    }
}

/// What went through rules or backends.
fn traffic<L: EncodeLabelSet + Copy>(
    page: &mut Page<'_>,
    subject: &str,
    whom: &str,
    rows: &[(L, &Traffic)],
) -> Result {
    page.gauge(
        &format!("{subject}_active_flows"),
        &format!("Flows to {whom} now."),
        rows.iter().map(|(labels, traffic)| (*labels, traffic.flows)),
    )?;
    let mut count = |what: &str, help: String, of: fn(&Traffic) -> u64| {
        let rows = rows.iter().map(|(labels, traffic)| (*labels, of(traffic)));
        page.counter(&format!("{subject}_{what}"), &help, rows)
    };
    count("flows", format!("Flows to {whom} ever made."), |t| t.flows_total)?;
    count("to_backend_packets", format!("IP packets from clients to {whom}."), |t| t.packets_to_backend)?;
    count("to_backend_bytes", format!("Bytes of these packets, IP headers included, to {whom}."), |t| {
        t.bytes_to_backend
    })?;
    count("to_client_packets", format!("IP packets from {whom} to clients."), |t| t.packets_to_client)?;
    count("to_client_bytes", format!("Bytes of these packets, IP headers included, from {whom}."), |t| {
        t.bytes_to_client
    })
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
