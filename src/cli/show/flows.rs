//! `guideway show flows`: which flows are asked for, and the table of them.

use serde::Serialize;

use super::table;
use crate::control::FLOWS_MAX;
use crate::control::views::{Flow, Flows, OutboundFlow};

/// Which flows; all that is given must be so of each.
#[derive(clap::Args, Serialize)]
pub(super) struct Wanted {
    /// From this client: ADDRESS or ADDRESS:PORT. Of connections that backends have opened: to this destination.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,

    /// To or from this backend: POOL/ADDRESS, ADDRESS or ADDRESS:PORT.
    #[arg(long, value_name = "POOL/ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,

    /// Of this rule, NAT rule or outbound rule.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,

    /// In this state.
    #[arg(long, value_parser = ["half-open", "fresh", "established", "closing"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,

    /// At most so many, as evenly from all workers as it goes.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=FLOWS_MAX as i64))]
    limit: u32,
}

pub(super) fn text(view: &Flows) -> String {
    let row = |flow: &Flow| {
        let pool = flow.pool.as_ref().map(|pool| format!("{pool}/")).unwrap_or_default();
        vec![
            flow.client.clone(),
            flow.frontend.clone(),
            flow.rule.clone().unwrap_or_else(|| "(removed)".into()),
            format!("{pool}{}", flow.backend),
            flow.source.clone().unwrap_or_else(|| "-".into()),
            flow.state.clone(),
            format!("{:.2} s", flow.idle_seconds),
            format!("{:.2} s", flow.expires_in_seconds),
            flow.worker.to_string(),
        ]
    };
    let columns =
        ["client", "frontend", "rule", "backend", "seen as", "state", ">idle", ">expires in", ">worker"];
    let mut text = String::new();
    if !view.flows.is_empty() {
        text = table(&columns, view.flows.iter().map(row)) + "\n";
    }
    if !view.outbound.is_empty() {
        text += &outbound(&view.outbound);
    }
    text + &summary(view)
}

/// Flows that backends have opened.
fn outbound(flows: &[OutboundFlow]) -> String {
    let row = |flow: &OutboundFlow| {
        vec![
            flow.backend.clone(),
            flow.source.clone(),
            flow.destination.clone(),
            flow.protocol.clone(),
            flow.rule.clone().unwrap_or_else(|| "(removed)".into()),
            flow.state.clone(),
            format!("{:.2} s", flow.idle_seconds),
            format!("{:.2} s", flow.expires_in_seconds),
            flow.worker.to_string(),
        ]
    };
    let columns =
        ["backend", "seen as", "destination", "protocol", "rule", "state", ">idle", ">expires in", ">worker"];
    table(&columns, flows.iter().map(row)) + "\n"
}

/// How much of everything the table is.
fn summary(view: &Flows) -> String {
    let (shown, looked_at) = (view.flows.len() + view.outbound.len(), view.looked_at);
    match view.cut_by.as_deref() {
        Some("limit") => {
            format!("{shown} flows, and there are more: --limit {FLOWS_MAX} at most, or ask for fewer\n")
        }
        Some(_) => format!("{shown} flows; time was up after {looked_at} of about {}\n", view.held),
        None => format!("{shown} of {looked_at} flows\n"),
    }
}
