//! Flows that are reset when they have been idle for too long.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::line::WAYS;
use super::lines::Lines;
use super::{End, Key, Silent, State, Value};
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::wire::bare::Numbers;

/// Where a TCP flow is, by its client's segments: both ends are at rest there when it is idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(in crate::dataplane) struct Position {
    /// What the client sends next, and the backend expects.
    pub(in crate::dataplane) from_client: u32,
    /// What the client expects next.
    pub(in crate::dataplane) to_client: u32,
}

impl Position {
    /// After a segment of the client's.
    pub(in crate::dataplane) fn after(numbers: Numbers) -> Self {
        Self { from_client: numbers.sequence.wrapping_add(numbers.len), to_client: numbers.acknowledgement }
    }

    /// Segments sent again do not take it back.
    pub(in crate::dataplane) fn advanced_to(self, other: Self) -> Self {
        // A SYN acknowledges nothing: its zero is no number to go on from.
        let later = |old: u32, new: u32| if old == 0 || new.wrapping_sub(old) as i32 > 0 { new } else { old };
        Self {
            from_client: later(self.from_client, other.from_client),
            to_client: later(self.to_client, other.to_client),
        }
    }
}

impl<K: Key> Lines<'_, K> {
    /// Keeps where the flow is after a segment of its client's.
    pub(in crate::dataplane) fn track(&mut self, key: K, hash: u64, numbers: Numbers) {
        for index in [self.first_line(hash), self.second_line(hash)] {
            let Some(line) = self.lines.get(index) else { continue };
            let Some(way) = line.way_of(self.tag(key)) else { continue };
            // Of a flow's first packets there is nothing to go on from: the place may have been another's.
            let begins = matches!(line.value(way).state(), State::HalfOpen | State::Fresh);
            if let Some(position) = self.numbers.get_mut(index * WAYS + way) {
                let new = Position::after(numbers);
                *position = if begins { new } else { position.advanced_to(new) };
            }
            return;
        }
    }

    /// Has the ends of flows reset that have been idle for too long. Each is kept for a while after that, so that what
    /// still comes is answered. Whether all of the line could be told.
    pub(super) fn end_idle(
        &mut self,
        index: usize,
        world: &Snapshot,
        now: Tick,
        ask: &mut impl FnMut(Silent<K>) -> bool,
    ) -> bool {
        for way in 0..WAYS {
            let Some(line) = self.lines.get(index) else { return true };
            // For nearly all that settles it, without a look at the key.
            let value = line.value(way);
            if !value.is_established() || now.since(value.seen()) <= world.idle_ticks_min {
                continue;
            }
            let Some((key, value)) = self.entry(index, way) else { continue };
            let Some(frontend) = world.frontend_of(key).filter(|frontend| frontend.tcp_reset) else {
                continue;
            };
            if !value.is_over(frontend.idle_ticks, now) {
                continue;
            }
            let backend = world.to_backend(value.backend());
            let is_udp = !key.may_be_tcp() || backend.is_none_or(|backend| backend.rewrite.is_udp);
            let Some(position) = self.numbers.get(index * WAYS + way).copied().filter(|_| !is_udp) else {
                continue;
            };
            let (is_client_told, is_backend_told) = (false, false);
            let at = Some(position);
            let flow =
                Silent { key, backend: value.backend(), asked: 0, is_client_told, is_backend_told, at };
            if !ask(flow) {
                return false;
            }
            self.set_value(index, way, value.ended(now));
        }
        true
    }
}

impl Value {
    /// Whether both ends have been told that the flow is over.
    pub(in crate::dataplane) fn is_ended(self) -> bool {
        self.is_told(End::Client) && self.is_told(End::Backend)
    }

    /// After both were told.
    pub(in crate::dataplane) fn ended(self, now: Tick) -> Self {
        self.told(End::Client, now).told(End::Backend, now)
    }
}
