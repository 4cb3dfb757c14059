//! What is counted of flows that backends have opened.

use super::told::OutboundTotals;
use crate::dataplane::counters::{Counter, Traffic};
use crate::snapshot::{MEMBERS_MAX, PortKind};

/// One worker's counters.
pub(in crate::dataplane) struct OutboundCounters {
    /// By backend and kind.
    flows: Box<[FlowCounts]>,
    /// By backend: what left, and what came back.
    traffic: Box<[(Traffic, Traffic)]>,
}

/// Flows of one backend and kind.
#[derive(Default)]
pub(super) struct FlowCounts {
    /// At the moment.
    pub(super) flows: Counter,
    /// Those of them that nobody has answered yet.
    pub(super) pending: Counter,
    pub(super) opened: Counter,
    pub(super) answered: Counter,
    /// New flows for which there was no port, or no place in the table.
    pub(super) failed: Counter,
}

impl Default for OutboundCounters {
    fn default() -> Self {
        Self {
            flows: (0..MEMBERS_MAX * PortKind::ALL.len()).map(|_| FlowCounts::default()).collect(),
            traffic: (0..MEMBERS_MAX).map(|_| Default::default()).collect(),
        }
    }
}

impl OutboundCounters {
    pub(super) fn flows(&self, member: u32, kind: PortKind) -> Option<&FlowCounts> {
        self.flows.get(member as usize * PortKind::ALL.len() + kind as usize)
    }

    /// Counts a packet that leaves, or one that comes back.
    pub(in crate::dataplane) fn count(&self, member: u32, is_out: bool, total_len: u16) {
        if let Some((out, back)) = self.traffic.get(member as usize) {
            if is_out { out.count(total_len) } else { back.count(total_len) }
        }
    }

    /// Counts a flow that has begun.
    pub(super) fn begun(&self, member: u32, kind: PortKind) {
        if let Some(counts) = self.flows(member, kind) {
            counts.opened.add(1);
            counts.flows.add(1);
            counts.pending.add(1);
        }
    }

    /// The first answer.
    pub(super) fn answered(&self, member: u32, kind: PortKind) {
        if let Some(counts) = self.flows(member, kind) {
            counts.pending.subtract(1);
            counts.answered.add(1);
        }
    }

    /// A flow that has ended.
    pub(super) fn ended(&self, member: u32, kind: PortKind, was_answered: bool) {
        if let Some(counts) = self.flows(member, kind) {
            counts.flows.subtract(1);
            counts.pending.subtract(u64::from(!was_answered));
        }
    }

    /// One that could not begin.
    pub(super) fn failed(&self, member: u32, kind: PortKind) {
        self.flows(member, kind).iter().for_each(|counts| counts.failed.add(1));
    }

    pub(super) fn add_to(&self, member: u32, kind: PortKind, sum: &mut OutboundTotals) {
        if let Some(counts) = self.flows(member, kind) {
            sum.flows = sum.flows.wrapping_add(counts.flows.get());
            sum.pending = sum.pending.wrapping_add(counts.pending.get());
            sum.opened += counts.opened.get();
            sum.answered += counts.answered.get();
            sum.failed += counts.failed.get();
        }
    }

    /// Adds packets and bytes.
    pub(super) fn add_traffic_to(&self, member: u32, out: &mut (u64, u64), back: &mut (u64, u64)) {
        if let Some((left, came)) = self.traffic.get(member as usize) {
            for (traffic, sum) in [(left.get(), out), (came.get(), back)] {
                *sum = (sum.0 + traffic.0, sum.1 + traffic.1);
            }
        }
    }
}
