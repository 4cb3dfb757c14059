//! The end of flows whose backend's drain has passed its deadline.

use super::line::WAYS;
use super::{Lines, flow_hash};
use crate::packet::FlowKey;
use crate::snapshot::{BackendId, Leaving, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};

use crate::dataplane::counters::WorkerCounters;

/// How often the ends of a flow are asked, once a round of the sweep. Who says nothing in that time, three seconds or
/// more, is gone.
const ASKS_MAX: u32 = 6;

/// A flow that has been reset is kept for so long: a reset that came too late or too early is answered by the one who
/// got it, and the next one hits (RFC 5961 section 3.2). Two round trips of a slow path.
const KEPT_TICKS: u32 = 2 * TICKS_PER_SECOND;

/// A flow whose ends are to be asked where they are.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Silent {
    pub(in crate::dataplane) key: FlowKey,
    pub(in crate::dataplane) backend: BackendId,
    /// How often they have been asked before.
    pub(in crate::dataplane) asked: u32,
}

impl Lines<'_> {
    /// Looks at one line for flows that are to be reset. `ask` asks the ends of one, and says whether there was room
    /// for the question; if not, its turn comes with the next round.
    pub(super) fn reset_some(
        &mut self,
        index: usize,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
        ask: &mut impl FnMut(Silent) -> bool,
    ) {
        for way in 0..WAYS {
            let Some(line) = self.lines.get_mut(index) else { return };
            let (key, value) = line.entry(way);
            let backend = world.to_backend(value.backend());
            let Some(backend) = backend.filter(|b| key.0 != 0 && b.leaving == Leaving::Reset) else {
                continue;
            };
            let asked = value.asked();
            if backend.rewrite.is_udp {
                self.clear(index, way, &counters.flow.expired, world, counters);
            } else if value.is_reset() {
                if now.since(value.seen()) > KEPT_TICKS {
                    self.clear(index, way, &counters.reset.flows, world, counters);
                }
            } else if asked >= ASKS_MAX {
                self.clear(index, way, &counters.reset.flows_unanswered, world, counters);
            } else if ask(Silent { key, backend: value.backend(), asked })
                && let Some(value) = line.values.get_mut(way)
            {
                *value = value.asked_again();
            }
        }
    }

    /// Notes that the flow has been reset, if it is recorded here.
    pub(in crate::dataplane) fn note_reset(&mut self, key: FlowKey, world: &Snapshot, now: Tick) {
        let Some(hash) = flow_hash(key, world) else { return };
        for index in [self.first_line(hash), self.second_line(hash)] {
            if let Some(value) = self.lines.get_mut(index).and_then(|line| line.value_of(key)) {
                *value = value.reset(now);
                return;
            }
        }
    }
}
