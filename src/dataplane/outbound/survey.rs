//! Flows that backends have opened, as surveys find them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Flows;
use super::state::State;
use super::told::OUTBOUND_KINDS;
use crate::dataplane::survey::FlowState;
use crate::snapshot::{PortKind, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};

/// Which flows are wanted.
#[derive(Clone, Debug, Default)]
pub struct OutboundFilter {
    /// To this address, and this port of it if one is given.
    pub destination: Option<(IpAddr, Option<u16>)>,
    /// From one of these backends, in ascending order; `None`: from any.
    pub backends: Option<Arc<[IpAddr]>>,
    /// From this port of the backend's.
    pub port: Option<u16>,
    /// In this state.
    pub state: Option<FlowState>,
}

/// A flow that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundOutbound {
    /// The backend's end. An echo's identifier stands for the port.
    pub backend: SocketAddr,
    /// Whom the other end sees in its place.
    pub source: SocketAddr,
    /// The other end.
    pub destination: SocketAddr,
    kind: PortKind,
    /// How far it has come.
    pub state: FlowState,
    idle_ticks: u32,
    left_ticks: u32,
}

impl FoundOutbound {
    pub(in crate::dataplane) const NONE: Self = {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            backend: nobody,
            source: nobody,
            destination: nobody,
            kind: PortKind::Tcp,
            state: FlowState::HalfOpen,
            idle_ticks: 0,
            left_ticks: 0,
        }
    };

    /// `tcp`, `udp` or `icmp`.
    pub fn protocol(&self) -> &'static str {
        OUTBOUND_KINDS.get(self.kind as usize).copied().unwrap_or_default()
    }

    /// Since the last packet that kept it, to a quarter of a second.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(1) * self.idle_ticks / TICKS_PER_SECOND
    }

    /// Until it is forgotten, if no further packet comes, to a quarter of a second.
    pub fn left(&self) -> Duration {
        Duration::from_secs(1) * self.left_ticks / TICKS_PER_SECOND
    }
}

impl OutboundFilter {
    pub(in crate::dataplane) fn wants(&self, flow: &FoundOutbound) -> bool {
        let is_there = |(address, port): (IpAddr, Option<u16>)| {
            flow.destination.ip() == address && port.is_none_or(|port| port == flow.destination.port())
        };
        self.destination.is_none_or(is_there)
            && self.state.is_none_or(|state| state == flow.state)
            && self.port.is_none_or(|port| port == flow.backend.port())
            && self.backends.as_ref().is_none_or(|all| all.binary_search(&flow.backend.ip()).is_ok())
    }
}

impl State {
    /// In the words of all flows.
    fn said(self) -> FlowState {
        match () {
            () if self.is_closing() => FlowState::Closing,
            () if self.is_established() => FlowState::Established,
            () if self.is_answered() => FlowState::Fresh,
            () => FlowState::HalfOpen,
        }
    }
}

impl Flows {
    /// Shows the flows of so many places from `at` on, and returns where to go on; `None` at the end. `visit` may stop.
    pub(in crate::dataplane) fn walk(
        &mut self,
        at: usize,
        places: usize,
        world: &Snapshot,
        now: Tick,
        mut visit: impl FnMut(FoundOutbound) -> ControlFlow<()>,
    ) -> Option<usize> {
        let end = at.saturating_add(places).min(self.table.top() as usize);
        for index in at..end {
            let found = self.found_at(index as u32, world, now);
            if found.is_some_and(|found| visit(found).is_break()) {
                return Some(index);
            }
        }
        (end < self.table.top() as usize).then_some(end)
    }

    /// The flow of a place, unless it is over.
    fn found_at(&mut self, index: u32, world: &Snapshot, now: Tick) -> Option<FoundOutbound> {
        let flow = *self.table.flow(index)?;
        let (mapping, member) = flow.owner(&mut self.table, world)?;
        let (kind, outside) = (flow.kind(), flow.outside());
        let idle_ticks = flow.idle_ticks(now);
        Some(FoundOutbound {
            backend: mapping.inside(),
            source: (world.outbound.address(outside.number)?, outside.port).into(),
            destination: flow.remote(),
            kind,
            state: flow.state.said(),
            idle_ticks,
            left_ticks: flow.state.timeout(kind, member.way(kind)).checked_sub(idle_ticks)?,
        })
    }
}
