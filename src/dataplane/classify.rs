//! The first stages: what a frame is, and whose.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::ControlFrame;
use super::flow_table::Tables;
use super::fragments::{Fragments, Part};
use super::full_nat::{SOURCE_PORTS, ToSource};
use super::icmp::{self, Around, Notice};
use super::lanes::{Lane, LaneSet, Lanes, Ours, Outcome, Source};
use super::outbound::{Passing, from_inside};
use super::own_address::Readdressed;
use crate::drop_reason::DropReason;
use crate::io::tagged::take_priority;
use crate::io::{BURST_MAX, Frame};
use crate::packet::{
    EndpointKey, FlowKey, FrontendWord, IpPacket, Packet, Parsed, PlainEnds, PlainPacket, WideKey,
    flaw_of_source, is_martian, is_martian_v4, parse,
};
use crate::snapshot::{BackendId, FrontendId, PortLink, Snapshot, ToClient, WordMap};
use crate::wire::l4::TcpFlags;
use crate::wire::plain::Pattern;
use crate::wire::{Protocol, ethernet};

/// What a frame is to us.
pub(super) enum Class {
    Client(Client),
    /// The same, with a wide key.
    WideClient(WideClient),
    /// The same, of a flow that is to have a port of ours.
    Bound(WideClient),
    /// A packet to such a port.
    ToSource(ToSource),
    /// A backend's packet to a client.
    Response(BackendId),
    /// The same, in IPv6.
    WideResponse(BackendId),
    /// The same, of a backend whose flows are reset.
    CutOff(BackendId),
    /// For us to answer.
    Ours(Ours),
    /// A packet of a flow that a backend has opened.
    Passing(Passing),
    /// An ICMP error about a flow of ours.
    Notice(Notice),
    /// A part of a datagram.
    Fragment(IpPacket),
    /// Nothing.
    Drop(DropReason),
}

/// A client's packet to a frontend.
pub(super) struct Client {
    pub(super) key: FlowKey,
    pub(super) to_hash: u64,
    tcp_flags: TcpFlags,
}

/// A client's packet whose flow has a wide key.
pub(super) struct WideClient {
    pub(super) key: WideKey,
    pub(super) hash: u64,
    tcp_flags: TcpFlags,
}

/// Frames looked at before their flows are hashed and asked for: enough for the vector lanes, and few enough
/// for the memory to be at work while the next frames are looked at.
const CHUNK: usize = 32;

/// How many frames ahead the memory is asked for a frame.
pub(super) const FRAMES_AHEAD: usize = 8;

impl Lanes {
    /// Reads every frame's headers, finds out which frontend it is for, hashes its flow, and asks the memory for
    /// the flow's first line. What is for no frontend is left for the next stages, the plain packets apart from
    /// all other frames.
    #[inline(always)]
    pub(super) fn find_clients<F: Frame>(
        &mut self,
        burst: &[F],
        source: Source,
        world: &Snapshot,
        flows: &mut Tables,
    ) {
        (self.strangers, self.rest) = (LaneSet::default(), LaneSet::default());
        self.clients = LaneSet::default();
        // There is one for each port. Of a port that nobody knows, nothing would be decided on.
        let Some(pattern) = world.patterns.get(source.port().index()) else { return };
        burst.iter().take(FRAMES_AHEAD).for_each(Frame::prefetch);
        let is_wide = |frame: Option<&F>| frame.is_some_and(|frame| is_of_ipv6(frame.bytes()));
        // One stray does not take the others off their way.
        if is_wide(burst.first()) && is_wide(burst.get(burst.len() / 2)) {
            return self.find_wide_first(burst, source, world, flows);
        }
        let lines = flows.narrow.open();
        for start in (0..burst.len().min(BURST_MAX)).step_by(CHUNK) {
            let end = (start + CHUNK).min(burst.len()).min(BURST_MAX);
            self.find_some(start..end, burst, pattern, &world.by_frontend);
            let others = self.strangers.with(self.rest);
            if LaneSet::first(end).without(LaneSet::first(start)).without(others).is_empty() {
                continue;
            }
            // Those of other frames are zero, and lead to one line that is near.
            let hashes = self.hashes.get_mut(start..end).unwrap_or_default();
            world.hash.words(hashes);
            hashes.iter().for_each(|hash| lines.prefetch_first(*hash));
        }
        self.clients = LaneSet::first(burst.len()).without(self.strangers).without(self.rest);
    }

    /// Not inlined, as the other large stages: a loop by itself has more registers.
    #[inline(never)]
    pub(super) fn find_some<F: Frame>(
        &mut self,
        lanes: Range<usize>,
        burst: &[F],
        pattern: &Pattern,
        by_frontend: &WordMap,
    ) {
        let (mut strangers, mut rest) = (self.strangers, self.rest);
        for lane in lanes.map(Lane::new) {
            let Some(frame) = burst.get(lane.index()) else { continue };
            if let Some(later) = burst.get(lane.index() + FRAMES_AHEAD) {
                later.prefetch();
            }
            if let Some(packet) = PlainPacket::parse(frame.bytes(), pattern) {
                if let Some(word) = by_frontend.get(packet.ends.destination().0).map(FrontendWord) {
                    let client = packet.ends.client_word();
                    self.keys[lane.index()] = word.key(client);
                    self.hashes[lane.index()] = word.to_hash(client);
                    self.tcp_flags[lane.index()] = packet.tcp_flags;
                    continue;
                }
                strangers.insert(lane);
            } else {
                rest.insert(lane);
            }
            self.hashes[lane.index()] = 0;
        }
        (self.strangers, self.rest) = (strangers, rest);
    }

    /// Finds out which backends the plain packets that are for no frontend come from.
    #[inline(always)]
    pub(super) fn find_responses<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        self.responses = self.strangers;
        for lane in self.strangers {
            let ends = burst.get(lane.index()).and_then(|frame| PlainEnds::of_parsed(frame.bytes()));
            let backend = ends.and_then(|ends| {
                let id = world.responder_at(ends.source())?;
                let to = ends.destination_address();
                let is_fine = is_behind(world.to_client.get(id.index())?, source)
                    && !world.is_local(to)
                    && !is_martian_v4(to)
                    && ends.destination_port_word() != 0;
                is_fine.then_some(id)
            });
            match backend {
                Some(backend) => self.backends[lane.index()] = backend,
                // What is wrong with it is found out there.
                None => {
                    self.responses.remove(lane);
                    self.rest.insert(lane);
                }
            }
        }
    }

    /// Looks closely at all that is left: what is not plain TCP or UDP, and what has something wrong with it.
    #[inline(always)]
    pub(super) fn sort_rest<F: Frame>(
        &mut self,
        burst: &mut [F],
        fragments: &mut Fragments,
        around: Around<'_>,
    ) {
        let Around { source, world, now, .. } = around;
        for lane in self.rest {
            let (Some(frame), Some(link)) = (burst.get_mut(lane.index()), world.port(source.port())) else {
                continue;
            };
            take_priority(frame);
            let class = match classify_rare(frame.bytes(), link, source, world) {
                Class::Fragment(_) if !fragments.may_take(source, now) => {
                    Class::Drop(DropReason::FragmentLimit)
                }
                class => class,
            };
            self.place(lane, class, world);
        }
    }

    /// Puts the frame to where what it is will be seen to.
    pub(super) fn place(&mut self, lane: Lane, class: Class, world: &Snapshot) {
        match class {
            Class::Client(client) => {
                self.keys[lane.index()] = client.key;
                self.hashes[lane.index()] = world.hash.word(client.to_hash);
                self.tcp_flags[lane.index()] = client.tcp_flags;
                self.clients.insert(lane);
            }
            Class::Bound(client) => {
                self.set_wide_key(lane, client.key);
                self.hashes[lane.index()] = client.hash;
                self.tcp_flags[lane.index()] = client.tcp_flags;
                self.bound.insert(lane);
            }
            Class::ToSource(to) => self.to_sources.push((lane, to)),
            Class::WideClient(client) => {
                self.set_wide_key(lane, client.key);
                self.hashes[lane.index()] = client.hash;
                self.tcp_flags[lane.index()] = client.tcp_flags;
                self.wide.insert(lane);
            }
            Class::Response(backend) => {
                self.backends[lane.index()] = backend;
                self.responses.insert(lane);
            }
            Class::WideResponse(backend) => {
                self.backends[lane.index()] = backend;
                self.wide_responses.insert(lane);
            }
            Class::CutOff(backend) => {
                self.backends[lane.index()] = backend;
                self.resets.insert(lane);
            }
            Class::Ours(what) => self.ours.push((lane, what)),
            Class::Passing(passing) => self.passing.push((lane, passing)),
            Class::Notice(notice) => self.notices.push((lane, notice)),
            Class::Fragment(ip) => self.fragments.push(Part::new(lane, ip)),
            Class::Drop(reason) => self.outcomes.decide(lane, Outcome::Drop(reason)),
        }
    }
}

/// A client's packet, if it is to a frontend.
pub(super) fn to_frontend(packet: &Packet, world: &Snapshot) -> Option<Class> {
    let Some((source, destination)) = packet.ip.v4() else { return to_wide_frontend(packet, world) };
    let to = EndpointKey::new(destination, packet.destination_port, packet.protocol);
    let Some(id) = world.frontend_at(to) else { return to_wide_frontend(packet, world) };
    let key = FlowKey::new(source, packet.source_port, id.0);
    let to_hash = key.client_part() ^ world.frontend(id)?.flow_seed;
    Some(Class::Client(Client { key, to_hash, tcp_flags: packet.tcp_flags }))
}

/// The same where flows have wide keys.
fn to_wide_frontend(packet: &Packet, world: &Snapshot) -> Option<Class> {
    let Packet { ip, source_port, destination_port, protocol, tcp_flags } = *packet;
    if source_port == 0 || destination_port == 0 {
        return None;
    }
    let wide = world.wide_frontend_at(ip.destination, destination_port, protocol);
    let bound = || world.bound_frontend_at(ip.destination, destination_port, protocol);
    if let Some(id) = wide.or_else(bound) {
        return wide_client(ip.source, WideKey::new(ip.source, source_port, id.0), id, tcp_flags, world);
    }
    if world.broad.is_empty() {
        return None;
    }
    let id = world.broad.find(ip.destination, Some(destination_port), protocol.number())?.id();
    let to = SocketAddr::new(ip.destination, destination_port);
    let key = world.broad_key(WideKey::new(ip.source, source_port, id.0), id, to, protocol.number());
    wide_client(ip.source, key, id, tcp_flags, world)
}

/// A client's packet of a protocol that we know nothing of but its number.
pub(super) fn of_other_protocol(ip: &IpPacket, source: Source, world: &Snapshot) -> Class {
    let readdressed = || Readdressed::of(ip, source, world).map(Readdressed::class);
    to_broad(ip, world)
        .or_else(readdressed)
        .unwrap_or_else(|| Class::Drop(classify_other(ip, world).err().unwrap_or(DropReason::NoRule)))
}

fn to_broad(ip: &IpPacket, world: &Snapshot) -> Option<Class> {
    if world.broad.is_empty() {
        return None;
    }
    let id = world.broad.find(ip.destination, None, ip.protocol)?.id();
    let key = WideKey::new(ip.source, 0, id.0);
    let key = world.broad_key(key, id, SocketAddr::new(ip.destination, 0), ip.protocol);
    wide_client(ip.source, key, id, TcpFlags::default(), world)
}

fn wide_client(
    source: IpAddr,
    key: WideKey,
    id: FrontendId,
    tcp_flags: TcpFlags,
    world: &Snapshot,
) -> Option<Class> {
    let frontend = world.frontend(id)?;
    // As it stands in the packet: in a key, an IPv4 address that IPv6 has mapped looks like any other.
    if is_martian(source) {
        return Some(Class::Drop(DropReason::MartianSource));
    }
    let client = WideClient { key, hash: frontend.flow_hash(&world.hash, key), tcp_flags };
    Some(if frontend.is_bound { Class::Bound(client) } else { Class::WideClient(client) })
}

/// Frames that are not plain TCP or UDP, or that have something wrong with them.
#[cold]
fn classify_rare(bytes: &[u8], link: &PortLink, source: Source, world: &Snapshot) -> Class {
    let parsed = parse(bytes).and_then(|parsed| {
        check_mac(bytes, link, may_be_to_many(&parsed))?;
        Ok(parsed)
    });
    match parsed {
        Ok(Parsed::Transport(packet)) => match to_frontend(&packet, world) {
            Some(client) => client,
            None if let Some(to) = to_source(&packet, world) => Class::ToSource(to),
            None if answers_probe(&packet, source, world) => Class::Ours(Ours::ProbeAnswer),
            None => from_inside(&packet, source, world),
        },
        Ok(Parsed::Icmp(ip)) => icmp::classify(bytes, &ip, source, world).unwrap_or_else(Class::Drop),
        Ok(Parsed::Other(ip)) => of_other_protocol(&ip, source, world),
        Ok(Parsed::Fragment(ip)) => Class::Fragment(ip),
        Ok(Parsed::Arp) => Class::Ours(Ours::Arp),
        Err(reason) => Class::Drop(reason),
    }
}

/// Whether neighbours ask for each other by it.
fn may_be_to_many(parsed: &Parsed) -> bool {
    match parsed {
        Parsed::Arp => true,
        Parsed::Icmp(ip) => ip.source.is_ipv6() && ip.destination.is_multicast(),
        _ => false,
    }
}

/// Whether the frame is for this station. ARP may be broadcast, IP may not (RFC 1122 section 3.3.6).
fn check_mac(bytes: &[u8], link: &PortLink, broadcast_is_fine: bool) -> Result<(), DropReason> {
    let header = bytes.first_chunk().ok_or(DropReason::EthernetTruncated)?;
    let destination = ethernet::addresses(header).destination();
    if destination == link.mac || !link.filters || broadcast_is_fine && destination.is_group() {
        Ok(())
    } else {
        Err(DropReason::WrongMac)
    }
}

/// A packet to an address that full NAT translates sources to, at a port that flows can have.
pub(super) fn to_source(packet: &Packet, world: &Snapshot) -> Option<ToSource> {
    if world.sources.is_empty() || !SOURCE_PORTS.contains(&packet.destination_port) {
        return None;
    }
    let source = world.sources.number(packet.ip.destination)?;
    Some(ToSource { source, packet: *packet })
}

/// Whether the management thread may wait for the packet. It is no longer than a frame for that thread can be.
fn answers_probe(packet: &Packet, source: Source, world: &Snapshot) -> bool {
    let from = (packet.ip.source, packet.source_port).into();
    let to = (packet.ip.destination, packet.destination_port).into();
    packet.protocol == Protocol::Tcp
        && usize::from(packet.ip.total_len) <= ControlFrame::PACKET_MAX
        && world.answers_probe(source.port(), from, to)
}

/// The backend that answers from an endpoint, if from that alone, and whether its TCP flows are reset.
pub(super) fn responder(
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    world: &Snapshot,
) -> Option<(BackendId, bool)> {
    let IpAddr::V4(address) = address else { return world.wide_responder_at(address, port, protocol) };
    let from = EndpointKey::new(address, port, protocol);
    let resetting = || world.resetting_at(from).map(|id| (id, true));
    world.responder_at(from).map(|id| (id, false)).or_else(resetting)
}

/// The backend that sent the packet to a client.
pub(super) fn from_backend(packet: &Packet, source: Source, world: &Snapshot) -> Result<Class, DropReason> {
    let Packet { ip, source_port, destination_port, protocol, .. } = *packet;
    let responder = responder(ip.source, source_port, protocol, world);
    let several =
        || world.broad_responder_at(ip.source, source_port, protocol.number()).map(|id| (id, false));
    let broad = if responder.is_none() { several() } else { None };
    let is_broad = broad.is_some();
    let responder = responder.or(broad);
    let Some((id, is_cut_off)) = responder else {
        // Either port will do to name the flaw that a port can have.
        let port = if destination_port == 0 { 0 } else { source_port };
        return Err(stranger(ip.source, port, ip.destination, world));
    };
    if world.local_at(ip.destination).is_some() {
        return Err(DropReason::NoRule);
    }
    if is_martian(ip.destination) || destination_port == 0 {
        return Err(DropReason::MartianDestination);
    }
    let backend = world.to_client.get(id.index()).ok_or(DropReason::NotOurs)?;
    if !is_behind(backend, source) {
        return Err(DropReason::WrongPort);
    }
    Ok(match (is_cut_off, ip.source) {
        (true, _) => Class::CutOff(id),
        (false, IpAddr::V4(_)) if !is_broad => Class::Response(id),
        (false, _) => Class::WideResponse(id),
    })
}

/// Whether packets from the backend can come in where these do.
#[inline(always)]
pub(super) fn is_behind(backend: &ToClient, source: Source) -> bool {
    backend.from.is_none_or(|port| port == source.port())
}

/// By its EtherType alone.
#[inline(always)]
fn is_of_ipv6(frame: &[u8]) -> bool {
    frame.get(12..14).is_some_and(|ether_type| *ether_type == ethernet::TYPE_IPV6.to_be_bytes())
}

/// Why a packet is not for us to forward.
pub(super) fn stranger(source: IpAddr, port: u16, destination: IpAddr, world: &Snapshot) -> DropReason {
    if let Some(flaw) = flaw_of_source(source, port) {
        flaw
    } else if world.local_at(source).is_some() {
        // Nobody but us sends from our addresses: such a packet was made up, or loops.
        DropReason::MartianSource
    } else if world.local_at(destination).is_some() {
        DropReason::NoRule
    } else {
        DropReason::NotOurs
    }
}

/// Whether a packet that is neither TCP nor UDP is for us.
pub(super) fn classify_other(ip: &IpPacket, world: &Snapshot) -> Result<(), DropReason> {
    // Without ports there is none that could be wrong.
    match stranger(ip.source, 1, ip.destination, world) {
        DropReason::NoRule => Ok(()),
        reason => Err(reason),
    }
}
