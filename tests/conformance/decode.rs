//! What a frame is, header by header and into tunnels, as etherparse reads it; and whether its checksums are right.

use etherparse::checksum::Sum16BitWords;
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, UdpHeaderSlice};

/// A header: where in the frame it begins, what it says, and whether its checksum is right (and what it covers is there).
pub struct Layer {
    pub start: usize,
    pub text: String,
    pub is_right: bool,
}

/// From the outside in, as far as headers can be read. What is left unread says nothing of its sums.
pub fn layers(frame: &[u8]) -> Vec<Layer> {
    let mut walk = Walk { frame, found: Vec::new() };
    let _ = walk.ethernet(0);
    walk.found
}

pub fn checksums_are_right(frame: &[u8]) -> bool {
    layers(frame).iter().all(|layer| layer.is_right)
}

struct Walk<'a> {
    frame: &'a [u8],
    found: Vec<Layer>,
}

/// Sum of the pseudo-header, for lengths below 65,536.
fn pseudo(from: &[u8], to: &[u8], protocol: u8, len: usize) -> Sum16BitWords {
    Sum16BitWords::new()
        .add_slice(from)
        .add_slice(to)
        .add_2bytes([0, protocol])
        .add_2bytes((len as u16).to_be_bytes())
}

impl Walk<'_> {
    fn found(&mut self, start: usize, text: String, is_right: bool) {
        self.found.push(Layer { start, text, is_right });
    }

    fn ethernet(&mut self, start: usize) -> Option<()> {
        let head = self.frame.get(start..start + 14)?;
        self.found(start, format!("Ethernet to {:02x?} from {:02x?}", &head[..6], &head[6..12]), true);
        let mut at = start + 12;
        loop {
            let kind = u16::from_be_bytes(self.frame.get(at..at + 2)?.try_into().ok()?);
            match kind {
                0x8100 | 0x88a8 => {
                    let tag = self.frame.get(at + 2..at + 4)?;
                    self.found(at, format!("tag {kind:#06x}: {tag:02x?}"), true);
                    at += 4;
                }
                0x0800 => return self.ipv4(at + 2),
                0x86dd => return self.ipv6(at + 2),
                _ => {
                    self.found(at, format!("type {kind:#06x}: {:02x?}", self.frame.get(at + 2..)?), true);
                    return None;
                }
            }
        }
    }

    fn ipv4(&mut self, start: usize) -> Option<()> {
        let header = Ipv4HeaderSlice::from_slice(self.frame.get(start..)?).ok()?;
        let end = start + usize::from(header.total_len());
        let is_right = header.to_header().calc_header_checksum() == header.header_checksum();
        let is_whole = end <= self.frame.len();
        let (from, to, protocol) = (header.source(), header.destination(), header.protocol().0);
        let (body, is_fragment) = (start + header.slice().len(), header.is_fragmenting_payload());
        let text = format!("IPv4 {:?}", header.to_header());
        self.found(start, text, is_right && is_whole);
        if is_fragment {
            return None;
        }
        self.body(body, end, (&from, &to), protocol)
    }

    fn ipv6(&mut self, start: usize) -> Option<()> {
        let header = Ipv6HeaderSlice::from_slice(self.frame.get(start..)?).ok()?;
        let end = start + 40 + usize::from(header.payload_length());
        let (from, to, mut next) = (header.source(), header.destination(), header.next_header().0);
        let text = format!("IPv6 {:?}", header.to_header());
        self.found(start, text, end <= self.frame.len());
        let mut at = start + 40;
        while let 0 | 43 | 44 | 60 = next {
            let head = self.frame.get(at..at + 8)?;
            let len = if next == 44 { 8 } else { 8 * (usize::from(head[1]) + 1) };
            let text = format!("IPv6 extension {next}: {:02x?}", self.frame.get(at..at + len)?);
            self.found(at, text, true);
            if next == 44 && (head[2] != 0 || head[3] & 0xf9 != 0) {
                return None;
            }
            (next, at) = (head[0], at + len);
        }
        self.body(at, end, (&from, &to), next)
    }

    fn body(&mut self, start: usize, end: usize, ends: (&[u8], &[u8]), protocol: u8) -> Option<()> {
        let bytes = self.frame.get(start..end)?;
        let with_pseudo =
            pseudo(ends.0, ends.1, protocol, bytes.len()).add_slice(bytes).ones_complement() == 0;
        match protocol {
            6 => {
                let header = TcpHeaderSlice::from_slice(bytes).ok()?;
                let text =
                    format!("{:?} and {} bytes", header.to_header(), bytes.len() - header.slice().len());
                self.found(start, text, with_pseudo);
            }
            17 => {
                let header = UdpHeaderSlice::from_slice(bytes).ok()?;
                let none = header.checksum() == 0 && ends.0.len() == 4;
                let (text, port) = (format!("{:?}", header.to_header()), header.destination_port());
                self.found(start, text, with_pseudo || none);
                return self.tunnel(start + 8, port);
            }
            1 | 58 => {
                let alone = Sum16BitWords::new().add_slice(bytes).ones_complement() == 0;
                let is_right = if protocol == 1 { alone } else { with_pseudo };
                self.found(start, format!("ICMP {:02x?}", bytes.get(..8)?), is_right);
                // What an error quotes may be cut off, but begins with a whole header.
                let is_error = if protocol == 1 { matches!(bytes[0], 3 | 11 | 12) } else { bytes[0] < 128 };
                if is_error && protocol == 1 {
                    let quoted = Ipv4HeaderSlice::from_slice(bytes.get(8..)?).ok()?;
                    let is_right = quoted.to_header().calc_header_checksum() == quoted.header_checksum();
                    let text = format!("quoted IPv4 {:?}", quoted.to_header());
                    self.found(start + 8, text, is_right);
                }
            }
            4 => return self.ipv4(start),
            41 => return self.ipv6(start),
            47 => {
                self.found(start, format!("GRE {:02x?}", bytes.get(..4)?), true);
                return self.ip(start + 4);
            }
            _ => {}
        }
        Some(())
    }

    fn tunnel(&mut self, start: usize, port: u16) -> Option<()> {
        match (port, self.frame.get(start)? >> 4) {
            (6080, 4 | 6) => self.ip(start),
            (6080, 0) => {
                self.found(start, format!("GUE {:02x?}", self.frame.get(start..start + 4)?), true);
                self.ip(start + 4)
            }
            (4789, _) => {
                self.found(start, format!("VXLAN {:02x?}", self.frame.get(start..start + 8)?), true);
                self.ethernet(start + 8)
            }
            _ => None,
        }
    }

    fn ip(&mut self, start: usize) -> Option<()> {
        if self.frame.get(start)? >> 4 == 4 { self.ipv4(start) } else { self.ipv6(start) }
    }
}
