//! The table passed by once, some lines at a time, for somebody who wants to know what is in it.

use std::ops::ControlFlow;

use super::line::{WAYS, prefetch};
use super::lines::idle_ticks;
use super::table::{BLOCK_LINES, Table};
use super::{Key, State};
use crate::snapshot::{BackendId, Snapshot};
use crate::tick::Tick;

/// A flow as it stands in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dataplane) struct Standing<K> {
    pub(in crate::dataplane) key: K,
    pub(in crate::dataplane) backend: BackendId,
    pub(in crate::dataplane) state: State,
    /// Since the client's last packet.
    pub(in crate::dataplane) idle_ticks: u32,
    /// Until the flow is forgotten, if no further packet comes.
    pub(in crate::dataplane) left_ticks: u32,
}

impl<K: Key> Table<K> {
    /// Shows `visit` the flows of the lines from `at` on that are not over, `lines` of them at most, and returns where
    /// to go on: `None` at the table's end. A block of lines without flows costs no more than one line. No flow is
    /// ever moved, so one that lives from the first line's turn to the last one's is shown exactly once.
    pub(in crate::dataplane) fn walk(
        &mut self,
        mut at: usize,
        lines: usize,
        world: &Snapshot,
        now: Tick,
        mut visit: impl FnMut(Standing<K>) -> ControlFlow<()>,
    ) -> Option<usize> {
        let len = self.lines();
        let open = self.open();
        for _ in 0..lines {
            open.lines.get(at)?;
            if at.is_multiple_of(BLOCK_LINES) && open.occupied.get(at / BLOCK_LINES) == Some(&0) {
                at += BLOCK_LINES;
                continue;
            }
            prefetch(open.lines.get(at + AHEAD));
            prefetch(open.rests.get(at + AHEAD));
            for way in 0..WAYS {
                let Some((key, value)) = open.entry(at, way) else { continue };
                let timeout = value.timeout(idle_ticks(key, world));
                let idle_ticks = now.since(value.seen());
                let Some(left_ticks) = timeout.checked_sub(idle_ticks) else { continue };
                let (backend, state) = (value.backend(), value.state());
                if visit(Standing { key, backend, state, idle_ticks, left_ticks }).is_break() {
                    return Some(at);
                }
            }
            at += 1;
        }
        (at < len).then_some(at)
    }
}

/// Lines that the memory is asked for beforehand.
const AHEAD: usize = 8;
