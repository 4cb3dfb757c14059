//! Counters as text for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::config::{Frontend, Model};
use crate::dataplane::{BackendTotals, Totals};
use crate::snapshot::BackendIdentity;

/// The name of the rule of each frontend.
pub fn rule_names(model: &Model) -> BTreeMap<Frontend, String> {
    model.rules.iter().map(|rule| (rule.frontend, rule.name.clone())).collect()
}

/// All counters that are not zero, as tables.
pub fn counters_text(
    totals: &Totals,
    backends: &[(BackendIdentity, BackendTotals)],
    rules: &BTreeMap<Frontend, String>,
) -> String {
    let mut text = String::new();
    let t = totals;
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "frames   received {}  transmitted {}  answered {}  controlled {}  held {}  dropped {}  originated {}",
        t.received,
        t.transmitted,
        t.answered,
        t.controlled,
        t.held,
        t.dropped(),
        t.originated
    );
    let _ = writeln!(
        text,
        "flows    created {}  expired {}  reclaimed {}  untracked {}  handed over {}  reset {}",
        t.flows_created,
        t.flows_expired,
        t.flows_reclaimed,
        t.untracked,
        t.handed_over,
        t.flows_reset + t.flows_unanswered
    );
    for (reason, count) in t.drops.iter().filter(|(_, count)| *count > 0) {
        let _ = writeln!(text, "dropped  {:<22} {count:>12}  {}", reason.label(), reason.meaning());
    }
    if !backends.is_empty() {
        let _ = writeln!(
            text,
            "{:<16} {:<21} {:>8} {:>10} {:>12} {:>12} {:>14} {:>14}",
            "rule", "backend", "flows", "in total", "packets in", "packets out", "bytes in", "bytes out"
        );
    }
    for (identity, b) in backends {
        let rule = rules.get(&identity.frontend).map_or("(removed)", String::as_str);
        let backend = format!("{}:{}", identity.address, identity.port);
        let _ = writeln!(
            text,
            "{rule:<16} {backend:<21} {:>8} {:>10} {:>12} {:>12} {:>14} {:>14}",
            b.flows, b.flows_total, b.packets_in, b.packets_out, b.bytes_in, b.bytes_out
        );
    }
    text
}
