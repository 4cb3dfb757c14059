//! The end of flows that are over.

use super::bindings::{Binding, Bindings, Place};
use super::ending;
use super::ports::count_ended;
use crate::dataplane::counters::WorkerCounters;
use crate::dataplane::lanes::Outcomes;
use crate::packet::WideKey;
use crate::snapshot::{Leaving, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};

/// Places that are looked at in one sweep, at most, so that no packet waits long for it: some microseconds.
const SWEEP_PLACES: usize = 1024;

/// A flow that was reset because its backend's drain is over is kept for so long, for what its ends had on their way.
const KEPT_TICKS: u32 = 2 * TICKS_PER_SECOND;

/// What a sweep goes by.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Swept<'a> {
    pub(in crate::dataplane) world: &'a Snapshot,
    pub(in crate::dataplane) now: Tick,
    pub(in crate::dataplane) counters: &'a WorkerCounters,
}

/// Frees the ports of flows that are over: of as large a part of all as `lines` are of `all_lines`.
pub(in crate::dataplane) fn sweep(
    bindings: &mut Bindings,
    (lines, all_lines): (usize, usize),
    outcomes: &mut Outcomes,
    around: Swept<'_>,
) {
    if !bindings.is_empty() {
        let share = lines * bindings.places_in_use() / all_lines.max(1) + 1;
        sweep_some(bindings, share.min(SWEEP_PLACES), outcomes, around);
    }
}

/// The same of all, however long that takes. Whether there was room to tell all ends.
pub(in crate::dataplane) fn sweep_all(
    bindings: &mut Bindings,
    outcomes: &mut Outcomes,
    around: Swept<'_>,
) -> bool {
    bindings.is_empty() || sweep_some(bindings, bindings.places_in_use(), outcomes, around)
}

fn sweep_some(bindings: &mut Bindings, places: usize, outcomes: &mut Outcomes, around: Swept<'_>) -> bool {
    let mut all_told = true;
    bindings.sweep(places, |place, binding| {
        let (ends, is_told) = is_over(place, binding, outcomes, around);
        all_told &= is_told;
        ends
    });
    all_told
}

/// Whether the flow is to be forgotten; and whether its ends were told, if they are to be.
fn is_over(
    place: Place,
    binding: &mut Binding,
    outcomes: &mut Outcomes,
    Swept { world, now, counters }: Swept<'_>,
) -> (bool, bool) {
    let value = binding.value;
    let is_resetting = ending::is_tcp(place)
        && world.to_backend(value.backend()).is_some_and(|backend| backend.leaving == Leaving::Reset);
    let is_idle = value.is_over(idle_ticks(binding.key(), world), now);
    if is_resetting && value.is_ended() {
        let is_over = is_idle || now.since(value.seen()) > KEPT_TICKS;
        if is_over {
            count_ended(value, &counters.reset.flows, counters);
        }
        return (is_over, true);
    }
    let wants_reset = world.frontend_of(binding.key()).is_some_and(|frontend| frontend.tcp_reset);
    let is_reset = is_resetting || is_idle && wants_reset && value.is_established() && ending::is_tcp(place);
    if is_reset && !value.is_ended() {
        let is_told = ending::reset_both(binding, place, outcomes, world, counters);
        if is_told {
            binding.value = value.ended(now);
        }
        return (false, is_told);
    }
    if is_idle {
        count_ended(value, &counters.flow.expired, counters);
    }
    (is_idle, true)
}

pub(super) fn idle_ticks(key: WideKey, world: &Snapshot) -> u32 {
    world.frontend_of(key).map_or(0, |frontend| frontend.idle_ticks)
}
