//! Flows whose backend's drain has passed its deadline are reset, at both ends.
//!
//! The flow table knows no sequence numbers, and need not: a segment of the flow says all. Instead of sending it on,
//! its sender is answered by a reset at the number that it acknowledges, and whom it was for gets a reset in its place.
//!
//! The first is right unless something is on its way to the sender, and then what the sender says next makes it right.
//! The second is right unless the segment was no new one: one sent again, or one that only asks, as keep-alives do. So an
//! end counts as told when it has been answered itself, or sends a reset of its own. Until then it is asked, by a
//! segment that cannot belong to the flow, and answers where it is; see [`Bare::ask`].

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use super::FlowTable;
use super::counters::WorkerCounters;
use super::flow_table::{End, Key, Silent};
use super::lanes::{Lanes, Outcome, Outcomes};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{FlowKey, Parsed, parse};
use crate::snapshot::{Backend, BackendId, FrontendId, NextHop, Snapshot};
use crate::tick::Tick;
use crate::wire::bare::{ASK_LEN, Bare, Numbers};
use crate::wire::ethernet;
use crate::wire::l4::TcpFlags;

impl Lanes {
    /// Answers packets of flows that are to be reset.
    #[inline(always)]
    pub(super) fn reset<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        if !self.resets.is_empty() {
            self.reset_all(burst, flows, world, now, counters);
        }
    }

    #[cold]
    fn reset_all<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut FlowTable,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        for lane in self.resets {
            let is_clients = self.clients.has(lane);
            self.clients.remove(lane);
            let cut = burst
                .get(lane.index())
                .and_then(|frame| Cut::of(frame.bytes(), self.backends[lane.index()], is_clients, world));
            let (Some(cut), Some(frame)) = (cut, burst.get_mut(lane.index())) else { continue };
            let sender = if is_clients { End::Client } else { End::Backend };
            flows.narrow.open().note_told(sender, cut.ends.key(), self.backends[lane.index()], world, now);
            if cut.numbers.flags.any(TcpFlags::RST) {
                // A backend's own; those of clients do not come here.
                self.responses.insert(lane);
                continue;
            }
            let outcome = cut.reset(frame, &mut self.outcomes, world, counters);
            self.outcomes.decide(lane, outcome.unwrap_or_else(Outcome::Drop));
        }
    }
}

/// A segment that goes no further.
struct Cut {
    numbers: Numbers,
    ends: Ends,
    is_clients: bool,
}

impl Cut {
    /// `None` only for what is no TCP segment, or of no backend.
    fn of(frame: &[u8], backend: BackendId, is_clients: bool, world: &Snapshot) -> Option<Self> {
        let Ok(Parsed::Transport(packet)) = parse(frame) else { return None };
        let (source, destination) = packet.ip.v4()?;
        let client = if is_clients {
            SocketAddrV4::new(source, packet.source_port)
        } else {
            SocketAddrV4::new(destination, packet.destination_port)
        };
        let ends = Ends::of(client, backend, world)?;
        Some(Self { numbers: Numbers::of(frame)?, ends, is_clients })
    }

    fn reset<F: Frame>(
        &self,
        frame: &mut F,
        outcomes: &mut Outcomes,
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> Result<Outcome, DropReason> {
        let (client, backend) = (self.ends.to_client(world), self.ends.to_backend());
        let (sender, other) = if self.is_clients { (client, backend) } else { (backend, client) };
        let (to_sender, to_other) = if self.is_clients {
            (&counters.reset.to_client, &counters.reset.to_backend)
        } else {
            (&counters.reset.to_backend, &counters.reset.to_client)
        };
        if other.is_reachable()
            && outcomes.originate(other.hop.hop.port, &other.bare.reset_instead(self.numbers))
        {
            to_other.add(1);
        }
        if !sender.is_reachable() {
            if let Some((port, address)) = sender.hop.wanted() {
                outcomes.want(port, address);
            }
            return Err(sender.hop.refusal());
        }
        if !frame.fill(&sender.bare.reset_in_answer(self.numbers)) {
            return Err(DropReason::ExceedsMtu);
        }
        to_sender.add(1);
        Ok(Outcome::Answer(sender.hop.hop.port))
    }
}

/// Asks the ends of a flow that are not told yet where they are. Whether there was room for the questions.
pub(super) fn ask<K: Key>(
    silent: Silent<K>,
    outcomes: &mut Outcomes,
    world: &Snapshot,
    counters: &WorkerCounters,
) -> bool {
    let SocketAddr::V4(client) = silent.key.client() else { return true };
    let Some(ends) = Ends::of(client, silent.backend, world) else { return true };
    if !outcomes.has_room(2) {
        return false;
    }
    let ways = [(silent.is_client_told, ends.to_client(world)), (silent.is_backend_told, ends.to_backend())];
    for (is_told, way) in ways {
        // Who is not reachable is not waited for.
        if !is_told && way.is_reachable() && outcomes.originate(way.hop.hop.port, &way.bare.ask(silent.asked))
        {
            counters.reset.asked.add(1);
        }
    }
    true
}

/// A flow, as it is to be written on segments of our own.
struct Ends {
    client: SocketAddrV4,
    frontend: SocketAddrV4,
    backend: SocketAddrV4,
    frontend_id: FrontendId,
    next_hop: NextHop,
}

/// The way of such a segment.
struct Way {
    bare: Bare,
    hop: NextHop,
}

impl Ends {
    fn of(client: SocketAddrV4, id: BackendId, world: &Snapshot) -> Option<Self> {
        let Backend { address: IpAddr::V4(address), port, frontend, next_hop, .. } = *world.backend(id)?
        else {
            return None;
        };
        let endpoint = world.frontend(frontend)?.endpoint;
        let IpAddr::V4(front) = endpoint.address else { return None };
        Some(Self {
            client,
            frontend: SocketAddrV4::new(front, endpoint.first_port),
            backend: SocketAddrV4::new(address, port),
            frontend_id: frontend,
            next_hop,
        })
    }

    fn key(&self) -> FlowKey {
        FlowKey::new(*self.client.ip(), self.client.port(), self.frontend_id.0)
    }

    fn to_client(&self, world: &Snapshot) -> Way {
        Way::new(self.frontend, self.client, world.routes.next_hop(*self.client.ip()))
    }

    fn to_backend(&self) -> Way {
        Way::new(self.client, self.backend, self.next_hop)
    }
}

impl Way {
    fn new(source: SocketAddrV4, destination: SocketAddrV4, hop: NextHop) -> Self {
        Self { bare: Bare { addresses: hop.hop.addresses, source, destination }, hop }
    }

    /// Nothing fits where the neighbour is not known.
    fn is_reachable(&self) -> bool {
        usize::from(self.hop.hop.mtu) + ethernet::HEADER_LEN >= ASK_LEN
    }
}
