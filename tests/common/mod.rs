//! A load balancer on memory for the tests, and frames made by another implementation than ours.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpNumber, PacketBuilder};
use guideway::config::{ConfigFlags, Model, load_text};
use guideway::control::REPLAY_KEY;
use guideway::io::PortId;
use guideway::replay::Replay;

pub const OUTSIDE: PortId = PortId(0);
pub const INSIDE: PortId = PortId(1);

/// The ports' made-up Ethernet addresses.
pub const OUTSIDE_MAC: [u8; 6] = [0x02, 0xff, 0, 0, 0, 0];
pub const INSIDE_MAC: [u8; 6] = [0x02, 0xff, 0, 0, 0, 1];
/// The client's router, as frames come from it.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0, 198, 51, 100, 1];

pub const CLIENT: [u8; 4] = [192, 0, 2, 7];
pub const FRONTEND: [u8; 4] = [203, 0, 113, 10];
pub const BACKEND: [u8; 4] = [10, 0, 0, 4];

/// Two arms, and one backend behind TCP 443 and UDP 53.
pub const TWO_ARMS: &str = r#"
[dataplane]
flows_per_worker = 1024
[[port]]
name = "outside"
addresses = ["198.51.100.2/24"]
gateway = "198.51.100.1"
[[port]]
name = "inside"
addresses = ["10.0.0.1/24"]
"#;

/// The same for both families, without anything to balance yet.
pub const TWO_FAMILIES: &str = r#"
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
"#;

/// `TWO_ARMS` with the pool `web` behind TCP 443 and UDP 53, to ports 8443 and 5353.
pub fn with_backends(backends: &str, rule: &str) -> String {
    format!(
        "{TWO_ARMS}
[[pool]]
name = \"web\"
backends = [{backends}]
[[rule]]
name = \"https\"
frontend = \"203.0.113.10:443/tcp\"
pool = \"web\"
backend_port = 8443
{rule}
[[rule]]
name = \"dns\"
frontend = \"203.0.113.10:53/udp\"
pool = \"web\"
backend_port = 5353
{rule}"
    )
}

/// As in the pool of a configuration: one backend after the other, each with `attributes`.
pub fn numbered(numbers: impl IntoIterator<Item = u8>, attributes: &str) -> String {
    let one = |n| format!("{{ address = \"10.0.0.{n}\"{attributes} }}");
    numbers.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

pub fn model(text: &str) -> Model {
    match load_text("test.toml", text, &ConfigFlags::default()) {
        Ok(loaded) => loaded.model,
        Err(findings) => panic!("{findings}\n{text}"),
    }
}

pub fn balancer(text: &str, workers: usize) -> Replay {
    Replay::new(&model(text), REPLAY_KEY, workers).unwrap()
}

/// The counters that a frame can move, and what they stand at.
pub fn counts(replay: &Replay) -> BTreeMap<String, u64> {
    let totals = replay.totals();
    let mut counts: BTreeMap<String, u64> =
        totals.drops.iter().map(|(reason, count)| (reason.label().to_owned(), *count)).collect();
    counts.insert("received".into(), totals.received);
    counts.insert("transmitted".into(), totals.transmitted);
    counts.insert("answered".into(), totals.answered);
    counts.insert("controlled".into(), totals.controlled);
    counts
}

/// Which counters have moved, "received" apart.
pub fn moved(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let moved = after.iter().filter(|(name, count)| before[*name] != **count && *name != "received");
    moved.map(|(name, count)| format!("{name}+{}", count - before[name])).collect()
}

/// Holds the promises that every frame has exactly one end, and that flows are counted in and out.
pub fn assert_balanced(replay: &Replay) {
    let t = replay.totals();
    assert_eq!(t.received, t.transmitted + t.answered + t.controlled + t.held + t.dropped(), "{t:?}");
    assert_eq!(t.handed_over, t.taken_over, "{t:?}");
    let flows: u64 = replay.backends().iter().map(|(_, backend)| backend.flows).sum();
    let ended = t.flows_expired + t.flows_reclaimed + t.flows_reset + t.flows_unanswered;
    assert_eq!(t.flows_created - ended, flows, "{t:?}");
}

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Everything about a TCP or UDP frame that the tests vary.
#[derive(Clone, Debug)]
pub struct Spec {
    pub macs: ([u8; 6], [u8; 6]),
    pub from: ([u8; 4], u16),
    pub to: ([u8; 4], u16),
    pub ttl: u8,
    /// TCP's control bits; `None` for UDP.
    pub flags: Option<&'static str>,
    pub payload: Vec<u8>,
}

impl Spec {
    /// From the client to the frontend, through the router.
    pub fn tcp(flags: &'static str) -> Self {
        Self {
            macs: (ROUTER_MAC, OUTSIDE_MAC),
            from: (CLIENT, 40_000),
            to: (FRONTEND, 443),
            ttl: 64,
            flags: Some(flags),
            payload: b"some bytes".to_vec(),
        }
    }

    pub fn udp() -> Self {
        Self { flags: None, to: (FRONTEND, 53), ..Self::tcp("") }
    }

    /// What a backend answers to a packet that came to it as `self`.
    pub fn reversed(&self) -> Self {
        Self { macs: (self.macs.1, self.macs.0), from: self.to, to: self.from, ttl: 64, ..self.clone() }
    }

    /// As it reaches the backend `address:port`.
    pub fn at_backend(&self, address: [u8; 4], port: u16) -> Self {
        let backend_mac = [2, 0, address[0], address[1], address[2], address[3]];
        let macs = (INSIDE_MAC, backend_mac);
        Self { macs, to: (address, port), ttl: self.ttl - 1, ..self.clone() }
    }

    pub fn frame(&self) -> Vec<u8> {
        let builder =
            PacketBuilder::ethernet2(self.macs.0, self.macs.1).ipv4(self.from.0, self.to.0, self.ttl);
        let mut frame = Vec::new();
        let Some(flags) = self.flags else {
            builder.udp(self.from.1, self.to.1).write(&mut frame, &self.payload).unwrap();
            return frame;
        };
        let mut tcp = builder.tcp(self.from.1, self.to.1, 1_000_000, 8192);
        for flag in flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(2_000_000),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                'P' => tcp.psh(),
                other => panic!("no such flag: {other}"),
            };
        }
        tcp.write(&mut frame, &self.payload).unwrap();
        frame
    }
}

pub fn arp(
    operation: ArpOperation,
    sender: ([u8; 6], [u8; 4]),
    target: ([u8; 6], [u8; 4]),
    to: [u8; 6],
) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        operation,
        &sender.0,
        &sender.1,
        &target.0,
        &target.1,
    )
    .unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(sender.0, to).arp(packet).write(&mut frame).unwrap();
    frame
}

pub fn echo_request(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(ROUTER_MAC, OUTSIDE_MAC).ipv4(from, to, 17);
    builder.icmpv4_echo_request(7, 9).write(&mut frame, payload).unwrap();
    frame
}

pub fn echo_reply(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(OUTSIDE_MAC, ROUTER_MAC).ipv4(from, to, 64);
    builder.icmpv4_echo_reply(7, 9).write(&mut frame, payload).unwrap();
    frame
}

/// An IPv4 packet of another protocol.
pub fn other_protocol(number: u8, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(ROUTER_MAC, OUTSIDE_MAC).ipv4(from, to, 64);
    builder.write(&mut frame, IpNumber(number), &[0; 40]).unwrap();
    frame
}

/// Makes the checksum of the IPv4 header right again.
pub fn fix_ip_checksum(frame: &mut [u8]) {
    let len = usize::from(frame[14] & 15) * 4;
    if let Some(header) = frame.get_mut(14..14 + len) {
        guideway::wire::ipv4::write_checksum(header);
    }
}
