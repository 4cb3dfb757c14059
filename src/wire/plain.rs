//! The headers of a plain packet, Ethernet, IPv4 without options, and the beginning of TCP or UDP, as words
//! of memory. Each is read with one load, and compared or written without a byte being turned round.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{checksum, ethernet, ipv4, l4};

/// Bytes of the headers: a UDP packet that is shorter is not plain.
pub const LEN: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + l4::TCP_HEADER_LEN;

/// The headers, to be read. "Low" and "high" are those of a little-endian word: the byte that is first on
/// the wire is the lowest.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PlainHeaders {
    /// The destination in the low six bytes, then the first two of the source.
    destination_and_source: U64,
    source_rest: [u8; 4],
    ether_type: U16,
    /// Version, length of the header, type of service, total length, identification, fragment.
    ip_front: U64,
    /// TTL, protocol, checksum, source address.
    ip_middle: U64,
    /// The destination address.
    ip_back: U32,
    /// Source port low, destination port high.
    pub ports: U32,
    /// UDP's length, the first byte low. (TCP's sequence number.)
    pub udp_len: U16,
    /// The rest of TCP's sequence number and its acknowledgement, or UDP's checksum and data.
    skipped: [u8; 6],
    /// TCP's data offset in the high four bits.
    pub tcp_offset: u8,
    /// TCP's control bits.
    pub tcp_flags: u8,
    /// TCP's window, checksum and urgent pointer.
    tcp_rest: [u8; 6],
}

const _: () = assert!(size_of::<PlainHeaders>() == LEN, "the fields are the headers, without gaps");

/// IPv4's EtherType as a word has it.
const TYPE_IPV4: u16 = u16::from_le_bytes([0x08, 0x00]);
/// Version 4 and five words of header.
const VERSION_AND_LEN: u8 = 0x45;
/// What the first eight bytes of a plain IPv4 header have of fixed bits: version and length, and of the
/// fragment's word "more fragments" and the offset.
const FRONT_MASK: u64 = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
/// And what they are.
const FRONT: u64 = VERSION_AND_LEN as u64;

impl PlainHeaders {
    /// The headers at the start of `frame`, if it is long enough for them. Nothing else is looked at.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(frame).ok().map(|(headers, _)| headers)
    }

    /// The destination's Ethernet address in the low six bytes, and something above.
    #[inline(always)]
    pub fn destination_station(&self) -> u64 {
        self.destination_and_source.get()
    }

    /// Whether this is IPv4 without options, and no part of a datagram.
    #[inline(always)]
    pub fn is_plain_ipv4(&self) -> bool {
        self.ether_type.get() == TYPE_IPV4 && self.ip_front.get() & FRONT_MASK == FRONT
    }

    /// Whether the checksum of the IPv4 header is right.
    #[inline(always)]
    pub fn ipv4_checksum_is_right(&self) -> bool {
        let (front, middle, back) = (self.ip_front.get(), self.ip_middle.get(), self.ip_back.get());
        // The carries are added in, which cannot carry again (RFC 1071 section 2 A).
        let (sum, carry) = front.overflowing_add(middle);
        let (sum, again) = (sum + u64::from(carry)).overflowing_add(back.into());
        checksum::fold(sum + u64::from(again)) == 0xffff
    }

    /// Bytes of the packet, in host order.
    #[inline(always)]
    pub fn total_len(&self) -> u16 {
        ((self.ip_front.get() >> 16) as u16).swap_bytes()
    }

    /// TCP, UDP or another.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.ip_middle.get() >> 8) as u8
    }

    /// Who sent it, in the high four bytes.
    #[inline(always)]
    pub fn source_high(&self) -> u64 {
        self.ip_middle.get() >> 32 << 32
    }

    /// Whom it is for.
    #[inline(always)]
    pub fn destination_word(&self) -> u32 {
        self.ip_back.get()
    }
}

/// Ethernet and the fixed part of IPv4, to be rewritten.
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

/// All headers of a plain packet, to be rewritten.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are the headers' own")]
pub struct PlainHeadersMut {
    pub network: EthernetIpv4,
    pub segment: [u8; l4::TCP_HEADER_LEN],
}

const _: () = assert!(size_of::<PlainHeadersMut>() == LEN, "no gaps");

impl PlainHeadersMut {
    /// The headers at the start of `frame`, if it is long enough and has no IPv4 options.
    #[inline(always)]
    pub fn of(frame: &mut [u8]) -> Option<&mut Self> {
        let (headers, _) = Self::mut_from_prefix(frame).ok()?;
        (headers.network.version_and_len == VERSION_AND_LEN).then_some(headers)
    }
}
