//! `guideway show outbound`.

use super::{count, table};
use crate::control::views::{Outbound, OutboundBackend, OutboundFlows};

pub(super) fn text(view: &Outbound) -> String {
    let columns = [
        "backend",
        "protocol",
        "rule",
        ">flows",
        ">pending",
        ">opened",
        ">answered",
        ">failed",
        "frontend",
        ">ports",
        ">on demand",
        ">used",
    ];
    let rows = view
        .backends
        .iter()
        .flat_map(|backend| backend.protocols.iter().flat_map(move |of| rows(backend, of)));
    table(&columns, rows)
}

/// One for each frontend, of which the first says the flows.
fn rows(backend: &OutboundBackend, of: &OutboundFlows) -> Vec<Vec<String>> {
    let mut flows = vec![
        backend.backend.clone(),
        of.protocol.clone(),
        of.rule.clone().unwrap_or_else(|| "-".into()),
        of.flows.to_string(),
        of.pending.to_string(),
        count(of.opened_total as f64),
        count(of.answered_total as f64),
        count(of.failed_total as f64),
    ];
    if of.frontends.is_empty() {
        flows.extend(["-", "0", "0", "0"].map(str::to_owned));
        return vec![flows];
    }
    let mut rows = Vec::new();
    for ports in &of.frontends {
        let mut row = flows.clone();
        flows.iter_mut().for_each(String::clear);
        row.push(ports.frontend.clone());
        row.extend([ports.ports_allocated, ports.ports_on_demand, ports.ports_used].map(|n| n.to_string()));
        rows.push(row);
    }
    rows
}
