//! What the answers of one endpoint come to.

use std::time::{Duration, Instant};

/// An endpoint that goes down again within this time of coming up has flapped.
const FLAP_WINDOW: Duration = Duration::from_secs(60);

/// So many flaps in a row cost nothing.
const FLAPS_FREE: u32 = 2;

/// The longest that a flapping endpoint must answer well before it is up again.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Whether an endpoint is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not asked yet. It counts as up, and its first answer decides.
    Unknown,
    /// It gets flows.
    Up,
    /// It gets none.
    Down,
}

/// Verdict and counts of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) verdict: Verdict,
    /// The time of the verdict.
    pub(super) since: Instant,
    /// Answers in a row that speak against the verdict.
    contrary: u32,
    /// Since when all answers have been good.
    good_since: Option<Instant>,
    /// How often in a row it went down soon after it had come up.
    pub(super) flaps: u32,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { verdict: Verdict::Unknown, since: now, contrary: 0, good_since: None, flaps: 0 }
    }

    /// The same verdict under other settings.
    pub(super) fn carried_over(&self) -> Self {
        Self { contrary: 0, ..self.clone() }
    }

    /// Takes an answer; whether the verdict is another now.
    pub(super) fn hear(&mut self, is_good: bool, now: Instant, (rise, fall): (u32, u32)) -> bool {
        let before = self.verdict;
        let good_since = is_good.then(|| self.good_since.unwrap_or(now));
        self.good_since = good_since;
        match (self.verdict, is_good) {
            (Verdict::Unknown, true) => self.turn(Verdict::Up, now),
            (Verdict::Unknown, false) => self.turn(Verdict::Down, now),
            (Verdict::Up, true) | (Verdict::Down, false) => self.contrary = 0,
            (Verdict::Up, false) => {
                self.contrary += 1;
                if self.contrary >= fall {
                    let soon = now.duration_since(self.since) < FLAP_WINDOW;
                    self.flaps = if soon { self.flaps.saturating_add(1) } else { 0 };
                    self.turn(Verdict::Down, now);
                }
            }
            (Verdict::Down, true) => {
                self.contrary += 1;
                let held = good_since.map_or(Duration::ZERO, |since| now.duration_since(since));
                if self.contrary >= rise && held >= self.hold() {
                    self.turn(Verdict::Up, now);
                }
            }
        }
        self.verdict != before
    }

    /// Whether the last answer speaks against the verdict.
    pub(super) fn is_turning(&self) -> bool {
        self.contrary > 0
    }

    /// How long it must have answered well before it is up again: nothing at first, then doubling.
    fn hold(&self) -> Duration {
        match self.flaps.checked_sub(FLAPS_FREE + 1) {
            None => Duration::ZERO,
            Some(beyond) => Duration::from_secs(2 << beyond.min(5)).min(HOLD_MAX),
        }
    }

    fn turn(&mut self, verdict: Verdict, now: Instant) {
        (self.verdict, self.since, self.contrary) = (verdict, now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer a second, `+` good and `-` bad; the verdict after each: `u`p or `d`own.
    fn story(answers: &str, limits: (u32, u32)) -> String {
        let start = Instant::now();
        let mut health = Health::new(start);
        let mut last = Verdict::Unknown;
        let tell = |(second, answer): (u64, char)| {
            let changed = health.hear(answer == '+', start + Duration::from_secs(second + 1), limits);
            assert_eq!(changed, health.verdict != last, "{answers}, second {second}");
            last = health.verdict;
            if last == Verdict::Up { 'u' } else { 'd' }
        };
        (0..).zip(answers.chars()).map(tell).collect()
    }

    #[test]
    fn the_first_answer_decides_then_so_many_in_a_row() {
        let cases = [
            ("+", (3, 3), "u"),
            ("-", (3, 3), "d"),
            ("+--+--", (1, 3), "uuuuuu"),
            ("+---", (1, 3), "uuud"),
            ("-++-+++", (3, 1), "ddddddu"),
            ("+-+-", (1, 1), "udud"),
            ("+--+", (1, 2), "uudu"),
            ("----++", (2, 2), "dddddu"),
        ];
        for (answers, limits, verdicts) in cases {
            assert_eq!(story(answers, limits), verdicts, "{answers} {limits:?}");
        }
    }

    #[test]
    fn flapping_is_held_down_longer_each_time_and_never_longer_than_a_minute() {
        // Two flaps are free; the third costs 2 s of good answers, the fourth 4 s.
        assert_eq!(story("+-+-+-+++", (1, 1)), "udududddu");
        assert_eq!(story("+-+-+-+++-+++++", (1, 1)), "udududdduddddd".to_owned() + "u");
        // A bad answer among them begins the count anew.
        assert_eq!(story("+-+-+-++-+++", (1, 1)), "udududdddddu");
        // However often: a minute, and after a quiet minute of being up it is forgotten.
        let mut answers = "+-".repeat(3);
        for _ in 0..20 {
            answers += &("+".repeat(61) + "-");
        }
        let verdicts = story(&answers, (1, 1));
        assert!(verdicts.ends_with(&("d".repeat(60) + "ud")), "{verdicts}");
        let quiet = story(&("+-+-+-+++".to_owned() + &"+".repeat(60) + "-+"), (1, 1));
        assert!(quiet.ends_with("udu"), "{quiet}");
    }
}
