//! How far a flow has come, and how long it is remembered.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::snapshot::{MemberWay, PortKind};
use crate::tick::TICKS_PER_SECOND;
use crate::wire::l4::TcpFlags;

/// A connection that is asked for is forgotten without an answer after so long: DPVS's timeout for SYN_SENT. RFC 5382
/// section 5 asks for four minutes.
const OPENING_TICKS: u32 = 30 * TICKS_PER_SECOND;
/// After FIN both ways, as Azure: TIME_WAIT of RFC 9293 section 3.6.1, twice a segment's life of two minutes.
const CLOSED_TICKS: u32 = 240 * TICKS_PER_SECOND;
/// After a reset, as Azure.
const RESET_TICKS: u32 = 15 * TICKS_PER_SECOND;
/// RFC 5508 section 3.2, REQ-2: no less than 60 seconds.
const ECHO_TICKS: u32 = 60 * TICKS_PER_SECOND;

/// How far a reset may be ahead of what the backend has acknowledged, for data on its way: RFC 5961 section 3.2 has it in
/// the window, of which this is the largest without scaling (RFC 9293 section 3.1).
const RESET_AHEAD: u32 = 65_535;

/// Whether a reset at `sequence` may be of who knows the connection, of which the backend expects `expected` next. Before it
/// expects anything, any may.
pub(super) fn is_reset_in_place(sequence: u32, expected: u32) -> bool {
    expected == 0 || sequence.wrapping_sub(expected) <= RESET_AHEAD
}

/// Bits of what has been seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub(super) struct State(u8);

/// The other end has answered.
const ANSWERED: u8 = 1;
/// The backend has said more since.
const ESTABLISHED: u8 = 2;
const FIN_OUT: u8 = 4;
const FIN_IN: u8 = 8;
const RESET: u8 = 16;
/// Both ends were reset by us.
const ENDED: u8 = 32;

impl State {
    fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    pub(super) fn is_answered(self) -> bool {
        self.has(ANSWERED)
    }

    /// Whether both ends were reset by us.
    pub(super) fn is_ended(self) -> bool {
        self.has(ENDED)
    }

    pub(super) fn ended(self) -> Self {
        Self(self.0 | ENDED)
    }

    /// Whether there are two ends that believe in it.
    pub(super) fn is_established(self) -> bool {
        self.has(ANSWERED | ESTABLISHED) && self.0 & (RESET | ENDED) == 0 && !self.has(FIN_IN | FIN_OUT)
    }

    /// Whether an end has begun to close it.
    pub(super) fn is_closing(self) -> bool {
        self.0 & (RESET | ENDED | FIN_IN | FIN_OUT) != 0
    }

    /// Whether a SYN of the backend's begins another connection: the last one is over.
    pub(super) fn gives_way_to_syn(self) -> bool {
        self.0 & (RESET | ENDED) != 0 || self.has(FIN_IN | FIN_OUT)
    }

    /// After a packet of the backend's.
    pub(super) fn after_out(self, flags: TcpFlags) -> Self {
        let mut bits = self.0;
        if flags.any(TcpFlags::RST) {
            return Self(bits | RESET);
        }
        // Who goes on talking has not taken a reset: it was made up (RFC 5961 section 3).
        bits &= !RESET;
        if flags.any(TcpFlags::FIN) {
            bits |= FIN_OUT;
        }
        if bits & ANSWERED != 0 && !flags.any(TcpFlags::SYN) {
            bits |= ESTABLISHED;
        }
        Self(bits)
    }

    /// After a packet of the other end's. Whoever made up its reset does not know where the connection is: that is the
    /// backend's to judge, and ends nothing here.
    pub(super) fn after_in(self, flags: TcpFlags, is_in_place: bool) -> Self {
        let reset = if flags.any(TcpFlags::RST) && is_in_place { RESET } else { 0 };
        let fin = if flags.any(TcpFlags::FIN) { FIN_IN } else { 0 };
        Self(self.0 | ANSWERED | reset | fin)
    }

    /// Whether the other end has said more than before of its going: how long it is remembered then counts from there.
    pub(super) fn closes_more_than(self, before: Self) -> bool {
        (self.0 & !before.0) & (FIN_IN | RESET) != 0
    }

    /// Without packets for more ticks than this the flow is over.
    pub(super) fn timeout(self, kind: PortKind, way: &MemberWay) -> u32 {
        match kind {
            PortKind::Udp => way.idle_ticks,
            PortKind::Echo => ECHO_TICKS,
            PortKind::Tcp if self.0 & (RESET | ENDED) != 0 => RESET_TICKS,
            PortKind::Tcp if self.has(FIN_IN | FIN_OUT) => CLOSED_TICKS,
            PortKind::Tcp if !self.has(ANSWERED | ESTABLISHED) => OPENING_TICKS.min(way.idle_ticks),
            PortKind::Tcp => way.idle_ticks,
        }
    }
}
