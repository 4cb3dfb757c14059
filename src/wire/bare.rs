//! TCP segments without data that we make ourselves, as whole frames: resets, and segments that ask an end of a
//! connection how far it is. Which numbers they need is read from the connection's own segments (RFC 9293
//! section 3.10.7): nobody takes a reset whose sequence number is not the next one it expects (RFC 5961 section 3).

use std::net::SocketAddrV4;

use super::ethernet::{self, Addresses};
use super::l4::{self, TCP_HEADER_LEN, TcpFlags};
use super::{checksum, ipv4};

/// Bytes of a frame with a reset in it.
pub const RESET_LEN: usize = IP_AT + ipv4::HEADER_LEN + TCP_HEADER_LEN;
/// Bytes of a frame that asks.
pub const ASK_LEN: usize = RESET_LEN + TIMESTAMPS.len();

const IP_AT: usize = ethernet::HEADER_LEN;
const TCP_AT: usize = IP_AT + ipv4::HEADER_LEN;

/// Two no-operations, and the timestamps option with both values zero (RFC 7323 section 3.2). An end that has agreed
/// to timestamps need not look at a segment without them.
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a segment of a connection says of where the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Its sequence number.
    pub sequence: u32,
    /// Its acknowledgement, of which `flags` says whether it counts.
    pub acknowledgement: u32,
    /// Its control bits.
    pub flags: TcpFlags,
    /// Sequence numbers that it takes: its data, and one each for SYN and FIN.
    pub len: u32,
}

impl Numbers {
    /// Of the TCP segment in `frame`, if its headers lie whole within it.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let network = frame.get(IP_AT..)?;
        let header = ipv4::Header(network.first_chunk()?);
        let segment = network.get(header.header_len()..)?;
        let tcp = segment.first_chunk::<TCP_HEADER_LEN>()?;
        let flags = l4::tcp_flags(tcp);
        let data = header.total_len().checked_sub(header.header_len() + l4::tcp_header_len(tcp))?;
        let marks = u32::from(flags.any(TcpFlags::SYN)) + u32::from(flags.any(TcpFlags::FIN));
        let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, ..] = *tcp;
        Some(Self {
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
            flags,
            len: data as u32 + marks,
        })
    }
}

/// Where a segment goes, and whose name it bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bare {
    /// The frame's.
    pub addresses: Addresses,
    /// Whom it seems to come from.
    pub source: SocketAddrV4,
    /// Whom it is for.
    pub destination: SocketAddrV4,
}

impl Bare {
    /// The reset that answers a segment with `numbers` (RFC 9293 section 3.10.7.1): what it acknowledges is what its
    /// sender expects next.
    pub fn reset_in_answer(&self, numbers: Numbers) -> [u8; RESET_LEN] {
        if numbers.flags.any(TcpFlags::ACK) {
            return self.segment(numbers.acknowledgement, 0, TcpFlags::RST, []);
        }
        let next = numbers.sequence.wrapping_add(numbers.len);
        self.segment(0, next, TcpFlags::RST | TcpFlags::ACK, [])
    }

    /// The reset that takes the place of a segment with `numbers`, for whoever would have got it.
    pub fn reset_instead(&self, numbers: Numbers) -> [u8; RESET_LEN] {
        let ack = numbers.flags.0 & TcpFlags::ACK;
        let acknowledgement = if ack == 0 { 0 } else { numbers.acknowledgement };
        self.segment(numbers.sequence, acknowledgement, TcpFlags::RST | ack, [])
    }

    /// A segment that does not fit into the connection, so that whoever gets it answers where the connection is
    /// (RFC 9293 section 3.10.7.4, "If an incoming segment is not acceptable"). Nothing is known of the numbers in
    /// use, and with one `attempt` of a few the segment could fit. But no two lie within a window of 2^30, the largest there is.
    pub fn ask(&self, attempt: u32) -> [u8; ASK_LEN] {
        let number = attempt.wrapping_mul(0x5555_5555);
        self.segment(number, number, TcpFlags::ACK, TIMESTAMPS)
    }

    fn segment<const OPTIONS: usize, const LEN: usize>(
        &self,
        sequence: u32,
        acknowledgement: u32,
        flags: u8,
        options: [u8; OPTIONS],
    ) -> [u8; LEN] {
        const { assert!(LEN == RESET_LEN + OPTIONS && OPTIONS.is_multiple_of(4), "the parts fill the frame") };
        let mut frame = [0; LEN];
        frame[..12].copy_from_slice(&self.addresses.0);
        frame[12..IP_AT].copy_from_slice(&ethernet::TYPE_IPV4.to_be_bytes());
        let ip = ipv4::Fields {
            type_of_service: 0,
            total_len: (LEN - IP_AT) as u16,
            protocol: ipv4::PROTOCOL_TCP,
            source: *self.source.ip(),
            destination: *self.destination.ip(),
        };
        frame[IP_AT..TCP_AT].copy_from_slice(&ip.to_bytes());
        let tcp = &mut frame[TCP_AT..];
        tcp[..2].copy_from_slice(&self.source.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.destination.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        tcp[12] = (((TCP_HEADER_LEN + OPTIONS) / 4) << 4) as u8;
        tcp[13] = flags;
        tcp[TCP_HEADER_LEN..].copy_from_slice(&options);
        let sum = checksum::with_pseudo(ip.source.into(), ip.destination.into(), ip.protocol, tcp);
        let field = checksum::field(sum);
        tcp[l4::TCP_CHECKSUM_OFFSET..][..2].copy_from_slice(&field);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MacAddr;
    use etherparse::{PacketBuilder, SlicedPacket, TcpSlice, TransportSlice};

    const BARE: Bare = Bare {
        addresses: Addresses([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]),
        source: SocketAddrV4::new(std::net::Ipv4Addr::new(203, 0, 113, 10), 443),
        destination: SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 7), 40_001),
    };

    /// Reads the frame by another implementation, which holds every length and checksum.
    fn read<T>(frame: &[u8], look: impl Fn(&TcpSlice<'_>) -> T) -> T {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("{packet:?}") };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(
            (ip.header().source_addr(), ip.header().destination_addr()),
            (*BARE.source.ip(), *BARE.destination.ip())
        );
        assert_eq!(usize::from(header.total_len) + 14, frame.len());
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
        let (from, to) = (BARE.source.ip().octets(), BARE.destination.ip().octets());
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(from, to).unwrap());
        assert_eq!((tcp.source_port(), tcp.destination_port()), (443, 40_001));
        assert_eq!(frame[..12], Addresses::new(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])).0);
        look(tcp)
    }

    fn flags(tcp: &TcpSlice<'_>) -> (bool, bool, bool) {
        (tcp.rst(), tcp.ack(), tcp.syn() || tcp.fin() || tcp.psh() || tcp.urg())
    }

    #[test]
    fn numbers_are_read_behind_options_and_padding() {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([0; 6], [1; 6])
            .ipv4([192, 0, 2, 7], [203, 0, 113, 10], 64)
            .tcp(40_001, 443, 7_000_000, 512)
            .fin()
            .ack(9_000_000)
            .options_raw(&[1; 12])
            .unwrap()
            .write(&mut frame, b"some bytes")
            .unwrap();
        frame.resize(frame.len() + 6, 0xee);
        let numbers = Numbers::of(&frame).unwrap();
        assert_eq!((numbers.sequence, numbers.acknowledgement, numbers.len), (7_000_000, 9_000_000, 11));
        assert!(numbers.flags.any(TcpFlags::ACK) && !numbers.flags.opens());
        // None of them is read beyond the frame.
        assert!((0..54).all(|len| Numbers::of(&frame[..len]).is_none()));
        frame.splice(34..34, [1; 4]);
        frame[14] = 0x46;
        frame[17] += 4;
        assert_eq!(Numbers::of(&frame), Some(numbers));
    }

    #[test]
    fn who_sent_a_segment_is_reset_at_what_it_expects_and_the_other_at_what_it_would_have_got() {
        let ack =
            Numbers { sequence: u32::MAX, acknowledgement: 5, flags: TcpFlags(TcpFlags::ACK), len: 100 };
        let answer = |tcp: &TcpSlice<'_>| (tcp.sequence_number(), flags(tcp), tcp.acknowledgment_number());
        assert_eq!(read(&BARE.reset_in_answer(ack), answer), (5, (true, false, false), 0));
        assert_eq!(read(&BARE.reset_instead(ack), answer), (u32::MAX, (true, true, false), 5));
        // Without an acknowledgement (RFC 9293 section 3.10.7.1): all of the segment is acknowledged, the circle round.
        let none = Numbers { flags: TcpFlags(TcpFlags::SYN), ..ack };
        assert_eq!(read(&BARE.reset_in_answer(none), answer), (0, (true, true, false), 99));
        assert_eq!(read(&BARE.reset_instead(none), answer), (u32::MAX, (true, false, false), 0));
    }

    #[test]
    fn no_window_holds_two_successive_questions() {
        let number = |attempt| {
            read(&BARE.ask(attempt), |tcp| {
                assert_eq!(
                    (flags(tcp), tcp.data_offset(), tcp.payload()),
                    ((false, true, false), 8, &[][..])
                );
                tcp.sequence_number()
            })
        };
        for attempt in 0..7 {
            let (this, next) = (number(attempt), number(attempt + 1));
            assert!(next.wrapping_sub(this).min(this.wrapping_sub(next)) > 1 << 30, "{this} {next}");
        }
    }
}
