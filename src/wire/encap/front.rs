//! The headers of a [`Template`] over IPv4 with Ethernet's in front, to be written at once: two blocks of fixed length, and
//! what differs from packet to packet put in on the way. Packets of IPv4 alone; all others take [`Template::write`], which
//! makes the same bytes.

use super::super::{checksum, ethernet, ipv4};
use super::{PORT_FIRST, Template};
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
    /// The first 32 bytes of the frame, as little-endian words. The fields that are filled in are known only then, and
    /// till then there is in their places:
    ///
    /// | field | instead |
    /// |---|---|
    /// | type of service | zero |
    /// | total length | bytes of the longest packet that fits behind the headers |
    /// | identification | the bits of the source's last two bytes that the hash takes the place of, in wire order |
    /// | flags, fragment offset | bytes that the tunnel adds; where UDP's header is, or 0 for "nowhere" |
    /// | checksum | the sum of the IPv4 header without any of these |
    head: [u64; 4],
    /// The last 32 bytes of what goes in front, some of which are the last of `head` as well.
    tail: [u8; BLOCK],
}

const _: () = assert!(size_of::<Front>() == 64, "it is read for each packet");

/// Of the third word: TTL and protocol.
const TTL_AND_PROTOCOL: u64 = 0xffff << 48;
/// Of the fourth: all but the checksum.
const NO_CHECKSUM: u64 = !0xffff;

/// What decides on an outer header: the first eight bytes of the inner one, up to the fragment offset, as a little-endian
/// word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InnerFront(u64);

/// Its version, and its place in a datagram that is in parts.
const VERSION_AND_OFFSET: u64 = 0xff1f << 48 | 0xf0;
/// IPv4, and the beginning of a datagram.
const IPV4_AT_0: u64 = 0x40;
/// "Don't fragment", in the last two bytes.
const DONT_FRAGMENT: u64 = ipv4::DONT_FRAGMENT as u64;

impl InnerFront {
    /// Of the packet in `frame`.
    #[inline(always)]
    pub fn of(frame: &[u8]) -> Option<Self> {
        frame.get(IP..)?.first_chunk().map(|front| Self(u64::from_le_bytes(*front)))
    }

    /// Bytes of the packet.
    #[inline(always)]
    pub fn total_len(self) -> u16 {
        ((self.0 >> 16) as u16).swap_bytes()
    }

    /// Identification and fragment of the outer header, as they are on the wire.
    #[inline(always)]
    fn part(self) -> u64 {
        let dont_fragment = self.0 >> 48 & DONT_FRAGMENT;
        let identification = if dont_fragment == 0 { self.0 >> 32 & 0xffff } else { 0 };
        identification | dont_fragment << 16
    }
}

impl Front {
    /// Of headers that nothing fits behind.
    pub const CLOSED: Self = Self { head: [0; 4], tail: [0; BLOCK] };

    /// For frames between such stations on a link of such an MTU. `None` for headers over IPv6, and for those that never may
    /// be cut up.
    pub fn new(template: &Template, addresses: Addresses, mtu: u16) -> Option<Self> {
        if template.is_v6 || template.dont_fragment {
            return None;
        }
        let headers = template.bytes.get(..template.len())?;
        let bytes = [&addresses.0[..], &ethernet::TYPE_IPV4.to_be_bytes(), headers].concat();
        let words = |block: &[u8; BLOCK]| {
            let (words, _) = block.as_chunks::<8>();
            std::array::from_fn(|i| words.get(i).map_or(0, |word| u64::from_le_bytes(*word)))
        };
        let mut head: [u64; 4] = words(bytes.first_chunk()?);
        let longest = mtu.saturating_sub(template.len.into());
        let udp_at = if template.has_udp { UDP as u8 } else { 0 };
        head[2] |= u64::from(longest)
            | u64::from(template.source_mask.swap_bytes()) << 16
            | u64::from(template.len) << 32
            | u64::from(udp_at) << 40;
        head[3] |= u64::from(template.sum);
        Some(Self { head, tail: *bytes.last_chunk()? })
    }

    /// Bytes that the tunnel adds.
    #[inline(always)]
    pub fn added(&self) -> usize {
        usize::from((self.head[2] >> 32) as u8)
    }

    /// Whether a packet goes behind these headers as they are.
    #[inline(always)]
    pub fn takes(&self, inner: InnerFront) -> bool {
        inner.0 & VERSION_AND_OFFSET == IPV4_AT_0 && inner.total_len() <= self.head[2] as u16
    }

    /// Writes the headers to the beginning of `frame`, up to the inner packet, of which [`Self::takes`] has said so. `hash` is
    /// the flow's. `None` for a frame without room for them.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], inner: InnerFront, hash: u32) -> Option<()> {
        let [stations, types, part_and_more, ends] = self.head;
        let added = self.added();
        let spread = hash.swap_bytes();
        let source_bits = u64::from(spread as u16) & (part_and_more >> 16 & 0xffff);
        let total_len = u64::from((inner.total_len().wrapping_add(added as u16)).swap_bytes());
        let type_of_service = inner.0 >> 8 & 0xff;
        let part = inner.part();
        let sum = (ends & 0xffff)
            + (type_of_service << 8)
            + total_len
            + (part & 0xffff)
            + (part >> 16)
            + source_bits;
        let checksum = u64::from(u16::from_ne_bytes(checksum::field(checksum::fold(sum))));

        *frame.get_mut((IP + added).wrapping_sub(BLOCK)..)?.first_chunk_mut()? = self.tail;
        // Where there is no such header it is written to where the block that comes next is.
        let udp_at = usize::from((part_and_more >> 40) as u8);
        let udp = frame.get_mut(udp_at..)?.first_chunk_mut::<UDP_FRONT>()?;
        let [port @ .., _, _, a, b] = udp;
        *port = ((spread >> 16) as u16 | PORT_FIRST.swap_bytes()).to_le_bytes();
        let udp_len = (inner.total_len().wrapping_add(added as u16)).wrapping_sub(ipv4::HEADER_LEN as u16);
        [*a, *b] = udp_len.to_be_bytes();
        let head = [
            stations,
            types | type_of_service << 56,
            part_and_more & TTL_AND_PROTOCOL | total_len | part << 16,
            ends & NO_CHECKSUM | checksum | source_bits << 32,
        ];
        *frame.first_chunk_mut::<BLOCK>()? = zerocopy::transmute!(head.map(u64::to_le));
        Some(())
    }
}

const _: () = assert!(
    UDP_FRONT <= UDP_HEADER_LEN && UDP_FRONT <= BLOCK,
    "it is overwritten by the first block, or stays"
);
