//! What is told of backends' own connections: how many, and which ports they have.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::dataplane::counters::WorkerCounters;
use crate::snapshot::{BLOCK_LEN, BLOCKS, PortKind, Snapshot};

/// A backend of outbound rules.
#[derive(Clone, Debug)]
pub struct OutboundBackend {
    /// Its address.
    pub address: IpAddr,
    /// Its counters', which another may have had before.
    pub number: u32,
    /// Packets and bytes that it has sent by outbound rules.
    pub out: (u64, u64),
    /// The same that came back.
    pub back: (u64, u64),
    /// TCP, UDP, echo requests.
    pub flows: [OutboundTotals; 3],
    /// By frontend.
    pub ports: BTreeMap<IpAddr, [OutboundPorts; 3]>,
}

impl OutboundBackend {
    /// Leaves out what was counted `before`. What there is at the moment stays.
    pub fn count_from(&mut self, before: &Self) {
        for (now, then) in [(&mut self.out, before.out), (&mut self.back, before.back)] {
            *now = (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1));
        }
        for (now, then) in self.flows.iter_mut().zip(before.flows) {
            now.opened = now.opened.saturating_sub(then.opened);
            now.answered = now.answered.saturating_sub(then.answered);
            now.failed = now.failed.saturating_sub(then.failed);
        }
    }
}

/// A backend's flows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundTotals {
    /// At the moment.
    pub flows: u64,
    /// Those of them that nobody has answered yet.
    pub pending: u64,
    /// All that were opened.
    pub opened: u64,
    /// Those that were answered.
    pub answered: u64,
    /// New ones for which there was no port.
    pub failed: u64,
}

/// A backend's ports of one frontend for one kind of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundPorts {
    /// Those that it has for itself.
    pub allocated: u64,
    /// Those of them that flows have.
    pub used: u64,
    /// Those that go back when their flows have ended.
    pub on_demand: u64,
}

/// What the kinds of [`OutboundBackend::flows`] are called.
pub const OUTBOUND_KINDS: [&str; 3] = ["tcp", "udp", "icmp"];

/// All backends of outbound rules, and those that were and have flows still, by address.
pub fn outbound_backends(world: &Snapshot, workers: &[Arc<WorkerCounters>]) -> Vec<OutboundBackend> {
    let outbound = &world.outbound;
    let mut all: BTreeMap<u32, OutboundBackend> = BTreeMap::new();
    for (number, member) in outbound.members() {
        let (mut flows, mut out, mut back) = ([OutboundTotals::default(); 3], (0, 0), (0, 0));
        for worker in workers {
            for (kind, sum) in PortKind::ALL.into_iter().zip(&mut flows) {
                worker.outbound.add_to(number, kind, sum);
            }
            worker.outbound.add_traffic_to(number, &mut out, &mut back);
        }
        let (address, ports) = (member.address, BTreeMap::new());
        all.insert(number, OutboundBackend { address, number, out, back, flows, ports });
    }
    for number in outbound.all_numbers() {
        let (Some(address), Some(claims)) = (outbound.address(number), outbound.claims(number)) else {
            continue;
        };
        for kind in PortKind::ALL {
            for block in 0..BLOCKS {
                let claim = claims.at(kind, block);
                let Some(backend) = claim.owner().and_then(|owner| all.get_mut(&owner)) else { continue };
                let Some(ports) = backend.ports.entry(address).or_default().get_mut(kind as usize) else {
                    continue;
                };
                ports.allocated += BLOCK_LEN as u64;
                ports.used += u64::from(claims.used(kind, block).count_ones());
                ports.on_demand += if claim.is_in_advance() { 0 } else { BLOCK_LEN as u64 };
            }
        }
    }
    let mut all: Vec<OutboundBackend> = all.into_values().collect();
    all.sort_by_key(|backend| backend.address);
    all
}
