//! Probes: asks every endpoint that a rule's probe names, and tells the manager which are down.
//!
//! One endpoint under one set of settings is asked once, however many rules use it. Questions are tasks of the management
//! thread's runtime; they go out by the host's network, or by guideway's own ports. Whoever would be due again first is asked
//! first, so none starves; how many are asked at once, and how many in a second, is bounded. `docs/PROBES.md` tells what
//! that comes to.

mod ask;
mod health;
mod news;
mod pace;
mod port;
mod rules;
mod tls;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

pub use self::ask::Failure;
use self::ask::{Answer, Fault, Means, ask};
use self::health::Health;
pub use self::health::Verdict;
use self::news::News;
use self::pace::Pace;
use self::port::PortWay;
use self::rules::DeadRules;
use self::tls::Trust;
use super::manager::Manager;
use crate::config::{Frontend, Model, Probe};

/// The most questions that wait for an answer, if descriptors allow: this many silent endpoints with a timeout of 2 s and
/// an interval of 5 s hold nobody up at 5,000 endpoints.
const ASKING_MAX: usize = 2048;

/// Descriptors that the process asks the kernel for; probes take half.
const DESCRIPTORS: u64 = 2 * ASKING_MAX as u64;

/// New endpoints are asked for the first time within so long for each of them, at most an interval.
const FIRST_SPREAD: Duration = Duration::from_millis(2);

/// Next hops are asked for once a second from when they are needed. A new endpoint is asked when its next hop is known,
/// or after so long.
const NEIGHBOUR_GRACE: Duration = Duration::from_secs(3);

/// Between two looks whether it is known.
const NEIGHBOUR_INTERVAL: Duration = Duration::from_millis(200);

/// Between two snapshots for the probes' sake: each takes some milliseconds where there are many rules.
const APPLY_INTERVAL: Duration = Duration::from_millis(50);

/// What is asked: the same for two rules is asked once.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Question {
    target: SocketAddr,
    probe: Arc<Probe>,
}

/// A rule for whose sake a question is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Use {
    rule: String,
    frontend: Frontend,
}

struct Entry {
    uses: Vec<Use>,
    health: Health,
    /// When it is or was to be asked.
    due: Instant,
    /// How often it has been asked, from a number that was drawn.
    asked: u16,
    /// Whether it is being asked now.
    is_asked: bool,
    /// Whether its place in the interval has been drawn.
    is_spread: bool,
    latency: Option<Duration>,
    last_duration: Option<Duration>,
    answered: Option<Instant>,
    last_failure: Option<(Failure, String)>,
    good: u64,
    bad: u64,
}

/// What is known of one endpoint.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// Address and port that are asked.
    pub target: SocketAddr,
    /// How.
    pub probe: Arc<Probe>,
    /// The frontends of the rules that ask.
    pub frontends: Vec<Frontend>,
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
    /// In a word.
    pub failure: Option<Failure>,
    /// Whether the last answer speaks against the verdict.
    pub turning: bool,
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
    /// Those that wait for their time, by that.
    due: BTreeSet<(Instant, Arc<Question>)>,
    /// Those that have been due, by the time that they will be again.
    overdue: BTreeSet<(Instant, Arc<Question>)>,
    asking: JoinSet<(Arc<Question>, Answer, Duration)>,
    asking_max: usize,
    trust: Arc<Trust>,
    /// Since the first call, which tells of the rings.
    means: Option<Means>,
    /// Draws each question's place in the interval.
    random: RandomState,
    /// The manager's count of changes that the entries stand for.
    followed: Option<u64>,
    /// Whether the manager has not been told of a verdict.
    has_news: bool,
    apply_at: Instant,
    pace: Pace,
    news: News,
    dead_rules: DeadRules,
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
            overdue: BTreeSet::new(),
            asking: JoinSet::new(),
            asking_max: ASKING_MAX.min(descriptors as usize / 2).max(1),
            trust: Arc::new(Trust::new().map_err(std::io::Error::other)?),
            means: None,
            random: RandomState::new(),
            followed: None,
            has_news: false,
            apply_at: now,
            pace: Pace::new(now),
            news: News::new(now),
            dead_rules: DeadRules::default(),
        })
    }

    /// Does what is due: follows the configuration, takes answers, tells the manager, asks. To be called every few
    /// milliseconds, on a tokio runtime.
    pub fn advance(&mut self, manager: &mut Manager) {
        let now = Instant::now();
        self.pace.advance(now);
        let means = self.means.get_or_insert_with(|| {
            let ports = PortWay::new(manager.events(), manager.originated());
            Means { trust: self.trust.clone(), ports, lost: self.pace.lost() }
        });
        means.ports.advance(manager.snapshot());
        if self.followed != Some(manager.changes()) {
            means.ports.follow(manager.model());
            means.trust = Arc::new(self.trust.follow(manager.model()));
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
            self.dead_rules.advance(&manager.model().rules, manager.runtime(), &mut self.news, now);
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
        for queue in [&mut self.due, &mut self.overdue] {
            queue.retain(|(_, question)| self.entries.contains_key(question));
        }
        let mut verdicts = BTreeMap::new();
        for (question, entry) in &before {
            let backends = entry.uses.iter().map(|user| (user.frontend, question.target.ip()));
            verdicts.extend(backends.map(|backend| (backend, &entry.health)));
        }
        let spread = FIRST_SPREAD * u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for (question, uses) in fresh {
            let known = uses.iter().find_map(|user| verdicts.get(&(user.frontend, question.target.ip())));
            let health = known.map_or_else(|| Health::new(now), |health| health.carried_over());
            let due = now + spread.min(question.probe.interval).mul_f64(self.draw(&question));
            self.due.insert((due, question.clone()));
            let asked = RandomState::new().hash_one(&question) as u16;
            self.entries.insert(question, Entry::new(uses, health, due, asked));
        }
    }

    /// Takes one answer.
    fn hear(&mut self, question: &Arc<Question>, answer: Answer, took: Duration, now: Instant) {
        let draw = self.draw(question);
        // It may be of a question that nobody asks any more, or that was dropped and came back meanwhile.
        let Some(entry) = self.entries.get_mut(question).filter(|entry| entry.is_asked) else { return };
        entry.is_asked = false;
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
            Err(Fault::Theirs(failure, why)) => {
                log::debug!("probe of {}: {why}", question.target);
                (entry.last_failure, entry.bad) = (Some((failure, why)), entry.bad + 1);
            }
            Err(Fault::Ours(why)) => return self.news.cannot_ask(&why, now),
        }
        (entry.last_duration, entry.answered) = (Some(took), Some(now));
        if entry.health.hear(is_good, now, (probe.rise, probe.fall)) {
            self.has_news = true;
            self.news.tell(question.target, entry, &before, now);
        }
    }

    /// Whoever would be due again first is asked first: a short interval suffers no more from lateness than a long one,
    /// and nobody starves.
    fn start_due(&mut self, now: Instant) {
        let Some(means) = &self.means else { return };
        while let Some((due, question)) = self.due.pop_first() {
            if due > now {
                self.due.insert((due, question));
                break;
            }
            self.overdue.insert((due + question.probe.interval, question));
        }
        while self.pace.may_start() && self.asking.len() < self.asking_max {
            let Some((again, question)) = self.overdue.pop_first() else { break };
            let (late, interval) = (now.checked_duration_since(again), question.probe.interval);
            self.news.lag(late.map(|late| late + interval), self.entries.len(), now);
            let Some(entry) = self.entries.get_mut(&question) else { continue };
            if entry.is_new(now) && !means.know_the_way(question.target, &question.probe) {
                entry.due = now + NEIGHBOUR_INTERVAL;
                self.due.insert((entry.due, question));
                continue;
            }
            self.pace.started();
            (entry.is_asked, entry.asked) = (true, entry.asked.wrapping_add(1));
            let (target, probe, nth) = (question.target, question.probe.clone(), entry.asked);
            let means = means.clone();
            self.asking.spawn(async move {
                let (answer, took) = ask(target, probe, nth, means).await;
                (question, answer, took)
            });
        }
    }

    /// All that are down, for each rule that asks.
    fn unhealthy(&self) -> BTreeSet<(Frontend, std::net::IpAddr)> {
        let down = self.entries.iter().filter(|(_, entry)| entry.health.verdict == Verdict::Down);
        down.flat_map(|(question, entry)| entry.uses.iter().map(|user| (user.frontend, question.target.ip())))
            .collect()
    }

    /// A number from 0.1 to 1, always the same for one question.
    fn draw(&self, question: &Question) -> f64 {
        0.1 + 0.9 * (self.random.hash_one(question) as f64 / u64::MAX as f64)
    }
}

impl Entry {
    fn new(uses: Vec<Use>, health: Health, due: Instant, asked: u16) -> Self {
        let (latency, last_duration, answered, last_failure) = (None, None, None, None);
        let (is_asked, is_spread, good, bad) = (false, false, 0, 0);
        Self {
            uses,
            health,
            due,
            asked,
            is_asked,
            is_spread,
            latency,
            last_duration,
            answered,
            last_failure,
            good,
            bad,
        }
    }

    /// Whether it has not been asked, and its next hop may not have had the time to answer.
    fn is_new(&self, now: Instant) -> bool {
        let age = now.duration_since(self.health.since);
        self.health.verdict == Verdict::Unknown && age < NEIGHBOUR_GRACE
    }

    fn report(&self, question: &Question, now: Instant, wall: SystemTime) -> ProbeReport {
        let age = now.duration_since(self.health.since);
        let up = self.health.verdict != Verdict::Down;
        let (failure, last_failure) = self.last_failure.clone().unzip();
        ProbeReport {
            target: question.target,
            probe: question.probe.clone(),
            frontends: self.uses.iter().map(|user| user.frontend).collect(),
            verdict: self.health.verdict,
            up,
            since: wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
            age,
            reason: last_failure.clone().filter(|_| !up),
            latency: self.latency,
            last_duration: self.last_duration,
            last_answer: self.answered.map(|at| now.duration_since(at)),
            last_failure,
            failure,
            turning: self.health.is_turning(),
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
            let target = SocketAddr::new(backend.address, port);
            let user = Use { rule: rule.name.clone(), frontend: rule.frontend };
            questions.entry(Question { target, probe: probe.clone() }).or_default().push(user);
        }
    }
    questions
}
