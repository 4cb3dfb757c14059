//! The end of flows whose backend's drain has passed its deadline.

use super::line::WAYS;
use super::lines::{Lines, flow_hash};
use super::{End, Key, Position};
use crate::dataplane::counters::WorkerCounters;
use crate::snapshot::{BackendId, Leaving, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};

/// How often the ends of a flow are asked, once a round of the sweep. Who says nothing in that time, three seconds or
/// more, is gone.
const ASKS_MAX: u32 = 6;

/// A flow is kept for so long after both its ends were told, for what they had on its way: that is answered by
/// resets too, and the last of them is at the right number.
const KEPT_TICKS: u32 = 2 * TICKS_PER_SECOND;

/// A flow whose ends are to be asked where they are.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Silent<K> {
    pub(in crate::dataplane) key: K,
    pub(in crate::dataplane) backend: BackendId,
    /// How often they have been asked before.
    pub(in crate::dataplane) asked: u32,
    /// Which of them know already.
    pub(in crate::dataplane) is_client_told: bool,
    pub(in crate::dataplane) is_backend_told: bool,
    /// Where the flow is, if that is known: then nobody need be asked.
    pub(in crate::dataplane) at: Option<Position>,
}

impl<K: Key> Lines<'_, K> {
    /// Looks at one line for flows that are to be reset. `ask` asks the ends of one, and says whether there was room
    /// for the question; if not, its turn comes with the next round.
    pub(super) fn reset_some(
        &mut self,
        index: usize,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
        ask: &mut impl FnMut(Silent<K>) -> bool,
    ) {
        for way in 0..WAYS {
            let Some((key, value)) = self.entry(index, way) else { continue };
            let backend = world.to_backend(value.backend());
            let Some(backend) = backend.filter(|b| b.leaving == Leaving::Reset) else {
                continue;
            };
            let told = [End::Client, End::Backend].map(|end| value.is_told(end));
            let [is_client_told, is_backend_told] = told;
            let asked = value.asked();
            let silent =
                Silent { key, backend: value.backend(), asked, is_client_told, is_backend_told, at: None };
            if backend.rewrite.is_udp || !key.may_be_tcp() {
                self.clear(index, way, &counters.flow.expired, world, counters);
            } else if told == [true; 2] {
                if now.since(value.seen()) > KEPT_TICKS {
                    self.clear(index, way, &counters.reset.flows, world, counters);
                }
            } else if asked >= ASKS_MAX {
                let is_reset = told != [false; 2];
                let ended = if is_reset { &counters.reset.flows } else { &counters.reset.flows_unanswered };
                self.clear(index, way, ended, world, counters);
            } else if ask(silent) {
                self.set_value(index, way, value.asked_again());
            }
        }
    }

    /// Notes that an end of the flow was told, if the flow is recorded here and still at that backend: its client may
    /// have begun anew from the same port.
    pub(in crate::dataplane) fn note_told(
        &mut self,
        end: End,
        key: K,
        backend: BackendId,
        world: &Snapshot,
        now: Tick,
    ) {
        let Some(hash) = flow_hash(key, world) else { return };
        let tag = self.tag(key);
        for index in [self.first_line(hash), self.second_line(hash)] {
            if let Some(value) = self.lines.get_mut(index).and_then(|line| line.value_of(tag)) {
                if value.backend() == backend {
                    *value = value.told(end, now);
                }
                return;
            }
        }
    }
}
