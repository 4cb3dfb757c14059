//! The path of packets: from the frames of a burst to frames that leave, stage by stage.
//!
//! [`Path::process_burst`] shows the stages in their order. Each is a short function over the whole burst,
//! so that what one packet waits for from memory is fetched while the others are worked on. Nothing here
//! allocates, locks, logs, calls the system or reads a clock, and every frame that does not leave is
//! counted under a [`DropReason`].
//!
//! [`DropReason`]: crate::drop_reason::DropReason

mod answer;
mod bucket;
mod classify;
mod classify6;
mod counters;
mod cut;
mod encapsulate;
mod ends;
mod family;
mod flow_table;
mod fragments;
mod full_nat;
mod icmp;
mod lanes;
mod look_up;
mod mesh;
mod mss;
mod nat;
mod nat6;
mod others;
mod outbound;
mod outbox;
mod outcomes;
mod quic;
mod reset;
mod steer;
mod survey;
mod watched;
mod worker;

pub use counters::{BackendTotals, Totals, WorkerCounters, WorkerTotals};
pub use flow_table::FlowTable;
pub use fragments::HELD_MAX;
pub use lanes::{Event, Outcome, Outcomes, Source, WorkerId};
pub use mesh::{ControlFrame, Events, Mesh, Seat};
pub use outbound::{OUTBOUND_KINDS, OutboundBackend, OutboundPorts, OutboundTotals, outbound_backends};
pub use survey::{FlowFilter, FlowState, FoundFlow, SURVEYS_MAX, Survey, Surveys};
pub use worker::{IdlePolicy, Worker, WorkerPort};

use std::sync::Arc;

use crate::io::{BURST_MAX, Frame, PortId};
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use flow_table::Tables;
use lanes::Lanes;

/// One worker's state of the path: its flows, its counters, and the burst at hand.
pub struct Path {
    flows: Tables,
    counters: Arc<WorkerCounters>,
    lanes: Box<Lanes>,
    steering: steer::Steering,
    limits: icmp::Limits,
    bindings: full_nat::Bindings,
    outbound: Box<outbound::Flows>,
    fragments: Box<fragments::Fragments>,
}

impl Path {
    /// For the worker `id` of `workers`, with its flow table.
    pub fn new(id: WorkerId, workers: usize, flows: FlowTable, counters: Arc<WorkerCounters>) -> Self {
        let (flows, ports, outbound) = flows.into_parts();
        Self {
            flows,
            counters,
            lanes: Box::default(),
            steering: steer::Steering::new(id, workers),
            limits: icmp::Limits::default(),
            bindings: full_nat::Bindings::new(id, workers, ports),
            outbound,
            fragments: Box::new(fragments::Fragments::new()),
        }
    }

    /// Takes every frame of `burst` from parsing to its outcome.
    pub fn process_burst<F: Frame>(
        &mut self,
        burst: &mut [F],
        source: Source,
        world: &Snapshot,
        now: Tick,
    ) -> &Outcomes {
        let Self { flows, counters, lanes, steering, limits, bindings, outbound, fragments } = self;
        let around = icmp::Around { source, world, now, counters };
        lanes.begin(burst.len());
        lanes.find_clients(burst, source, world, flows);
        lanes.find_responses(burst, source, world);
        lanes.find_wide_clients(burst, source, world, flows);
        lanes.sort_rest(burst, fragments, around);
        lanes.sort_fragments(burst, fragments, steering, around);
        lanes.answer(burst, around, limits);
        lanes.steer(source, steering);
        lanes.route_quic(burst, flows, around);
        lanes.look_up(lanes.clients.without(lanes.by_server_id), flows.narrow.open(), world, now, counters);
        lanes.select(flows.narrow.open(), world, now, counters);
        lanes.find_wide(flows, world, now, counters);
        lanes.relay(burst, flows, (bindings, outbound), steering, around, limits);
        lanes.track(burst, flows, world);
        lanes.reset(burst, flows, world, now, counters);
        lanes.clamp_mss(burst, source, world);
        lanes.find_others(world);
        lanes.rewrite_clients(burst, world, counters);
        lanes.rewrite_clients6(burst, world, counters);
        lanes.send_plain(burst, world, counters);
        lanes.send_others(burst, world, counters);
        lanes.rewrite_responses(burst, world, counters);
        lanes.rewrite_responses6(burst, world, counters);
        lanes.full_nat(burst, bindings, around);
        lanes.pass_outbound(burst, outbound, steering, around);
        lanes.complain(burst, around, limits);
        lanes.follow_first_fragments(burst, fragments, around);
        &lanes.outcomes
    }

    /// Forgets flows that have ended, some lines of the table at a time. Returns what is to be sent on account of it:
    /// questions to the ends of flows that are to be reset.
    pub fn sweep(&mut self, lines: usize, world: &Snapshot, now: Tick) -> &[ControlFrame] {
        let Self { flows, counters, lanes, steering, bindings, outbound, fragments, .. } = self;
        fragments.sweep(BURST_MAX, now);
        let outcomes = &mut lanes.outcomes;
        outcomes.forget_originated();
        flows
            .narrow
            .sweep(lines, world, now, counters, |silent| reset::ask(silent, outcomes, world, counters));
        flows.wide.sweep(lines, world, now, counters, |silent| reset::ask(silent, outcomes, world, counters));
        let share = (lines, flows.narrow.lines());
        let swept = full_nat::Swept { world, now, counters };
        full_nat::sweep(bindings, share, outcomes, swept);
        outbound.sweep(share, steering, outcomes, swept);
        outcomes.originated()
    }

    /// Forgets all datagrams whose time is over, and all flows of full NAT that are. Returns what is to be sent on account
    /// of it, and whether that is all.
    fn sweep_rest(&mut self, world: &Snapshot, now: Tick) -> (&[ControlFrame], bool) {
        self.fragments.sweep(usize::MAX, now);
        let outcomes = &mut self.lanes.outcomes;
        outcomes.forget_originated();
        let swept = full_nat::Swept { world, now, counters: &self.counters };
        let is_all = full_nat::sweep_all(&mut self.bindings, outcomes, swept);
        let are_all = is_all && self.outbound.sweep_all(&self.steering, outcomes, swept);
        (outcomes.originated(), are_all)
    }

    /// Whether fragments that were held are held no longer.
    #[inline(always)]
    fn has_released(&self) -> bool {
        self.fragments.has_released()
    }

    /// Makes a burst of such fragments, of `held` by their places. Returns the port by which they came in.
    fn take_released<F: Frame>(&mut self, held: &mut [Option<F>], burst: &mut Vec<F>) -> Option<PortId> {
        self.fragments.take_released(held, burst)
    }

    /// Goes on with what the management thread wants to know of the flows.
    fn survey(&mut self, surveyor: &mut survey::Surveyor, is_busy: bool, world: &Snapshot, now: Tick) {
        surveyor.advance(&mut self.flows, &mut self.bindings, is_busy, world, now);
    }

    /// What became of the last burst.
    fn outcomes(&self) -> &Outcomes {
        &self.lanes.outcomes
    }

    /// The lines of either table of this worker's flows.
    pub fn lines(&self) -> usize {
        self.flows.narrow.lines()
    }
}
