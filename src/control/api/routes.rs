//! What is served: methods and paths, and what of a request must be so before anything is done.

use std::net::IpAddr;

use hyper::{Method, StatusCode, Uri};
use serde::Deserialize;

use super::{Ask, Of, Refusal, Understood};
use crate::control::capture::{CaptureAsk, TraceAsk};
use crate::control::flows::FlowQuery;

/// A change of one backend; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    pub(super) state: Option<State>,
    pub(super) weight: Option<u8>,
    pub(super) deadline_seconds: Option<f64>,
}

/// A configuration to be held against the one in force.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configured {
    configuration: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Auto,
    Up,
    Down,
    Drain,
}

const WEIGHT_MAX: u8 = 100;

/// Thirty days: who wants more wants no deadline.
const DEADLINE_SECONDS_MAX: f64 = 30.0 * 24.0 * 3600.0;

/// A method and a path that are served.
pub struct Route {
    /// As in "GET".
    pub method: Method,
    /// As in an OpenAPI file: what stands in braces can be anything.
    pub path: &'static str,
    /// Of what stands in the braces, the query after it, and the body.
    ask: fn(&[&str], &[u8]) -> Result<Ask, Refusal>,
}

/// All that is served.
pub const ROUTES: &[Route] = &[
    Route { method: Method::GET, path: "/v1/status", ask: |_, _| Ok(Ask::Status) },
    Route { method: Method::GET, path: "/v1/rules", ask: |given, _| of(given).map(Ask::Rules) },
    Route { method: Method::GET, path: "/v1/backends", ask: |given, _| of(given).map(Ask::Backends) },
    Route { method: Method::GET, path: "/v1/counters", ask: |_, _| Ok(Ask::Counters) },
    Route { method: Method::GET, path: "/v1/neighbours", ask: |_, _| Ok(Ask::Neighbours) },
    Route { method: Method::GET, path: "/v1/outbound", ask: |_, _| Ok(Ask::Outbound) },
    Route { method: Method::GET, path: "/v1/ports", ask: |_, _| Ok(Ask::Ports) },
    Route { method: Method::GET, path: "/v1/configuration", ask: |_, _| Ok(Ask::Configuration) },
    Route { method: Method::POST, path: CHECK, ask: ask_check },
    Route {
        method: Method::GET,
        path: "/v1/flows",
        ask: |given, _| FlowQuery::parse(query(given)).map(Ask::Flows),
    },
    Route { method: Method::POST, path: "/v1/reload", ask: |_, _| Ok(Ask::Reload) },
    Route { method: Method::POST, path: BACKEND, ask: ask_change },
    Route { method: Method::DELETE, path: BACKEND, ask: ask_forget },
    Route {
        method: Method::POST,
        path: "/v1/capture",
        ask: |_, body| CaptureAsk::parse(body).map(Ask::Capture),
    },
    Route { method: Method::POST, path: "/v1/trace", ask: |_, body| TraceAsk::parse(body).map(Ask::Trace) },
];

/// Paths that take query parameters.
const WITH_QUERY: &[&str] = &["/v1/rules", "/v1/backends", "/v1/flows"];

const BACKEND: &str = "/v1/backends/{pool}/{address}";
const CHECK: &str = "/v1/check";

/// Bytes of a request's body, for one that carries a configuration, as many as a file of one may have, and for all others.
const CONFIGURATION_BYTES_MAX: usize = 16 << 20;
const BODY_BYTES_MAX: usize = 16 << 10;

/// The most bytes that the body of a request to `uri` may have.
pub(in crate::control) fn body_bytes_max(uri: &Uri) -> usize {
    if uri.path() == CHECK { CONFIGURATION_BYTES_MAX } else { BODY_BYTES_MAX }
}

/// What the method, path and body ask for.
pub(in crate::control) fn understand(method: &Method, uri: &Uri, body: &[u8]) -> Result<Understood, Refusal> {
    let here: Vec<(&Route, Vec<&str>)> =
        ROUTES.iter().filter_map(|route| Some((route, parameters(route.path, uri.path())?))).collect();
    if here.is_empty() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("{}: no such path", uri.path())));
    }
    let Some((route, parameters)) = here.iter().find(|(route, _)| route.method == *method) else {
        let allow = here.iter().map(|(route, _)| route.method.as_str()).collect::<Vec<_>>().join(", ");
        let error = format!("{} is not for {method}; it has {allow}", uri.path());
        return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error, allow });
    };
    let query = uri.query().unwrap_or_default();
    if !query.is_empty() && !WITH_QUERY.contains(&route.path) {
        let error = format!("{} takes no query parameters", uri.path());
        return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
    }
    (route.ask)(&[&parameters[..], &[query]].concat(), body).map(Understood)
}

/// What stands in `path` where `template` has braces; `None` where they differ.
fn parameters<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut found = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(found),
            (Some(name), Some(text)) if name.starts_with('{') => found.push(text),
            (Some(name), Some(text)) if name == text => {}
            _ => return None,
        }
    }
}

/// What stands behind the question mark.
fn query<'q>(given: &[&'q str]) -> &'q str {
    given.last().copied().unwrap_or_default()
}

fn of(given: &[&str]) -> Result<Of, Refusal> {
    serde_urlencoded::from_str(query(given))
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("the query: {error}")))
}

fn ask_change(parameters: &[&str], body: &[u8]) -> Result<Ask, Refusal> {
    let (pool, address) = target(parameters)?;
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let change: Change = serde_json::from_slice(body).map_err(|error| {
        let form = "{\"state\": \"up|down|auto|drain\", \"weight\": 0 to 100}, one of them at least, \
                    and \"deadline_seconds\" with drain";
        bad(format!("the body: {error}; it must be {form}"))
    })?;
    if change.state.is_none() && change.weight.is_none() {
        return Err(bad("the body: neither state nor weight".into()));
    }
    if let Some(weight) = change.weight.filter(|weight| *weight > WEIGHT_MAX) {
        return Err(bad(format!("weight {weight} is not in 0 to {WEIGHT_MAX}")));
    }
    if let Some(seconds) = change.deadline_seconds {
        if change.state != Some(State::Drain) {
            return Err(bad("deadline_seconds goes with \"state\": \"drain\"".into()));
        }
        if !(0.0..=DEADLINE_SECONDS_MAX).contains(&seconds) {
            return Err(bad(format!(
                "deadline_seconds {seconds} is not in 0 to {DEADLINE_SECONDS_MAX}, 30 days"
            )));
        }
    }
    Ok(Ask::Change { pool, address, change })
}

fn ask_check(_: &[&str], body: &[u8]) -> Result<Ask, Refusal> {
    let Configured { configuration } = serde_json::from_slice(body).map_err(|error| {
        let what =
            format!("the body: {error}; it must be {{\"configuration\": \"...\"}}, the text of a file");
        Refusal::new(StatusCode::BAD_REQUEST, what)
    })?;
    Ok(Ask::Check(configuration))
}

fn ask_forget(parameters: &[&str], _: &[u8]) -> Result<Ask, Refusal> {
    let (pool, address) = target(parameters)?;
    Ok(Ask::Forget { pool, address })
}

fn target(parameters: &[&str]) -> Result<(String, IpAddr), Refusal> {
    let (pool, address) = (parameters.first().copied(), parameters.get(1).copied().unwrap_or_default());
    let address = address.parse().map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("{address}: not an address, as in 10.0.0.4"))
    })?;
    Ok((pool.unwrap_or_default().to_owned(), address))
}
