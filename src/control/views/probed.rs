//! What probes know, as the control API tells it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Backend, Frontend, Rule};
use crate::control::{ProbeReport, Verdict};

/// What the probe of a rule knows of one backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probed {
    pub probe: Option<String>,
    pub kind: String,
    pub target: String,
    pub verdict: String,
    pub verdict_seconds: f64,
    pub latency_ms: Option<f64>,
    pub last_answer_seconds: Option<f64>,
    pub last_failure: Option<String>,
    pub good: u64,
    pub bad: u64,
}

/// By rule and backend.
pub(in crate::control) struct Probings(BTreeMap<(Frontend, IpAddr), ProbeReport>);

impl Probings {
    pub(in crate::control) fn new(reports: Vec<ProbeReport>) -> Self {
        let by_backend = |report: ProbeReport| {
            let address = report.target.ip();
            let keys: Vec<_> = report.frontends.iter().map(|frontend| (*frontend, address)).collect();
            keys.into_iter().map(move |key| (key, report.clone()))
        };
        Self(reports.into_iter().flat_map(by_backend).collect())
    }

    /// `None` where the rule has no probe.
    pub(in crate::control) fn of(&self, rule: &Rule, backend: &Backend) -> Option<&ProbeReport> {
        self.0.get(&(rule.frontend, backend.address)).filter(|_| rule.probe.is_some())
    }

    /// Backends of the rule that its probe has found to be up.
    pub(in crate::control) fn healthy(&self, rule: &Rule) -> usize {
        let is_up = |backend: &&Backend| self.of(rule, backend).is_some_and(|r| r.verdict == Verdict::Up);
        rule.pool.backends.iter().filter(is_up).count()
    }
}

impl Probed {
    pub(in crate::control) fn new(rule: &Rule, report: &ProbeReport) -> Self {
        Self {
            probe: rule.probe_name.clone(),
            kind: report.probe.kind.to_string(),
            target: report.target.to_string(),
            verdict: match report.verdict {
                Verdict::Unknown => "unknown".into(),
                Verdict::Up => "up".into(),
                Verdict::Down => "down".into(),
            },
            verdict_seconds: report.age.as_secs_f64(),
            latency_ms: report.last_duration.map(|took| took.as_secs_f64() * 1e3),
            last_answer_seconds: report.last_answer.map(|ago| ago.as_secs_f64()),
            last_failure: report.last_failure.clone(),
            good: report.good_total,
            bad: report.bad_total,
        }
    }
}
