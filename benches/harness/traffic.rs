//! Packets of any number of flows to the world's frontends, and their responses, from templates: so filling a ring costs
//! little.

use guideway::wire::{ipv4, ipv6};

use super::world::{BACKENDS, FRONTENDS, TCP_FRONTENDS, Way};

/// What a packet of a flow is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet {
    /// A client's first.
    Opening,
    /// A client's later one.
    Established,
    /// From a backend to the client.
    Response,
    /// A backend's first, of a connection that it opens.
    OutboundOpening,
    /// A backend's later one.
    Outbound,
}

const ETHERNET: usize = 14;
/// 64 bytes on the wire with IPv4, the frame check sequence not counted.
const FRAME_LEN: usize = 60;
/// A TCP header and some data, or one of UDP and more.
const PAYLOAD: usize = FRAME_LEN - ETHERNET - ipv4::HEADER_LEN;
const FRAME6_LEN: usize = ETHERNET + ipv6::HEADER_LEN + PAYLOAD;

pub struct Traffic {
    is_ipv6: bool,
    templates: Vec<[u8; FRAME6_LEN]>,
}

impl Traffic {
    pub fn new(way: Way) -> Self {
        let template = if way.is_ipv6 { template6 } else { template4 };
        Self { is_ipv6: way.is_ipv6, templates: (0..FRONTENDS).map(template).collect() }
    }

    /// Has `fill` take the frame of flow `flow`: any number below 2^32 is a flow of its own.
    #[inline]
    pub fn frame(&self, flow: u32, packet: Packet, fill: impl FnOnce(&[u8])) {
        let frontend = flow % FRONTENDS;
        let mut frame = self.templates[frontend as usize];
        // An odd factor keeps the numbers distinct; 11.0.0.0/8 and beyond are nobody's here.
        let client = 0x0b00_0000 + (flow / FRONTENDS).wrapping_mul(0x9e37_79b1) % 0x4000_0000;
        let port = 1024 + (flow as u16 % 50_000);
        let ports = ETHERNET + if self.is_ipv6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let source_end = if self.is_ipv6 { ETHERNET + 24 } else { ETHERNET + 16 };
        frame[source_end - 4..source_end].copy_from_slice(&client.to_be_bytes());
        frame[ports..ports + 2].copy_from_slice(&port.to_be_bytes());
        if frontend < TCP_FRONTENDS {
            let opens = matches!(packet, Packet::Opening | Packet::OutboundOpening);
            frame[ports + 13] = if opens { 0x02 } else { 0x10 };
        }
        if !matches!(packet, Packet::Opening | Packet::Established) {
            turn_round(&mut frame, flow, self.is_ipv6);
        }
        if matches!(packet, Packet::OutboundOpening | Packet::Outbound) {
            // To port 443, from a port that each flow of a backend's has for itself.
            let own = 20_000 + (flow / (FRONTENDS * BACKENDS) % 40_000) as u16;
            frame[ports..ports + 2].copy_from_slice(&own.to_be_bytes());
            frame[ports + 2..ports + 4].copy_from_slice(&443u16.to_be_bytes());
        }
        if self.is_ipv6 {
            fill(&frame);
        } else {
            ipv4::write_checksum(&mut frame[ETHERNET..ETHERNET + ipv4::HEADER_LEN]);
            fill(&frame[..FRAME_LEN]);
        }
    }
}

fn template4(frontend: u32) -> [u8; FRAME6_LEN] {
    let mut frame = framed([8, 0], frontend, ETHERNET + ipv4::HEADER_LEN);
    frame[14] = 0x45;
    frame[17] = (ipv4::HEADER_LEN + PAYLOAD) as u8;
    frame[22] = 64;
    frame[23] = protocol(frontend);
    frame[30..34].copy_from_slice(&[203, 0, 113, frontend as u8 + 1]);
    frame
}

fn template6(frontend: u32) -> [u8; FRAME6_LEN] {
    let mut frame = framed([0x86, 0xdd], frontend, ETHERNET + ipv6::HEADER_LEN);
    frame[14] = 0x60;
    frame[19] = PAYLOAD as u8;
    frame[20] = protocol(frontend);
    frame[21] = 64;
    frame[22..28].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0x0c]);
    frame[38..44].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0x0f]);
    frame[53] = frontend as u8 + 1;
    frame
}

fn protocol(frontend: u32) -> u8 {
    if frontend < TCP_FRONTENDS { 6 } else { 17 }
}

/// From the gateway to us, with what follows the IP header at `at`.
fn framed(ether_type: [u8; 2], frontend: u32, at: usize) -> [u8; FRAME6_LEN] {
    let mut frame = [0; FRAME6_LEN];
    frame[..6].copy_from_slice(&[2, 0xff, 0, 0, 0, 0]);
    frame[6..12].copy_from_slice(&[2, 0, 198, 51, 100, 1]);
    frame[12..14].copy_from_slice(&ether_type);
    frame[at + 2..at + 4].copy_from_slice(&443u16.to_be_bytes());
    if frontend < TCP_FRONTENDS {
        frame[at + 12] = 0x50;
    } else {
        frame[at + 4..at + 6].copy_from_slice(&(PAYLOAD as u16).to_be_bytes());
        // Some checksum, as nearly all datagrams have one; the path does not verify it.
        frame[at + 6..at + 8].copy_from_slice(&[0x56, 0x78]);
    }
    frame[at + 16..at + 18].copy_from_slice(&[0x12, 0x34]);
    frame
}

/// From one of the frontend's backends to the flow's client.
fn turn_round(frame: &mut [u8; FRAME6_LEN], flow: u32, is_ipv6: bool) {
    let (frontend, backend) = (flow % FRONTENDS + 1, flow / FRONTENDS % BACKENDS + 1);
    frame[..6].copy_from_slice(&[2, 0xff, 0, 0, 0, 1]);
    let ports = if is_ipv6 {
        frame.copy_within(22..38, 38);
        frame[22..38].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        (frame[35], frame[37]) = (frontend as u8, backend as u8);
        ETHERNET + ipv6::HEADER_LEN
    } else {
        frame.copy_within(26..30, 30);
        frame[26..30].copy_from_slice(&[10, 0, frontend as u8, backend as u8]);
        ETHERNET + ipv4::HEADER_LEN
    };
    frame.copy_within(ports..ports + 2, ports + 2);
    frame[ports..ports + 2].copy_from_slice(&8443u16.to_be_bytes());
}
