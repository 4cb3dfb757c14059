//! QUIC connections go to the backend that their connection ids name, whatever address their clients have by now.
//! `docs/QUIC.md` is the long form. Where no rule asks for it, a burst costs one test.

use super::counters::{Counter, WorkerCounters};
use super::flow_table::{Found, Key, Lines, State, Tables, Value};
use super::icmp::Around;
use super::lanes::{Lane, LaneSet, Lanes};
use crate::io::Frame;
use crate::packet::quic::Reading;
use crate::packet::{Packet, Parsed, first_fragment, parse};
use crate::snapshot::{BackendId, Frontend, FrontendId, Snapshot};
use crate::wire::l4::UDP_HEADER_LEN;
use crate::wire::{Protocol, ethernet, ipv4};

impl Lanes {
    /// Settles clients' packets whose connection ids name a backend that takes them, before the flow table is asked.
    #[inline(always)]
    pub(super) fn route_quic<F: Frame>(&mut self, burst: &[F], flows: &mut Tables, around: Around<'_>) {
        if around.world.quic_servers.are_asked {
            self.route_all_quic(burst, flows, around);
        }
    }

    #[inline(never)]
    fn route_all_quic<F: Frame>(&mut self, burst: &[F], flows: &mut Tables, around: Around<'_>) {
        self.route_some(self.clients, burst, flows.narrow.open(), around);
        self.route_some(self.wide, burst, flows.wide.open(), around);
    }

    fn route_some<F: Frame, K: Key>(
        &mut self,
        lanes: LaneSet,
        burst: &[F],
        mut lines: Lines<'_, K>,
        around: Around<'_>,
    ) {
        let Around { world, counters, .. } = around;
        for lane in lanes {
            let key = K::in_lane(self, lane);
            let Some(frontend) = world.frontend_of(key).filter(|frontend| frontend.quic.is_some()) else {
                continue;
            };
            let Some(frame) = burst.get(lane.index()) else { continue };
            let id = FrontendId(key.frontend());
            let Some(backend) = server_of(frame.bytes(), frontend, id, world, counters) else { continue };
            // Of these the stage that chooses for new flows says what is wrong.
            let is_odd = key.flaw().is_some() || key.is_ours(world) || key.is_of_backend(backend, world);
            if is_odd || frontend.may_refuse && super::look_up::refusal(key, frontend, world).is_some() {
                continue;
            }
            self.keep(lane, frontend, &mut lines, backend, around);
            self.backends[lane.index()] = backend;
            self.by_server_id.insert(lane);
        }
    }

    /// Has the flow table say the same, for packets of this flow that name no server.
    fn keep<K: Key>(
        &mut self,
        lane: Lane,
        frontend: &Frontend,
        lines: &mut Lines<'_, K>,
        backend: BackendId,
        around: Around<'_>,
    ) {
        let Around { world, now, counters, .. } = around;
        let query = self.query(lane, frontend, world, now);
        match lines.find(&query) {
            Found::Backend(same) if same == backend => return,
            Found::Absent => {}
            _ => {
                lines.forget(&query, counters);
                counters.quic.moved.add(1);
            }
        }
        let value = Value::new(backend, State::first(query.flags), now);
        let is_new = lines.record(query.key, query.hash, value, world, counters);
        counters.flow.created.add(u64::from(is_new));
    }
}

/// The backend that the packet's connection id names.
fn server_of(
    frame: &[u8],
    frontend: &Frontend,
    id: FrontendId,
    world: &Snapshot,
    counters: &WorkerCounters,
) -> Option<BackendId> {
    let payload = udp_payload(frame)?;
    let count = |counter: &Counter| {
        counter.add(1);
        None
    };
    match frontend.quic.as_ref()?.read(payload) {
        Reading::Nothing => None,
        Reading::Unroutable => count(&counters.quic.unroutable),
        Reading::Server(server) => match world.backend_of_server(id, server) {
            None => count(&counters.quic.unknown),
            Some(backend) if !world.keeps_udp(backend) => count(&counters.quic.down),
            Some(backend) => {
                counters.quic.by_id.add(1);
                Some(backend)
            }
        },
    }
}

/// What a UDP datagram carries, or the first fragment of one.
fn udp_payload(frame: &[u8]) -> Option<&[u8]> {
    const FRONT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    // Nearly all are plain, and have been looked at already.
    let (ethernet, packet) = frame.split_at_checked(ethernet::HEADER_LEN)?;
    let is_plain = ethernet.ends_with(&ethernet::TYPE_IPV4.to_be_bytes())
        && packet.first() == Some(&0x45)
        && packet.get(ipv4::PROTOCOL_OFFSET) == Some(&ipv4::PROTOCOL_UDP);
    if is_plain {
        let header = ipv4::Header(packet.first_chunk()?);
        if !header.is_fragment() {
            return frame.get(FRONT + UDP_HEADER_LEN..ethernet::HEADER_LEN + header.total_len());
        }
    }
    let packet: Packet = match parse(frame).ok()? {
        Parsed::Transport(packet) => packet,
        Parsed::Fragment(ip) => first_fragment(frame, &ip)?,
        _ => return None,
    };
    if packet.protocol != Protocol::Udp {
        return None;
    }
    frame.get(usize::from(packet.ip.payload_offset) + UDP_HEADER_LEN..packet.ip.end())
}
