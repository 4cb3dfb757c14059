//! Ports for new flows, and what is counted of flows that end.

use super::bindings::{Bindings, Free, Place};
use super::sweep::idle_ticks;
use crate::dataplane::counters::{Counter, WorkerCounters};
use crate::dataplane::flow_table::Value;
use crate::dataplane::icmp::Around;
use crate::drop_reason::DropReason;
use crate::packet::WideKey;
use crate::snapshot::BackendId;
use crate::wire::l4::TcpFlags;

/// Source addresses that are looked through for a new flow, at most: bounds what it costs.
const SOURCES_TRIED: usize = 4;

/// A port for a new flow to a backend, of the rule's source addresses. Where all that is looked at is taken, a flow
/// gives way that has shown one packet only.
pub(super) fn free(
    bindings: &mut Bindings,
    value: Value,
    flags: TcpFlags,
    hash: u64,
    around: Around<'_>,
) -> Result<Place, DropReason> {
    let Around { world, now, counters, .. } = around;
    let sources = world.backend(value.backend()).and_then(|backend| backend.sources);
    let sources = sources.ok_or(DropReason::NoSourcePort)?;
    let is_udp = flags == TcpFlags::default();
    let numbers = world.sources.of_set(sources);
    let start = (hash >> 32) as usize % numbers.len().max(1);
    let is_over = |key: WideKey, value: Value| value.is_over(idle_ticks(key, world), now);
    let (before, from_start) = numbers.split_at(start.min(numbers.len()));
    let mut gives_way = None;
    for source in from_start.iter().chain(before).take(SOURCES_TRIED) {
        let reserved = world.sources.reserved(*source, is_udp);
        match bindings.free(*source, is_udp, hash, reserved, is_over) {
            Free::Empty(place) => return Ok(place),
            Free::Over(place, value) => {
                count_ended(value, &counters.flow.expired, counters);
                bindings.forget(place);
                return Ok(place);
            }
            Free::GivesWay(place, value) => gives_way = gives_way.or(Some((place, value))),
            Free::None => {}
        }
    }
    let (place, value) = gives_way.ok_or(DropReason::NoSourcePort)?;
    count_ended(value, &counters.flow.reclaimed, counters);
    bindings.forget(place);
    Ok(place)
}

/// Counts a flow whose first packet has been sent on.
pub(super) fn count_new(backend: BackendId, counters: &WorkerCounters) {
    counters.flow.created.add(1);
    if let Some(flows) = counters.flows(backend) {
        flows.now.add(1);
        flows.ever.add(1);
    }
}

pub(super) fn count_ended(value: Value, as_what: &Counter, counters: &WorkerCounters) {
    as_what.add(1);
    if let Some(flows) = counters.flows(value.backend()) {
        flows.now.subtract(1);
    }
}
