//! Two looks at counters made into rates, for `show status` and `top`.

use super::show::{count, percent};
use crate::control::views::{Status, Worker};

/// Whether `now` is of the same process as `before`, so that their difference means something.
pub(super) fn follows(now: &Status, before: &Status) -> bool {
    now.pid == before.pid && now.uptime_seconds >= before.uptime_seconds
}

/// How much a second; `None` where nobody can tell.
pub(super) fn rate(now: u64, before: Option<u64>, seconds: f64) -> Option<f64> {
    // A counter that has gone back is another's.
    Some(now.checked_sub(before?)? as f64 / seconds)
}

/// `None` too where there is nothing to be a part of.
fn ratio(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    Some(part? / whole?).filter(|ratio| ratio.is_finite())
}

pub(super) const WORKER_COLUMNS: [&str; 6] =
    ["worker", ">busy polls", ">packets/burst", ">received/s", ">transmitted/s", ">dropped/s"];

/// What stands in these columns behind the first: the number, and how it is shown.
pub(super) fn worker(now: &Worker, before: Option<&Worker>, seconds: f64) -> [(Option<f64>, String); 5] {
    let rate = |of: fn(&Worker) -> u64| rate(of(now), before.map(of), seconds);
    let shown = |value: Option<f64>, show: fn(f64) -> String| (value, value.map_or_else(|| "-".into(), show));
    [
        shown(ratio(rate(|w| w.busy_polls), rate(|w| w.polls)), percent),
        shown(ratio(rate(|w| w.received + w.taken_over), rate(|w| w.bursts)), |frames| {
            format!("{frames:.1}")
        }),
        shown(rate(|w| w.received), count),
        shown(rate(|w| w.transmitted), count),
        shown(rate(|w| w.dropped), count),
    ]
}
