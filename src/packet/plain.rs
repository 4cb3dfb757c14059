//! Frame → plain packet: the straight way for nearly all TCP and UDP packets. What has IPv4 options, is a
//! part of a datagram or has something wrong with it is for [`parse`](super::parse()) to look at.

use std::hint::select_unpredictable;
use std::net::Ipv4Addr;

use super::EndpointKey;
use crate::wire::l4::TcpFlags;
use crate::wire::plain::{Pattern, PlainHeaders, PlainWords};
use crate::wire::{ethernet, ipv4};

/// TCP or UDP in IPv4 without options, whose headers lie whole within the frame and are sound.
#[derive(Clone, Copy)]
pub struct PlainPacket {
    /// From where to where.
    pub ends: PlainEnds,
    /// All clear for UDP.
    pub tcp_flags: TcpFlags,
}

/// From where to where a plain packet goes.
#[derive(Clone, Copy)]
pub struct PlainEnds(PlainWords);

/// Ports, the half of them that is the destination's.
const DESTINATION_PORT: u32 = 0xffff_0000;

impl PlainPacket {
    /// The packet in `frame`, if it is plain and of `pattern`.
    #[inline(always)]
    pub fn parse(frame: &[u8], pattern: &Pattern) -> Option<Self> {
        let headers = PlainHeaders::of(frame)?;
        let words = headers.words();
        let total_len = u32::from(words.total_len());
        let fits = total_len as usize <= frame.len() - ethernet::HEADER_LEN;
        if !fits || !words.checksum_is_right() || !pattern.fits(headers) {
            return None;
        }
        // The protocol changes from packet to packet and cannot be predicted: it decides on numbers, not on a
        // way through the code.
        let sound = pattern.soundness(words.protocol());
        let udp_len = u32::from(headers.udp_len.get().swap_bytes());
        let tcp_len = u32::from(headers.tcp_offset >> 4) * 4;
        let claimed = select_unpredictable(sound.is_udp, udp_len, tcp_len);
        let slack = total_len.wrapping_sub(claimed + ipv4::HEADER_LEN as u32);
        let tcp_flags = TcpFlags(headers.tcp_flags & sound.flags);
        let is_sound =
            claimed >= sound.claimed_min && slack <= sound.slack_max && !tcp_flags.are_in(sound.nonsense);
        is_sound.then_some(Self { ends: PlainEnds(words), tcp_flags })
    }
}

impl PlainEnds {
    /// Those of the packet in a frame that has been parsed.
    #[inline(always)]
    pub fn of_parsed(frame: &[u8]) -> Option<Self> {
        PlainHeaders::of(frame).map(|headers| Self(headers.words()))
    }

    /// Where it goes.
    #[inline(always)]
    pub fn destination(&self) -> EndpointKey {
        let address = u64::from(self.0.destination) << 32;
        let port = u64::from(self.0.ports & DESTINATION_PORT);
        EndpointKey(address | port | u64::from(self.0.protocol()))
    }

    /// Where it comes from.
    #[inline(always)]
    pub fn source(&self) -> EndpointKey {
        EndpointKey(self.client_word() | u64::from(self.0.protocol()))
    }

    /// Its source as the client of a flow; see [`FlowKey::client_word`](super::FlowKey::client_word).
    #[inline(always)]
    pub fn client_word(&self) -> u64 {
        self.0.source_high() | u64::from(self.0.ports << 16)
    }

    /// Whom it is for.
    #[inline(always)]
    pub fn destination_address(&self) -> Ipv4Addr {
        self.0.destination.to_le_bytes().into()
    }

    /// Zero if the port is.
    #[inline(always)]
    pub fn destination_port_word(&self) -> u32 {
        self.0.ports & DESTINATION_PORT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{FlowKey, Parsed, parse};
    use crate::wire::{MacAddr, plain};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn frame(is_udp: bool) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = builder.ipv4([192, 0, 2, 7], [203, 0, 113, 10], 64);
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
            flips in proptest::collection::vec((0usize..64, any::<u8>()), 0..4),
            keeps_checksum in any::<bool>(),
            cut in proptest::option::weighted(0.25, 0usize..70),
            padding in 0usize..8,
        ) {
            let mut frame = frame(is_udp);
            let len = frame.len();
            flips.iter().for_each(|(at, value)| frame[at % len] = *value);
            if !keeps_checksum {
                ipv4::write_checksum(&mut frame[14..34]);
            }
            frame.resize(frame.len() + padding, 0xee);
            frame.truncate(cut.map_or(frame.len(), |cut| cut.max(14)));
            let plain = PlainPacket::parse(&frame, &Pattern::new(None));
            match parse(&frame) {
                Ok(Parsed::Transport(long)) => {
                    // All plain frames that are not shorter than the headers of TCP.
                    let is_plain = long.ip.payload_offset == 34 && frame.len() >= plain::LEN;
                    prop_assert_eq!(plain.is_some(), is_plain);
                    let Some(plain) = plain else { return Ok(()) };
                    let (source, destination) = long.ip.v4().unwrap();
                    let endpoint = |address, port| EndpointKey::new(address, port, long.protocol);
                    prop_assert_eq!(plain.ends.destination(), endpoint(destination, long.destination_port));
                    prop_assert_eq!(plain.ends.source(), endpoint(source, long.source_port));
                    prop_assert_eq!(plain.ends.client_word(), FlowKey::client_word(source, long.source_port));
                    prop_assert_eq!(plain.ends.destination_address(), destination);
                    prop_assert_eq!(plain.tcp_flags, long.tcp_flags);
                }
                _ => prop_assert!(plain.is_none()),
            }
        }

        #[test]
        fn a_pattern_is_of_one_station(is_udp in any::<bool>(), at in 0usize..6, other in 1u8..) {
            let mut frame = frame(is_udp);
            let pattern = Pattern::new(Some(MacAddr([2, 0, 0, 0, 0, 2])));
            prop_assert!(PlainPacket::parse(&frame, &pattern).is_some());
            frame[at] ^= other;
            prop_assert!(PlainPacket::parse(&frame, &pattern).is_none());
            prop_assert!(PlainPacket::parse(&frame, &Pattern::new(None)).is_some());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = PlainPacket::parse(&bytes, &Pattern::new(None));
        }
    }
}
