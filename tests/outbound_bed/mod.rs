//! Outbound rules in both families, and packets of TCP, UDP and echo requests, written and read by another implementation.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic, reason = "of tests")]

pub mod errors;

use std::net::{IpAddr, SocketAddr};

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use guideway::dataplane::OutboundBackend;
use guideway::io::PortId;
use guideway::replay::Replay;

use crate::common::{
    INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, TWO_FAMILIES, balancer, counts, moved, seconds,
};

/// Of each family two.
pub const EGRESS: &str =
    "frontends = [\"203.0.113.11\", \"203.0.113.12\", \"2001:db8:1::11\", \"2001:db8:1::12\"]";

/// So many backends of each family that the rule has a frontend of, from 4 on.
pub fn config(backends: u8, rule: &str) -> String {
    let v4 = (4..4 + backends).map(|n| format!("{{ address = \"10.0.0.{n}\" }}"));
    let v6 = (4..4 + backends).map(|n| format!("{{ address = \"2001:db8:10::{n:x}\" }}"));
    let all: Vec<String> = v4.chain(v6.filter(|_| rule.contains("2001:"))).collect();
    let name = if rule.starts_with("name =") { "" } else { "name = \"egress\"" };
    let pool = all.join(", ");
    format!(
        "{TWO_FAMILIES}
[[pool]]
name = \"web\"
backends = [{pool}]
[[outbound_rule]]
{name}
pool = \"web\"
{rule}
"
    )
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// What is in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Tcp(&'static str),
    Udp,
    Echo,
    EchoReply,
}

impl Kind {
    /// Of a packet in the middle of a flow.
    pub fn later(self) -> Self {
        if let Self::Tcp(_) = self { Self::Tcp("A") } else { self }
    }

    pub fn index(self) -> usize {
        match self {
            Self::Tcp(_) => 0,
            Self::Udp => 1,
            Self::Echo | Self::EchoReply => 2,
        }
    }
}

/// A packet. Both ports of an echo are its identifier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    pub kind: Kind,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hops: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub data: Vec<u8>,
}

impl Packet {
    pub fn new(kind: Kind, from: SocketAddr, to: SocketAddr) -> Self {
        Self { kind, from, to, hops: 64, sequence: 1000, acknowledgement: 2000, data: b"some bytes".to_vec() }
    }

    /// What is answered to it.
    pub fn answer(&self) -> Self {
        let kind = match self.kind {
            Kind::Tcp("S") => Kind::Tcp("SA"),
            Kind::Tcp(_) => Kind::Tcp("A"),
            Kind::Udp => Kind::Udp,
            Kind::Echo | Kind::EchoReply => Kind::EchoReply,
        };
        Self { hops: 64, kind, from: self.to, to: self.from, ..self.clone() }
    }

    pub fn frame(&self, macs: ([u8; 6], [u8; 6])) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(macs.0, macs.1);
        let builder = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), self.hops),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), self.hops),
            _ => panic!("two families"),
        };
        let mut frame = Vec::new();
        let is_v4 = self.from.is_ipv4();
        match self.kind {
            Kind::Tcp(flags) => {
                let mut tcp = builder.tcp(self.from.port(), self.to.port(), self.sequence, 512);
                for flag in flags.chars() {
                    tcp = match flag {
                        'S' => tcp.syn(),
                        'A' => tcp.ack(self.acknowledgement),
                        'F' => tcp.fin(),
                        'R' => tcp.rst(),
                        other => panic!("no such flag: {other}"),
                    };
                }
                let data = if flags.contains('S') { &[][..] } else { &self.data };
                tcp.write(&mut frame, data).unwrap();
            }
            Kind::Udp => {
                builder.udp(self.from.port(), self.to.port()).write(&mut frame, &self.data).unwrap();
            }
            Kind::Echo if is_v4 => {
                builder.icmpv4_echo_request(self.from.port(), 9).write(&mut frame, &self.data).unwrap();
            }
            Kind::Echo => {
                builder.icmpv6_echo_request(self.from.port(), 9).write(&mut frame, &self.data).unwrap();
            }
            Kind::EchoReply if is_v4 => {
                builder.icmpv4_echo_reply(self.to.port(), 9).write(&mut frame, &self.data).unwrap();
            }
            Kind::EchoReply => {
                builder.icmpv6_echo_reply(self.to.port(), 9).write(&mut frame, &self.data).unwrap();
            }
        }
        frame
    }

    /// With every checksum held. The port of whom an echo's other end is is what it was before.
    pub fn read(frame: &[u8], like: &Self) -> Self {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let (from, to, hops) = addresses(&packet);
        let mut read = Self { hops, ..like.clone() };
        let ports = match packet.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => {
                let sum = match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4(from.octets(), to.octets()),
                    (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6(from.octets(), to.octets()),
                    _ => panic!("two families"),
                };
                assert_eq!(tcp.checksum(), sum.unwrap());
                let flags = (tcp.syn(), tcp.ack(), tcp.fin(), tcp.rst());
                read.kind = Kind::Tcp(match flags {
                    (true, false, false, false) => "S",
                    (true, true, false, false) => "SA",
                    (false, true, false, false) => "A",
                    (false, true, true, false) => "FA",
                    (false, true, false, true) => "RA",
                    (false, false, false, true) => "R",
                    other => panic!("{other:?}"),
                });
                (read.sequence, read.acknowledgement) = (tcp.sequence_number(), tcp.acknowledgment_number());
                read.data = if tcp.syn() { like.data.clone() } else { tcp.payload().to_vec() };
                (tcp.source_port(), tcp.destination_port())
            }
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let sum = match (from, to) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), udp.payload())
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload())
                    }
                    _ => panic!("two families"),
                };
                assert_eq!(udp.checksum(), sum.unwrap());
                (udp.source_port(), udp.destination_port())
            }
            TransportSlice::Icmpv4(icmp) => {
                assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
                match icmp.icmp_type() {
                    Icmpv4Type::EchoRequest(header) => (header.id, like.to.port()),
                    Icmpv4Type::EchoReply(header) => (like.from.port(), header.id),
                    other => panic!("{other:?}"),
                }
            }
            TransportSlice::Icmpv6(icmp) => {
                let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { panic!("two families") };
                assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
                match icmp.icmp_type() {
                    Icmpv6Type::EchoRequest(header) => (header.id, like.to.port()),
                    Icmpv6Type::EchoReply(header) => (like.from.port(), header.id),
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other:?}"),
        };
        (read.from, read.to) = ((from, ports.0).into(), (to, ports.1).into());
        read
    }
}

/// Source, destination and hops left, with the header's checksum held.
fn addresses(packet: &SlicedPacket<'_>) -> (IpAddr, IpAddr, u8) {
    match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            (header.source.into(), header.destination.into(), header.time_to_live)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            (header.source.into(), header.destination.into(), header.hop_limit)
        }
        NetSlice::Arp(_) => panic!("ARP"),
    }
}

/// Backends, servers, and what is between them.
pub struct Bed {
    pub replay: Replay,
    pub now: f64,
}

impl Bed {
    pub fn new(config: &str, workers: usize) -> Self {
        Self { replay: balancer(config, workers), now: 1.0 }
    }

    pub fn backend(&self, family: usize, host: u8) -> SocketAddr {
        at(&[format!("10.0.0.{host}"), format!("2001:db8:10::{host:x}")][family], 40_000)
    }

    pub fn frontend(&self, family: usize, index: usize) -> IpAddr {
        let all = [["203.0.113.11", "203.0.113.12"], ["2001:db8:1::11", "2001:db8:1::12"]];
        all[family][index].parse().unwrap()
    }

    pub fn macs_in(&self, backend: SocketAddr) -> ([u8; 6], [u8; 6]) {
        let mac = match backend.ip() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                [2, 0, a, b, c, d]
            }
            IpAddr::V6(address) => {
                let [.., a, b, c, d] = address.octets();
                [2, 0, a, b, c, d]
            }
        };
        (mac, INSIDE_MAC)
    }

    pub fn frames(&mut self, port: PortId, frame: Vec<u8>) -> Vec<(PortId, Vec<u8>)> {
        self.now += 0.000_1;
        self.replay.frame(seconds(self.now), port, frame)
    }

    /// What leaves of a backend's packet.
    pub fn try_out(&mut self, packet: &Packet) -> Option<Packet> {
        let sent = self.frames(INSIDE, packet.frame(self.macs_in(packet.from)));
        assert!(sent.len() <= 1);
        sent.first().map(|(port, frame)| {
            assert_eq!(*port, OUTSIDE);
            Packet::read(frame, packet)
        })
    }

    pub fn out(&mut self, packet: &Packet) -> Packet {
        let before = counts(&self.replay);
        let sent = self.try_out(packet);
        sent.unwrap_or_else(|| panic!("{packet:?}: {:?}", moved(&before, &counts(&self.replay))))
    }

    /// What a backend gets of a packet from outside.
    pub fn back(&mut self, packet: &Packet) -> Packet {
        let before = counts(&self.replay);
        let sent = self.frames(OUTSIDE, packet.frame((ROUTER_MAC, OUTSIDE_MAC)));
        assert_eq!(sent.len(), 1, "{packet:?}: {:?}", moved(&before, &counts(&self.replay)));
        assert_eq!(sent[0].0, INSIDE);
        Packet::read(&sent[0].1, packet)
    }

    /// Why it is dropped.
    pub fn refused(&mut self, port: PortId, packet: &Packet) -> String {
        let macs = if port == INSIDE { self.macs_in(packet.from) } else { (ROUTER_MAC, OUTSIDE_MAC) };
        let before = counts(&self.replay);
        assert_eq!(self.frames(port, packet.frame(macs)), []);
        moved(&before, &counts(&self.replay)).join(" ")
    }

    pub fn told(&self, family: usize, host: u8) -> OutboundBackend {
        let address = self.backend(family, host).ip();
        self.replay.outbound().into_iter().find(|backend| backend.address == address).unwrap()
    }

    /// Now, pending, opened, answered, failed.
    pub fn flows(&self, family: usize, host: u8, kind: Kind) -> (u64, u64, u64, u64, u64) {
        let flows = self.told(family, host).flows[kind.index()];
        (flows.flows, flows.pending, flows.opened, flows.answered, flows.failed)
    }
}
