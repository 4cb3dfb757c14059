//! The headers of a plain packet, Ethernet, IPv4 without options, and the beginning of TCP or UDP, as words
//! of memory. Each is read with one load, and compared or written without a byte being turned round.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ethernet, ipv4, l4};

/// Bytes of the headers: a UDP packet that is shorter is not plain.
pub const LEN: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + l4::TCP_HEADER_LEN;

/// The headers. "Low" and "high" are those of a little-endian word: the byte that is first on the wire is
/// the lowest.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PlainHeaders {
    /// The destination in the low six bytes, then the first two of the source.
    pub destination_and_source: U64,
    /// The rest of the source.
    pub source_rest: [u8; 4],
    /// EtherType.
    pub ether_type: U16,
    /// The five words of the IPv4 header.
    pub ip: [U32; 5],
    /// Source port low, destination port high.
    pub ports: U32,
    /// UDP's length low. (TCP's sequence number.)
    pub udp_len: U16,
    /// TCP's sequence number, or UDP's checksum and data.
    pub sequence: [u8; 2],
    /// TCP's acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// TCP's data offset in the high four bits.
    pub tcp_offset: u8,
    /// TCP's control bits.
    pub tcp_flags: u8,
    /// TCP's window, checksum and urgent pointer.
    pub tcp_rest: [u8; 6],
}

const _: () = assert!(size_of::<PlainHeaders>() == LEN, "the fields are the headers, without gaps");

/// IPv4's EtherType as a word has it.
pub const TYPE_IPV4: u16 = u16::from_le_bytes([0x08, 0x00]);
/// Version 4 and five words of header, in the low byte of the first word.
pub const VERSION_AND_LEN: u32 = 0x45;
/// The bits of the second word that a fragment has: "more fragments", and the offset.
pub const FRAGMENT_BITS: u32 = u32::from_le_bytes([0, 0, 0x3f, 0xff]);

impl PlainHeaders {
    /// The headers at the start of `frame`, if it is long enough for them. Nothing else is looked at.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(frame).ok().map(|(headers, _)| headers)
    }

    /// Bytes of the packet, in host order.
    #[inline(always)]
    pub fn total_len(&self) -> u16 {
        ((self.ip[0].get() >> 16) as u16).swap_bytes()
    }

    /// TCP, UDP or another.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.ip[2].get() >> 8) as u8
    }
}

/// Everything up to the end of a plain IPv4 header, or of the fixed part of one with options, to be
/// rewritten.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are the headers' own")]
pub struct EthernetIpv4 {
    pub ethernet: [u8; 12],
    pub ether_type: [u8; 2],
    pub version_and_len: u8,
    pub type_of_service: u8,
    pub total_len: [u8; 2],
    pub identification: [u8; 2],
    pub fragment: [u8; 2],
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: [u8; 2],
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

const _: () = assert!(size_of::<EthernetIpv4>() == ethernet::HEADER_LEN + ipv4::HEADER_LEN, "no gaps");
