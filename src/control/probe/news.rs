//! What operators hear of probes: one line for each new verdict, and not too many of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Entry;
use super::health::{Health, Verdict};
use crate::config::{NoHealthyBackends, Rule};

/// Lines on new verdicts in one second; the others are counted.
const LINES_MAX: usize = 50;

/// Between two complaints that probes are late, or cannot be sent.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct News {
    second: Instant,
    lines: usize,
    lag_at: Instant,
    cannot_ask_at: Instant,
}

impl News {
    pub(super) fn new(now: Instant) -> Self {
        Self { second: now, lines: 0, lag_at: now, cannot_ask_at: now }
    }

    /// Tells the number of verdicts that were too many, when their second is over.
    pub(super) fn advance(&mut self, now: Instant) {
        if now.duration_since(self.second) < Duration::from_secs(1) {
            return;
        }
        if let Some(more @ 1..) = self.lines.checked_sub(LINES_MAX) {
            log::warn!("probes: {more} more backends and rules have gone up or down in the same second");
        }
        (self.second, self.lines) = (now, 0);
    }

    /// Tells of a verdict that has changed.
    pub(super) fn tell(&mut self, target: SocketAddr, entry: &Entry, before: &Health, now: Instant) {
        let first = before.verdict == Verdict::Unknown;
        let is_expected = first && entry.health.verdict == Verdict::Up;
        if !is_expected && !self.has_room() {
            return;
        }
        let names: Vec<&str> = entry.uses.iter().map(|user| user.rule.as_str()).collect();
        let rules = if names.len() == 1 { "rule" } else { "rules" };
        let whose = format!("probe of {rules} {}: backend {target}", names.join(", "));
        let latency = text(entry.latency.unwrap_or_default());
        let after = text(now.duration_since(before.since));
        match entry.health.verdict {
            Verdict::Down => {
                let why = entry.last_failure.as_ref().map_or("", |(_, why)| why);
                log::warn!("{whose} is down: {why}");
            }
            _ if is_expected => log::debug!("{whose} is up, answers in {latency}"),
            _ => log::info!("{whose} is up again after {after}, answers in {latency}"),
        }
    }

    /// Tells that a rule has no healthy backend any more.
    pub(super) fn rule_is_dead(&mut self, rule: &Rule) {
        let then = match rule.no_healthy_backends {
            NoHealthyBackends::Drop => "new flows are dropped",
            NoHealthyBackends::All => "new flows go to all of them",
        };
        if self.has_room() {
            log::error!("rule {}: no backend is healthy; {then}", rule.name);
        }
    }

    /// Tells that it has one again.
    pub(super) fn rule_is_back(&mut self, rule: &Rule, since: Instant, now: Instant) {
        if self.has_room() {
            log::info!(
                "rule {}: a backend is healthy again, after {}",
                rule.name,
                text(now.duration_since(since))
            );
        }
    }

    /// Counts a line; whether it may be said.
    fn has_room(&mut self) -> bool {
        self.lines += 1;
        self.lines <= LINES_MAX
    }

    /// Complains that this machine could not ask.
    pub(super) fn cannot_ask(&mut self, why: &str, now: Instant) {
        if now >= self.cannot_ask_at {
            self.cannot_ask_at = now + COMPLAINT_INTERVAL;
            log::error!("a probe could not be sent, and the backend keeps its verdict: {why}");
        }
    }

    /// Complains of a question that is asked so late that it was due again.
    pub(super) fn lag(&mut self, late: Option<Duration>, endpoints: usize, now: Instant) {
        if let Some(late) = late.filter(|_| now >= self.lag_at) {
            self.lag_at = now + COMPLAINT_INTERVAL;
            log::warn!(
                "probes are late, by {} now: {endpoints} endpoints are too many for their intervals and timeouts, or the \
                 management CPU is busy with others; ask less often, or wait less long",
                text(late)
            );
        }
    }
}

/// A duration to three digits or so.
fn text(duration: Duration) -> String {
    let micros = duration.as_micros() as u64;
    let rounded = match micros {
        0..10_000 => micros,
        10_000..1_000_000 => micros / 1_000 * 1_000,
        1_000_000..100_000_000 => micros / 100_000 * 100_000,
        _ => micros / 1_000_000 * 1_000_000,
    };
    humantime::format_duration(Duration::from_micros(rounded)).to_string()
}
