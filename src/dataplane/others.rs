//! Packets that go to their backends, or come from them, otherwise than by plain translation of IPv4.

use super::counters::{Traffic, WorkerCounters};
use super::encapsulate;
use super::lanes::{Lane, Lanes};
use super::nat::{Refusal, refuse};
use super::nat6::{self, Layout, Side};
use crate::io::Frame;
use crate::snapshot::{Backend, Forwarding, Snapshot};

impl Lanes {
    /// Sends clients' packets on: all with wide keys, and those of narrow ones that plain translation has left.
    #[inline(always)]
    pub(super) fn send_others<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let others = self.others.with(self.wide);
        if others.is_empty() {
            return;
        }
        let mut forwarded = others;
        for lane in others {
            let id = self.backends[lane.index()];
            if let Some(backend) = world.backend(id)
                && let Some(counters) = counters.to_backend().get(id.index())
                && let Some(frame) = burst.get_mut(lane.index())
            {
                self.outcomes.set_port(lane, backend.next_hop.hop.port);
                if let Err(refusal) = send_one(frame, backend, self.hashes[lane.index()], counters) {
                    forwarded.remove(lane);
                    refuse(&mut self.outcomes, lane, refusal, &backend.next_hop);
                }
            } else {
                // None was chosen, and the outcome stands.
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// Sends backends' packets in IPv6 back to their clients.
    #[inline(always)]
    pub(super) fn return_others<F: Frame>(
        &mut self,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) {
        let mut forwarded = self.wide_responses;
        for lane in self.wide_responses {
            if !self.return_one(lane, burst, world, counters) {
                forwarded.remove(lane);
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    fn return_one<F: Frame>(
        &mut self,
        lane: Lane,
        burst: &mut [F],
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> bool {
        let id = self.backends[lane.index()];
        let (Some(backend), Some(counters), Some(frame)) =
            (world.backend(id), counters.to_client().get(id.index()), burst.get_mut(lane.index()))
        else {
            return false;
        };
        let Forwarding::Translate6 { back, .. } = &backend.forwarding else { return false };
        let Some((layout, destination)) = Layout::of(frame.bytes()).zip(nat6::destination(frame.bytes()))
        else {
            return false;
        };
        let next_hop = world.routes.next_hop_to(destination.into());
        self.outcomes.set_port(lane, next_hop.hop.port);
        match nat6::translate(frame.bytes_mut(), layout, &next_hop.hop, back, Side::Source) {
            Ok(()) => {
                counters.count(layout.total_len);
                true
            }
            Err(refusal) => {
                refuse(&mut self.outcomes, lane, refusal, &next_hop);
                false
            }
        }
    }
}

fn send_one<F: Frame>(
    frame: &mut F,
    backend: &Backend,
    hash: u64,
    counters: &Traffic,
) -> Result<(), Refusal> {
    let hop = &backend.next_hop.hop;
    match &backend.forwarding {
        Forwarding::Translate => Err(Refusal::Mtu),
        Forwarding::Translate6 { there, .. } => {
            let layout = Layout::of(frame.bytes()).ok_or(Refusal::Mtu)?;
            nat6::translate(frame.bytes_mut(), layout, hop, there, Side::Destination)?;
            counters.count(layout.total_len);
            Ok(())
        }
        Forwarding::Direct => {
            let total_len = encapsulate::direct(frame.bytes_mut(), hop)?;
            counters.count(total_len);
            Ok(())
        }
        Forwarding::Tunnel(template) => {
            let total_len = encapsulate::push(frame, hop, template, hash)?;
            counters.count(total_len);
            Ok(())
        }
    }
}
