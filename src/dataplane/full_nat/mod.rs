//! Full NAT: the source of clients' packets is translated too, to an address and port of ours, so that the responses come
//! back here from wherever the backend is. Between families the packet is given the other's header (RFC 7915).

mod aside;
mod bindings;
mod ending;
mod errors;
mod ports;
mod proxy;
mod stream;
mod sweep;

pub(super) use aside::Aside;
pub(super) use bindings::{Binding, Bindings, Name, PORTS as SOURCE_PORTS, Place, PortMemory};
pub(super) use sweep::{Swept, sweep, sweep_all};

use std::net::SocketAddr;

use super::classify::is_behind;
use super::ends::{self, NewEnds};
use super::flow_table::{Key, State, Value, settle_flow};
use super::icmp::Around;
use super::lanes::{Lane, LaneSet, Lanes, Outcome};
use super::mss;
use super::nat::{Refusal, refuse};
use super::others::transport;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::{Flow, IpPacket, Packet};
use crate::snapshot::{Backend, BackendId, Frontend, FrontendId, Hop, NextHop};
use crate::wire::Protocol;
use crate::wire::bare::Numbers;
use crate::wire::l4::TcpFlags;
use ports::{count_ended, free};
use proxy::Insertion;
use stream::{Extras, Stream, put_ahead};

/// A packet to a source address and port of ours: a response, if a flow has them.
#[derive(Clone, Copy)]
pub(super) struct ToSource {
    pub(super) source: u16,
    pub(super) packet: Packet,
}

/// A client's packet, and its flow.
struct Bound<'a> {
    lane: Lane,
    packet: Packet,
    /// Of TCP.
    numbers: Option<Numbers>,
    frontend: &'a Frontend,
    backend: &'a Backend,
    id: BackendId,
    place: Place,
    is_new: bool,
}

impl Lanes {
    /// Finds which ports clients' flows have, or gives them some, and sends them on; and responses back.
    #[inline(always)]
    pub(super) fn full_nat<F: Frame>(
        &mut self,
        burst: &mut [F],
        bindings: &mut Bindings,
        around: Around<'_>,
    ) {
        if !self.bound.is_empty() || !self.to_sources.is_empty() {
            self.full_nat_all(burst, bindings, around);
        }
    }

    #[cold]
    fn full_nat_all<F: Frame>(&mut self, burst: &mut [F], bindings: &mut Bindings, around: Around<'_>) {
        let (to_backend, to_client) = (around.counters.to_backend(), around.counters.to_client());
        let mut forwarded = LaneSet::default();
        for lane in self.bound {
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            let sent = self.bind(lane, frame, bindings, around).map(|bound| {
                self.backends[lane.index()] = bound.id;
                let sent = self.send_bound(&bound, frame, bindings, around);
                if bound.is_new {
                    // Who is not sent on has no use for a port.
                    match sent {
                        Some(_) => ports::count_new(bound.id, around.counters),
                        None => bindings.forget(bound.place),
                    }
                }
                sent.map(|total_len| (bound.id, total_len))
            });
            match sent {
                Ok(Some((id, total_len))) => {
                    to_backend.get(id.index()).iter().for_each(|count| count.count(total_len));
                    forwarded.insert(lane);
                }
                Ok(None) => {}
                Err(outcome) => self.outcomes.decide(lane, outcome),
            }
        }
        for i in 0..self.to_sources.len() {
            let (lane, to) = self.to_sources[i];
            let Some(frame) = burst.get_mut(lane.index()) else { continue };
            match self.return_bound(lane, frame, &to, bindings, around) {
                Ok(Some((id, total_len))) => {
                    to_client.get(id.index()).iter().for_each(|count| count.count(total_len));
                    forwarded.insert(lane);
                }
                Ok(None) => {}
                Err(outcome) => self.outcomes.decide(lane, outcome),
            }
        }
        self.outcomes.forward_all(forwarded);
    }

    /// The backend and the port of the flow.
    fn bind<'a, F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        bindings: &mut Bindings,
        around: Around<'a>,
    ) -> Result<Bound<'a>, Outcome> {
        let Around { world, now, counters, .. } = around;
        let (key, hash) = (self.wide_key(lane), self.hashes[lane.index()]);
        let flags = self.tcp_flags[lane.index()];
        let frontend = world.frontend_of(key).ok_or(Outcome::Drop(DropReason::NoRule))?;
        let packet = transport(frame.bytes()).ok_or(Outcome::Drop(DropReason::Fragment))?;
        let numbers = numbers(frame, &packet);
        let name = Name::new(key, hash, packet.ip.destination, world);
        let of = |id: BackendId, place, is_new| {
            let backend = world.backend(id).ok_or(Outcome::Drop(DropReason::NoBackendAvailable))?;
            Ok(Bound { lane, packet, numbers, frontend, backend, id, place, is_new })
        };
        if let Some(place) = bindings.find(name) {
            if let (Some(binding), Some(numbers)) = (bindings.at(place), numbers)
                && ending::is_to_end(binding, frontend, numbers.flags, around)
            {
                return Err(ending::cut_off(
                    binding,
                    place,
                    numbers,
                    true,
                    frame,
                    &mut self.outcomes,
                    around,
                ));
            }
            let settled = bindings.at(place).and_then(|binding| {
                let new = settle_flow(binding.value, flags, frontend.idle_ticks, world, now)?;
                binding.value = new;
                Some(new.backend())
            });
            if let Some(id) = settled {
                return of(id, place, false);
            }
            if let Some(binding) = bindings.at(place) {
                count_ended(binding.value, &counters.flow.expired, counters);
                bindings.forget(place);
            }
        }
        let (id, place) = self.bind_anew(name, frontend, flags, bindings, around).map_err(Outcome::Drop)?;
        of(id, place, true)
    }

    fn bind_anew(
        &self,
        name: Name,
        frontend: &Frontend,
        flags: TcpFlags,
        bindings: &mut Bindings,
        around: Around<'_>,
    ) -> Result<(BackendId, Place), DropReason> {
        let Around { world, now, .. } = around;
        let Name { key, hash, .. } = name;
        if let Some(flaw) = key.flaw() {
            return Err(flaw);
        }
        // Such a packet was made up, or loops.
        if key.is_ours(world) {
            return Err(DropReason::MartianSource);
        }
        if frontend.acl.as_ref().is_some_and(|acl| !acl.permits(key.client().ip())) {
            around.counters.count_denied(FrontendId(key.frontend()));
            return Err(DropReason::AclDenied);
        }
        let choice =
            frontend.selector.choose(&world.hash, key, hash).ok_or(DropReason::NoBackendAvailable)?;
        let value = Value::new(choice.backend, State::first(flags), now);
        let place = free(bindings, value, flags, hash, around)?;
        let stream = Stream::new(frontend.client_address, key.client().is_ipv6());
        bindings.bind(place, name, value, stream);
        Ok((choice.backend, place))
    }

    fn send_bound<F: Frame>(
        &mut self,
        bound: &Bound<'_>,
        frame: &mut F,
        bindings: &mut Bindings,
        around: Around<'_>,
    ) -> Option<u16> {
        let Bound { lane, mut packet, numbers, backend, place, .. } = *bound;
        let world = around.world;
        let (source, port) = Bindings::source_of(place);
        let source = world.sources.address(source)?;
        let to = if backend.port == 0 { packet.destination_port } else { backend.port };
        let ends = NewEnds { source: (source, port).into(), destination: (backend.address, to).into() };
        let binding = bindings.at(place)?;
        let hop = &backend.next_hop.hop;
        self.outcomes.set_port(lane, hop.port);
        if packet.ip.fragment.is_some_and(|part| !part.is_all()) {
            self.asides.push((lane, Aside::of_way(&ends, hop, false)));
        }
        // What does not fit as it is must stay as it came, for its sender is told of it.
        let sent = ends::fit(&packet.ip, hop, source, backend.address, 0).and_then(|_| {
            if let Some(clamp) = bound.frontend.mss_clamp {
                mss::clamp_whole(frame.bytes_mut(), &packet, clamp, around.source.port(), backend, world);
            }
            let rest = numbers.and_then(|numbers| {
                let begins = matches!(binding.value.state(), State::HalfOpen | State::Fresh);
                let extras = binding.stream.follow_client(numbers, begins);
                self.accompany(bound, extras, binding, frame, &mut packet, (&ends, hop), around)
            });
            let sent = ends::translate(frame, &packet, hop, &ends);
            if let (Ok(_), Some(header)) = (sent, rest) {
                self.send_header(frame, header, binding, &ends, hop);
            }
            sent
        });
        self.sent(lane, sent, &ends, &packet.ip, backend.next_hop, false)
    }

    /// Tells the backend who its client is, and has the segment count as it does. A header that is to be sent by itself, for it
    /// did not fit.
    #[expect(clippy::too_many_arguments, reason = "a step of a longer way")]
    fn accompany<F: Frame>(
        &mut self,
        bound: &Bound<'_>,
        extras: Extras,
        binding: &mut Binding,
        frame: &mut F,
        packet: &mut Packet,
        (ends, hop): (&NewEnds, &Hop),
        around: Around<'_>,
    ) -> Option<proxy::Bytes> {
        let numbers = bound.numbers?;
        let client: SocketAddr = (packet.ip.source, packet.source_port).into();
        let frontend: SocketAddr = (packet.ip.destination, packet.destination_port).into();
        let counters = &around.counters.client_address;
        if extras.cut {
            proxy::cut_data(frame, packet);
        }
        let is_whole = packet.ip.fragment.is_none_or(|part| part.is_all());
        let put = |extras: Extras, frame: &mut F, packet: &mut Packet| {
            let insertion = Insertion::new(extras, client, frontend);
            let (source, destination) = (ends.source.ip(), ends.destination.ip());
            let fits = ends::fit(&packet.ip, hop, source, destination, insertion.len()).is_ok();
            (is_whole && fits && insertion.has_room(frame.bytes(), packet))
                .then(|| insertion.insert(frame, packet))
                .flatten()
                .is_some()
        };
        let segment_at = usize::from(packet.ip.payload_offset);
        let has_proxy = extras.proxy && put(Extras { proxy: true, ..Extras::default() }, frame, packet);
        if extras.toa {
            let has_toa = put(Extras { toa: true, ..Extras::default() }, frame, packet);
            if has_toa { counters.toa.add(1) } else { counters.toa_no_room.add(1) }
        }
        if extras.proxy {
            binding.stream.sent_proxy();
            counters.proxy.add(1);
        }
        // What stands in front of the data takes the place that the lag makes.
        let lag = if has_proxy { 0 } else { binding.stream.lag(numbers.flags) };
        let segment = frame.bytes_mut().get_mut(segment_at..packet.ip.end()).unwrap_or_default();
        put_ahead(segment, lag);
        (extras.proxy && !has_proxy).then(|| proxy::header(client, frontend))
    }

    /// Sends a header of its own behind a segment that had no room for it.
    fn send_header<F: Frame>(
        &mut self,
        frame: &F,
        header: proxy::Bytes,
        binding: &Binding,
        ends: &NewEnds,
        hop: &Hop,
    ) {
        let mut made = [0; proxy::SEGMENT_MAX];
        if let Some(len) = proxy::segment(&mut made, frame.bytes(), &header, binding.stream.first(), ends)
            && let Some(made) = made.get(..len)
        {
            self.outcomes.originate(hop.port, made);
        }
    }

    /// Translates a response; `None` where it cannot go its way.
    fn return_bound<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        to: &ToSource,
        bindings: &mut Bindings,
        around: Around<'_>,
    ) -> Result<Option<(BackendId, u16)>, Outcome> {
        let Around { world, now, source: came_by, .. } = around;
        let Packet { ip, source_port, protocol, .. } = to.packet;
        const NOBODY: Outcome = Outcome::Drop(DropReason::NoRule);
        let (place, binding) = bindings.of_response(to)?;
        let (key, id) = (binding.key(), binding.value.backend());
        let backend = world.backend(id).ok_or(NOBODY)?;
        if !world.to_client.get(id.index()).is_some_and(|back| is_behind(back, came_by)) {
            return Err(Outcome::Drop(DropReason::WrongPort));
        }
        let frontend = world.frontend_of(key).ok_or(NOBODY)?;
        let source = binding.frontend(world).ok_or(NOBODY)?;
        let from = if backend.port == 0 { source.port() } else { backend.port };
        // Only who was asked may answer.
        if (ip.source, source_port) != (backend.address, from) {
            return Err(Outcome::Drop(DropReason::NotOurs));
        }
        let numbers = numbers(frame, &to.packet).filter(|_| protocol == Protocol::Tcp);
        if let Some(numbers) = numbers
            && ending::is_to_end(binding, frontend, numbers.flags, around)
        {
            let outcomes = &mut self.outcomes;
            return Err(ending::cut_off(binding, place, numbers, false, frame, outcomes, around));
        }
        if binding.value.is_over(frontend.idle_ticks, now) {
            return Err(NOBODY);
        }
        // What only the backend says keeps no flow alive whose client has said nothing more.
        if binding.value.state() != State::HalfOpen {
            binding.value = binding.value.seen_at(now);
        }
        self.backends[lane.index()] = id;
        let ends = NewEnds { source, destination: key.client() };
        let next_hop = world.routes.next_hop_to(key.client().ip());
        let hop = &next_hop.hop;
        self.outcomes.set_port(lane, hop.port);
        if ip.fragment.is_some_and(|part| !part.is_all()) {
            self.asides.push((lane, Aside::of_way(&ends, hop, true)));
        }
        let sent = ends::fit(&ip, hop, source.ip(), key.client().ip(), 0).and_then(|_| {
            if let Some(clamp) = frontend.mss_clamp {
                mss::clamp_whole(frame.bytes_mut(), &to.packet, clamp, hop.port, backend, world);
            }
            if let Some(numbers) = numbers {
                binding.stream.follow_backend(numbers);
                let segment = frame.bytes_mut().get_mut(usize::from(ip.payload_offset)..ip.end());
                segment.and_then(|segment| binding.stream.turn_back(segment, numbers));
            }
            ends::translate(frame, &to.packet, hop, &ends)
        });
        Ok(self.sent(lane, sent, &ends, &ip, next_hop, true).map(|total_len| (id, total_len)))
    }

    /// Notes why a packet was not sent, if it was not.
    pub(super) fn sent(
        &mut self,
        lane: Lane,
        sent: Result<u16, Refusal>,
        ends: &NewEnds,
        ip: &IpPacket,
        next_hop: NextHop,
        to_client: bool,
    ) -> Option<u16> {
        if let Err(refusal) = sent {
            let mut aside = Aside::of_way(ends, &next_hop.hop, to_client);
            aside.mtu = aside::mtu_of_sender(ip, ends, &next_hop.hop);
            self.asides.push((lane, aside));
            refuse(&mut self.outcomes, lane, refusal, &next_hop);
        }
        sent.ok()
    }
}

/// Of a TCP segment.
fn numbers<F: Frame>(frame: &F, packet: &Packet) -> Option<Numbers> {
    let ip = &packet.ip;
    let numbers = Numbers::of(frame.bytes(), ip.payload_offset.into(), ip.end());
    numbers.filter(|_| packet.protocol == Protocol::Tcp)
}
