//! What can be asked of the management thread, and what it answers. `docs/openapi.json` is the other side of it.

mod routes;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::StatusCode;
use routes::{Change, State};
pub use routes::{ROUTES, Route};
pub(super) use routes::{body_bytes_max, understand};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::capture::{CaptureAsk, Stream, TraceAsk};
use super::check;
use super::difference::{next_start, outline};
use super::flows::{self, FlowQuery};
use super::manager::Manager;
use super::probe::ProbeReport;
use super::runtime::Override;
use super::views::{self, Probings};
use crate::config::{AdminState, Findings, Loaded};

/// Reads the configuration anew, and tells what is wrong with it.
pub type Load<'a> = &'a dyn Fn() -> Result<Loaded, Findings>;

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
    Rules(Of),
    Backends(Of),
    Counters,
    Neighbours,
    Outbound,
    Ports,
    Configuration,
    Check(String),
    Flows(FlowQuery),
    Reload,
    Change { pool: String, address: IpAddr, change: Change },
    Forget { pool: String, address: IpAddr },
    Capture(CaptureAsk),
    Trace(TraceAsk),
}

/// What is answered to what is done.
pub(super) enum Answer {
    Json(String),
    /// For as long as it goes on.
    Stream(Stream),
}

/// A request that has been understood, and waits for its answer.
pub struct Request {
    pub(super) ask: Understood,
    pub(super) peer: Peer,
    pub(super) reply: Reply,
}

/// Where the answer is waited for.
pub(super) type Reply = oneshot::Sender<Result<Answer, Refusal>>;

/// What is asked, and can be asked.
pub(super) struct Understood(Ask);

impl Understood {
    /// For a client with this header `Accept`.
    pub(super) fn accepted_by(mut self, accept: &str) -> Self {
        match &mut self.0 {
            Ask::Capture(ask) => ask.accepted_by(accept),
            Ask::Trace(ask) => ask.accepted_by(accept),
            _ => {}
        }
        self
    }
}

/// Of which pool and rule; by default of all.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    pub(super) pool: Option<String>,
    pub(super) rule: Option<String>,
}

impl Of {
    /// The same, of a pool and a rule that there are.
    fn of(&self, manager: &Manager) -> Result<&Self, Refusal> {
        let model = manager.model();
        let absent = |what, name| Refusal::new(StatusCode::NOT_FOUND, format!("there is no {what} {name}"));
        if let Some(name) =
            self.pool.as_ref().filter(|name| model.pools.iter().all(|pool| pool.name != **name))
        {
            return Err(absent("pool", name));
        }
        if let Some(name) =
            self.rule.as_ref().filter(|name| model.rules.iter().all(|rule| rule.name != **name))
        {
            return Err(absent("rule", name));
        }
        Ok(self)
    }

    /// Whether nothing is left out.
    pub(super) fn is_all(&self) -> bool {
        self.pool.is_none() && self.rule.is_none()
    }

    pub(super) fn includes(&self, rule: &crate::config::Rule) -> bool {
        self.pool.as_ref().is_none_or(|name| *name == rule.pool.name)
            && self.rule.as_ref().is_none_or(|name| *name == rule.name)
    }
}

/// What the answers need apart from the manager.
pub struct Context<'a> {
    /// For a reload.
    pub load: Load<'a>,
    /// What the drivers say of the ports, in their order.
    pub ports: &'a dyn Fn() -> Vec<views::Link>,
    /// What is known of every endpoint that is probed.
    pub probes: &'a dyn Fn() -> Vec<ProbeReport>,
    /// Time since the start.
    pub now: Duration,
}

impl Request {
    /// Does what is asked, and tells who asked.
    pub fn answer(self, manager: &mut Manager, context: &Context<'_>) {
        let Self { ask: Understood(ask), peer, reply } = self;
        manager.tell_time(context.now);
        let probings = || Probings::new((context.probes)());
        let answer = match ask {
            Ask::Status => json(&views::status(manager, context.now)),
            Ask::Rules(of) => of.of(manager).and_then(|of| json(&views::rules(manager, &probings(), of))),
            Ask::Backends(of) => {
                of.of(manager).and_then(|of| json(&views::backends(manager, &probings(), of)))
            }
            Ask::Counters => json(&views::counters(manager)),
            Ask::Neighbours => json(&views::neighbours(manager)),
            Ask::Outbound => json(&views::outbound(manager)),
            Ask::Ports => json(&views::ports(manager, (context.ports)())),
            Ask::Configuration => json(&check::configuration(manager)),
            // It takes its time, and answers by itself.
            Ask::Check(text) => return check::start(manager, text, reply),
            Ask::Flows(query) => return flows::ask(manager, &query, context.now, reply),
            Ask::Reload => reload(manager, context.load, context.now, &peer.to_string())
                .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error))
                .and_then(|reloaded| json(&reloaded)),
            Ask::Change { pool, address, change } => {
                adjust(manager, &pool, address, peer, context.now, |said| {
                    if let Some(state) = change.state {
                        said.state = Some(state.into());
                        // One that was set before ends with the state it was for.
                        let deadline = change.deadline_seconds.map(Duration::from_secs_f64);
                        said.deadline = deadline.map(|deadline| context.now + deadline);
                    }
                    said.weight = change.weight.or(said.weight);
                })
            }
            Ask::Forget { pool, address } => {
                adjust(manager, &pool, address, peer, context.now, |said| *said = Override::default())
            }
            Ask::Capture(ask) => return stream(reply, manager.capture(&ask), "capture", peer),
            Ask::Trace(ask) => return stream(reply, manager.trace(&ask), "trace", peer),
        };
        // Who has left needs no answer.
        let _ = reply.send(answer.map(Answer::Json));
    }
}

fn stream(reply: Reply, started: Result<Stream, Refusal>, what: &str, peer: Peer) {
    if started.is_ok() {
        log::info!("{what} started, by {peer}");
    }
    let _ = reply.send(started.map(Answer::Stream));
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn adjust(
    manager: &mut Manager,
    pool: &str,
    address: IpAddr,
    peer: Peer,
    now: Duration,
    change: impl FnOnce(&mut Override),
) -> Result<String, Refusal> {
    let key = (pool.to_owned(), address);
    let before = manager.runtime().overrides.get(&key).copied();
    let mut said = before.unwrap_or_default();
    change(&mut said);
    // Of one that has left the configuration can only be taken back what was said.
    if said != Override::default() || before.is_none() {
        require(manager, pool, address)?;
    }
    if said == before.unwrap_or_default() {
        return json(&views::Changed { generation: manager.generation() });
    }
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
    let left = said.deadline.map(|deadline| deadline.saturating_sub(now).as_secs_f64());
    let deadline = left.map_or(String::new(), |left| format!(", deadline in {left:.0} s"));
    let weight = said.weight.map_or("by the file".into(), |weight| weight.to_string());
    log::info!(
        "backend {pool}/{address}: state {state}{deadline}, weight {weight}, by {peer}; generation {generation}"
    );
    json(&views::Changed { generation })
}

fn require(manager: &Manager, pool: &str, address: IpAddr) -> Result<(), Refusal> {
    let missing = |what: String| Refusal::new(StatusCode::NOT_FOUND, what);
    let found = manager.model().pools.iter().find(|known| known.name == pool);
    let found = found.ok_or_else(|| missing(format!("there is no pool {pool}")))?;
    if found.backends.iter().any(|backend| backend.address == address) {
        return Ok(());
    }
    Err(missing(format!("pool {pool} has no backend {address}")))
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

/// Goes over to what the configuration says now, and logs how that went and what has changed.
///
/// # Errors
/// Everything that is wrong with the configuration; nothing has changed then.
pub fn reload(
    manager: &mut Manager,
    load: Load<'_>,
    now: Duration,
    by: &str,
) -> Result<views::Reloaded, String> {
    let changed = load().map_err(|findings| findings.to_string()).and_then(|Loaded { model, warnings }| {
        let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let later = next_start(manager.side(), &model);
        warnings.extend(
            later.iter().map(|what| format!("{what} has changed; that takes effect with the next start")),
        );
        let before = manager.model().clone();
        let generation = manager.change(model, now).map_err(|error| error.to_string())?;
        let changes = outline(&before, manager.model());
        Ok((views::Reloaded { generation, warnings }, changes))
    });
    match changed {
        Ok((reloaded, changes)) => {
            let (rules, generation) = (manager.model().rules.len(), reloaded.generation);
            reloaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
            log::info!("reloaded: {rules} rules, generation {generation}, by {by}");
            changes.iter().for_each(|change| log::info!("changed: {change}"));
            manager.note_reload(by, None);
            Ok(reloaded)
        }
        Err(errors) => {
            errors.lines().for_each(|line| log::error!("{line}"));
            log::error!("not reloaded; generation {} goes on; asked by {by}", manager.generation());
            let errors = errors.trim_end().to_owned();
            manager.note_reload(by, Some(errors.clone()));
            Err(errors)
        }
    }
}
