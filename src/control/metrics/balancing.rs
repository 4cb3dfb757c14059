//! Metrics of rules and backends.

use std::collections::BTreeMap;
use std::fmt::Result;

use prometheus_client::encoding::EncodeLabelSet;

use super::page::Page;
use super::sample::Sample;
use crate::control::views::{Backend, Rule, Traffic};

/// What a backend can be.
const STATES: [&str; 4] = ["up", "down", "drain", "removed"];

impl Sample {
    pub(super) fn of_rules(&self, page: &mut Page<'_>) -> Result {
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
        let counts = |of: fn(&Rule) -> usize| {
            self.rules
                .iter()
                .map(move |rule| ([("rule", rule.rule.as_str()), ("frontend", &rule.frontend)], of(rule)))
        };
        page.gauge("guideway_rule_backends", "Backends of the rule's pool.", counts(|rule| rule.backends))?;
        page.gauge(
            "guideway_rule_backends_taking_flows",
            "Backends of the rule's pool that take new flows.",
            counts(|rule| rule.backends_taking_flows),
        )?;
        page.gauge(
            "guideway_rule_healthy_backends",
            "Backends of the rule's pool that its probe has found to be up; absent without a probe.",
            self.rules.iter().filter_map(|rule| {
                Some(([("rule", rule.rule.as_str()), ("frontend", &rule.frontend)], rule.backends_healthy?))
            }),
        )?;
        page.counter(
            "guideway_rule_acl_denied_packets",
            "Packets of clients that the rule's access list does not let begin a flow; absent without a list.",
            self.rules.iter().filter_map(|rule| {
                Some(([("rule", rule.rule.as_str()), ("frontend", &rule.frontend)], rule.acl_denied?))
            }),
        )
    }

    pub(super) fn of_backends(&self, page: &mut Page<'_>) -> Result {
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
        )?;
        page.gauge(
            "guideway_backend_drain_remaining_seconds",
            "Until a drain's deadline; 0 past it, absent without one.",
            rows.iter().filter_map(|(labels, backend)| Some((*labels, backend.drain_seconds_left?))),
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
