//! What a capture or a trace is asked for, and what that comes to with the configuration in force.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use super::super::api::Refusal;
use super::stream::Limits;
use crate::config::{Model, Rule};
use crate::drop_reason::DropReason;
use crate::watch::{DropSet, Filter, SNAPLEN_MAX};

pub(super) const PCAPNG: &str = "application/x-pcapng";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Bytes kept of each frame where nothing is said: a whole one of the usual MTU, VLAN tags included.
const SNAPLEN_DEFAULT: usize = 2048;
/// A day.
const SECONDS_MAX: f64 = 86_400.0;
/// What who has not named the stream's type in `Accept` gets of it: it may wait for the end of an answer like any other.
const SECONDS_UNASKED: f64 = 2.0;
const TRACE_COUNT: u64 = 10;
const TRACE_SECONDS: f64 = 60.0;

/// The body of `POST /v1/capture`: all that is said must hold of a frame.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::control) struct CaptureAsk {
    rule: Option<String>,
    client: Option<String>,
    backend: Option<String>,
    /// Of every reason, if there is none.
    dropped: Option<Vec<String>>,
    count: Option<u64>,
    snaplen: Option<usize>,
    seconds: Option<f64>,
}

/// The body of `POST /v1/trace`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct TraceAsk {
    client: String,
    frontend: String,
    count: Option<u64>,
    seconds: Option<f64>,
}

fn bad(error: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
}

fn missing(error: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, error)
}

impl CaptureAsk {
    pub(in crate::control) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        // Nothing said wants everything.
        let body = if body.is_empty() { b"{}" } else { body };
        let ask: Self = serde_json::from_slice(body).map_err(|error| bad(format!("the body: {error}")))?;
        check_limits(ask.count, ask.seconds)?;
        if let Some(snaplen) = ask.snaplen.filter(|snaplen| !(1..=SNAPLEN_MAX).contains(snaplen)) {
            return Err(bad(format!("snaplen {snaplen} is not in 1 to {SNAPLEN_MAX}")));
        }
        Ok(ask)
    }

    /// For a client that accepts what it may.
    pub(in crate::control) fn accepted_by(&mut self, accept: &str) {
        self.seconds = seconds_for(PCAPNG, accept, self.seconds);
    }

    pub(super) fn snaplen(&self) -> usize {
        self.snaplen.unwrap_or(SNAPLEN_DEFAULT)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { count: self.count, time: self.seconds.map(Duration::from_secs_f64) }
    }

    /// Names become addresses here; a reload in the meantime does not change them.
    pub(super) fn filter(&self, model: &Model) -> Result<Filter, Refusal> {
        let of_nat_rule = |name: &String| model.nat_rules.iter().find(|rule| rule.name == *name);
        let nat_rule = self.rule.as_ref().and_then(of_nat_rule);
        let frontend = match (nat_rule, &self.rule) {
            (None, Some(name)) => Some(find_rule(model, name)?.frontend),
            (nat_rule, _) => nat_rule.map(|rule| rule.frontend),
        };
        let drops = self.dropped.as_ref().map(|reasons| drop_set(reasons)).transpose()?;
        Ok(Filter {
            client: self.client.as_deref().map(end).transpose()?,
            backends: self.backend.as_deref().map(|text| backends(model, text)).transpose()?,
            frontend,
            is_spread: nat_rule.is_some_and(|rule| rule.pool().is_some()),
            drops,
        })
    }
}

impl TraceAsk {
    pub(in crate::control) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let ask: Self = serde_json::from_slice(body).map_err(|error| bad(format!("the body: {error}")))?;
        check_limits(ask.count, ask.seconds)?;
        Ok(ask)
    }

    /// For a client that accepts what it may.
    pub(in crate::control) fn accepted_by(&mut self, accept: &str) {
        self.seconds = seconds_for(NDJSON, accept, self.seconds);
    }

    pub(super) fn limits(&self) -> Limits {
        let seconds = self.seconds.unwrap_or(TRACE_SECONDS);
        let count = Some(self.count.unwrap_or(TRACE_COUNT));
        Limits { count, time: Some(Duration::from_secs_f64(seconds)) }
    }

    pub(super) fn filter<'m>(&self, model: &'m Model) -> Result<(Filter, &'m Rule), Refusal> {
        let client: SocketAddr = self.client.parse().map_err(|_| {
            bad(format!(
                "client {}: not an address and port, as in 192.0.2.7:40000 or [2001:db8::7]:40000",
                self.client
            ))
        })?;
        let rule = find_rule(model, &self.frontend)?;
        let client = Some((client.ip(), Some(client.port())));
        Ok((Filter { client, frontend: Some(rule.frontend), ..Filter::default() }, rule))
    }
}

fn seconds_for(kind: &str, accept: &str, wanted: Option<f64>) -> Option<f64> {
    if accept.contains(kind) {
        wanted
    } else {
        Some(wanted.map_or(SECONDS_UNASKED, |s| s.min(SECONDS_UNASKED)))
    }
}

fn check_limits(count: Option<u64>, seconds: Option<f64>) -> Result<(), Refusal> {
    if count == Some(0) {
        return Err(bad("count 0: there is nothing to wait for".into()));
    }
    match seconds {
        Some(seconds) if !(seconds > 0.0 && seconds <= SECONDS_MAX) => {
            Err(bad(format!("seconds {seconds} is not above 0 and up to {SECONDS_MAX}")))
        }
        _ => Ok(()),
    }
}

/// By name, or by frontend.
fn find_rule<'m>(model: &'m Model, wanted: &str) -> Result<&'m Rule, Refusal> {
    let is_it = |rule: &&Rule| rule.name == wanted || rule.frontend.to_string() == wanted;
    model.rules.iter().find(is_it).ok_or_else(|| missing(format!("there is no rule or frontend {wanted}")))
}

fn end(text: &str) -> Result<(IpAddr, Option<u16>), Refusal> {
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Ok((both.ip(), Some(both.port())));
    }
    let address = text.parse().map_err(|_| {
        bad(format!("{text}: not an address, with or without a port, as in 192.0.2.7 or 192.0.2.7:443"))
    })?;
    Ok((address, None))
}

/// `POOL/ADDRESS` is the backend of the pool in every rule that uses it; all else is an address.
fn backends(model: &Model, text: &str) -> Result<Vec<(IpAddr, Option<u16>)>, Refusal> {
    let Some((pool, address)) = text.split_once('/') else { return end(text).map(|end| vec![end]) };
    let (address, port) = end(address)?;
    let found = model.pools.iter().find(|known| known.name == pool);
    let found = found.ok_or_else(|| missing(format!("there is no pool {pool}")))?;
    if !found.backends.iter().any(|backend| backend.address == address) {
        return Err(missing(format!("pool {pool} has no backend {address}")));
    }
    let rules = model.rules.iter().filter(|rule| rule.pool.name == pool);
    let ports = rules.map(|rule| rule.backend_port).filter(|own| port.is_none_or(|port| port == *own));
    let ends: Vec<_> = ports.map(|port| (address, Some(port))).collect();
    if ends.is_empty() {
        return Err(missing(format!("no rule sends anything to {text}")));
    }
    Ok(ends)
}

fn drop_set(reasons: &[String]) -> Result<DropSet, Refusal> {
    if reasons.is_empty() {
        return Ok(DropSet::ALL);
    }
    reasons.iter().try_fold(DropSet::default(), |set, name| {
        let reason = DropReason::ALL.iter().find(|reason| reason.label() == name).ok_or_else(|| {
            let known: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
            bad(format!("{name}: no such reason for a drop; there are {}", known.join(", ")))
        })?;
        Ok(set.with(*reason))
    })
}
