//! A line of the table: four flows in the 64 bytes of a cache line.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::key::Key;

use super::entry::{DISPLACED_MASK, DISPLACED_SHIFT, End, State, Value};
use super::{Found, Query};
use crate::packet::position;
use crate::snapshot::{Leaving, Snapshot};
use crate::tick::Tick;
use crate::wire::l4::TcpFlags;

/// Entries of a line.
pub(super) const WAYS: usize = 4;

/// A word of each flow of a line.
pub(super) type Row = [u64; WAYS];

/// What tags do not say of the keys of a line: two words of each.
pub(super) type Rest = [Row; 2];

/// Tags and values of four flows. The table's memory begins with a page, so that lines begin with cache lines.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(in crate::dataplane) struct Line {
    tags: Row,
    values: Row,
}

impl Line {
    /// The flow's tag; zero where there is none.
    #[inline(always)]
    pub(super) fn tag(&self, way: usize) -> u64 {
        self.tags[way]
    }

    #[inline(always)]
    pub(super) fn values(&self) -> [Value; WAYS] {
        self.values.map(Value)
    }

    #[inline(always)]
    pub(super) fn value(&self, way: usize) -> Value {
        Value(self.values[way])
    }

    #[inline(always)]
    pub(super) fn value_mut(&mut self, way: usize) -> &mut Value {
        zerocopy::transmute_mut!(&mut self.values[way])
    }

    /// Where the flow is.
    #[inline(always)]
    pub(super) fn way_of(&self, tag: u64) -> Option<usize> {
        position(&self.tags, tag)
    }

    /// The entry's value, if the flow is here.
    #[inline(always)]
    pub(in crate::dataplane) fn value_of(&mut self, tag: u64) -> Option<&mut Value> {
        self.way_of(tag).map(|way| self.value_mut(way))
    }

    /// Whether a flow that is not here can be in its second line, or will have to go there.
    #[inline(always)]
    pub(in crate::dataplane) fn may_go_on(&self) -> bool {
        self.displaced() != 0 || self.empty_way().is_none()
    }

    /// A way without a flow.
    #[inline(always)]
    pub(super) fn empty_way(&self) -> Option<usize> {
        position(&self.tags, 0)
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
        (0..WAYS).any(|way| self.tags[way] != 0 && now.since(self.value(way).seen()) > lifetime)
    }

    /// The flow of `query`, which has this tag, if it is here. Its last-seen tick and state move on.
    pub(super) fn find<K: Key>(&mut self, query: &Query<'_, K>, tag: u64) -> Option<Found> {
        let value = self.value_of(tag)?;
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

    #[inline(always)]
    pub(super) fn set(&mut self, way: usize, tag: u64, value: Value) {
        self.tags[way] = tag;
        let displaced = self.value(way).0 & DISPLACED_MASK;
        *self.value_mut(way) = Value(displaced | value.0 & !DISPLACED_MASK);
    }

    pub(super) fn free(&mut self, way: usize) {
        self.tags[way] = 0;
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

/// Asks the memory for one.
#[inline]
pub(super) fn prefetch<T>(one: Option<&T>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(one) = one {
        safe_arch::prefetch_t0(one);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = one;
}
