//! What the manager tells of what it knows: sums of the workers' counters, neighbours, how far the workers are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::Manager;
use crate::config::Frontend;
use crate::control::tally::Tally;
use crate::dataplane::{BackendTotals, ControlFrame, Events, Totals, WorkerTotals};
use crate::io::PortId;
use crate::snapshot::{BackendId, BackendIdentity, Snapshot};
use crate::wire::MacAddr;

impl Manager {
    /// Backends and gateways whose Ethernet address is not known yet.
    pub fn neighbours_missing(&self) -> usize {
        self.neighbours.missing()
    }

    /// Every neighbour that was asked for or has shown itself: whom, where it is if that is known, and whether the
    /// configuration needs it.
    pub fn neighbours(&self) -> Vec<((PortId, IpAddr), Option<MacAddr>, bool)> {
        self.neighbours.all()
    }

    /// What workers tell.
    pub(in crate::control) fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Where frames to be sent are put.
    pub(in crate::control) fn originated(&self) -> Arc<ArrayQueue<ControlFrame>> {
        self.originated.clone()
    }

    /// What was published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.latest()
    }

    /// The generation that all workers have reached, and how many snapshots are not freed yet.
    pub fn progress(&self) -> (u64, usize) {
        (self.publisher.reached().min(self.generation()), self.publisher.held())
    }

    /// Each worker's counters.
    pub fn workers(&self) -> Vec<WorkerTotals> {
        self.counters.iter().map(|worker| worker.totals()).collect()
    }

    /// The sum of all workers' counters.
    pub fn totals(&self) -> Totals {
        let mut sum = WorkerTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.totals()));
        sum
    }

    /// The ids of all backends, those that linger included.
    pub fn backend_ids(&self) -> impl Iterator<Item = (BackendIdentity, BackendId)> {
        self.compiler.backends()
    }

    /// What every backend of every rule got and gave, those included that linger.
    pub fn backends(&self) -> Vec<(BackendIdentity, BackendTotals)> {
        let totals = |id| self.since_assigned(id, self.raw_totals(id));
        self.compiler.backends().map(|(identity, id)| (identity, totals(id))).collect()
    }

    /// What went through each frontend, also to and from backends that are gone: while a frontend stays, its counters
    /// never fall.
    pub fn frontends(&self) -> BTreeMap<Frontend, BackendTotals> {
        let mut sums = self.retired.clone();
        for (identity, totals) in self.backends() {
            sums.entry(identity.frontend).or_default().add(&totals);
        }
        sums
    }

    /// The flows in each worker's table.
    pub fn flows_by_worker(&self) -> Vec<u64> {
        let ids: Vec<BackendId> = self.compiler.backends().map(|(_, id)| id).collect();
        self.counters.iter().map(|worker| ids.iter().map(|id| worker.flows_to(*id)).sum()).collect()
    }

    /// What operators have had done.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(in crate::control) fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// What `totals` of `id` have become since it was given to the backend that has it.
    pub(super) fn since_assigned(&self, id: BackendId, mut totals: BackendTotals) -> BackendTotals {
        if let Some(baseline) = self.baselines.get(&id) {
            totals.flows_total -= baseline.flows_total;
            totals.packets_in -= baseline.packets_in;
            totals.bytes_in -= baseline.bytes_in;
            totals.packets_out -= baseline.packets_out;
            totals.bytes_out -= baseline.bytes_out;
        }
        totals
    }

    pub(super) fn raw_totals(&self, id: BackendId) -> BackendTotals {
        let mut sum = BackendTotals::default();
        self.counters.iter().for_each(|worker| sum.add(&worker.backend_totals(id)));
        sum
    }
}
