//! Metrics of probes.

use std::collections::BTreeMap;
use std::fmt::Result;

use super::page::{Page, since_1970};
use super::sample::Sample;
use crate::control::probe::Verdict;

impl Sample {
    pub(super) fn of_probes(&self, page: &mut Page<'_>) -> Result {
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
                [("good", report.good_total), ("bad", report.bad_total)]
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
            "guideway_probe_last_success_duration_seconds",
            "What the last good answer took; absent until there was one.",
            rows.iter().filter_map(|(labels, report)| Some((*labels, report.latency?.as_secs_f64()))),
        )?;
        page.gauge(
            "guideway_probe_last_duration_seconds",
            "How long the last question took, whatever the answer; absent until there was one.",
            rows.iter().filter_map(|(labels, report)| Some((*labels, report.last_duration?.as_secs_f64()))),
        )?;
        page.gauge(
            "guideway_probe_verdict_timestamp_seconds",
            "Since when it has been up, down or unknown, in seconds since 1970.",
            rows.iter().map(|(labels, report)| (*labels, since_1970(report.since))),
        )?;
        page.gauge(
            "guideway_probe_flaps",
            "Times in a row that it went down within a minute of coming up.",
            rows.iter().map(|(labels, report)| (*labels, u64::from(report.flaps))),
        )
    }
}
