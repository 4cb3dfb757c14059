//! The value of an entry: its bits, and the states a flow goes through.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::snapshot::BackendId;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::l4::TcpFlags;

/// An opening TCP flow is forgotten after so long without a second packet: DPVS's timeout for SYN_RECV.
const HALF_OPEN_TICKS: u32 = 30 * TICKS_PER_SECOND;

/// A TCP flow whose client has sent FIN or RST is forgotten after so long without packets: TIME_WAIT of
/// common systems, which lasts 60 s.
const CLOSING_TICKS: u32 = 60 * TICKS_PER_SECOND;

/// Backend, state, and the tick of the last packet, in 56 bits. The eight bits above belong to the line.
///
/// ```text
/// 63        56 55              32 31  29  28   27  26 25   24 23                0
/// | displaced |   last seen      | asked |second|told | state |     backend      |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub(in crate::dataplane) struct Value(pub(super) u64);

const BACKEND_MASK: u64 = 0x00ff_ffff;
const STATE_SHIFT: u32 = 24;
const SECOND_BIT: u64 = 1 << 28;
/// Of a flow that is being reset: which of its ends know, and how often they have been asked.
const TOLD_SHIFT: u32 = 26;
const TOLD_MASK: u64 = 3 << TOLD_SHIFT;
const ASKED_SHIFT: u32 = 29;
const ASKED_MASK: u64 = 7 << ASKED_SHIFT;
const SEEN_SHIFT: u32 = 32;
/// How many flows whose first line this is lie in their second, in the first value of a line. Saturated
/// it stays: nobody knows then how many there are.
pub(super) const DISPLACED_SHIFT: u32 = 56;
pub(super) const DISPLACED_MASK: u64 = 0xff << DISPLACED_SHIFT;

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// A TCP SYN was seen, and nothing after it.
    HalfOpen = 0,
    /// One packet was seen that is no SYN.
    Fresh = 1,
    /// More than one packet.
    Established = 2,
    /// The client has sent FIN or RST.
    Closing = 3,
}

/// An end of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dataplane) enum End {
    Client = 1,
    Backend = 2,
}

impl State {
    /// Of a flow whose first packet has `flags`.
    #[inline(always)]
    pub(in crate::dataplane) fn first(flags: TcpFlags) -> Self {
        Self::from_bits(FIRST >> (2 * (flags.0 & 0x1f)))
    }

    /// After a further packet with `flags`.
    #[inline]
    fn next(self, flags: TcpFlags) -> Self {
        if flags.closes() || self == Self::Closing && !flags.opens() {
            Self::Closing
        } else if flags.opens() {
            // A SYN again: the first one was lost, or somebody made this one up.
            self
        } else {
            Self::Established
        }
    }

    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::HalfOpen,
            1 => Self::Fresh,
            2 => Self::Established,
            _ => Self::Closing,
        }
    }

    #[inline]
    fn timeout(self, idle_ticks: u32) -> u32 {
        match self {
            Self::HalfOpen => HALF_OPEN_TICKS.min(idle_ticks),
            Self::Fresh | Self::Established => idle_ticks,
            Self::Closing => CLOSING_TICKS.min(idle_ticks),
        }
    }

    /// In which order flows give way to a new one when both its lines are full; established ones do not.
    pub(in crate::dataplane) fn gives_way(self) -> Option<u8> {
        match self {
            Self::HalfOpen | Self::Fresh => Some(0),
            Self::Closing => Some(1),
            Self::Established => None,
        }
    }
}

/// Two bits for each combination of the five lowest control bits: a flow's first state.
const FIRST: u64 = {
    let mut states = 0;
    let mut bits = 0;
    while bits < 32u8 {
        let flags = TcpFlags(bits);
        let state = if flags.opens() {
            State::HalfOpen
        } else if flags.closes() {
            State::Closing
        } else {
            State::Fresh
        };
        states |= (state as u64) << (2 * bits);
        bits += 1;
    }
    states
};

impl Value {
    /// Of a flow in its first line.
    #[inline(always)]
    pub(in crate::dataplane) fn new(backend: BackendId, state: State, now: Tick) -> Self {
        let seen = u64::from(now.to_bits()) << SEEN_SHIFT;
        Self(u64::from(backend.0) & BACKEND_MASK | (state as u64) << STATE_SHIFT | seen)
    }

    #[inline]
    pub(in crate::dataplane) fn backend(self) -> BackendId {
        BackendId((self.0 & BACKEND_MASK) as u32)
    }

    #[inline]
    pub(in crate::dataplane) fn state(self) -> State {
        State::from_bits(self.0 >> STATE_SHIFT)
    }

    #[inline(always)]
    pub(in crate::dataplane) fn seen(self) -> Tick {
        Tick::from_bits((self.0 >> SEEN_SHIFT) as u32)
    }

    #[inline(always)]
    pub(in crate::dataplane) fn is_established(self) -> bool {
        self.0 & 3 << STATE_SHIFT == (State::Established as u64) << STATE_SHIFT
    }

    /// Whether the flow is established and has shown a packet in the tick `now` already: one more changes
    /// nothing.
    #[inline(always)]
    pub(in crate::dataplane) fn is_steady(self, now: Tick) -> bool {
        const MASK: u64 = 3 << STATE_SHIFT | 0x00ff_ffff << SEEN_SHIFT;
        let steady = (State::Established as u64) << STATE_SHIFT | u64::from(now.to_bits()) << SEEN_SHIFT;
        (self.0 ^ steady) & MASK == 0
    }

    /// The same, with another tick of its last packet.
    #[inline(always)]
    pub(in crate::dataplane) fn seen_at(self, now: Tick) -> Self {
        let kept = self.0 & !(0x00ff_ffff << SEEN_SHIFT);
        Self(kept | u64::from(now.to_bits()) << SEEN_SHIFT)
    }

    /// How long ago the flow showed its last packet, if it is one that gives way first and lies in its first
    /// line; as a number to be compared, 0 for all others.
    #[inline(always)]
    pub(super) fn readiness_to_go(self, now: Tick) -> u32 {
        // Half-open and fresh are the states whose upper bit is clear.
        let stays = self.0 & (2 << STATE_SHIFT | SECOND_BIT) != 0;
        if stays { 0 } else { now.since(self.seen()) + 1 }
    }

    /// The same, of a flow in its second line.
    #[inline]
    pub(super) fn in_second(self) -> Self {
        Self(self.0 | SECOND_BIT)
    }

    #[inline]
    pub(super) fn is_second(self) -> bool {
        self.0 & SECOND_BIT != 0
    }

    /// No flow is over that has shown a packet in so many ticks, where idle timeouts are `idle_ticks_min` or
    /// more.
    pub(super) fn lifetime_min(idle_ticks_min: u32) -> u32 {
        HALF_OPEN_TICKS.min(CLOSING_TICKS).min(idle_ticks_min)
    }

    #[inline]
    pub(in crate::dataplane) fn is_over(self, idle_ticks: u32, now: Tick) -> bool {
        now.since(self.seen()) > self.timeout(idle_ticks)
    }

    /// Without packets for more ticks than this the flow is over.
    #[inline]
    pub(in crate::dataplane) fn timeout(self, idle_ticks: u32) -> u32 {
        self.state().timeout(idle_ticks)
    }

    /// How often the ends of the flow have been asked for their numbers, so that it can be reset.
    pub(super) fn asked(self) -> u32 {
        ((self.0 & ASKED_MASK) >> ASKED_SHIFT) as u32
    }

    /// Asked once more, seven times at most.
    pub(super) fn asked_again(self) -> Self {
        let asked = u64::from(self.asked() + 1).min(7);
        Self(self.0 & !ASKED_MASK | asked << ASKED_SHIFT)
    }

    /// Whether an end knows that the flow is over.
    pub(super) fn is_told(self, end: End) -> bool {
        self.0 >> TOLD_SHIFT & end as u64 != 0
    }

    /// After `end` was told, at `now` if it had not been before.
    pub(super) fn told(self, end: End, now: Tick) -> Self {
        if self.is_told(end) {
            return self;
        }
        let told = self.0 & TOLD_MASK | (end as u64) << TOLD_SHIFT;
        let kept = self.0 & (BACKEND_MASK | SECOND_BIT | DISPLACED_MASK | ASKED_MASK);
        Self(kept | told | (State::Closing as u64) << STATE_SHIFT).seen_at(now)
    }

    /// After a packet with `flags` at `now`.
    #[inline]
    pub(in crate::dataplane) fn touched(self, flags: TcpFlags, now: Tick) -> Self {
        let state = self.state().next(flags) as u64;
        let kept = self.0 & (BACKEND_MASK | SECOND_BIT | DISPLACED_MASK);
        Self(kept | state << STATE_SHIFT | u64::from(now.to_bits()) << SEEN_SHIFT)
    }
}
