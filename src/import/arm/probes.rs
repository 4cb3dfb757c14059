//! Probes.

use std::time::Duration;

use super::balancer::Balancer;
use super::fields::{Fields, Id};
use super::tree::Node;
use crate::config::{NoHealthyBackends, ProbeKind};
use crate::import::plan::Probe;
use crate::import::report::{Findings, Place};

/// A probe has until the next is due; of HTTP, no longer than this.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

impl Balancer<'_> {
    pub(super) fn probe(&mut self, node: &Node, outer: &Place, findings: &mut Findings) {
        let mut fields = Fields::of(node, "probe", outer, findings);
        fields.need(&["protocol", "port"], findings);
        let name = fields.name(findings);
        let kind = match fields.word("protocol", &["Http", "Tcp", "Https"], findings).as_deref() {
            Some("http") => ProbeKind::Http,
            Some("https") => ProbeKind::Https,
            _ => ProbeKind::Tcp,
        };
        let port = fields.port("port", 1, 65_535, findings);
        let path = fields.text("requestPath", findings).filter(|path| !path.is_empty());
        let path = path.map(|path| format!("/{}", path.trim_start_matches('/')));
        match (&path, kind) {
            (None, ProbeKind::Http | ProbeKind::Https) => {
                findings.error(&fields.place, format!("{} needs a requestPath", fields.subject))
            }
            (Some(_), ProbeKind::Tcp) => findings
                .error(&fields.place, format!("{} asks by TCP, which has no requestPath", fields.subject)),
            _ => {}
        }
        let interval = fields.number("intervalInSeconds", 5, 3600, findings).unwrap_or(15).unsigned_abs();
        let (threshold, comments) = self.threshold(&mut fields, findings);
        let behaviour = fields.word("noHealthyBackendsBehavior", &["AllProbedDown", "AllProbedUp"], findings);
        let behaviour = if behaviour.as_deref() == Some("allprobedup") {
            NoHealthyBackends::All
        } else {
            NoHealthyBackends::Drop
        };
        fields.skip(&["loadBalancingRules"]);
        let own = self.plan.probe_names.make(&[&self.name, &name]);
        let interval = Duration::from_secs(interval);
        self.plan.probes.push(Probe {
            name: own.clone(),
            place: fields.place.clone(),
            comments,
            kind,
            port,
            path,
            interval,
            timeout: if kind == ProbeKind::Tcp { interval } else { interval.min(PROBE_TIMEOUT_MAX) },
            threshold,
        });
        if self.probes.insert(name.to_lowercase(), (own, behaviour)).is_some() {
            findings.error(&fields.place, format!("{} is there twice", fields.subject));
        }
        fields.finish(findings);
    }

    /// Azure follows `probeThreshold`, and does not follow `numberOfProbes`, whatever its pages say.
    fn threshold(&self, fields: &mut Fields, findings: &mut Findings) -> (u64, Vec<String>) {
        let said = fields.number("probeThreshold", 1, 100, findings);
        let node = fields.take("numberOfProbes").map(|node| (*node.place).clone());
        let old = fields.number("numberOfProbes", 1, 100, findings);
        match (said, old, node) {
            (None, Some(old), Some(place)) if old != 1 => {
                if self.world.options.number_of_probes {
                    return (
                        old.unsigned_abs(),
                        vec!["numberOfProbes as the threshold, as it was asked for.".to_owned()],
                    );
                }
                let what = format!(
                    "numberOfProbes of {}: Azure does not follow it and takes 1, and so does this; --number-of-probes takes {old}",
                    fields.subject
                );
                findings.note(&place, what);
                (1, vec![format!("numberOfProbes was {old}, which Azure does not follow.")])
            }
            _ => (said.unwrap_or(1).unsigned_abs(), Vec::new()),
        }
    }

    /// A probe's name in the plan, and what is to be when nobody answers.
    pub(super) fn probe_of(
        &self,
        id: &Id,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<(String, NoHealthyBackends)> {
        let name = id.named("probes").unwrap_or_default();
        let probe = self.probes.get(&name).cloned();
        if probe.is_none() {
            let known: Vec<String> = self.probes.keys().take(200).cloned().collect();
            self.unknown_part("probe", &name, id, place, &known, findings);
        }
        probe
    }
}
