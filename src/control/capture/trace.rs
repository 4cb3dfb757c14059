//! Records of one flow as steps: a line of JSON for each packet.
#![allow(missing_docs, reason = "docs/openapi.json says what each field means, and in which unit")]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Names, told};
use crate::config::{Distribution, Rule};
use crate::watch::{Direction, End, Ends, FlowState, FlowStory, Record, packet_in};
use crate::wire::{Protocol, ethernet, ipv4, l4};

/// Enough for the headers, whatever options they have: Ethernet, IPv4 with 40 bytes of options, TCP.
pub(super) const SNAPLEN: usize = 256;

/// A packet of the flow, step by step. What is not known or did not come to pass is null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TracedPacket {
    pub packet: u64,
    pub at_seconds: f64,
    pub direction: String,
    pub length: usize,
    pub protocol: Option<String>,
    pub source: Option<String>,
    pub destination: Option<String>,
    pub tcp_flags: Option<String>,
    pub tcp_sequence: Option<u32>,
    pub tcp_acknowledgement: Option<u32>,
    pub ttl: Option<u8>,
    pub received_on: String,
    pub worker: u8,
    pub handed_over: bool,
    pub rule: String,
    pub frontend: String,
    pub flow: Option<String>,
    pub state_before: Option<String>,
    pub state: Option<String>,
    /// Whether the QUIC connection id has named the backend, and not the hash.
    pub by_quic_server_id: bool,
    pub choice: Option<Chosen>,
    pub backend: Option<String>,
    pub verdict: String,
    pub meaning: Option<String>,
    pub new_source: Option<String>,
    pub new_destination: Option<String>,
    pub new_ttl: Option<u8>,
    pub next_hop: Option<String>,
    pub next_hop_mac: Option<String>,
    pub sent_on: Option<String>,
    pub sent_by_worker: Option<u8>,
}

/// What the hash chooses for the flow as long as the configuration stays, whether it was asked or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chosen {
    pub hash: String,
    pub distribution: String,
    pub slot: usize,
    pub table_len: usize,
    pub backend: Option<String>,
}

pub(super) struct Encoder {
    distribution: Distribution,
    packets: u64,
}

impl Encoder {
    pub(super) fn new(rule: &Rule) -> Self {
        Self { distribution: rule.distribution, packets: 0 }
    }

    /// Whether it is a packet of the flow, and told.
    pub(super) fn record(&mut self, record: &Record, names: &Names, out: &mut Vec<u8>) -> bool {
        // A packet is told with all that became of it. The source alone can be made up to be the frontend's.
        if record.about.direction == Direction::Sent || record.about.flow.is_none() {
            return false;
        }
        self.packets += 1;
        let traced = self.traced(record, names);
        // To memory, and with no map that could have a bad key: it does not fail.
        let _ = serde_json::to_writer(&mut *out, &traced);
        out.push(b'\n');
        true
    }

    fn traced(&self, record: &Record, names: &Names) -> Option<TracedPacket> {
        let about = &record.about;
        let flow = about.flow?;
        let header = Header::of(record.bytes());
        let new = about.rewritten;
        let (verdict, left) = match about.end {
            End::Forwarded(port, worker) => ("forwarded".into(), Some((port, worker))),
            End::Answered(port, worker) => {
                // What has no ports is no TCP.
                let is_icmp = new.is_some_and(|new| new.source.port() == 0);
                let what = if is_icmp { "answered: ICMP error" } else { "answered: reset" };
                (what.into(), Some((port, worker)))
            }
            End::Dropped(reason) => (format!("dropped: {}", reason.label()), None),
            End::Controlled | End::HandedOver | End::Originated => ("taken note of".into(), None),
        };
        let meaning = if let End::Dropped(reason) = about.end { Some(reason.meaning()) } else { None };
        Some(TracedPacket {
            packet: self.packets,
            at_seconds: seconds(about.at),
            direction: if flow.is_response { "to-client" } else { "to-backend" }.into(),
            length: about.len,
            protocol: header.ends.and_then(|ends| ends.ports).map(|(.., protocol)| protocol.to_string()),
            source: header.source(),
            destination: header.destination(),
            tcp_flags: header.tcp.map(|tcp| flags(tcp.flags)),
            tcp_sequence: header.tcp.map(|tcp| tcp.sequence),
            tcp_acknowledgement: header.tcp.map(|tcp| tcp.acknowledgement),
            ttl: header.ttl,
            received_on: told::port(about.port, names),
            worker: about.worker,
            handed_over: about.was_handed_over,
            rule: told::rule(flow.frontend, names),
            frontend: flow.frontend.to_string(),
            flow: (!flow.is_response).then(|| found(&flow).into()),
            state_before: flow.before.map(|entry| state(entry.state).into()),
            state: flow.after.map(|entry| state(entry.state).into()),
            by_quic_server_id: flow.by_server_id,
            choice: flow.choice.map(|choice| Chosen {
                hash: format!("{:016x}", choice.hash),
                distribution: self.distribution.to_string(),
                slot: choice.slot,
                table_len: choice.table_len,
                backend: choice.backend.map(|backend| backend.to_string()),
            }),
            backend: flow.backend.map(|backend| backend.to_string()),
            verdict,
            meaning: meaning.map(Into::into),
            new_source: new.map(|new| new.source.to_string()),
            new_destination: new.map(|new| new.destination.to_string()),
            new_ttl: new.map(|new| new.ttl),
            next_hop: flow.next_hop.map(|hop| hop.to_string()),
            next_hop_mac: new.map(|new| new.to_mac.to_string()),
            sent_on: left.map(|(port, _)| told::port(port, names)),
            sent_by_worker: left.map(|(_, worker)| worker),
        })
    }
}

/// To the microsecond: as fine as a number of JSON can be relied on to be.
fn seconds(at: Duration) -> f64 {
    at.as_micros() as f64 / 1e6
}

/// How the flow table took the packet, from its entries before and after the burst.
fn found(flow: &FlowStory) -> &'static str {
    match (flow.before, flow.after) {
        (None, None) if flow.backend.is_some() => "not recorded",
        (None, None) => "none",
        (None, Some(_)) => "new",
        // Also one that is over, of which a packet was dropped before the flow was looked up.
        (Some(before), Some(after)) if before == after => "known",
        (Some(before), Some(_)) if before.state == FlowState::Over => "over, chosen anew",
        (Some(before), Some(after)) if before.backend != after.backend => "moved",
        (Some(before), Some(after)) if before.state > after.state => "ended, chosen anew",
        (Some(_), Some(_)) => "known",
        (Some(_), None) => "forgotten",
    }
}

fn state(state: FlowState) -> &'static str {
    match state {
        FlowState::HalfOpen => "half-open",
        FlowState::Fresh => "fresh",
        FlowState::Established => "established",
        FlowState::Closing => "closing",
        FlowState::Over => "over",
    }
}

#[derive(Clone, Copy)]
struct Tcp {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
}

/// What the frame says, as it came.
struct Header {
    ends: Option<Ends>,
    ttl: Option<u8>,
    tcp: Option<Tcp>,
}

impl Header {
    fn of(frame: &[u8]) -> Self {
        let ends = Ends::of(frame);
        let packet =
            packet_in(frame).filter(|(kind, _)| *kind == ethernet::TYPE_IPV4).map(|(_, packet)| packet);
        let header = packet.and_then(|bytes| bytes.first_chunk()).map(ipv4::Header);
        let is_tcp = ends.and_then(|ends| ends.ports).is_some_and(|(.., protocol)| protocol == Protocol::Tcp);
        let tcp = header.filter(|_| is_tcp).and_then(|header| {
            let segment = packet?.get(header.header_len()..)?;
            let word = |at: usize| segment.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
            let flags = *segment.first_chunk::<{ l4::TCP_HEADER_LEN }>()?.get(13)?;
            Some(Tcp { sequence: word(4)?, acknowledgement: word(8)?, flags })
        });
        Self { ends, ttl: header.map(ipv4::Header::ttl), tcp }
    }

    fn source(&self) -> Option<String> {
        let ends = self.ends?;
        Some(ends.ports.map_or(ends.source.to_string(), |(port, ..)| format!("{}:{port}", ends.source)))
    }

    fn destination(&self) -> Option<String> {
        let ends = self.ends?;
        Some(
            ends.ports
                .map_or(ends.destination.to_string(), |(_, port, _)| format!("{}:{port}", ends.destination)),
        )
    }
}

/// The control bits by name, lowest first (RFC 9293 section 3.1).
fn flags(bits: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = NAMES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(" ")
}
