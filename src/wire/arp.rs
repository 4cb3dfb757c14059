//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::ethernet::{self, Addresses};
use super::{MacAddr, Truncated};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;
/// An Ethernet frame with an ARP packet, without padding.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + PACKET_LEN;

/// What the sender wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has its address at its MAC address.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Who speaks.
    pub sender_mac: MacAddr,
    /// 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Unset in a request.
    pub target_mac: MacAddr,
    /// Who is asked for, or spoken to.
    pub target: Ipv4Addr,
}

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

impl Packet {
    /// Reads what follows the Ethernet header.
    ///
    /// # Errors
    /// `Truncated`, also for another hardware, protocol or operation than we speak.
    pub fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let b = bytes.first_chunk::<PACKET_LEN>().ok_or(Truncated)?;
        let operation = match b[6..8] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return Err(Truncated),
        };
        if b[..6] != KIND {
            return Err(Truncated);
        }
        Ok(Self {
            operation,
            sender_mac: MacAddr([b[8], b[9], b[10], b[11], b[12], b[13]]),
            sender: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
            target_mac: MacAddr([b[18], b[19], b[20], b[21], b[22], b[23]]),
            target: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
        })
    }

    /// The bytes that follow the Ethernet header.
    pub fn to_bytes(self) -> [u8; PACKET_LEN] {
        let mut bytes = [0; PACKET_LEN];
        bytes[..6].copy_from_slice(&KIND);
        bytes[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..28].copy_from_slice(&self.target.octets());
        bytes
    }

    /// A whole frame from the packet's sender to `destination`.
    pub fn to_frame(self, destination: MacAddr) -> [u8; FRAME_LEN] {
        let mut frame = [0; FRAME_LEN];
        frame[..12].copy_from_slice(&Addresses::new(destination, self.sender_mac).0);
        frame[12..14].copy_from_slice(&ethernet::TYPE_ARP.to_be_bytes());
        frame[14..].copy_from_slice(&self.to_bytes());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Packet = Packet {
        operation: Operation::Request,
        sender_mac: MacAddr([0, 0, 0x5e, 0, 0x53, 1]),
        sender: Ipv4Addr::new(192, 0, 2, 1),
        target_mac: MacAddr::ZERO,
        target: Ipv4Addr::new(192, 0, 2, 2),
    };

    #[test]
    fn packets_read_back_what_they_write() {
        assert_eq!(Packet::parse(&REQUEST.to_bytes()), Ok(REQUEST));
    }

    #[test]
    fn other_kinds_and_short_ones_are_refused() {
        let good = REQUEST.to_bytes();
        for len in 0..PACKET_LEN {
            assert_eq!(Packet::parse(&good[..len]), Err(Truncated), "{len}");
        }
        for (byte, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3), (6, 1)] {
            let mut bad = good;
            bad[byte] = value;
            assert_eq!(Packet::parse(&bad), Err(Truncated), "byte {byte}");
        }
    }
}
