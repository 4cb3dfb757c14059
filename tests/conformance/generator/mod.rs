//! Makes the conformance suite: what comes in, what must leave, and why. What must leave is made anew from the addresses
//! that the RFCs and the configuration say it has, never by guideway and never with its code.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

mod answers;
mod endpoints;
mod errors;
mod fragments;
mod layers;
mod nat;
mod outbound;
mod packets;
mod quic;
mod refused;
mod settings;
mod site;
mod states;
mod tunnels;
mod vlans;

use std::collections::BTreeMap;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapWriter};
use serde::{Deserialize, Serialize};

use packets::Packet;
use site::{INSIDE, OUTSIDE, Port, Sent, Site};

/// Names of cases begin so that what they test is not there yet: delete a line to switch them on, then write the
/// files (see the head of tests/conformance.rs). What such a line keeps on meanwhile (`Case::until`) goes with it.
const WAITING: &[&str] = &[];

/// Reasons of drops that will have another name once IPv6 is there: `not-ip`, `fragment`.
const NOT_IP: &str = "not-ip";
const FRAGMENT: &str = "fragment";

#[derive(Clone)]
pub struct Case {
    pub name: String,
    why: String,
    config: String,
    arguments: Vec<String>,
    expected: Expected,
    now: Duration,
    came: Vec<(Duration, &'static str, Vec<u8>)>,
    left: Vec<(Duration, Sent)>,
    /// Only as long as this line is among `WAITING`.
    until: Option<&'static str>,
}

/// What a case says beside its captures: `case.toml`.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Expected {
    pub transmitted: u64,
    pub answered: u64,
    pub controlled: u64,
    /// Flows that were made, and that were forgotten, where the case is about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<(u64, u64)>,
    /// Frames that leave have checksums that are wrong on purpose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wrong_checksums: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drops: BTreeMap<String, u64>,
    #[serde(default, rename = "mask", skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Masked>,
}

/// Bits of a frame that leaves that may be anything, as long as its checksums are right.
#[derive(Clone, Serialize, Deserialize)]
pub struct Masked {
    pub port: String,
    /// Of that port's frames, from 0.
    pub frame: usize,
    /// From the frame's first byte.
    pub offset: usize,
    /// In hex, ones where anything may be.
    pub bits: String,
    pub because: String,
}

impl Case {
    fn new(name: impl Into<String>, why: impl Into<String>, config: impl Into<String>) -> Self {
        let (name, why, config) = (name.into(), why.into(), config.into());
        assert!(!why.contains('\n'), "{name}: one line");
        Self {
            name,
            why,
            config,
            arguments: Vec::new(),
            expected: Expected::default(),
            now: Duration::from_secs(1_700_000_000),
            came: Vec::new(),
            left: Vec::new(),
            until: None,
        }
    }

    /// Named after the site and `event`.
    fn at(site: &Site, event: &str, why: &str) -> Self {
        Self::new(format!("{}-{event}", site.name()), why, site.config())
    }

    fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    fn after(mut self, pause: Duration) -> Self {
        self.now += pause;
        self
    }

    fn until(mut self, waiting: &'static str) -> Self {
        self.until = Some(waiting);
        self
    }

    fn flows(mut self, created: u64, expired: u64) -> Self {
        self.expected.flows = Some((created, expired));
        self
    }

    /// `frame` comes in, and nothing has left yet.
    fn comes(mut self, port: Port, frame: Vec<u8>) -> Self {
        self.now += Duration::from_millis(1);
        self.came.push((self.now, port.name, frame));
        self
    }

    /// On account of the frame that came last.
    fn leaves(mut self, sent: Sent) -> Self {
        self.left.push((self.now, sent));
        self
    }

    fn sends(mut self, port: Port, frame: Vec<u8>, sent: Sent) -> Self {
        self.expected.transmitted += 1;
        self.comes(port, frame).leaves(sent)
    }

    /// By the port it came by.
    fn answers(mut self, port: Port, frame: Vec<u8>, answer: Vec<u8>) -> Self {
        self.expected.answered += 1;
        self.comes(port, frame).leaves(Sent { port: port.name, frame: answer, masks: Vec::new() })
    }

    fn drops(mut self, port: Port, frame: Vec<u8>, reason: &str) -> Self {
        *self.expected.drops.entry(reason.to_owned()).or_default() += 1;
        self.comes(port, frame)
    }

    fn learns(mut self, port: Port, frame: Vec<u8>) -> Self {
        self.expected.controlled += 1;
        self.comes(port, frame)
    }

    /// A client's packet, to the backend as the site's mode has it.
    fn requests(self, site: &Site, packet: &Packet) -> Self {
        self.sends(OUTSIDE, site.client_frame(&packet.bytes()), site.at_backend(packet))
    }

    /// A backend's answer, to the client.
    fn responds(self, site: &Site, packet: &Packet) -> Self {
        self.sends(INSIDE, site.backend_frame(&packet.bytes()), site.at_client(packet))
    }

    fn wrong_checksums(mut self) -> Self {
        self.expected.wrong_checksums = true;
        self
    }

    /// The files of the case's directory.
    pub fn files(mut self) -> BTreeMap<String, Vec<u8>> {
        for port in [OUTSIDE.name, INSIDE.name] {
            let of_port = self.left.iter().filter(|(_, sent)| sent.port == port);
            for (frame, (_, sent)) in of_port.enumerate() {
                self.expected.masks.extend(sent.masks.iter().map(|mask| Masked {
                    port: port.to_owned(),
                    frame,
                    offset: mask.offset,
                    bits: mask.bits.iter().map(|byte| format!("{byte:02x}")).collect(),
                    because: mask.because.to_owned(),
                }));
            }
        }
        let mut files = BTreeMap::from([
            ("guideway.toml".to_owned(), self.config.clone().into_bytes()),
            ("why.txt".to_owned(), format!("{}\n", self.why).into_bytes()),
            ("case.toml".to_owned(), toml::to_string(&self.expected).unwrap().into_bytes()),
        ]);
        if !self.arguments.is_empty() {
            files.insert("arguments".to_owned(), format!("{}\n", self.arguments.join(" ")).into_bytes());
        }
        for port in [OUTSIDE.name, INSIDE.name] {
            let came = self.came.iter().filter(|(_, name, _)| *name == port);
            let came: Vec<_> = came.map(|(at, _, frame)| (*at, frame)).collect();
            let left = self.left.iter().filter(|(_, sent)| sent.port == port);
            let left: Vec<_> = left.map(|(at, sent)| (*at, &sent.frame)).collect();
            if !came.is_empty() {
                files.insert(format!("in-{port}.pcap"), capture(&came));
            }
            // That nothing leaves is said by a capture without frames.
            if self.config.contains(&format!("name = \"{port}\"")) {
                files.insert(format!("out-{port}.pcap"), capture(&left));
            }
        }
        files
    }
}

fn capture(frames: &[(Duration, &Vec<u8>)]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for (at, frame) in frames {
        writer.write_packet(&PcapPacket::new(*at, frame.len() as u32, frame)).unwrap();
    }
    writer.into_writer()
}

/// All cases; those that wait as well if `waiting`.
pub fn cases(waiting: bool) -> Vec<Case> {
    let all = [
        nat::cases(),
        refused::cases(),
        answers::cases(),
        states::cases(),
        tunnels::cases(),
        errors::cases(),
        fragments::cases(),
        settings::cases(),
        quic::cases(),
        layers::cases(),
        vlans::cases(),
        outbound::cases(),
        endpoints::cases(),
    ];
    let waits = |case: &Case| WAITING.iter().any(|start| case.name.starts_with(start));
    let is_over = |case: &Case| case.until.is_some_and(|line| !WAITING.contains(&line));
    all.into_iter().flatten().filter(|case| waiting || !(waits(case) || is_over(case))).collect()
}
