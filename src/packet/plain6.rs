//! Frame → plain packet in IPv6: TCP or UDP right behind the fixed header. What has extension headers or something wrong
//! with it is for [`parse`](super::parse()) to look at.

use std::net::Ipv6Addr;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{FrontendWord, WideKey};
use crate::wire::l4::TcpFlags;
use crate::wire::plain::Pattern;
use crate::wire::{MacAddr, ethernet, ipv6};

/// The headers as words of memory, the first byte on the wire lowest; of TCP as far as its control bits. A UDP packet
/// that is shorter is not plain.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Headers {
    /// Ethernet, and the beginning of IPv6: version, traffic class.
    front: [U64; 2],
    /// The rest of the flow label.
    flow_label: [u8; 2],
    payload_len: U16,
    next_header: u8,
    hop_limit: u8,
    source: [U64; 2],
    destination: [U64; 2],
    /// Source port low, destination port high.
    ports: U32,
    /// UDP's length, the first byte low. (TCP's sequence number.)
    udp_len: U16,
    skipped: [u8; 6],
    tcp_offset: u8,
    tcp_flags: u8,
}

const _: () = assert!(size_of::<Headers>() == ethernet::HEADER_LEN + ipv6::HEADER_LEN + 14, "no gaps");

/// What the first sixteen bytes of all plain packets to one station have in common: its Ethernet address, the EtherType
/// and the version.
#[derive(Clone, Copy)]
pub struct Pattern6 {
    mask: [u64; 2],
    bits: [u64; 2],
}

impl Pattern6 {
    /// Of packets to `station`, or to any.
    pub fn new(station: Option<MacAddr>) -> Self {
        let (mut bits, mut mask) = ([0u8; 16], [0u8; 16]);
        if let Some(station) = station {
            bits[..6].copy_from_slice(&station.0);
            mask[..6].fill(0xff);
        }
        bits[12..14].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
        bits[14] = 0x60;
        mask[12..14].fill(0xff);
        mask[14] = 0xf0;
        let words = |bytes: [u8; 16]| {
            let word = u128::from_le_bytes(bytes);
            [word as u64, (word >> 64) as u64]
        };
        Self { mask: words(mask), bits: words(bits) }
    }

    #[inline(always)]
    fn fits(&self, front: [U64; 2]) -> bool {
        let differs = |i: usize| front[i].get() & self.mask[i] ^ self.bits[i];
        differs(0) | differs(1) == 0
    }
}

/// A plain packet's ends, and what its flow needs.
#[derive(Clone, Copy)]
pub struct PlainPacket6<'f> {
    /// From where to where.
    pub ends: PlainEnds6<'f>,
    /// All clear for UDP.
    pub tcp_flags: TcpFlags,
}

/// From where to where a plain packet goes.
#[derive(Clone, Copy)]
pub struct PlainEnds6<'f>(&'f Headers);

impl<'f> PlainPacket6<'f> {
    /// The packet in `frame`, if it is plain and of `pattern`. Of `sound` only what it says of protocols is asked.
    #[inline(always)]
    pub fn parse(frame: &'f [u8], pattern: &Pattern6, sound: &Pattern) -> Option<Self> {
        let (headers, _) = Headers::ref_from_prefix(frame).ok()?;
        let payload_len = u32::from(headers.payload_len.get().swap_bytes());
        let fits = payload_len as usize <= frame.len() - ethernet::HEADER_LEN - ipv6::HEADER_LEN;
        if !pattern.fits(headers.front) || !fits {
            return None;
        }
        let sound = sound.soundness(headers.next_header);
        let udp_len = u32::from(headers.udp_len.get().swap_bytes());
        let tcp_len = u32::from(headers.tcp_offset >> 4) * 4;
        let claimed = std::hint::select_unpredictable(sound.is_udp, udp_len, tcp_len);
        let slack = payload_len.wrapping_sub(claimed);
        let tcp_flags = TcpFlags(headers.tcp_flags & sound.flags);
        let is_sound =
            claimed >= sound.claimed_min && slack <= sound.slack_max && !tcp_flags.are_in(sound.nonsense);
        // What comes from port 0 is looked at closely: a flow of other protocols has none, and there the key says nothing.
        let is_sound = is_sound && headers.ports.get() & 0xffff != 0;
        is_sound.then_some(Self { ends: PlainEnds6(headers), tcp_flags })
    }
}

impl<'f> PlainEnds6<'f> {
    /// Those of the packet in a frame that has been parsed.
    #[inline(always)]
    pub fn of_parsed(frame: &'f [u8]) -> Option<Self> {
        Headers::ref_from_prefix(frame).ok().map(|(headers, _)| Self(headers))
    }

    /// Where it goes, as [`wide_endpoint`](super::wide_endpoint) has it.
    #[inline(always)]
    pub fn destination(&self) -> [u64; 3] {
        let [low, high] = self.0.destination.map(U64::get);
        let port = u64::from(self.0.ports.get() & 0xffff_0000);
        [low, high, 1 << 8 | port | u64::from(self.0.next_header)]
    }

    /// Whom it is for.
    #[inline(always)]
    pub fn destination_address(&self) -> Ipv6Addr {
        let [low, high] = self.0.destination.map(U64::get);
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes().into()
    }

    /// Whether it goes to port 0, which nobody has.
    #[inline(always)]
    pub fn is_to_port_zero(&self) -> bool {
        self.0.ports.get() >> 16 == 0
    }

    /// Where it comes from, likewise.
    #[inline(always)]
    pub fn source(&self) -> [u64; 3] {
        let [low, high] = self.0.source.map(U64::get);
        let port = u64::from(self.0.ports.get() << 16);
        [low, high, 1 << 8 | port | u64::from(self.0.next_header)]
    }

    /// The key of its flow to a frontend of one address and port.
    #[inline(always)]
    pub fn key(&self, frontend: FrontendWord) -> WideKey {
        let [low, high] = self.0.source.map(U64::get);
        WideKey([low, high, u64::from(self.0.ports.get() << 16) | frontend.0 & 0xffff])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Parsed, parse, wide_endpoint};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const STATION: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(is_udp: bool) -> Vec<u8> {
        let address = |last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], STATION).ipv6(address(7), address(10), 64);
        let mut frame = Vec::new();
        if is_udp {
            builder.udp(40_000, 53).write(&mut frame, b"hello, nameserver").unwrap();
        } else {
            builder.tcp(40_000, 443, 1, 1024).syn().write(&mut frame, b"hello").unwrap();
        }
        frame
    }

    proptest! {
        #[test]
        fn what_it_takes_is_what_the_long_way_takes(
            is_udp in any::<bool>(),
            flips in proptest::collection::vec((0usize..80, any::<u8>()), 0..4),
            cut in proptest::option::weighted(0.25, 0usize..90),
            padding in 0usize..8,
            for_any in any::<bool>(),
        ) {
            let mut frame = frame(is_udp);
            let len = frame.len();
            flips.iter().for_each(|(at, value)| frame[at % len] = *value);
            frame.resize(frame.len() + padding, 0xee);
            frame.truncate(cut.unwrap_or(usize::MAX));
            let pattern = Pattern6::new((!for_any).then_some(MacAddr(STATION)));
            let plain = PlainPacket6::parse(&frame, &pattern, &Pattern::new(None));
            let is_ours = for_any || frame.get(..6) == Some(&STATION[..]);
            match parse(&frame) {
                Ok(Parsed::Transport(long)) if is_ours => {
                    let is_first = long.ip.payload_offset == 54 && long.ip.source.is_ipv6() && frame.len() >= 68;
                    let is_plain = is_first && long.source_port != 0;
                    prop_assert_eq!(plain.is_some(), is_plain);
                    let Some(plain) = plain else { return Ok(()) };
                    let protocol = long.protocol.number();
                    prop_assert_eq!(plain.ends.destination(), wide_endpoint(long.ip.destination, long.destination_port, protocol));
                    prop_assert_eq!(plain.ends.source(), wide_endpoint(long.ip.source, long.source_port, protocol));
                    let key = WideKey::new(long.ip.source, long.source_port, 77);
                    prop_assert_eq!(plain.ends.key(FrontendWord::new(77, u64::MAX)), key);
                    prop_assert_eq!(plain.tcp_flags, long.tcp_flags);
                }
                _ => prop_assert!(plain.is_none()),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = PlainPacket6::parse(&bytes, &Pattern6::new(None), &Pattern::new(None));
        }
    }
}
