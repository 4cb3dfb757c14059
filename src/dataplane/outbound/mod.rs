//! Outbound rules: connections that backends open themselves leave from an address and port of ours, and what comes back
//! there is the backend's. All flows of a backend are one worker's, which its address chooses, so that no two ever look
//! for a port of the same block; whoever has a packet of them hands it over. `docs/OUTBOUND.md` is the long form.

mod counts;
mod echo;
mod errors;
mod ports;
mod slab;
mod sort;
mod state;
mod survey;
mod sweep;
mod table;
mod told;

pub(super) use counts::OutboundCounters;
pub(super) use errors::AboutOutbound;
pub(super) use sort::{Passing, from_inside, of_echo};
pub use survey::{FoundOutbound, OutboundFilter};
pub use told::{OUTBOUND_KINDS, OutboundBackend, OutboundPorts, OutboundTotals, outbound_backends};

use super::ends::{self, NewEnds};
use super::flow_table::Position;
use super::full_nat::Aside;
use super::icmp::Around;
use super::lanes::{Lane, LaneSet, Lanes, Outcome};
use super::nat::Refusal;
use super::steer::Steering;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::snapshot::{Member, MemberWay, NextHop, PortKind, Snapshot};
use crate::wire::bare::{Bare, Numbers};
use ports::{Ports, Wanted};
use sort::Direction;
use state::State;
use table::{Far, Flow, Mapping, Outside, Table};

/// The flows of one worker's backends, and their ports.
pub(super) struct Flows {
    table: Table,
    ports: Ports,
    sweep_at: u32,
}

impl Flows {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { table: Table::new()?, ports: Ports::new()?, sweep_at: 0 })
    }
}

/// A packet's flow.
#[derive(Clone, Copy)]
struct Found {
    flow: u32,
    is_new: bool,
}

/// What becomes of a packet.
struct Route {
    ends: NewEnds,
    next_hop: NextHop,
    member: u32,
}

impl Lanes {
    /// Sends packets of flows that backends have opened on, both ways.
    #[inline(always)]
    pub(super) fn pass_outbound<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut Flows,
        steering: &Steering,
        around: Around<'_>,
    ) {
        if !self.passing.is_empty() {
            self.pass_all(burst, flows, steering, around);
        }
    }

    #[inline(never)]
    fn pass_all<F: Frame>(
        &mut self,
        burst: &mut [F],
        flows: &mut Flows,
        steering: &Steering,
        around: Around<'_>,
    ) {
        let mut forwarded = LaneSet::default();
        for i in 0..self.passing.len() {
            let (lane, passing) = self.passing[i];
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            let passed = match passing.way {
                Direction::Out(member) => {
                    self.pass_out(lane, frame, &passing, member, flows, steering, around)
                }
                Direction::In(number) => self.pass_in(lane, frame, &passing, number, flows, steering, around),
            };
            match passed {
                Ok(true) => forwarded.insert(lane),
                Ok(false) => {}
                Err(outcome) => self.outcomes.decide(lane, outcome),
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// A backend's packet. Whether it is sent on.
    #[expect(clippy::too_many_arguments, reason = "a step of a longer way")]
    fn pass_out<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        passing: &Passing,
        number: u32,
        flows: &mut Flows,
        steering: &Steering,
        around: Around<'_>,
    ) -> Result<bool, Outcome> {
        let Around { world, now, source, .. } = around;
        let member = world.outbound.member(number).ok_or(Outcome::Drop(DropReason::NotOurs))?;
        if member.from.is_some_and(|port| port != source.port()) {
            return Err(Outcome::Drop(DropReason::WrongPort));
        }
        let owner = steering.owner(member.hash);
        if owner != steering.me {
            return Err(Outcome::HandOver(owner));
        }
        let numbers = numbers(frame, passing);
        let Found { flow: index, is_new } = flows.find_or_open(passing, (number, member), around)?;
        let flow = flows.table.flow(index).ok_or(Outcome::Drop(DropReason::OutboundNoFlow))?;
        let remote = flow.remote();
        if let (true, Some(numbers)) = (flow.state.is_ended(), numbers) {
            let inside = (passing.ip.source, passing.source_port).into();
            let bare = Bare { addresses: member.next_hop.hop.addresses, source: remote, destination: inside };
            return Err(answer_by_reset(frame, &bare, numbers, &member.next_hop));
        }
        let outside = flow.outside();
        let source = world.outbound.address(outside.number).ok_or(Outcome::Drop(DropReason::NotOurs))?;
        let ends = NewEnds { source: (source, outside.port).into(), destination: remote };
        let next_hop = world.routes.next_hop_to(remote.ip());
        let is_sent =
            self.send_passing(lane, frame, passing, &Route { ends, next_hop, member: number }, around);
        if !is_sent {
            if is_new {
                // Who is not sent on has no use for a port.
                flows.forget(index, world);
            }
            return Ok(false);
        }
        let Some(flow) = flows.table.flow(index) else { return Ok(true) };
        if is_new {
            around.counters.outbound.begun(number, passing.kind);
        }
        flow.see(now);
        if let Some(numbers) = numbers {
            flow.position = match flow.state.is_established() {
                true => flow.position.advanced_to(Position::after(numbers)),
                false => Position::after(numbers),
            };
        }
        flow.state = flow.state.after_out(passing.flags);
        Ok(true)
    }

    /// A packet to a frontend of outbound rules. Only whom the backend has sent something to may send something there: the
    /// filter is by address and port (RFC 4787 section 5).
    #[expect(clippy::too_many_arguments, reason = "a step of a longer way")]
    fn pass_in<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        passing: &Passing,
        number: u8,
        flows: &mut Flows,
        steering: &Steering,
        around: Around<'_>,
    ) -> Result<bool, Outcome> {
        const NOBODY: Outcome = Outcome::Drop(DropReason::OutboundFiltered);
        let Around { world, now, .. } = around;
        let Passing { ip, kind, destination_port: port, source_port, flags, .. } = *passing;
        let outbound = &world.outbound;
        let owner = outbound.owner(number, kind, port).ok_or(NOBODY)?;
        let member = outbound.member(owner).ok_or(NOBODY)?;
        let worker = steering.owner(member.hash);
        if worker != steering.me {
            return Err(Outcome::HandOver(worker));
        }
        let far = Far::new(kind, ip.source, source_port);
        let index = flows.table.find(Outside { number, port }, far, &world.hash).ok_or(NOBODY)?;
        let flow = *flows.table.flow(index).ok_or(NOBODY)?;
        let mapping = flows.table.mapping(flow.mapping).ok_or(NOBODY)?;
        if flow.idle_ticks(now) > flow.state.timeout(kind, member.way(kind)) {
            return Err(NOBODY);
        }
        let numbers = numbers(frame, passing);
        if let (true, Some(numbers)) = (flow.state.is_ended(), numbers) {
            let next_hop = world.routes.next_hop_to(ip.source);
            let own = (ip.destination, port).into();
            let bare = Bare { addresses: next_hop.hop.addresses, source: own, destination: flow.remote() };
            return Err(answer_by_reset(frame, &bare, numbers, &next_hop));
        }
        let ends = NewEnds { source: flow.remote(), destination: mapping.inside() };
        let route = Route { ends, next_hop: member.next_hop, member: owner };
        let is_sent = self.send_passing(lane, frame, passing, &route, around);
        if is_sent && let Some(flow) = flows.table.flow(index) {
            if !flow.state.is_answered() {
                around.counters.outbound.answered(owner, kind);
            }
            let is_in_place = numbers
                .is_none_or(|numbers| state::is_reset_in_place(numbers.sequence, flow.position.to_client));
            let state = flow.state.after_in(flags, is_in_place);
            if state.closes_more_than(flow.state) {
                flow.see(now);
            }
            flow.state = state;
        }
        Ok(is_sent)
    }

    /// Gives the packet its new ends. Whether it is sent on.
    fn send_passing<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        passing: &Passing,
        route: &Route,
        around: Around<'_>,
    ) -> bool {
        let Route { ends, next_hop, member } = route;
        let hop = &next_hop.hop;
        self.outcomes.set_port(lane, hop.port);
        let ip = &passing.ip;
        if ip.fragment.is_some_and(|part| !part.is_all()) {
            self.asides.push((lane, Aside::of_way(ends, hop, passing.is_out())));
        }
        let sent: Result<u16, Refusal> = match passing.kind {
            PortKind::Echo => echo::translate(frame, passing, hop, ends),
            PortKind::Tcp | PortKind::Udp => ends::translate(frame, &passing.packet(), hop, ends),
        };
        let sent = self.sent(lane, sent, ends, ip, *next_hop, passing.is_out());
        if let Some(total_len) = sent {
            around.counters.outbound.count(*member, passing.is_out(), total_len);
        }
        sent.is_some()
    }

    /// Whether the packet in `lane` is of such a flow.
    pub(in crate::dataplane) fn is_outbound(&self, lane: Lane) -> bool {
        self.passing.iter().any(|(of, _)| *of == lane)
    }

    /// The backend whose packet is in `lane`, which way ever it goes.
    pub(in crate::dataplane) fn outbound_member(&self, lane: Lane, world: &Snapshot) -> Option<u32> {
        let (_, passing) = self.passing.iter().find(|(of, _)| *of == lane)?;
        match passing.way {
            Direction::Out(member) => Some(member),
            Direction::In(number) => world.outbound.owner(number, passing.kind, passing.destination_port),
        }
    }
}

impl Flows {
    /// The flow of a backend's packet, or a new one.
    fn find_or_open(
        &mut self,
        passing: &Passing,
        (number, member): (u32, &Member),
        around: Around<'_>,
    ) -> Result<Found, Outcome> {
        let Around { world, now, counters, .. } = around;
        let Passing { ip, kind, flags, source_port, destination_port, .. } = *passing;
        let way = member.way(kind);
        let inside = Far::new(kind, ip.source, source_port);
        let far = Far::new(kind, ip.destination, destination_port);
        let is_opening = kind != PortKind::Tcp || flags.opens();
        let mut after = None;
        // A mapping whose port has no flow to there yet.
        let mut with_room = None;
        while let Some(index) = self.table.find_mapping(inside, after, &world.hash) {
            after = Some(index);
            let Some(mapping) = self.table.mapping(index) else { break };
            let outside = mapping.outside();
            // One that the rule has no more, or another rule has, serves what it served.
            let lends = || world.outbound.lends(way, outside.number, kind, outside.port);
            let Some(found) = self.table.find(outside, far, &world.hash) else {
                with_room = with_room.or(lends().then_some(index));
                continue;
            };
            let Some(flow) = self.table.flow(found).filter(|flow| flow.mapping == index) else { continue };
            let is_over = flow.idle_ticks(now) > flow.state.timeout(kind, way);
            let is_new = is_over || flags.opens() && flow.state.gives_way_to_syn();
            if !is_new {
                return Ok(Found { flow: found, is_new: false });
            }
            let reopens = is_opening && way.opens;
            if is_over && !reopens && flow.ends_by_reset(way) {
                // The sweep has yet to tell both ends.
                return Err(Outcome::Drop(DropReason::OutboundNoFlow));
            }
            counters.outbound.ended(number, kind, flow.state.is_answered());
            if reopens && lends() {
                // It keeps its port if another takes its place.
                flow.state = State::default();
                return Ok(Found { flow: found, is_new: true });
            }
            self.forget(found, world);
            if !reopens {
                return Err(Outcome::Drop(DropReason::OutboundNoFlow));
            }
            // The mapping may be gone with its flow.
            (after, with_room) = (None, None);
        }
        if !way.opens {
            return Err(Outcome::Drop(DropReason::NotOurs));
        }
        if !is_opening {
            return Err(Outcome::Drop(DropReason::OutboundNoFlow));
        }
        let open = |table: &mut Table, index| table.add(index, far, State::default(), now, &world.hash);
        if let Some(flow) = with_room.and_then(|index| open(&mut self.table, index)) {
            return Ok(Found { flow, is_new: true });
        }
        self.open(inside, far, (number, member), around).map(|flow| Found { flow, is_new: true })
    }

    /// A flow from a port that the backend's endpoint has not had.
    fn open(
        &mut self,
        inside: Far,
        far: Far,
        (number, member): (u32, &Member),
        around: Around<'_>,
    ) -> Result<u32, Outcome> {
        let Around { world, now, counters, .. } = around;
        let (outbound, hasher, kind) = (&world.outbound, &world.hash, far.kind);
        let hash = hasher.word(member.hash ^ u64::from(inside.port));
        let wanted = Wanted { member: number, way: member.way(kind), far, hash, outbound, hasher };
        let refuse = |reason| {
            counters.outbound.failed(number, kind);
            Outcome::Drop(reason)
        };
        let outside = self.ports.find(wanted, &mut self.table);
        let outside = outside.ok_or_else(|| refuse(DropReason::OutboundNoPort))?;
        let opened = self.table.map(inside, number, outside, hasher).and_then(|index| {
            self.ports.take(number, kind, outside, outbound);
            let flow = self.table.add(index, far, State::default(), now, hasher);
            if flow.is_none() && self.table.unmap_unused(index).is_some() {
                self.ports.give_back(number, kind, outside, outbound);
            }
            flow
        });
        opened.ok_or_else(|| refuse(DropReason::OutboundTableFull))
    }

    /// Takes a flow out of the table, and gives its port back if that was the last of its mapping.
    fn forget(&mut self, index: u32, world: &Snapshot) {
        self.ports.note_end();
        if let Some(gone) = self.table.remove(index) {
            self.ports.give_back(gone.member, gone.kind(), gone.outside(), &world.outbound);
        }
    }
}

/// Of a TCP segment.
fn numbers<F: Frame>(frame: &F, passing: &Passing) -> Option<Numbers> {
    let ip = &passing.ip;
    let numbers = Numbers::of(frame.bytes(), ip.payload_offset.into(), ip.end());
    numbers.filter(|_| passing.kind == PortKind::Tcp)
}

/// What an end says that has missed its reset is answered by another.
fn answer_by_reset<F: Frame>(frame: &mut F, bare: &Bare, numbers: Numbers, next_hop: &NextHop) -> Outcome {
    use crate::wire::l4::TcpFlags;
    if numbers.flags.any(TcpFlags::RST) || next_hop.hop.mtu == 0 {
        return Outcome::Drop(DropReason::OutboundNoFlow);
    }
    if frame.fill(bare.reset_in_answer(numbers).bytes()) {
        Outcome::Answer(next_hop.hop.port)
    } else {
        Outcome::Drop(DropReason::NoHeadroom)
    }
}

impl Flow {
    /// Whether both ends are told of its end.
    fn ends_by_reset(&self, way: &MemberWay) -> bool {
        self.kind() == PortKind::Tcp && way.tcp_reset && self.state.is_established()
    }

    /// Who has it, and what its rule says.
    fn owner<'a>(&self, table: &mut Table, world: &'a Snapshot) -> Option<(Mapping, &'a Member)> {
        let mapping = table.mapping(self.mapping)?;
        Some((mapping, world.outbound.member(mapping.member)?))
    }
}
