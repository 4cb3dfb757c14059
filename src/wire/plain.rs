//! The headers of a plain packet, Ethernet, IPv4 without options, and the beginning of TCP or UDP, as words
//! of memory. Each is read with one load, and compared or written without a byte being turned round.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{MacAddr, ethernet, ipv4, l4};

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
    ports: U32,
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
    /// By protocol. It lies here to be found from the pattern's place.
    soundness: [Soundness; 256],
}

/// What is sound of a protocol's header.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub struct Soundness {
    /// Bytes that the header claims, at least.
    pub claimed_min: u32,
    /// Bytes of the packet beyond those, at most.
    pub slack_max: u32,
    /// A bit for each combination of TCP's flags that makes no sense.
    pub nonsense: u32,
    /// What is taken of TCP's flags.
    pub flags: u8,
    /// Whether the header says how long it and the data are.
    pub is_udp: bool,
}

/// Packets of others than TCP and UDP are never sound here. A datagram claims the whole packet, and has no
/// flags.
const fn soundness(protocol: usize) -> Soundness {
    const TCP: usize = ipv4::PROTOCOL_TCP as usize;
    const UDP: usize = ipv4::PROTOCOL_UDP as usize;
    match protocol {
        TCP => Soundness {
            claimed_min: l4::TCP_HEADER_LEN as u32,
            slack_max: u16::MAX as u32,
            nonsense: l4::NONSENSE,
            flags: 0xff,
            is_udp: false,
        },
        UDP => Soundness {
            claimed_min: l4::UDP_HEADER_LEN as u32,
            slack_max: 0,
            nonsense: 0,
            flags: 0,
            is_udp: true,
        },
        _ => Soundness { claimed_min: u32::MAX, slack_max: 0, nonsense: 0, flags: 0, is_udp: false },
    }
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
        Self { mask: words(mask), bits: words(bits), soundness: std::array::from_fn(soundness) }
    }

    /// What is sound of the header of `protocol`.
    #[inline(always)]
    pub fn soundness(&self, protocol: u8) -> &Soundness {
        &self.soundness[usize::from(protocol)]
    }

    /// Whether the headers are as the pattern says.
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    #[inline(always)]
    pub fn fits(&self, headers: &PlainHeaders) -> bool {
        use safe_arch::{cmp_eq_mask_i8_m256i, m256i, move_mask_i8_m256i};
        let masked = m256i::from(headers.first_words()) & m256i::from(self.mask);
        move_mask_i8_m256i(cmp_eq_mask_i8_m256i(masked, m256i::from(self.bits))) == -1
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

    /// The words of the IPv4 header and the ports, each loaded once.
    #[inline(always)]
    pub fn words(&self) -> PlainWords {
        PlainWords {
            front: self.ip_front.get(),
            middle: self.ip_middle.get(),
            destination: self.ip_back.get(),
            ports: self.ports.get(),
        }
    }
}

/// The words of a plain IPv4 header, and the ports behind it. They are kept apart from the headers because the
/// compiler, once it has all of these in a vector, takes words from there, which is slower.
#[derive(Clone, Copy)]
pub struct PlainWords {
    /// Version, length of the header, type of service, total length, identification, fragment.
    front: u64,
    /// TTL, protocol, checksum, source address.
    middle: u64,
    /// The destination address.
    pub destination: u32,
    /// Source port low, destination port high.
    pub ports: u32,
}

impl PlainWords {
    /// Whether the checksum of the IPv4 header is right.
    #[inline(always)]
    pub fn checksum_is_right(&self) -> bool {
        // The carries are added in, which cannot carry again (RFC 1071 section 2 A).
        let (sum, carry) = self.front.overflowing_add(self.middle);
        let (sum, again) = (sum + u64::from(carry)).overflowing_add(self.destination.into());
        // Folding a sum keeps its remainder, and that of all ones is zero. No header is nothing but zeros.
        (sum + u64::from(again)).is_multiple_of(0xffff)
    }

    /// Bytes of the packet, in host order.
    #[inline(always)]
    pub fn total_len(&self) -> u16 {
        ((self.front >> 16) as u16).swap_bytes()
    }

    /// TCP, UDP or another.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.middle >> 8) as u8
    }

    /// The source address, in the high four bytes.
    #[inline(always)]
    pub fn source_high(&self) -> u64 {
        self.middle >> 32 << 32
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
