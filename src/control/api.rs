//! What can be asked of the management thread, and what it answers. `docs/openapi.json` is the other side of it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::manager::Manager;
use super::runtime::Override;
use super::views;
use crate::config::{AdminState, Findings, Model};

/// Reads the configuration anew, and tells what is wrong with it.
pub type Load<'a> = &'a dyn Fn() -> Result<Model, Findings>;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// A process on this machine, over the Unix socket.
    Local {
        /// The user.
        uid: u32,
        /// The process, where the system tells.
        pid: Option<i32>,
    },
    /// Somebody over TCP, who has shown nothing yet.
    Stranger(SocketAddr),
    /// Somebody over TCP, who has the token.
    Bearer(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Self::Local { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Stranger(address) => write!(f, "{address}"),
            Self::Bearer(address) => write!(f, "{address}, token"),
        }
    }
}

/// Why a request is not done.
#[derive(Debug)]
pub struct Refusal {
    pub(super) status: StatusCode,
    error: String,
    /// The methods that the path has, for who used another.
    pub(super) allow: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: String) -> Self {
        Self { status, error, allow: String::new() }
    }

    pub(super) fn body(&self) -> String {
        serde_json::json!({ "error": self.error }).to_string()
    }
}

/// What is asked.
enum Ask {
    Status,
    Rules,
    Backends,
    Counters,
    Neighbours,
    Ports,
    Reload,
    Change { pool: String, address: Ipv4Addr, change: Change },
    Forget { pool: String, address: Ipv4Addr },
}

/// A request that has been understood, and waits for its answer.
pub struct Request {
    pub(super) ask: Understood,
    pub(super) peer: Peer,
    pub(super) reply: oneshot::Sender<Result<String, Refusal>>,
}

/// What is asked, and can be asked.
pub(super) struct Understood(Ask);

/// A change of one backend; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    state: Option<State>,
    weight: Option<u8>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Auto,
    Up,
    Down,
    Drain,
}

const WEIGHT_MAX: u8 = 100;

/// A method and a path that are served.
pub struct Route {
    /// As in "GET".
    pub method: Method,
    /// As in an OpenAPI file: what stands in braces can be anything.
    pub path: &'static str,
    ask: fn(&[&str], &[u8]) -> Result<Ask, Refusal>,
}

/// All that is served.
pub const ROUTES: &[Route] = &[
    Route { method: Method::GET, path: "/v1/status", ask: |_, _| Ok(Ask::Status) },
    Route { method: Method::GET, path: "/v1/rules", ask: |_, _| Ok(Ask::Rules) },
    Route { method: Method::GET, path: "/v1/backends", ask: |_, _| Ok(Ask::Backends) },
    Route { method: Method::GET, path: "/v1/counters", ask: |_, _| Ok(Ask::Counters) },
    Route { method: Method::GET, path: "/v1/neighbours", ask: |_, _| Ok(Ask::Neighbours) },
    Route { method: Method::GET, path: "/v1/ports", ask: |_, _| Ok(Ask::Ports) },
    Route { method: Method::POST, path: "/v1/reload", ask: |_, _| Ok(Ask::Reload) },
    Route { method: Method::POST, path: BACKEND, ask: ask_change },
    Route { method: Method::DELETE, path: BACKEND, ask: ask_forget },
];

const BACKEND: &str = "/v1/backends/{pool}/{address}";

/// What the method, path and body ask for.
pub(super) fn understand(method: &Method, uri: &Uri, body: &[u8]) -> Result<Understood, Refusal> {
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
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "no path takes query parameters".into()));
    }
    (route.ask)(parameters, body).map(Understood)
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

fn ask_change(parameters: &[&str], body: &[u8]) -> Result<Ask, Refusal> {
    let (pool, address) = target(parameters)?;
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let change: Change = serde_json::from_slice(body).map_err(|error| {
        let form = "{\"state\": \"up|down|auto|drain\", \"weight\": 0 to 100}, one of them at least";
        bad(format!("the body: {error}; it must be {form}"))
    })?;
    if change.state.is_none() && change.weight.is_none() {
        return Err(bad("the body: neither state nor weight".into()));
    }
    if let Some(weight) = change.weight.filter(|weight| *weight > WEIGHT_MAX) {
        return Err(bad(format!("weight {weight} is not in 0 to {WEIGHT_MAX}")));
    }
    Ok(Ask::Change { pool, address, change })
}

fn ask_forget(parameters: &[&str], _: &[u8]) -> Result<Ask, Refusal> {
    let (pool, address) = target(parameters)?;
    Ok(Ask::Forget { pool, address })
}

fn target(parameters: &[&str]) -> Result<(String, Ipv4Addr), Refusal> {
    let (pool, address) = (parameters.first().copied(), parameters.get(1).copied().unwrap_or_default());
    let address = address.parse().map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("{address}: not an IPv4 address, as in 10.0.0.4"))
    })?;
    Ok((pool.unwrap_or_default().to_owned(), address))
}

/// What the answers need apart from the manager.
pub struct Context<'a> {
    /// For a reload.
    pub load: Load<'a>,
    /// What the drivers say of the ports, in their order.
    pub ports: &'a dyn Fn() -> Vec<views::Link>,
    /// Time since the start.
    pub now: Duration,
}

impl Request {
    /// Does what is asked, and tells who asked.
    pub fn answer(self, manager: &mut Manager, context: &Context<'_>) {
        let Self { ask: Understood(ask), peer, reply } = self;
        let answer = match ask {
            Ask::Status => json(&views::status(manager, context.now)),
            Ask::Rules => json(&views::rules(manager)),
            Ask::Backends => json(&views::backends(manager)),
            Ask::Counters => json(&views::counters(manager)),
            Ask::Neighbours => json(&views::neighbours(manager)),
            Ask::Ports => json(&views::ports(manager, (context.ports)())),
            Ask::Reload => reload(manager, context.load, context.now, &peer.to_string())
                .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error))
                .and_then(|generation| json(&views::Changed { generation })),
            Ask::Change { pool, address, change } => adjust(manager, &pool, address, peer, |said| {
                said.state = change.state.map(AdminState::from).or(said.state);
                said.weight = change.weight.or(said.weight);
            }),
            Ask::Forget { pool, address } => {
                adjust(manager, &pool, address, peer, |said| *said = Override::default())
            }
        };
        // Who has left needs no answer.
        let _ = reply.send(answer);
    }
}

fn json(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn adjust(
    manager: &mut Manager,
    pool: &str,
    address: Ipv4Addr,
    peer: Peer,
    change: impl FnOnce(&mut Override),
) -> Result<String, Refusal> {
    let missing = |what: String| Refusal::new(StatusCode::NOT_FOUND, what);
    let found = manager.model().pools.iter().find(|known| known.name == pool);
    let found = found.ok_or_else(|| missing(format!("there is no pool {pool}")))?;
    if !found.backends.iter().any(|backend| backend.address == address) {
        return Err(missing(format!("pool {pool} has no backend {address}")));
    }
    let key = (pool.to_owned(), address);
    let mut said = manager.runtime().overrides.get(&key).copied().unwrap_or_default();
    change(&mut said);
    let adjusted = manager.adjust(|runtime| {
        if said == Override::default() {
            runtime.overrides.remove(&key);
        } else {
            runtime.overrides.insert(key, said);
        }
    });
    let generation =
        adjusted.map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    manager.tally_mut().changes += 1;
    let state = said.state.map_or("by the file".into(), |state| state.to_string());
    let weight = said.weight.map_or("by the file".into(), |weight| weight.to_string());
    log::info!(
        "backend {pool}/{address}: state {state}, weight {weight}, by {peer}; generation {generation}"
    );
    json(&views::Changed { generation })
}

impl From<State> for AdminState {
    fn from(state: State) -> Self {
        match state {
            State::Auto => Self::Auto,
            State::Up => Self::Up,
            State::Down => Self::Down,
            State::Drain => Self::Drain,
        }
    }
}

/// Goes over to what the configuration says now, and logs how that went. Returns the new generation.
///
/// # Errors
/// Everything that is wrong with the configuration; nothing has changed then.
pub fn reload(manager: &mut Manager, load: Load<'_>, now: Duration, by: &str) -> Result<u64, String> {
    let changed = load().map_err(|findings| findings.to_string());
    let changed = changed.and_then(|model| manager.change(model, now).map_err(|error| error.to_string()));
    manager.tally_mut().reload(changed.is_ok());
    match changed {
        Ok(generation) => {
            let rules = manager.model().rules.len();
            log::info!("reloaded: {rules} rules, generation {generation}, by {by}");
            Ok(generation)
        }
        Err(errors) => {
            errors.lines().for_each(|line| log::error!("{line}"));
            log::error!("not reloaded; generation {} goes on; asked by {by}", manager.generation());
            Err(errors.trim_end().to_owned())
        }
    }
}
