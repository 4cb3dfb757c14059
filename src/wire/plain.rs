//! The headers of a plain packet, Ethernet, IPv4 without options, and the beginning of TCP or UDP, as words
//! of memory. Each is read with one load, and compared or written without a byte being turned round.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{MacAddr, checksum, ethernet, ipv4, l4};

/// Bytes of the headers: a UDP packet that is shorter is not plain.
pub const LEN: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + l4::TCP_HEADER_LEN;

/// The headers, to be read. "Low" and "high" are those of a little-endian word: the byte that is first on
/// the wire is the lowest.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PlainHeaders {
    ethernet: [u8; ethernet::HEADER_LEN],
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

/// Version 4 and five words of header.
const VERSION_AND_LEN: u8 = 0x45;

/// What the first bytes of all plain packets to one station have in common: its Ethernet address, the
/// EtherType of IPv4, a header without options, and of the fragment's word neither "more fragments" nor an
/// offset.
pub struct Pattern {
    /// The bits that count.
    mask: [u64; 4],
    /// What they are; all others are clear.
    bits: [u64; 4],
}

impl Pattern {
    /// Of packets to `station`, or to any.
    pub fn new(station: Option<MacAddr>) -> Self {
        let (mut bits, mut mask) = ([0u8; 32], [0u8; 32]);
        if let Some(station) = station {
            bits[..6].copy_from_slice(&station.0);
            mask[..6].fill(0xff);
        }
        bits[12..14].copy_from_slice(&ethernet::TYPE_IPV4.to_be_bytes());
        bits[14] = VERSION_AND_LEN;
        mask[12..15].fill(0xff);
        mask[20..22].copy_from_slice(&ipv4::FRAGMENT_MASK.to_be_bytes());
        let words = |bytes: [u8; 32]| zerocopy::transmute!(bytes);
        Self { mask: words(mask), bits: words(bits) }
    }

    /// Whether the headers are as the pattern says.
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    #[inline(always)]
    pub fn fits(&self, headers: &PlainHeaders) -> bool {
        use safe_arch::{cast_to_m256d_from_m256i, cmp_eq_mask_i64_m256i, m256i, move_mask_m256d};
        let masked = m256i::from(headers.first_words()) & m256i::from(self.mask);
        let same = cmp_eq_mask_i64_m256i(masked, m256i::from(self.bits));
        move_mask_m256d(cast_to_m256d_from_m256i(same)) == 0b1111
    }

    /// Whether the headers are as the pattern says.
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    #[inline(always)]
    pub fn fits(&self, headers: &PlainHeaders) -> bool {
        let words = headers.first_words();
        (0..4).all(|i| words[i] & self.mask[i] == self.bits[i])
    }
}

impl PlainHeaders {
    /// The headers at the start of `frame`, if it is long enough for them. Nothing else is looked at.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(frame).ok().map(|(headers, _)| headers)
    }

    /// The first 32 bytes.
    #[inline(always)]
    fn first_words(&self) -> [u64; 4] {
        let (words, _) = <[u64; 4]>::read_from_prefix(self.as_bytes()).unwrap_or_default();
        words
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

impl EthernetIpv4 {
    /// Whether the IPv4 header is the fixed part alone.
    #[inline(always)]
    pub fn is_without_options(&self) -> bool {
        self.version_and_len == VERSION_AND_LEN
    }
}
