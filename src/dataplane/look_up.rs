//! The middle stages: the backend of each client's packet, from the flow table or, for new flows, from the
//! rule's Maglev table.

use super::counters::WorkerCounters;
use super::flow_table::{FlowTable, Found, Query};
use super::lanes::{Client, Lanes, Outcome};
use crate::drop_reason::DropReason;
use crate::snapshot::Snapshot;
use crate::tick::Tick;

impl Lanes {
    /// Hashes the keys of all clients' packets, side by side.
    pub(super) fn hash_flows(&mut self, world: &Snapshot) {
        for client in &self.clients {
            let seed = world.frontend(client.frontend).map_or(0, |frontend| frontend.flow_seed);
            self.hashes.push(client.key.client() ^ seed);
        }
        world.hash.words(&mut self.hashes);
    }

    /// Asks the memory for all lines that will be looked at first.
    pub(super) fn prefetch_flows(&mut self, flows: &mut FlowTable) {
        let lines = flows.open();
        self.hashes.iter().for_each(|hash| lines.prefetch_first(*hash));
    }

    /// Finds the flows that are in their first line. For the others, asks the memory for the second line
    /// and for the slot of the Maglev table.
    pub(super) fn look_up(
        &mut self,
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut lines = flows.open();
        for i in 0..self.clients.len() {
            let (client, hash) = (self.clients[i], self.hashes[i]);
            let Some(query) = self.query(&client, hash, world, now) else { continue };
            match lines.find_first(&query) {
                Found::Backend(backend) => {
                    self.clients[i].backend = Some(backend);
                    continue;
                }
                // At once, so that the flow's next packets in this burst wait for the choice as well.
                Found::Choose => lines.forget(&query, counters),
                Found::NotYet => {}
            }
            lines.prefetch_second(hash);
            query.frontend.selector.prefetch(hash);
            self.misses.push(i as u8);
        }
    }

    /// Settles the rest, in the order of their arrival: flows in their second line, and new ones. A flow's
    /// packets are all settled here or none is, so that they leave in order.
    pub(super) fn select(
        &mut self,
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        let mut lines = flows.open();
        for miss in 0..self.misses.len() {
            let i = usize::from(self.misses[miss]);
            let (client, hash) = (self.clients[i], self.hashes[i]);
            let Some(query) = self.query(&client, hash, world, now) else { continue };
            let found = lines.find(&query);
            if let Found::Backend(backend) = found {
                self.clients[i].backend = Some(backend);
                continue;
            }
            let Some(choice) = query.frontend.selector.choose(&world.hash, client.key, hash) else {
                self.decide(usize::from(client.lane), Outcome::Drop(DropReason::NoBackendAvailable));
                continue;
            };
            lines.record(&query, choice.backend, counters);
            self.clients[i].backend = Some(choice.backend);
        }
    }

    #[inline]
    fn query<'a>(&self, client: &Client, hash: u64, world: &'a Snapshot, now: Tick) -> Option<Query<'a>> {
        let frontend = world.frontend(client.frontend)?;
        let flags = self.packet(usize::from(client.lane))?.tcp_flags;
        Some(Query { key: client.key, hash, flags, frontend, world, now })
    }
}
