//! `GET /v1/flows`: the workers are asked for their flows, and the answer is given when all have said, or when it is time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::api::{Answer, Refusal, Reply, json};
use super::manager::Manager;
use super::views;
use crate::dataplane::{FlowFilter, FlowState, OutboundFilter, SURVEYS_MAX, Survey, Surveys};
use crate::snapshot::BackendIdentity;

/// Flows of one answer, where nothing else is asked for.
const LIMIT_DEFAULT: usize = 100;

/// Flows of one answer, at most. As many from each worker are gathered for it.
pub const FLOWS_MAX: usize = 10_000;

/// What is not found by then is left out.
const TIME_MAX: Duration = Duration::from_secs(8);

/// Within this time workers hand back what has been given up.
const GRACE: Duration = Duration::from_millis(500);

/// Which flows are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowQuery {
    client: Option<String>,
    backend: Option<String>,
    rule: Option<String>,
    state: Option<State>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    HalfOpen,
    Fresh,
    Established,
    Closing,
}

impl FlowQuery {
    /// From what stands behind the question mark.
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let parsed: Self =
            serde_urlencoded::from_str(query).map_err(|error| bad(format!("the query: {error}")))?;
        if let Some(limit) = parsed.limit.filter(|limit| !(1..=FLOWS_MAX).contains(limit)) {
            return Err(bad(format!("the query: limit {limit} is not in 1 to {FLOWS_MAX}")));
        }
        if let Some(client) = &parsed.client {
            address_and_port(client)?;
        }
        Ok(parsed)
    }

    fn filter(&self, manager: &Manager) -> Result<FlowFilter, Refusal> {
        let mut filter = FlowFilter::default();
        if let Some(client) = &self.client {
            let (address, port) = address_and_port(client)?;
            filter = filter.client(address, port);
        }
        let outbound = self.outbound_filter(manager)?;
        let of_outbound_rule = self
            .rule
            .as_ref()
            .is_some_and(|name| manager.model().outbound.iter().any(|one| one.name == *name));
        filter = filter.outbound(outbound);
        let mut frontends = BTreeSet::new();
        if of_outbound_rule {
            return Ok(filter.backends([]));
        }
        if let Some(name) = &self.rule {
            let rules = manager.model().rules.iter().filter(|rule| rule.name == *name);
            frontends.extend(rules.map(|rule| rule.frontend));
            let mut ids = frontends.iter().filter_map(|at| manager.snapshot().frontend_of_rule(*at));
            let first = ids.next().ok_or_else(|| absent(format!("there is no rule {name}")))?;
            if ids.next().is_none() {
                filter = filter.frontend(first);
            }
        }
        let is_called = match &self.backend {
            Some(backend) => Some(backends_called(manager, backend)?),
            None => None,
        };
        // A NAT rule may have many frontends: its flows are those of its backends.
        if is_called.is_some() || frontends.len() > 1 {
            let is_wanted = |identity: &BackendIdentity| {
                is_called.as_ref().is_none_or(|is_called| is_called(identity))
                    && (frontends.is_empty() || frontends.contains(&identity.frontend))
            };
            let ids = manager.backend_ids().filter(|(identity, _)| is_wanted(identity));
            filter = filter.backends(ids.map(|(_, id)| id));
        }
        Ok(self.state().map_or_else(|| filter.clone(), |state| filter.clone().state(state)))
    }

    fn state(&self) -> Option<FlowState> {
        Some(match self.state? {
            State::HalfOpen => FlowState::HalfOpen,
            State::Fresh => FlowState::Fresh,
            State::Established => FlowState::Established,
            State::Closing => FlowState::Closing,
        })
    }

    /// Of flows that backends have opened themselves: the client is their other end. `None` for those of other rules.
    fn outbound_filter(&self, manager: &Manager) -> Result<Option<OutboundFilter>, Refusal> {
        let rules = &manager.model().outbound;
        let mut filter = OutboundFilter { state: self.state(), ..OutboundFilter::default() };
        if let Some(client) = &self.client {
            filter.destination = Some(address_and_port(client)?);
        }
        let mut of_rule: Option<Vec<IpAddr>> = None;
        if let Some(name) = &self.rule {
            let Some(rule) = rules.iter().find(|rule| rule.name == *name) else { return Ok(None) };
            of_rule = Some(rule.pool.backends.iter().map(|backend| backend.address).collect());
        }
        let is_in_rule = |address: &IpAddr| of_rule.as_ref().is_none_or(|all| all.contains(address));
        let mut backends = of_rule.clone();
        if let Some(text) = &self.backend {
            // That it is written right, and there, is found out with the other flows; a pool is of no account here.
            let (_, text) = text.split_once('/').unwrap_or(("", text));
            let Ok((address, port)) = address_and_port(text) else { return Ok(None) };
            filter.port = port;
            backends = Some(Some(address).filter(is_in_rule).into_iter().collect());
        }
        filter.backends = backends.map(|mut all| {
            all.sort_unstable();
            all.into()
        });
        Ok(Some(filter))
    }
}

fn bad(error: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
}

fn absent(error: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, error)
}

fn address_and_port(text: &str) -> Result<(IpAddr, Option<u16>), Refusal> {
    let with_port = text.parse().map(|at: SocketAddr| (at.ip(), Some(at.port())));
    with_port.or_else(|_| text.parse().map(|address| (address, None))).map_err(|_| {
        bad(format!(
            "{text}: not an address, or one with a port, as in 192.0.2.7:40000 or [2001:db8::7]:40000"
        ))
    })
}

type IsWanted = Box<dyn Fn(&BackendIdentity) -> bool>;

/// Whether a backend is one of POOL/ADDRESS, ADDRESS or ADDRESS:PORT.
fn backends_called(manager: &Manager, text: &str) -> Result<IsWanted, Refusal> {
    let Some((name, address)) = text.split_once('/') else {
        let (address, port) = address_and_port(text)?;
        let is_it = move |identity: &BackendIdentity| {
            identity.address == address && port.is_none_or(|port| identity.port == port)
        };
        let opens = |address| manager.snapshot().outbound.member_at(address).is_some();
        if !manager.backend_ids().any(|(identity, _)| is_it(&identity)) && !opens(address) {
            return Err(absent(format!("no rule has a backend {text}")));
        }
        return Ok(Box::new(is_it));
    };
    let address: IpAddr =
        address.parse().map_err(|_| bad(format!("{address}: not an address, as in 10.0.0.4")))?;
    let pool = manager.model().pools.iter().find(|pool| pool.name == name);
    let pool = pool.ok_or_else(|| absent(format!("there is no pool {name}")))?;
    if !pool.backends.iter().any(|backend| backend.address == address) {
        return Err(absent(format!("pool {name} has no backend {address}")));
    }
    let rules = manager.model().rules.iter().filter(|rule| rule.pool.name == name);
    let frontends: Vec<_> = rules.map(|rule| rule.frontend).collect();
    Ok(Box::new(move |identity| identity.address == address && frontends.contains(&identity.frontend)))
}

/// Questions that the workers are at.
#[derive(Default)]
pub(super) struct FlowDesk {
    surveys: Option<Surveys>,
    asked: u64,
    open: Vec<Open>,
}

/// One of them.
struct Open {
    number: u64,
    limit: usize,
    until: Duration,
    is_given_up: Arc<AtomicBool>,
    /// By worker.
    parts: Vec<Option<Box<Survey>>>,
    /// `None` once it has been answered.
    reply: Option<Reply>,
}

impl FlowDesk {
    pub(super) fn new(surveys: Surveys) -> Self {
        Self { surveys: Some(surveys), ..Self::default() }
    }

    fn ask(&mut self, filter: &FlowFilter, limit: usize, now: Duration, reply: Reply) {
        // One that is not handed back yet counts, answered or not: so the rings have room for all.
        if self.open.len() >= SURVEYS_MAX {
            let what = format!("{SURVEYS_MAX} others are asking for flows already; try again in a moment");
            let _ = reply.send(Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, what)));
            return;
        }
        self.asked += 1;
        let (number, is_given_up) = (self.asked, Arc::<AtomicBool>::default());
        let workers = self.surveys.as_ref().map_or(0, Surveys::workers);
        if let Some(surveys) = &self.surveys {
            for worker in 0..workers {
                // There is room; where there were none, the part would be missing, and the answer says so.
                let _ = surveys.ask(worker, Survey::new(number, filter.clone(), limit, is_given_up.clone()));
            }
        }
        let parts = (0..workers).map(|_| None).collect();
        self.open.push(Open { number, limit, until: now + TIME_MAX, is_given_up, parts, reply: Some(reply) });
    }

    fn take_back(&mut self) {
        let Some(surveys) = &self.surveys else { return };
        for worker in 0..surveys.workers() {
            while let Some(survey) = surveys.take_back(worker) {
                let open = self.open.iter_mut().find(|open| open.number == survey.number);
                if let Some(part) = open.and_then(|open| open.parts.get_mut(worker)) {
                    *part = Some(survey);
                }
            }
        }
    }
}

/// Hands the question to all workers, or says why not.
pub(super) fn ask(manager: &mut Manager, query: &FlowQuery, now: Duration, reply: Reply) {
    match query.filter(manager) {
        Ok(filter) => {
            manager.flow_desk.ask(&filter, query.limit.unwrap_or(LIMIT_DEFAULT), now, reply);
        }
        Err(refusal) => {
            let _ = reply.send(Err(refusal));
        }
    }
}

/// Takes what the workers have found, and answers what is complete or has taken too long.
pub(super) fn advance(manager: &mut Manager, now: Duration) {
    let mut desk = std::mem::take(&mut manager.flow_desk);
    desk.take_back();
    for open in &mut desk.open {
        if now >= open.until || open.reply.as_ref().is_none_or(oneshot::Sender::is_closed) {
            open.is_given_up.store(true, Ordering::Relaxed);
        }
        let is_due = open.parts.iter().all(Option::is_some) || now >= open.until + GRACE;
        if let Some(reply) = open.reply.take_if(|_| is_due) {
            // Who has left needs no answer.
            let _ = reply.send(json(&views::flows(manager, &open.parts, open.limit)).map(Answer::Json));
        }
    }
    desk.open.retain(|open| open.reply.is_some() || open.parts.iter().any(Option::is_none));
    manager.flow_desk = desk;
}
