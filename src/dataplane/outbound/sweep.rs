//! The end of flows that are over, and of blocks that are kept no longer.

use super::Flows;
use crate::dataplane::full_nat::Swept;
use crate::dataplane::lanes::Outcomes;
use crate::dataplane::steer::Steering;
use crate::snapshot::{BLOCKS, PortKind, Snapshot};
use crate::wire::bare::Bare;

/// Places and blocks that are looked at in one sweep, at most: some microseconds.
const SWEEP_PLACES: usize = 1024;

impl Flows {
    /// Forgets flows that are over, and gives blocks back: looks at as large a part of all as `lines` are of `all_lines`.
    pub(in crate::dataplane) fn sweep(
        &mut self,
        (lines, all_lines): (usize, usize),
        steering: &Steering,
        outcomes: &mut Outcomes,
        around: Swept<'_>,
    ) {
        if around.world.outbound.is_empty() {
            return;
        }
        let share = |places: usize| (lines * places / all_lines.max(1) + 1).min(SWEEP_PLACES);
        if !self.table.is_empty() {
            self.sweep_flows(share(self.table.top() as usize), outcomes, around);
        }
        self.sweep_blocks(share(blocks(around.world)), steering, around.world);
    }

    /// The same of all, however long that takes. Whether there was room to tell all ends.
    pub(in crate::dataplane) fn sweep_all(
        &mut self,
        steering: &Steering,
        outcomes: &mut Outcomes,
        around: Swept<'_>,
    ) -> bool {
        if around.world.outbound.is_empty() {
            return true;
        }
        let all_told = self.sweep_flows(self.table.top() as usize, outcomes, around);
        self.sweep_blocks(blocks(around.world), steering, around.world);
        all_told
    }

    fn sweep_blocks(&mut self, count: usize, steering: &Steering, world: &Snapshot) {
        let mine = |number: u32| {
            world.outbound.member(number).is_some_and(|member| steering.owner(member.hash) == steering.me)
        };
        self.ports.sweep(count, &world.outbound, mine);
    }

    fn sweep_flows(&mut self, count: usize, outcomes: &mut Outcomes, around: Swept<'_>) -> bool {
        let mut all_told = true;
        for _ in 0..count {
            let index = self.sweep_at;
            self.sweep_at = if index + 1 >= self.table.top() { 0 } else { index + 1 };
            all_told &= self.sweep_flow(index, outcomes, around).unwrap_or(true);
        }
        all_told
    }

    /// Whether its ends were told, if they are to be.
    fn sweep_flow(
        &mut self,
        index: u32,
        outcomes: &mut Outcomes,
        Swept { world, now, counters }: Swept<'_>,
    ) -> Option<bool> {
        let flow = *self.table.flow(index)?;
        let kind = flow.kind();
        let (mapping, member) = flow.owner(&mut self.table, world)?;
        let way = member.way(kind);
        if flow.idle_ticks(now) <= flow.state.timeout(kind, way) {
            return Some(true);
        }
        if !flow.ends_by_reset(way) {
            counters.outbound.ended(mapping.member, kind, flow.state.is_answered());
            self.forget(index, world);
            return Some(true);
        }
        if !outcomes.has_room(2) {
            return Some(false);
        }
        let outside = flow.outside();
        let own = world.outbound.address(outside.number)?;
        let (inside, remote) = (mapping.inside(), flow.remote());
        let position = flow.position;
        let out = world.routes.next_hop_to(remote.ip()).hop;
        let bare = Bare { addresses: out.addresses, source: (own, outside.port).into(), destination: remote };
        if out.mtu > 0
            && outcomes.originate(out.port, bare.reset_at(position.from_client, position.to_client).bytes())
        {
            counters.reset.to_client.add(1);
        }
        let back = member.next_hop.hop;
        let bare = Bare { addresses: back.addresses, source: remote, destination: inside };
        if back.mtu > 0
            && outcomes.originate(back.port, bare.reset_at(position.to_client, position.from_client).bytes())
        {
            counters.reset.to_backend.add(1);
        }
        let flow = self.table.flow(index)?;
        flow.state = flow.state.ended();
        flow.see(now);
        Some(true)
    }
}

fn blocks(world: &Snapshot) -> usize {
    world.outbound.all_numbers().count() * PortKind::ALL.len() * BLOCKS
}
