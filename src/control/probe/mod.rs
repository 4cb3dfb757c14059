//! Probes: asks every endpoint that a rule's probe names, and tells the manager which are down.
//!
//! One endpoint under one set of settings is asked once, however many rules use it. Questions are tasks of the management
//! thread's runtime and go out by the host's network. Who has been due for longest is asked first, so none starves; how
//! many are asked at once, and how many in one tick, is bounded. `docs/PROBES.md` tells what that comes to.

mod ask;
mod health;
mod news;
mod tls;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

use self::ask::{Answer, Fault, ask};
use self::health::Health;
pub use self::health::Verdict;
use self::news::News;
use self::tls::Trust;
use super::manager::Manager;
use crate::config::{Endpoint, Model, Probe};

/// The most questions that wait for an answer, if descriptors allow: this many silent endpoints with a timeout of 2 s and
/// an interval of 5 s hold nobody up at 5,000 endpoints.
const ASKING_MAX: usize = 2048;

/// Descriptors that the process asks the kernel for; probes take half.
const DESCRIPTORS: u64 = 2 * ASKING_MAX as u64;

/// Questions that begin in one tick: some 6,000 a second, which leave the thread time for everything else.
const STARTS_PER_TICK: usize = 64;

/// New endpoints are asked for the first time within so long for each of them, at most an interval.
const FIRST_SPREAD: Duration = Duration::from_millis(2);

/// Between two snapshots for the probes' sake: each takes some milliseconds where there are many rules.
const APPLY_INTERVAL: Duration = Duration::from_millis(50);

/// What is asked: the same for two rules is asked once.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Question {
    target: SocketAddrV4,
    probe: Arc<Probe>,
}

/// A rule for whose sake a question is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Use {
    rule: String,
    frontend: Endpoint,
}

struct Entry {
    uses: Vec<Use>,
    health: Health,
    /// When it is or was to be asked.
    due: Instant,
    /// Whether its place in the interval has been drawn.
    is_spread: bool,
    latency: Option<Duration>,
    last_duration: Option<Duration>,
    answered: Option<Instant>,
    last_failure: Option<String>,
    good: u64,
    bad: u64,
}

/// What is known of one endpoint.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// Address and port that are asked.
    pub target: SocketAddrV4,
    /// How.
    pub probe: Arc<Probe>,
    /// The frontends of the rules that ask.
    pub frontends: Vec<Endpoint>,
    /// What has been found.
    pub verdict: Verdict,
    /// Whether it gets flows: it is not known to be down.
    pub up: bool,
    /// The time of the verdict, by the wall clock.
    pub since: SystemTime,
    /// For how long the verdict has stood.
    pub age: Duration,
    /// Why it is down; nothing while it is not.
    pub reason: Option<String>,
    /// What the last good answer took.
    pub latency: Option<Duration>,
    /// How long the last question took, whatever the answer; nothing before the first one.
    pub last_duration: Option<Duration>,
    /// How long ago that was.
    pub last_answer: Option<Duration>,
    /// What was wrong with the last bad answer.
    pub last_failure: Option<String>,
    /// Good answers since it was first asked.
    pub good_total: u64,
    /// Bad answers since it was first asked.
    pub bad_total: u64,
    /// How often in a row it went down within a minute of coming up.
    pub flaps: u32,
}

/// All questions and what has been answered. Belongs to the management thread.
pub struct Probes {
    entries: BTreeMap<Arc<Question>, Entry>,
    /// Those that are not being asked, by the time that they are due.
    due: BTreeSet<(Instant, Arc<Question>)>,
    asking: JoinSet<(Arc<Question>, Answer, Duration)>,
    asking_max: usize,
    trust: Arc<Trust>,
    /// Draws each question's place in the interval.
    random: RandomState,
    /// The manager's count of changes that the entries stand for.
    followed: Option<u64>,
    /// Whether the manager has not been told of a verdict.
    has_news: bool,
    apply_at: Instant,
    news: News,
}

impl Probes {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn new() -> std::io::Result<Self> {
        let descriptors = rlimit::increase_nofile_limit(DESCRIPTORS).unwrap_or(1024);
        let now = Instant::now();
        Ok(Self {
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            asking: JoinSet::new(),
            asking_max: ASKING_MAX.min(descriptors as usize / 2).max(1),
            trust: Arc::new(Trust::new().map_err(std::io::Error::other)?),
            random: RandomState::new(),
            followed: None,
            has_news: false,
            apply_at: now,
            news: News::new(now),
        })
    }

    /// Does what is due: follows the configuration, takes answers, tells the manager, asks. To be called every few
    /// milliseconds, on a tokio runtime.
    pub fn advance(&mut self, manager: &mut Manager) {
        let now = Instant::now();
        if self.followed != Some(manager.changes()) {
            self.follow(manager.model(), now);
            self.followed = Some(manager.changes());
            (self.has_news, self.apply_at) = (true, now);
        }
        while let Some(answered) = self.asking.try_join_next() {
            if let Ok((question, answer, took)) = answered {
                self.hear(&question, answer, took, now);
            }
        }
        if self.has_news && now >= self.apply_at {
            self.has_news = false;
            let unhealthy = self.unhealthy();
            // The same backends in other states need no more ids than before.
            if let Err(error) = manager.adjust(|runtime| runtime.unhealthy = unhealthy) {
                log::error!("what probes found is not in force: {error}");
            }
            // Tables of thousands take their time; twice that belongs to others, who wait for this thread.
            self.apply_at = now + APPLY_INTERVAL.max(3 * now.elapsed());
        }
        self.start_due(now);
        self.news.advance(now);
    }

    /// What is known of every endpoint, by address.
    pub fn report(&self) -> Vec<ProbeReport> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        self.entries.iter().map(|(question, entry)| entry.report(question, now, wall)).collect()
    }

    /// Questions that wait for an answer now.
    pub fn asking(&self) -> usize {
        self.asking.len()
    }

    /// Goes over to the questions of `model`. What was asked before keeps its state; under changed settings, its verdict.
    fn follow(&mut self, model: &Model, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        for (question, uses) in questions(model) {
            match before.remove_entry(&question) {
                Some((question, entry)) => {
                    self.entries.insert(question, Entry { uses, ..entry });
                }
                None => fresh.push((Arc::new(question), uses)),
            }
        }
        self.due.retain(|(_, question)| self.entries.contains_key(question));
        let mut verdicts = BTreeMap::new();
        for (question, entry) in &before {
            let backends = entry.uses.iter().map(|user| (user.frontend, *question.target.ip()));
            verdicts.extend(backends.map(|backend| (backend, &entry.health)));
        }
        let spread = FIRST_SPREAD * u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for (question, uses) in fresh {
            let known = uses.iter().find_map(|user| verdicts.get(&(user.frontend, *question.target.ip())));
            let health = known.map_or_else(|| Health::new(now), |health| health.carried_over());
            let due = now + spread.min(question.probe.interval).mul_f64(self.draw(&question));
            self.due.insert((due, question.clone()));
            self.entries.insert(question, Entry::new(uses, health, due));
        }
    }

    /// Takes one answer.
    fn hear(&mut self, question: &Arc<Question>, answer: Answer, took: Duration, now: Instant) {
        let draw = self.draw(question);
        // It may be of a question that nobody asks any more.
        let Some(entry) = self.entries.get_mut(question) else { return };
        let probe = &question.probe;
        // A first interval of another length spreads those that begin together.
        let until_next = if entry.is_spread { probe.interval } else { probe.interval.mul_f64(draw) };
        entry.is_spread = true;
        entry.due = (entry.due + until_next).max(now);
        self.due.insert((entry.due, question.clone()));
        let before = entry.health.clone();
        let is_good = answer.is_ok();
        match answer {
            Ok(()) => (entry.latency, entry.good) = (Some(took), entry.good + 1),
            Err(Fault::Theirs(why)) => (entry.last_failure, entry.bad) = (Some(why), entry.bad + 1),
            Err(Fault::Ours(why)) => return self.news.cannot_ask(&why, now),
        }
        (entry.last_duration, entry.answered) = (Some(took), Some(now));
        if entry.health.hear(is_good, now, (probe.rise, probe.fall)) {
            self.has_news = true;
            self.news.tell(question.target, entry, &before, now);
        }
    }

    fn start_due(&mut self, now: Instant) {
        for _ in 0..STARTS_PER_TICK {
            if self.asking.len() >= self.asking_max {
                break;
            }
            let Some((due, question)) = self.due.pop_first() else { break };
            if due > now {
                self.due.insert((due, question));
                break;
            }
            self.news.lag(now.duration_since(due), question.probe.interval, self.entries.len(), now);
            let (target, probe, trust) = (question.target, question.probe.clone(), self.trust.clone());
            self.asking.spawn(async move {
                let (answer, took) = ask(target, probe, trust).await;
                (question, answer, took)
            });
        }
    }

    /// All that are down, for each rule that asks.
    fn unhealthy(&self) -> BTreeSet<(Endpoint, std::net::Ipv4Addr)> {
        let down = self.entries.iter().filter(|(_, entry)| entry.health.verdict == Verdict::Down);
        down.flat_map(|(question, entry)| {
            entry.uses.iter().map(|user| (user.frontend, *question.target.ip()))
        })
        .collect()
    }

    /// A number from 0.1 to 1, always the same for one question.
    fn draw(&self, question: &Question) -> f64 {
        0.1 + 0.9 * (self.random.hash_one(question) as f64 / u64::MAX as f64)
    }
}

impl Entry {
    fn new(uses: Vec<Use>, health: Health, due: Instant) -> Self {
        let (latency, last_duration, answered, last_failure) = (None, None, None, None);
        let (is_spread, good, bad) = (false, 0, 0);
        Self { uses, health, due, is_spread, latency, last_duration, answered, last_failure, good, bad }
    }

    fn report(&self, question: &Question, now: Instant, wall: SystemTime) -> ProbeReport {
        let age = now.duration_since(self.health.since);
        let up = self.health.verdict != Verdict::Down;
        ProbeReport {
            target: question.target,
            probe: question.probe.clone(),
            frontends: self.uses.iter().map(|user| user.frontend).collect(),
            verdict: self.health.verdict,
            up,
            since: wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
            age,
            reason: self.last_failure.clone().filter(|_| !up),
            latency: self.latency,
            last_duration: self.last_duration,
            last_answer: self.answered.map(|at| now.duration_since(at)),
            last_failure: self.last_failure.clone(),
            good_total: self.good,
            bad_total: self.bad,
            flaps: self.health.flaps,
        }
    }
}

/// All that `model` asks, with the rules that ask it. Backends in any state are asked, so that what they are is known
/// when an operator lets them follow the probe again.
fn questions(model: &Model) -> BTreeMap<Question, Vec<Use>> {
    let mut questions: BTreeMap<Question, Vec<Use>> = BTreeMap::new();
    for rule in &model.rules {
        let Some(probe) = &rule.probe else { continue };
        let port = probe.port.unwrap_or(rule.backend_port);
        for backend in &rule.pool.backends {
            let target = SocketAddrV4::new(backend.address, port);
            let user = Use { rule: rule.name.clone(), frontend: rule.frontend };
            questions.entry(Question { target, probe: probe.clone() }).or_default().push(user);
        }
    }
    questions
}
