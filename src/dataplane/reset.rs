//! Flows whose backend's drain has passed its deadline are reset, at both ends.
//!
//! The flow table knows no sequence numbers, and need not: a segment of the flow says all. Instead of sending it on,
//! its sender is answered by a reset at the number that it acknowledges, and whom it was for gets a reset in its place.
//!
//! The first is right unless something is on its way to the sender, and then what the sender says next makes it right.
//! The second is right unless the segment was no new one: one sent again, or one that only asks, as keep-alives do. So an
//! end counts as told when it has been answered itself, or sends a reset of its own. Until then it is asked, by a
//! segment that cannot belong to the flow, and answers where it is; see [`Bare::ask`].

use std::net::{IpAddr, SocketAddr};

use super::counters::WorkerCounters;
use super::encapsulate;
use super::flow_table::{End, Key, Position, Silent, Tables};
use super::lanes::{Lanes, Outcome, Outcomes};
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{Flow, FlowKey, Packet, Parsed, WideKey, parse};
use crate::snapshot::{Backend, BackendId, Forwarding, FrontendId, NextHop, Snapshot};
use crate::tick::Tick;
use crate::wire::bare::{Bare, BareFrame, LEN_MAX, Numbers};
use crate::wire::encap::{self, Template};
use crate::wire::l4::TcpFlags;
use crate::wire::{Protocol, ethernet};

impl Lanes {
    /// Answers packets of flows that are to be reset.
    #[inline(always)]
    pub(super) fn reset<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut Tables,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        if !self.resets.is_empty() {
            self.reset_all(burst, flows, world, now, counters);
        }
    }

    /// Keeps where TCP flows are that will be reset when they are idle.
    #[inline(always)]
    pub(super) fn track<F: Frame>(&mut self, burst: &[F], flows: &mut Tables, world: &Snapshot) {
        if world.tracks {
            self.track_all(burst, flows, world);
        }
    }

    #[cold]
    fn track_all<F: Frame>(&mut self, burst: &[F], flows: &mut Tables, world: &Snapshot) {
        let is_tracked =
            |key: u16| world.frontend(FrontendId(key)).is_some_and(|frontend| frontend.tcp_reset);
        for lane in self.clients.with(self.wide) {
            let is_wide = self.wide.has(lane);
            let (narrow, wide) = (self.keys[lane.index()], self.wide_key(lane));
            if !is_tracked(if is_wide { wide.frontend() } else { narrow.frontend() }) {
                continue;
            }
            let Some(frame) = burst.get(lane.index()) else { continue };
            let Ok(Parsed::Transport(packet)) = parse(frame.bytes()) else { continue };
            let numbers = Numbers::of(frame.bytes(), packet.ip.payload_offset.into(), packet.ip.end());
            let Some(numbers) = numbers.filter(|_| packet.protocol == Protocol::Tcp) else { continue };
            let hash = self.hashes[lane.index()];
            if is_wide {
                flows.wide.open().track(wide, hash, numbers);
            } else {
                flows.narrow.open().track(narrow, hash, numbers);
            }
        }
    }

    #[cold]
    fn reset_all<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut Tables,
        world: &Snapshot,
        now: Tick,
        counters: &WorkerCounters,
    ) {
        for lane in self.resets {
            let is_clients = self.clients.with(self.wide).has(lane);
            self.clients.remove(lane);
            self.wide.remove(lane);
            let cut = burst
                .get(lane.index())
                .and_then(|frame| Cut::of(frame.bytes(), self.backends[lane.index()], is_clients, world));
            let (Some(cut), Some(frame)) = (cut, burst.get_mut(lane.index())) else { continue };
            let sender = if is_clients { End::Client } else { End::Backend };
            cut.ends.note_told(sender, flows, self.backends[lane.index()], world, now);
            if cut.numbers.flags.any(TcpFlags::RST) {
                // A backend's own; those of clients do not come here.
                let responses =
                    if cut.ends.client.is_ipv4() { &mut self.responses } else { &mut self.wide_responses };
                responses.insert(lane);
                continue;
            }
            let outcome = cut.reset(frame, &mut self.outcomes, world, counters);
            self.outcomes.decide(lane, outcome.unwrap_or_else(Outcome::Drop));
        }
    }
}

/// A segment that goes no further.
pub(super) struct Cut {
    /// As its sender counts.
    pub(super) numbers: Numbers,
    /// As the other end would have got them.
    pub(super) instead: Numbers,
    pub(super) ends: Ends,
    pub(super) is_clients: bool,
}

impl Cut {
    /// `None` only for what is no TCP segment, or of no backend.
    fn of(frame: &[u8], backend: BackendId, is_clients: bool, world: &Snapshot) -> Option<Self> {
        let Ok(Parsed::Transport(packet)) = parse(frame) else { return None };
        let Packet { ip, source_port, destination_port, .. } = packet;
        let (client, port) = if is_clients {
            ((ip.source, source_port), destination_port)
        } else {
            ((ip.destination, destination_port), source_port)
        };
        let ends = Ends::of(client.into(), Some(port), backend, world)?;
        let numbers = Numbers::of(frame, ip.payload_offset.into(), ip.end())?;
        Some(Self { numbers, instead: numbers, ends, is_clients })
    }

    pub(super) fn reset<F: Frame>(
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
        if other.send(outcomes, &other.bare.reset_instead(self.instead)) {
            to_other.add(1);
        }
        if !sender.is_reachable() {
            if let Some((port, address)) = sender.hop.wanted() {
                outcomes.want(port, address);
            }
            return Err(sender.hop.refusal());
        }
        if !sender.fill(frame, &sender.bare.reset_in_answer(self.numbers)) {
            return Err(DropReason::NoHeadroom);
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
    let (client, port) = (silent.key.client(), silent.key.destination_port());
    let Some(ends) = Ends::of(client, port, silent.backend, world) else { return true };
    if !outcomes.has_room(2) {
        return false;
    }
    if let Some(at) = silent.at {
        return ends.reset_idle(at, 0, outcomes, world, counters);
    }
    let ways = [(silent.is_client_told, ends.to_client(world)), (silent.is_backend_told, ends.to_backend())];
    for (is_told, way) in ways {
        // Who is not reachable is not waited for.
        if !is_told && way.send(outcomes, &way.bare.ask(silent.asked)) {
            counters.reset.asked.add(1);
        }
    }
    true
}

/// A flow, as it is to be written on segments of our own.
pub(super) struct Ends {
    client: SocketAddr,
    frontend: SocketAddr,
    /// Whom the backend sees in place of the client: full NAT.
    source: Option<SocketAddr>,
    backend: Backend,
}

/// The way of such a segment.
struct Way {
    bare: Bare,
    hop: NextHop,
    tunnel: Option<Template>,
}

impl Ends {
    /// `port` is the frontend's that the flow is to, where it has several.
    fn of(client: SocketAddr, port: Option<u16>, id: BackendId, world: &Snapshot) -> Option<Self> {
        let backend = world.backend(id)?.clone();
        let endpoint = world.frontend(backend.frontend)?.endpoint;
        let port = endpoint.one_port().or(port)?;
        Some(Self { client, frontend: (endpoint.address, port).into(), source: None, backend })
    }

    /// Of a flow that has a port of ours.
    pub(super) fn bound(
        client: SocketAddr,
        frontend: SocketAddr,
        source: SocketAddr,
        backend: Backend,
    ) -> Self {
        Self { client, frontend, source: Some(source), backend }
    }

    /// Notes in the table of the flow's key that an end of it knows.
    fn note_told(&self, end: End, flows: &mut Tables, backend: BackendId, world: &Snapshot, now: Tick) {
        let id = self.backend.frontend;
        let is_narrow = world.frontend(id).is_some_and(|frontend| frontend.is_narrow);
        match self.client.ip() {
            IpAddr::V4(address) if is_narrow => {
                let key = FlowKey::new(address, self.client.port(), id.0);
                flows.narrow.open().note_told(end, key, backend, world, now);
            }
            address => {
                let key = WideKey::new(address, self.client.port(), id.0);
                let key = world.broad_key(key, id, self.frontend, Protocol::Tcp.number());
                flows.wide.open().note_told(end, key, backend, world, now);
            }
        }
    }

    /// Resets both, where they are at rest; the backend counts what the client has sent by `lag` more. Whether there was
    /// room.
    pub(super) fn reset_idle(
        &self,
        at: Position,
        lag: u32,
        outcomes: &mut Outcomes,
        world: &Snapshot,
        counters: &WorkerCounters,
    ) -> bool {
        let (client, backend) = (self.to_client(world), self.to_backend());
        if client.send(outcomes, &client.bare.reset_at(at.to_client, at.from_client)) {
            counters.reset.to_client.add(1);
        }
        if backend.send(outcomes, &backend.bare.reset_at(at.from_client.wrapping_add(lag), at.to_client)) {
            counters.reset.to_backend.add(1);
        }
        true
    }

    fn to_client(&self, world: &Snapshot) -> Way {
        let hop = world.routes.next_hop_to(self.client.ip());
        Way::new(self.frontend, self.client, hop, None)
    }

    fn to_backend(&self) -> Way {
        let Backend { address, port, next_hop, forwarding, .. } = self.backend;
        if let Some(source) = self.source {
            let port = if port == 0 { self.frontend.port() } else { port };
            return Way::new(source, (address, port).into(), next_hop, None);
        }
        match forwarding {
            Forwarding::Translate | Forwarding::Translate6 { .. } => {
                Way::new(self.client, (address, port).into(), next_hop, None)
            }
            Forwarding::TranslateAddress | Forwarding::FullNat => {
                Way::new(self.client, (address, self.frontend.port()).into(), next_hop, None)
            }
            Forwarding::Direct => Way::new(self.client, self.frontend, next_hop, None),
            Forwarding::Tunnel(template) => Way::new(self.client, self.frontend, next_hop, Some(template)),
        }
    }
}

impl Way {
    fn new(source: SocketAddr, destination: SocketAddr, hop: NextHop, tunnel: Option<Template>) -> Self {
        Self { bare: Bare { addresses: hop.hop.addresses, source, destination }, hop, tunnel }
    }

    /// Nothing fits where the neighbour is not known.
    fn is_reachable(&self) -> bool {
        usize::from(self.hop.hop.mtu) + ethernet::HEADER_LEN >= LEN_MAX
    }

    /// Has the segment sent besides. Whether it will be.
    fn send(&self, outcomes: &mut Outcomes, segment: &BareFrame) -> bool {
        let mut place = [0; LEN_MAX + encap::LEN_MAX];
        self.is_reachable()
            && self
                .wrap(segment, &mut place)
                .is_some_and(|frame| outcomes.originate(self.hop.hop.port, frame))
    }

    /// Makes the segment of a frame. Whether there was room.
    fn fill<F: Frame>(&self, frame: &mut F, segment: &BareFrame) -> bool {
        let mut place = [0; LEN_MAX + encap::LEN_MAX];
        self.wrap(segment, &mut place).is_some_and(|bytes| frame.fill(bytes))
    }

    /// The frame as it travels.
    fn wrap<'a>(
        &self,
        segment: &'a BareFrame,
        place: &'a mut [u8; LEN_MAX + encap::LEN_MAX],
    ) -> Option<&'a [u8]> {
        let Some(template) = &self.tunnel else { return Some(segment.bytes()) };
        let (_, packet) = segment.bytes().split_at_checked(ethernet::HEADER_LEN)?;
        let frame = place.get_mut(..ethernet::HEADER_LEN + template.len() + packet.len())?;
        let (head, outer) = frame.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>()?;
        encapsulate::write_outer(head, outer, &self.hop.hop, template, packet, 0)?;
        Some(frame)
    }
}
