//! Network address translation: clients' packets to their backends, responses back to the clients.

use super::counters::WorkerCounters;
use super::lanes::{Class, Event, Lanes, Outcome};
use crate::drop_reason::DropReason;
use crate::io::{Frame, PortId};
use crate::packet::Packet;
use crate::snapshot::{Deltas, NextHop, Snapshot};
use crate::wire::ethernet::{self, Addresses};
use crate::wire::{Protocol, ipv4, l4};

/// Everything that changes in a packet.
struct Rewrite<'a> {
    ethernet: Addresses,
    address_offset: usize,
    address: [u8; 4],
    port_offset: usize,
    port: [u8; 2],
    deltas: &'a Deltas,
}

impl Lanes {
    /// Rewrites clients' packets and responses, decides where they leave, and counts them for the backend.
    pub(super) fn rewrite<F: Frame>(&mut self, burst: &mut [F], world: &Snapshot, counters: &WorkerCounters) {
        for i in 0..self.clients.len() {
            let client = self.clients[i];
            let lane = usize::from(client.lane);
            let (Some(id), Some(packet)) = (client.backend, self.packet(lane).copied()) else { continue };
            let Some(backend) = world.backend(id) else {
                self.decide(lane, Outcome::Drop(DropReason::NoBackendAvailable));
                continue;
            };
            let rewrite = |ethernet| Rewrite {
                ethernet,
                address_offset: ipv4::DESTINATION_OFFSET,
                address: backend.address.octets(),
                port_offset: l4::DESTINATION_PORT_OFFSET,
                port: backend.port,
                deltas: &backend.to_backend,
            };
            let Some(frame) = burst.get_mut(lane) else { continue };
            if self.forward(lane, frame, &packet, backend.next_hop, rewrite)
                && let Some(backend) = counters.backend(id)
            {
                backend.packets_in.add(1);
                backend.bytes_in.add(packet.ip.total_len.into());
            }
        }
        for lane in 0..self.len {
            let Class::Response(id) = self.class[lane] else { continue };
            let (Some(backend), Some(packet)) = (world.backend(id), self.packet(lane).copied()) else {
                continue;
            };
            let rewrite = |ethernet| Rewrite {
                ethernet,
                address_offset: ipv4::SOURCE_OFFSET,
                address: backend.frontend_address.octets(),
                port_offset: l4::SOURCE_PORT_OFFSET,
                port: backend.frontend_port,
                deltas: &backend.to_client,
            };
            let Some(frame) = burst.get_mut(lane) else { continue };
            let next_hop = world.routes.next_hop(packet.ip.destination);
            if self.forward(lane, frame, &packet, next_hop, rewrite)
                && let Some(backend) = counters.backend(id)
            {
                backend.packets_out.add(1);
                backend.bytes_out.add(packet.ip.total_len.into());
            }
        }
    }

    #[inline]
    fn forward<'a, F: Frame>(
        &mut self,
        lane: usize,
        frame: &mut F,
        packet: &Packet,
        next_hop: NextHop,
        rewrite: impl FnOnce(Addresses) -> Rewrite<'a>,
    ) -> bool {
        match sendable(packet, next_hop) {
            Ok((port, ethernet)) => {
                apply(frame.bytes_mut(), packet, &rewrite(ethernet));
                self.outcome[lane] = Outcome::Forward(port);
                true
            }
            Err(reason) => {
                if let NextHop::Unresolved { port, address } = next_hop {
                    self.tell(Event::Wanted { port, address });
                }
                self.outcome[lane] = Outcome::Drop(reason);
                false
            }
        }
    }
}

/// Where the packet can go as it is.
#[inline]
fn sendable(packet: &Packet, next_hop: NextHop) -> Result<(PortId, Addresses), DropReason> {
    if packet.ip.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    match next_hop {
        NextHop::Known { mtu, .. } if packet.ip.total_len > mtu => Err(DropReason::ExceedsMtu),
        NextHop::Known { port, addresses, .. } => Ok((port, addresses)),
        _ => Err(next_hop.refusal().unwrap_or(DropReason::NoRoute)),
    }
}

/// The two checksums change by the differences that were worked out with the configuration (RFC 1624), the
/// rest is written over.
#[inline]
fn apply(frame: &mut [u8], packet: &Packet, rewrite: &Rewrite<'_>) {
    let Some((ethernet, ip_packet)) = frame.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>() else {
        return;
    };
    ethernet[..12].copy_from_slice(&rewrite.ethernet.0);
    let ip_len = usize::from(packet.ip.payload_offset) - ethernet::HEADER_LEN;
    let Some((ip, segment)) = ip_packet.split_at_mut_checked(ip_len) else { return };
    let Some(ip) = ip.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return };
    ip[ipv4::TTL_OFFSET] = packet.ip.ttl - 1;
    let checksum = rewrite.deltas.ip.apply([ip[ipv4::CHECKSUM_OFFSET], ip[ipv4::CHECKSUM_OFFSET + 1]]);
    ip[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].copy_from_slice(&checksum);
    ip[rewrite.address_offset..rewrite.address_offset + 4].copy_from_slice(&rewrite.address);
    match packet.protocol {
        Protocol::Tcp => {
            let Some(tcp) = segment.first_chunk_mut::<{ l4::TCP_HEADER_LEN }>() else { return };
            const AT: usize = l4::TCP_CHECKSUM_OFFSET;
            let checksum = rewrite.deltas.l4.apply([tcp[AT], tcp[AT + 1]]);
            tcp[AT..AT + 2].copy_from_slice(&checksum);
            tcp[rewrite.port_offset..rewrite.port_offset + 2].copy_from_slice(&rewrite.port);
        }
        Protocol::Udp => {
            let Some(udp) = segment.first_chunk_mut::<{ l4::UDP_HEADER_LEN }>() else { return };
            const AT: usize = l4::UDP_CHECKSUM_OFFSET;
            let checksum = udp_checksum(rewrite.deltas, [udp[AT], udp[AT + 1]]);
            udp[AT..AT + 2].copy_from_slice(&checksum);
            udp[rewrite.port_offset..rewrite.port_offset + 2].copy_from_slice(&rewrite.port);
        }
    }
}

/// Zero means that there is none, and stays; a sum that comes to zero is written as all ones (RFC 768).
#[inline]
fn udp_checksum(deltas: &Deltas, old: [u8; 2]) -> [u8; 2] {
    if old == [0, 0] {
        return old;
    }
    match deltas.l4.apply(old) {
        [0, 0] => [0xff, 0xff],
        new => new,
    }
}
