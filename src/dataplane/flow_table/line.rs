//! A line of the table: four flows in 64 bytes, or in 128 where keys are wide.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::key::Key;

use super::entry::{DISPLACED_MASK, DISPLACED_SHIFT, End, State, Value};
use super::table::idle_ticks;
use super::{Found, Query};
use crate::snapshot::{Leaving, Snapshot};
use crate::tick::Tick;
use crate::wire::l4::TcpFlags;

/// Entries of a line.
pub(super) const WAYS: usize = 4;

/// Keys and values of four flows. A key of zero is a free place. The table's memory begins with a page, so that lines
/// begin with cache lines.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub(in crate::dataplane) struct Line<K: Key>(K::Rows);

impl<K: Key> Line<K> {
    #[inline(always)]
    pub(super) fn key(&self, way: usize) -> K {
        K::at(&self.0, way)
    }

    #[inline(always)]
    pub(super) fn values(&self) -> [Value; WAYS] {
        K::values(&self.0).map(Value)
    }

    #[inline(always)]
    pub(super) fn value(&self, way: usize) -> Value {
        Value(K::values(&self.0)[way])
    }

    #[inline(always)]
    pub(super) fn value_mut(&mut self, way: usize) -> &mut Value {
        zerocopy::transmute_mut!(&mut K::values_mut(&mut self.0)[way])
    }

    /// Where the flow is.
    #[inline(always)]
    pub(super) fn way_of(&self, key: K) -> Option<usize> {
        key.position(&self.0)
    }

    /// The entry's value, if the flow is here.
    #[inline(always)]
    pub(in crate::dataplane) fn value_of(&mut self, key: K) -> Option<&mut Value> {
        self.way_of(key).map(|way| self.value_mut(way))
    }

    /// Whether a flow that is not here can be in its second line, or will have to go there.
    #[inline(always)]
    pub(in crate::dataplane) fn may_go_on(&self) -> bool {
        self.displaced() != 0 || self.empty_way().is_none()
    }

    /// A way without a flow.
    #[inline(always)]
    pub(super) fn empty_way(&self) -> Option<usize> {
        K::empty_way(&self.0)
    }

    /// The way of the flow that has waited longest among those that give way first, leaving out the ones for
    /// which another line would have to be asked for.
    #[inline(always)]
    pub(super) fn first_to_go(&self, now: Tick) -> Option<usize> {
        let ready = self.values().map(|value| value.readiness_to_go(now));
        let earlier = |a: usize, b: usize| if ready[b] > ready[a] { b } else { a };
        let way = earlier(earlier(0, 1), earlier(2, 3));
        (ready[way] > 0).then_some(way)
    }

    /// Whether any flow has been idle for longer than the shortest timeout of all.
    #[inline(always)]
    pub(super) fn may_have_ended(&self, world: &Snapshot, now: Tick) -> bool {
        let lifetime = Value::lifetime_min(world.idle_ticks_min);
        (0..WAYS).any(|way| !self.key(way).is_none() && now.since(self.value(way).seen()) > lifetime)
    }

    /// The flow of `query`, if it is here. Its last-seen tick and state move on.
    pub(super) fn find(&mut self, query: &Query<'_, K>) -> Option<Found> {
        let value = self.value_of(query.key)?;
        let old = *value;
        if query.frontend.tcp_reset && !query.is_udp && !query.flags.opens() {
            let is_idle = old.is_established() && old.is_over(query.frontend.idle_ticks, query.now);
            if is_idle || old.is_ended() && !old.is_over(query.frontend.idle_ticks, query.now) {
                *value = old.ended(query.now);
                return Some(Found::Reset(old.backend()));
            }
        }
        if old.is_over(query.frontend.idle_ticks, query.now) {
            return Some(Found::Stale);
        }
        let (found, new) = settle(old, query);
        if new != old {
            *value = new;
        }
        Some(found)
    }

    #[inline]
    pub(super) fn entry(&self, way: usize) -> (K, Value) {
        (self.key(way), self.value(way))
    }

    /// A way that is empty, or whose flow is over.
    pub(super) fn free_way(&self, world: &Snapshot, now: Tick) -> Option<usize> {
        let is_free = |way: &usize| {
            let (key, value) = self.entry(*way);
            key.is_none() || value.is_over(idle_ticks(key, world), now)
        };
        (0..WAYS).find(is_free)
    }

    #[inline(always)]
    pub(super) fn set(&mut self, way: usize, key: K, value: Value) {
        key.put(&mut self.0, way);
        let displaced = self.value(way).0 & DISPLACED_MASK;
        *self.value_mut(way) = Value(displaced | value.0 & !DISPLACED_MASK);
    }

    pub(super) fn free(&mut self, way: usize) {
        K::default().put(&mut self.0, way);
        self.value_mut(way).0 &= DISPLACED_MASK;
    }

    #[inline]
    pub(super) fn displaced(&self) -> u64 {
        self.value(0).0 >> DISPLACED_SHIFT
    }

    pub(super) fn add_displaced(&mut self) {
        if self.displaced() < 0xff {
            self.value_mut(0).0 += 1 << DISPLACED_SHIFT;
        }
    }

    pub(super) fn subtract_displaced(&mut self) {
        if (1..0xff).contains(&self.displaced()) {
            self.value_mut(0).0 -= 1 << DISPLACED_SHIFT;
        }
    }
}

/// The bits that change a flow's state.
pub(in crate::dataplane) const TURNS: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;

/// The same for a flow that is kept elsewhere: its value after a packet with `flags`; `None` if it is over, or its
/// backend takes no more of it.
pub(in crate::dataplane) fn settle_flow(
    old: Value,
    flags: TcpFlags,
    idle_ticks: u32,
    world: &Snapshot,
    now: Tick,
) -> Option<Value> {
    if old.is_over(idle_ticks, now) {
        return None;
    }
    let leaving = world.to_backend(old.backend())?.leaving;
    let stays = if flags.opens() {
        matches!(old.state(), State::HalfOpen | State::Established) && leaving == Leaving::None
    } else {
        // The client's own reset goes on to a backend whose flows are reset.
        let is_last = leaving == Leaving::Reset && flags.any(TcpFlags::RST);
        is_last || !leaving.takes(flags == TcpFlags::default())
    };
    stays.then(|| old.touched(flags, now))
}

/// Whether the flow's next packet goes where the ones before it went, and its value afterwards. UDP leaves a
/// backend that is down, and so does a TCP flow that only now begins, by a SYN.
fn settle<K: Key>(old: Value, query: &Query<'_, K>) -> (Found, Value) {
    let Query { flags, now, .. } = *query;
    let Some(backend) = query.world.to_backend(old.backend()) else { return (Found::Stale, old) };
    if flags.opens() {
        // A client that uses its port again is a new flow, once the old one was closing. On a flow that
        // lives, the SYN may have been made up by somebody else.
        let lives = matches!(old.state(), State::HalfOpen | State::Established);
        let stays = lives && backend.leaving == Leaving::None;
        return if stays {
            (Found::Backend(old.backend()), old.touched(flags, now))
        } else {
            (Found::Stale, old)
        };
    }
    match backend.leaving {
        Leaving::Reset if !query.is_udp => {
            let id = old.backend();
            // The client's own reset goes on to the backend.
            let found = if flags.any(TcpFlags::RST) { Found::Backend(id) } else { Found::Reset(id) };
            (found, old.told(End::Client, now))
        }
        leaving if leaving.takes(query.is_udp) => (Found::Stale, old),
        _ => (Found::Backend(old.backend()), old.touched(flags, now)),
    }
}

#[inline]
pub(super) fn prefetch<K: Key>(line: Option<&Line<K>>) {
    if let Some(line) = line {
        #[cfg(target_arch = "x86_64")]
        {
            safe_arch::prefetch_t0(line);
            // Of a wide one the values lie in a cache line of their own.
            if let Some(second) = line.as_bytes().get(64) {
                safe_arch::prefetch_t0(second);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}
