//! IPv4 header (RFC 791 section 3.1).

use std::net::Ipv4Addr;

use super::checksum;

/// Without options.
pub const HEADER_LEN: usize = 20;

/// Protocol numbers (IANA).
pub const PROTOCOL_ICMP: u8 = 1;
/// TCP, RFC 9293.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP, RFC 768.
pub const PROTOCOL_UDP: u8 = 17;

/// TTL of the packets we make ourselves (RFC 1700, "the current recommended default").
pub const TTL_DEFAULT: u8 = 64;

/// More fragments, and the 13 bits of the fragment offset.
pub const FRAGMENT_MASK: u16 = 0x3fff;
/// The fragment offset alone.
pub const OFFSET_MASK: u16 = 0x1fff;

/// "Don't fragment", in the first byte of the fragment's word.
pub const DONT_FRAGMENT: u8 = 0x40;
/// "More fragments", in the same byte.
pub const MORE_FRAGMENTS: u8 = 0x20;

/// A header without options, or the first 20 bytes of one with options.
#[derive(Clone, Copy)]
pub struct Header<'a>(pub &'a [u8; HEADER_LEN]);

impl Header<'_> {
    /// 4, or it is not IPv4.
    #[inline]
    pub fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// Bytes of the header with its options; below 20 it is malformed.
    #[inline]
    pub fn header_len(self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// Bytes of the whole packet, header included.
    #[inline]
    pub fn total_len(self) -> usize {
        usize::from(u16::from_be_bytes([self.0[2], self.0[3]]))
    }

    /// Whether the packet is a part of a datagram.
    #[inline]
    pub fn is_fragment(self) -> bool {
        u16::from_be_bytes([self.0[6], self.0[7]]) & FRAGMENT_MASK != 0
    }

    /// The same for all fragments of a datagram.
    #[inline]
    pub fn identification(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Whether routers may not cut the packet up.
    #[inline]
    pub fn dont_fragment(self) -> bool {
        self.0[6] & DONT_FRAGMENT != 0
    }

    /// Whether it is a fragment and not the last.
    #[inline]
    pub fn more_fragments(self) -> bool {
        self.0[6] & MORE_FRAGMENTS != 0
    }

    /// Where in its datagram a fragment belongs, in bytes.
    #[inline]
    pub fn fragment_offset(self) -> u16 {
        // The field counts units of 8 bytes, in its lower 13 bits.
        u16::from_be_bytes([self.0[6], self.0[7]]) << 3
    }

    /// DSCP and ECN (RFC 2474, RFC 3168).
    #[inline]
    pub fn type_of_service(self) -> u8 {
        self.0[1]
    }

    /// Hops left.
    #[inline]
    pub fn ttl(self) -> u8 {
        self.0[8]
    }

    /// What the packet carries.
    #[inline]
    pub fn protocol(self) -> u8 {
        self.0[9]
    }

    /// Where it came from.
    #[inline]
    pub fn source(self) -> Ipv4Addr {
        let h = self.0;
        Ipv4Addr::new(h[12], h[13], h[14], h[15])
    }

    /// Where it goes.
    #[inline]
    pub fn destination(self) -> Ipv4Addr {
        let h = self.0;
        Ipv4Addr::new(h[16], h[17], h[18], h[19])
    }
}

/// What the header of a packet of our own says: no options, no fragment nor to be made one, and so without an
/// identification (RFC 6864 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub type_of_service: u8,
    /// Bytes of the whole packet.
    pub total_len: u16,
    /// What it carries.
    pub protocol: u8,
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
}

impl Fields {
    /// The header's bytes, with their checksum.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = 0x45;
        bytes[TYPE_OF_SERVICE_OFFSET] = self.type_of_service;
        bytes[TOTAL_LEN_OFFSET..IDENTIFICATION_OFFSET].copy_from_slice(&self.total_len.to_be_bytes());
        bytes[FRAGMENT_OFFSET] = DONT_FRAGMENT;
        bytes[TTL_OFFSET] = TTL_DEFAULT;
        bytes[TTL_OFFSET + 1] = self.protocol;
        bytes[SOURCE_OFFSET..DESTINATION_OFFSET].copy_from_slice(&self.source.octets());
        bytes[DESTINATION_OFFSET..].copy_from_slice(&self.destination.octets());
        write_checksum(&mut bytes);
        bytes
    }
}

/// Offset of the type of service, which traffic class is called in IPv6.
pub const TYPE_OF_SERVICE_OFFSET: usize = 1;
/// Offset of the total length.
pub const TOTAL_LEN_OFFSET: usize = 2;
/// Offset of the identification.
pub const IDENTIFICATION_OFFSET: usize = 4;
/// Offset of the flags and the fragment offset.
pub const FRAGMENT_OFFSET: usize = 6;
/// Offset of the TTL in the header; the protocol follows, so that the two are one checksummed word.
pub const TTL_OFFSET: usize = 8;
/// Offset of the protocol.
pub const PROTOCOL_OFFSET: usize = 9;
/// Offset of the header checksum.
pub const CHECKSUM_OFFSET: usize = 10;
/// Offset of the source address.
pub const SOURCE_OFFSET: usize = 12;
/// Offset of the destination address.
pub const DESTINATION_OFFSET: usize = 16;

/// Whether the checksum over `header`, options included, is right.
#[inline]
pub fn checksum_is_right(header: &[u8]) -> bool {
    // A right header sums to all ones (RFC 1071 section 1, point 3).
    checksum::sum(header) == 0xffff
}

/// Writes the checksum of `header`, options included. Nothing happens to what is shorter than a header.
pub fn write_checksum(header: &mut [u8]) {
    if header.len() < HEADER_LEN {
        return;
    }
    header[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let field = checksum::field(checksum::sum(header));
    header[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&field);
}
