//! ICMP errors about flows that backends have opened: whose they are, and what its ends know it by (RFC 5508 section 4).

use std::net::SocketAddr;

use super::Flows;
use super::echo::{ID_OFFSET, set_id};
use super::table::{Far, Outside};
use crate::dataplane::ends::NewEnds;
use crate::dataplane::icmp::{Around, Notice, Retelling};
use crate::dataplane::lanes::{Lane, Lanes, Outcome};
use crate::dataplane::steer::Steering;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::Quote;
use crate::snapshot::{PortKind, Snapshot};
use crate::wire::{Protocol, ipv4, ipv6};

const NOBODY: Outcome = Outcome::Drop(DropReason::IcmpUnhandled);

/// Which packet an error is about.
#[derive(Clone, Copy)]
pub(in crate::dataplane) enum AboutOutbound {
    /// One of ours, from the port of a frontend of this number.
    Sent { number: u8, kind: PortKind, port: u16, far: SocketAddr },
    /// An answer to the backend of this number, at this port.
    Returned { member: u32, kind: PortKind, port: u16, far: SocketAddr },
}

impl AboutOutbound {
    /// What a packet that is quoted in `frame` has to do with such a flow.
    pub(in crate::dataplane) fn of(frame: &[u8], quote: &Quote, world: &Snapshot) -> Option<Self> {
        if world.outbound.is_empty() {
            return None;
        }
        let ip = &quote.ip;
        let echo_id = || {
            let icmp = if ip.source.is_ipv4() { ipv4::PROTOCOL_ICMP } else { ipv6::PROTOCOL_ICMPV6 };
            let is_whole = ip.protocol == icmp && ip.fragment.is_none_or(|part| part.offset == 0);
            let id = frame.get(usize::from(ip.payload_offset) + ID_OFFSET..)?.first_chunk()?;
            is_whole.then(|| u16::from_be_bytes(*id))
        };
        let (kind, source_port, destination_port) = match quote.ends {
            Some(ends) => {
                let kind = if ends.protocol == Protocol::Tcp { PortKind::Tcp } else { PortKind::Udp };
                (kind, ends.source_port, ends.destination_port)
            }
            None => {
                let id = echo_id()?;
                (PortKind::Echo, id, id)
            }
        };
        let far_port = |port| if kind == PortKind::Echo { 0 } else { port };
        if let Some(number) = world.outbound.number_of(ip.source) {
            world.outbound.owner(number, kind, source_port)?;
            let far = (ip.destination, far_port(destination_port)).into();
            return Some(Self::Sent { number, kind, port: source_port, far });
        }
        let member = world.outbound.member_at(ip.destination)?;
        let far = (ip.source, far_port(source_port)).into();
        Some(Self::Returned { member, kind, port: destination_port, far })
    }
}

impl Lanes {
    /// Tells the end that has sent the packet.
    #[expect(clippy::too_many_arguments, reason = "a step of a longer way")]
    pub(in crate::dataplane) fn tell_outbound<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        notice: &Notice,
        about: AboutOutbound,
        flows: &mut Flows,
        steering: &Steering,
        around: Around<'_>,
    ) -> Result<(), Outcome> {
        let world = around.world;
        let number = match about {
            AboutOutbound::Sent { number, kind, port, .. } => world.outbound.owner(number, kind, port),
            AboutOutbound::Returned { member, .. } => Some(member),
        };
        let member = number.and_then(|number| world.outbound.member(number)).ok_or(NOBODY)?;
        let is_behind = member.from.is_none_or(|port| port == around.source.port());
        if matches!(about, AboutOutbound::Returned { .. }) && !is_behind {
            return Err(Outcome::Drop(DropReason::WrongPort));
        }
        let owner = steering.owner(member.hash);
        if owner != steering.me {
            return Err(Outcome::HandOver(owner));
        }
        let (inside, outside, far) = flows.ends_of(about, world).ok_or(NOBODY)?;
        let (quoted, from, to, next_hop, told) = match about {
            AboutOutbound::Sent { .. } => (
                NewEnds { source: inside, destination: far },
                notice.source(),
                inside.ip(),
                member.next_hop,
                &around.counters.icmp.to_backend,
            ),
            AboutOutbound::Returned { .. } => (
                NewEnds { source: far, destination: outside },
                outside.ip(),
                far.ip(),
                world.routes.next_hop_to(far.ip()),
                &around.counters.icmp.to_client,
            ),
        };
        let (AboutOutbound::Sent { kind, .. } | AboutOutbound::Returned { kind, .. }) = about;
        if kind == PortKind::Echo {
            let ip = notice.quoted();
            let id = if matches!(about, AboutOutbound::Sent { .. }) { inside.port() } else { outside.port() };
            let message = frame.bytes_mut().get_mut(notice.quoted_ends_offset()..);
            message.and_then(|message| set_id(message, id, &ip, &quoted)).ok_or(NOBODY)?;
        }
        let mtu = next_hop.hop.mtu;
        let retelling = Retelling { from, to, quoted, sequence: None, mtu, mtu_there: mtu };
        self.tell_bound(lane, frame, notice, &retelling, &next_hop)?;
        told.add(1);
        Ok(())
    }
}

impl Flows {
    /// The backend's end of the flow, ours, and the other.
    fn ends_of(
        &mut self,
        about: AboutOutbound,
        world: &Snapshot,
    ) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
        let hasher = &world.hash;
        match about {
            AboutOutbound::Sent { number, kind, port, far } => {
                let there = Far::new(kind, far.ip(), far.port());
                let index = self.table.find(Outside { number, port }, there, hasher)?;
                let mapping = self.table.flow(index)?.mapping;
                let inside = self.table.mapping(mapping)?.inside();
                Some((inside, (world.outbound.address(number)?, port).into(), far))
            }
            AboutOutbound::Returned { member, kind, port, far } => {
                let inside = (world.outbound.member(member)?.address, port).into();
                let near = Far::new(kind, world.outbound.member(member)?.address, port);
                let there = Far::new(kind, far.ip(), far.port());
                let mut after = None;
                while let Some(index) = self.table.find_mapping(near, after, hasher) {
                    let own = self.table.mapping(index)?.outside();
                    let flow = self.table.find(own, there, hasher);
                    if flow.and_then(|flow| Some(self.table.flow(flow)?.mapping)) == Some(index) {
                        return Some((inside, (world.outbound.address(own.number)?, own.port).into(), far));
                    }
                    after = Some(index);
                }
                None
            }
        }
    }
}
