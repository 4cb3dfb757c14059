//! The headers of a [`Template`] over IPv4 with Ethernet's in front, to be written at once: two blocks of fixed length, and
//! what differs from packet to packet put in on the way. Packets of IPv4 alone; all others take [`Template::write`], which
//! makes the same bytes.

use super::super::{checksum, ethernet, ipv4};
use super::{PORT_FIRST, Template, V4_SOURCE_LOW};
use crate::wire::ethernet::Addresses;
use crate::wire::l4::UDP_HEADER_LEN;

/// Bytes that are written at once: more than Ethernet's header and all of the IPv4 header that is filled in.
const BLOCK: usize = 32;
/// Where Ethernet, IPv4 and the type of service begin in a frame.
const IP: usize = ethernet::HEADER_LEN;
/// Where UDP's header is in the frame, if it has one.
const UDP: usize = IP + ipv4::HEADER_LEN;
/// UDP's source port, destination port and length.
const UDP_FRONT: usize = 6;

/// What stands in front of packets of one frontend to one backend. A cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub struct Front {
    /// The first 32 bytes of the frame. The fields that are filled in are known only then, and till then there is in their
    /// places, in the machine's order:
    ///
    /// | field | instead |
    /// |---|---|
    /// | type of service | zero |
    /// | total length | bytes of the longest packet that fits behind the headers |
    /// | identification | the bits of the source's last two bytes that the hash takes the place of, in wire order |
    /// | flags, fragment offset | where `tail` goes; where UDP's header is, or 0 for "nowhere" |
    /// | checksum | the sum of the IPv4 header without any of these |
    head: [u8; BLOCK],
    /// The last 32 bytes of what goes in front, some of which are the last of `head` as well.
    tail: [u8; BLOCK],
}

const _: () = assert!(size_of::<Front>() == 64, "it is read for each packet");

const TYPE_OF_SERVICE: usize = IP + ipv4::TYPE_OF_SERVICE_OFFSET;
const TOTAL_LEN: usize = IP + ipv4::TOTAL_LEN_OFFSET;
const IDENTIFICATION: usize = IP + ipv4::IDENTIFICATION_OFFSET;
const PART: usize = IP + ipv4::FRAGMENT_OFFSET;
const CHECKSUM: usize = IP + ipv4::CHECKSUM_OFFSET;
const SOURCE_LOW: usize = IP + V4_SOURCE_LOW;

/// What decides on an outer header: the first eight bytes of a packet of IPv4, up to the fragment offset, as a little-endian
/// word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InnerFront(u64);

/// The type of service, where it stands in the header's first two bytes.
const TYPE_OF_SERVICE_WORD: u64 = 0xff00;
/// "Don't fragment", in the last two bytes.
const DONT_FRAGMENT: u64 = ipv4::DONT_FRAGMENT as u64;

impl InnerFront {
    /// Of the packet in `frame`, which is one of IPv4 and begins a datagram.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<Self> {
        frame.get(IP..)?.first_chunk().map(|front| Self(u64::from_le_bytes(*front)))
    }

    /// Bytes of the packet.
    #[inline(always)]
    pub fn total_len(self) -> u16 {
        ((self.0 >> 16) as u16).swap_bytes()
    }

    /// Identification and flags of the outer header, as they are on the wire.
    #[inline(always)]
    fn part(self) -> (u16, u16) {
        let dont_fragment = (self.0 >> 48 & DONT_FRAGMENT) as u16;
        let identification = (self.0 >> 32) as u16;
        (if dont_fragment == 0 { identification } else { 0 }, dont_fragment)
    }

    /// The first word of the outer header, less what is always the same.
    #[inline(always)]
    fn type_of_service(self) -> u16 {
        (self.0 & TYPE_OF_SERVICE_WORD) as u16
    }
}

impl Front {
    /// Of headers that nothing fits behind.
    pub const CLOSED: Self = Self { head: [0; BLOCK], tail: [0; BLOCK] };

    /// For frames between such stations on a link of such an MTU. `None` for headers over IPv6, and for those that never may
    /// be cut up.
    pub fn new(template: &Template, addresses: Addresses, mtu: u16) -> Option<Self> {
        if template.is_v6 || template.dont_fragment {
            return None;
        }
        let headers = template.bytes.get(..template.len())?;
        let bytes = [&addresses.0[..], &ethernet::TYPE_IPV4.to_be_bytes(), headers].concat();
        let mut head: [u8; BLOCK] = *bytes.first_chunk()?;
        let mut put = |at: usize, word: u16| {
            [head[at], head[at + 1]] = word.to_ne_bytes();
        };
        put(TOTAL_LEN, mtu.saturating_sub(template.len.into()));
        put(IDENTIFICATION, u16::from_ne_bytes(template.source_mask.to_be_bytes()));
        put(CHECKSUM, template.sum);
        head[PART] = (bytes.len() - BLOCK) as u8;
        head[PART + 1] = if template.has_udp { UDP as u8 } else { 0 };
        Some(Self { head, tail: *bytes.last_chunk()? })
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u16 {
        u16::from_ne_bytes([self.head[AT], self.head[AT + 1]])
    }

    #[inline(always)]
    fn tail_at(&self) -> usize {
        self.head[PART].into()
    }

    /// Bytes that the tunnel adds.
    #[inline(always)]
    pub fn added(&self) -> usize {
        self.tail_at() + (BLOCK - IP)
    }

    /// Whether a packet fits behind these headers.
    #[inline(always)]
    pub fn takes(&self, inner: InnerFront) -> bool {
        inner.total_len() <= self.word::<TOTAL_LEN>()
    }

    /// Writes the headers to the beginning of `frame`, up to the inner packet, of which [`Self::takes`] has said so. `hash` is
    /// the flow's. `None` for a frame without room for them.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], inner: InnerFront, hash: u32) -> Option<()> {
        let total_len = inner.total_len().wrapping_add(self.added() as u16);
        let tail_at = self.tail_at();
        *frame.get_mut(tail_at..tail_at + BLOCK)?.first_chunk_mut()? = self.tail;

        // Where there is no such header it is written to where the other block comes next.
        let udp_at = usize::from(self.head[PART + 1]);
        let udp = frame.get_mut(udp_at..udp_at + UDP_FRONT)?.first_chunk_mut::<UDP_FRONT>()?;
        let port = hash as u16 | PORT_FIRST;
        [udp[0], udp[1]] = port.to_be_bytes();
        [udp[4], udp[5]] = total_len.wrapping_sub(ipv4::HEADER_LEN as u16).to_be_bytes();

        let (identification, flags) = inner.part();
        let source_bits =
            u16::from_ne_bytes(((hash >> 16) as u16).to_be_bytes()) & self.word::<IDENTIFICATION>();
        let total_len = u16::from_ne_bytes(total_len.to_be_bytes());
        let filled_in = [inner.type_of_service(), total_len, identification, flags, source_bits];
        let sum =
            filled_in.iter().fold(u32::from(self.word::<CHECKSUM>()), |sum, word| sum + u32::from(*word));
        let head = frame.first_chunk_mut::<BLOCK>()?;
        *head = self.head;
        head[TYPE_OF_SERVICE] = (inner.type_of_service() >> 8) as u8;
        [head[TOTAL_LEN], head[TOTAL_LEN + 1]] = total_len.to_ne_bytes();
        [head[IDENTIFICATION], head[IDENTIFICATION + 1]] = identification.to_ne_bytes();
        [head[PART], head[PART + 1]] = flags.to_ne_bytes();
        [head[CHECKSUM], head[CHECKSUM + 1]] = checksum::field(checksum::fold_few(sum));
        let source_low = self.word::<SOURCE_LOW>() | source_bits;
        [head[SOURCE_LOW], head[SOURCE_LOW + 1]] = source_low.to_ne_bytes();
        Some(())
    }
}

const _: () = assert!(
    UDP_FRONT <= UDP_HEADER_LEN && UDP_FRONT <= BLOCK,
    "it is overwritten by the first block, or stays"
);
