//! Flows whose both ends are reset: idle ones of rules that say so, and those whose backend's drain is over.

use super::bindings::{Binding, Bindings, Place};
use crate::dataplane::counters::WorkerCounters;
use crate::dataplane::icmp::Around;
use crate::dataplane::lanes::{Outcome, Outcomes};
use crate::dataplane::reset::{Cut, Ends};
use crate::io::Frame;
use crate::packet::Flow;
use crate::snapshot::{Frontend, Leaving, Snapshot};
use crate::wire::bare::Numbers;
use crate::wire::l4::TcpFlags;

/// Whether a segment of the flow goes no further, but is answered. Resets of its ends do go on.
pub(super) fn is_to_end(
    binding: &Binding,
    frontend: &Frontend,
    flags: TcpFlags,
    Around { world, now, .. }: Around<'_>,
) -> bool {
    let value = binding.value;
    if flags.opens() || flags.any(TcpFlags::RST) {
        return false;
    }
    let is_over = value.is_over(frontend.idle_ticks, now);
    let is_resetting =
        || world.to_backend(value.backend()).is_some_and(|backend| backend.leaving == Leaving::Reset);
    is_resetting() || value.is_ended() && !is_over || frontend.tcp_reset && value.is_established() && is_over
}

/// Whether flows at this place are of TCP.
pub(super) fn is_tcp(place: Place) -> bool {
    !Bindings::is_udp(place)
}

/// Answers a segment of such a flow by a reset, and sends another to where it would have gone.
pub(super) fn cut_off<F: Frame>(
    binding: &mut Binding,
    place: Place,
    numbers: Numbers,
    is_clients: bool,
    frame: &mut F,
    outcomes: &mut Outcomes,
    around: Around<'_>,
) -> Outcome {
    let Some(ends) = ends(binding, place, around.world) else {
        return Outcome::Drop(crate::drop_reason::DropReason::NoRule);
    };
    let stream = &binding.stream;
    // As the other end counts.
    let instead = if is_clients {
        Numbers { sequence: numbers.sequence.wrapping_add(stream.lag(numbers.flags)), ..numbers }
    } else {
        let acknowledgement = stream.number_of_client(numbers.acknowledgement);
        Numbers { acknowledgement, ..numbers }
    };
    binding.value = binding.value.ended(around.now);
    let cut = Cut { numbers, instead, ends, is_clients };
    cut.reset(frame, outcomes, around.world, around.counters).unwrap_or_else(Outcome::Drop)
}

/// Resets both ends where they are. Whether there was room.
pub(super) fn reset_both(
    binding: &Binding,
    place: Place,
    outcomes: &mut Outcomes,
    world: &Snapshot,
    counters: &WorkerCounters,
) -> bool {
    if !outcomes.has_room(2) {
        return false;
    }
    let lag = binding.stream.lag(TcpFlags(TcpFlags::ACK));
    ends(binding, place, world)
        .is_none_or(|ends| ends.reset_idle(binding.stream.position, lag, outcomes, world, counters))
}

fn ends(binding: &Binding, place: Place, world: &Snapshot) -> Option<Ends> {
    let (source, port) = Bindings::source_of(place);
    let source = (world.sources.address(source)?, port).into();
    let backend = world.backend(binding.value.backend())?.clone();
    Some(Ends::bound(binding.key().client(), binding.frontend(world)?, source, backend))
}
