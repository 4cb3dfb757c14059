//! A full-NAT rule between each pair of families, and TCP segments of it, written and read by another implementation.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic, reason = "of tests")]

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use guideway::io::PortId;
use guideway::replay::Replay;

use crate::common::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER_MAC, balancer, counts, seconds};

pub const CLIENTS: [&str; 2] = ["192.0.2.7", "2001:db8:2::7"];
pub const FRONTENDS: [&str; 2] = ["203.0.113.10", "2001:db8:1::10"];
pub const BACKENDS: [&str; 2] = ["10.0.0.4", "2001:db8:10::4"];
pub const SOURCES: [&str; 2] = ["10.0.0.200", "2001:db8:10::200"];
/// As addresses of neighbours are made up.
pub const BACKEND_MACS: [[u8; 6]; 2] = [[2, 0, 10, 0, 0, 4], [2, 0, 0, 0, 0, 4]];
pub const ROUTER_MACS: [[u8; 6]; 2] = [ROUTER_MAC, [2, 0, 0, 0, 0, 1]];
pub const PAIRS: [(usize, usize); 4] = [(0, 0), (1, 1), (0, 1), (1, 0)];

pub fn config(front: usize, back: usize, rule: &str) -> String {
    let (frontend, backend, source) = (FRONTENDS[front], BACKENDS[back], SOURCES[back]);
    let frontend = if front == 1 { format!("[{frontend}]") } else { frontend.to_owned() };
    let rule = if rule.contains("frontend =") {
        rule.to_owned()
    } else {
        format!("frontend = \"{frontend}:443/tcp\"\nbackend_port = 8443\n{rule}")
    };
    let sources = if rule.contains("source_addresses") {
        String::new()
    } else {
        format!("source_addresses = [\"{source}\"]")
    };
    format!(
        r#"
[dataplane]
flows_per_worker = 1024
[[port]]
name = "outside"
addresses = ["198.51.100.2/24", "2001:db8::2/64"]
gateway = "198.51.100.1"
gateway6 = "2001:db8::1"
[[port]]
name = "inside"
addresses = ["10.0.0.1/24", "2001:db8:10::1/64"]
[[pool]]
name = "web"
backends = [{{ address = "{backend}" }}]
[[rule]]
name = "web"
pool = "web"
forward = "full-nat"
{rule}
{sources}
"#
    )
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// A TCP segment on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: String,
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Segment {
    pub fn frame(&self, macs: ([u8; 6], [u8; 6])) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(macs.0, macs.1);
        let builder = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("two families"),
        };
        let mut tcp = builder.tcp(self.from.port(), self.to.port(), self.sequence, 512);
        for flag in self.flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(self.acknowledgement),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                'P' => tcp.psh(),
                other => panic!("no such flag: {other}"),
            };
        }
        let mut frame = Vec::new();
        tcp.options_raw(&self.options).unwrap().write(&mut frame, &self.data).unwrap();
        frame
    }

    /// With every checksum held.
    pub fn read(frame: &[u8]) -> Self {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
        let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(usize::from(header.total_len), frame.len() - 14);
                assert_eq!(
                    tcp.checksum(),
                    tcp.calc_checksum_ipv4(header.source, header.destination).unwrap()
                );
                (header.source.into(), header.destination.into())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                assert_eq!(usize::from(header.payload_length), frame.len() - 54);
                assert_eq!(
                    tcp.checksum(),
                    tcp.calc_checksum_ipv6(header.source, header.destination).unwrap()
                );
                (header.source.into(), header.destination.into())
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        let flags =
            [('S', tcp.syn()), ('P', tcp.psh()), ('A', tcp.ack()), ('F', tcp.fin()), ('R', tcp.rst())];
        Self {
            from: (from, tcp.source_port()).into(),
            to: (to, tcp.destination_port()).into(),
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            flags: flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag).collect(),
            options: tcp.options().to_vec(),
            data: tcp.payload().to_vec(),
        }
    }

    pub fn sacks(&self) -> Vec<(u32, u32)> {
        let options = etherparse::TcpOptionsIterator::from_slice(&self.options);
        let mut blocks = Vec::new();
        for option in options {
            if let TcpOptionElement::SelectiveAcknowledgement(first, rest) = option.unwrap() {
                blocks.push(first);
                blocks.extend(rest.into_iter().flatten());
            }
        }
        blocks
    }
}

/// A client, a backend, and what is between them.
pub struct Bed {
    pub replay: Replay,
    pub front: usize,
    pub back: usize,
    pub now: f64,
    /// Whom the backend takes for the client.
    pub source: Option<SocketAddr>,
}

impl Bed {
    pub fn new(front: usize, back: usize, rule: &str, workers: usize) -> Self {
        let replay = balancer(&config(front, back, rule), workers);
        Self { replay, front, back, now: 1.0, source: None }
    }

    pub fn client(&self) -> SocketAddr {
        at(CLIENTS[self.front], 40_000)
    }

    pub fn frontend(&self) -> SocketAddr {
        at(FRONTENDS[self.front], 443)
    }

    pub fn backend(&self) -> SocketAddr {
        at(BACKENDS[self.back], 8443)
    }

    pub fn frames(&mut self, port: PortId, frame: Vec<u8>) -> Vec<(PortId, Vec<u8>)> {
        self.now += 0.001;
        self.replay.frame(seconds(self.now), port, frame)
    }

    pub fn of_client(&self, flags: &str, sequence: u32, acknowledgement: u32, data: &[u8]) -> Segment {
        let (from, to) = (self.client(), self.frontend());
        Segment {
            from,
            to,
            sequence,
            acknowledgement,
            flags: flags.into(),
            options: vec![],
            data: data.into(),
        }
    }

    pub fn of_backend(&self, flags: &str, sequence: u32, acknowledgement: u32, data: &[u8]) -> Segment {
        let (from, to) = (self.backend(), self.source.unwrap());
        Segment {
            from,
            to,
            sequence,
            acknowledgement,
            flags: flags.into(),
            options: vec![],
            data: data.into(),
        }
    }

    /// All that a client's segment has sent.
    pub fn sends(&mut self, segment: &Segment) -> Vec<(PortId, Segment)> {
        let frame = segment.frame((ROUTER_MACS[self.front], OUTSIDE_MAC));
        self.frames(OUTSIDE, frame).iter().map(|(port, frame)| (*port, Segment::read(frame))).collect()
    }

    /// What the backend gets of a client's segment.
    pub fn request(&mut self, segment: &Segment) -> Segment {
        let mut sent = self.sends(segment);
        let moved = || counts(&self.replay).into_iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>();
        assert_eq!(sent.len(), 1, "{:?}", moved());
        let (port, got) = sent.remove(0);
        assert_eq!((port, got.to), (INSIDE, self.backend()));
        assert_eq!(*self.source.get_or_insert(got.from), got.from);
        got
    }

    /// What the client gets of a backend's.
    pub fn respond(&mut self, segment: &Segment) -> Segment {
        let frame = segment.frame((BACKEND_MACS[self.back], INSIDE_MAC));
        let sent = self.frames(INSIDE, frame);
        let moved = || counts(&self.replay).into_iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>();
        assert_eq!(sent.len(), 1, "{:?}", moved());
        let got = Segment::read(&sent[0].1);
        assert_eq!((sent[0].0, got.from, got.to), (OUTSIDE, self.frontend(), self.client()));
        got
    }
}
