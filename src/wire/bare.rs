//! TCP segments without data that we make ourselves, as whole frames: resets, and segments that ask an end of a
//! connection how far it is. Which numbers they need is read from the connection's own segments (RFC 9293
//! section 3.10.7): nobody takes a reset whose sequence number is not the next one it expects (RFC 5961 section 3).

use std::net::{IpAddr, SocketAddr};

use super::ethernet::{self, Addresses};
use super::l4::{self, TCP_HEADER_LEN, TcpFlags};
use super::{checksum, ipv4, ipv6};

/// Bytes of the longest frame with such a segment in it.
pub const LEN_MAX: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + TCP_HEADER_LEN + TIMESTAMPS.len();

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
    /// Of the TCP segment at `at` in `frame`, whose IP packet ends at `end`; if its header lies whole within.
    pub fn of(frame: &[u8], at: usize, end: usize) -> Option<Self> {
        let segment = frame.get(at..end)?;
        let tcp = segment.first_chunk::<TCP_HEADER_LEN>()?;
        let flags = l4::tcp_flags(tcp);
        let data = segment.len().checked_sub(l4::tcp_header_len(tcp))?;
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
    pub source: SocketAddr,
    /// Whom it is for. Of the same family.
    pub destination: SocketAddr,
}

/// A frame with such a segment.
#[derive(Clone, Copy)]
pub struct BareFrame {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl BareFrame {
    /// The whole frame.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Bare {
    /// The reset that answers a segment with `numbers` (RFC 9293 section 3.10.7.1): what it acknowledges is what its
    /// sender expects next.
    pub fn reset_in_answer(&self, numbers: Numbers) -> BareFrame {
        if numbers.flags.any(TcpFlags::ACK) {
            return self.segment(numbers.acknowledgement, 0, TcpFlags::RST, &[]);
        }
        let next = numbers.sequence.wrapping_add(numbers.len);
        self.segment(0, next, TcpFlags::RST | TcpFlags::ACK, &[])
    }

    /// The reset that takes the place of a segment with `numbers`, for whoever would have got it.
    pub fn reset_instead(&self, numbers: Numbers) -> BareFrame {
        let ack = numbers.flags.0 & TcpFlags::ACK;
        let acknowledgement = if ack == 0 { 0 } else { numbers.acknowledgement };
        self.segment(numbers.sequence, acknowledgement, TcpFlags::RST | ack, &[])
    }

    /// A reset for whom `sequence` is the next number it expects, and who has sent up to `acknowledgement`.
    pub fn reset_at(&self, sequence: u32, acknowledgement: u32) -> BareFrame {
        self.segment(sequence, acknowledgement, TcpFlags::RST | TcpFlags::ACK, &[])
    }

    /// A segment that does not fit into the connection, so that whoever gets it answers where the connection is
    /// (RFC 9293 section 3.10.7.4, "If an incoming segment is not acceptable"). Nothing is known of the numbers in
    /// use, and with one `attempt` of a few the segment could fit. But no two lie within a window of 2^30, the largest there is.
    pub fn ask(&self, attempt: u32) -> BareFrame {
        let number = attempt.wrapping_mul(0x5555_5555);
        self.segment(number, number, TcpFlags::ACK, &TIMESTAMPS)
    }

    fn segment(&self, sequence: u32, acknowledgement: u32, flags: u8, options: &[u8]) -> BareFrame {
        let mut tcp = [0; TCP_HEADER_LEN + TIMESTAMPS.len()];
        let len = TCP_HEADER_LEN + options.len();
        let tcp = tcp.get_mut(..len).unwrap_or_default();
        if let Some((fixed, rest)) = tcp.split_first_chunk_mut::<TCP_HEADER_LEN>() {
            fixed[..2].copy_from_slice(&self.source.port().to_be_bytes());
            fixed[2..4].copy_from_slice(&self.destination.port().to_be_bytes());
            fixed[4..8].copy_from_slice(&sequence.to_be_bytes());
            fixed[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
            fixed[12] = ((len / 4) << 4) as u8;
            fixed[13] = flags;
            rest.copy_from_slice(options);
        }
        let (source, destination) = (self.source.ip(), self.destination.ip());
        let sum = checksum::with_pseudo(source, destination, ipv4::PROTOCOL_TCP, tcp);
        if let Some(field) = tcp.get_mut(l4::TCP_CHECKSUM_OFFSET..l4::TCP_CHECKSUM_OFFSET + 2) {
            field.copy_from_slice(&checksum::field(sum));
        }
        let mut frame = BareFrame { bytes: [0; LEN_MAX], len: 0 };
        frame.push(&self.addresses.0);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total_len = (ipv4::HEADER_LEN + len) as u16;
                let protocol = ipv4::PROTOCOL_TCP;
                let fields = ipv4::Fields { type_of_service: 0, total_len, protocol, source, destination };
                frame.push(&ethernet::TYPE_IPV4.to_be_bytes());
                frame.push(&fields.to_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (traffic_class, flow_label, payload_len) = (0, 0, len as u16);
                let (next_header, hop_limit) = (ipv4::PROTOCOL_TCP, ipv6::HOP_LIMIT_DEFAULT);
                let fields = ipv6::Fields {
                    traffic_class,
                    flow_label,
                    payload_len,
                    next_header,
                    hop_limit,
                    source,
                    destination,
                };
                frame.push(&ethernet::TYPE_IPV6.to_be_bytes());
                frame.push(&fields.to_bytes());
            }
            // Nobody asks for it.
            _ => {}
        }
        frame.push(tcp);
        frame
    }
}

impl BareFrame {
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(part);
            self.len = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MacAddr;
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpSlice, TransportSlice};

    const ADDRESSES: Addresses = Addresses([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);

    /// One of each family.
    fn bare() -> [Bare; 2] {
        let of = |source: &str, destination: &str| Bare {
            addresses: ADDRESSES,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        [of("203.0.113.10:443", "192.0.2.7:40001"), of("[2001:db8::10]:443", "[2001:db8:2::7]:40001")]
    }

    /// Reads the frames of both by another implementation, which holds every length and checksum, and what it reads is
    /// the same.
    fn read<T: PartialEq + std::fmt::Debug>(
        make: impl Fn(&Bare) -> BareFrame,
        look: impl Fn(&TcpSlice<'_>) -> T,
    ) -> T {
        let [v4, v6] = bare().map(|bare| read_one(make(&bare).bytes(), &bare, &look));
        assert_eq!(v4, v6);
        v4
    }

    fn read_one<T>(frame: &[u8], bare: &Bare, look: impl Fn(&TcpSlice<'_>) -> T) -> T {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
        let (from, to) = (bare.source.ip(), bare.destination.ip());
        match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(
                    (from, to),
                    (ip.header().source_addr().into(), ip.header().destination_addr().into())
                );
                assert_eq!(usize::from(header.total_len) + 14, frame.len());
                let checksum = tcp.calc_checksum_ipv4(header.source, header.destination).unwrap();
                assert_eq!(tcp.checksum(), checksum);
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header().to_header();
                assert_eq!(
                    (from, to),
                    (ip.header().source_addr().into(), ip.header().destination_addr().into())
                );
                assert_eq!(usize::from(header.payload_length) + 54, frame.len());
                let checksum = tcp.calc_checksum_ipv6(header.source, header.destination).unwrap();
                assert_eq!(tcp.checksum(), checksum);
            }
            _ => panic!("{packet:?}"),
        }
        assert_eq!((tcp.source_port(), tcp.destination_port()), (443, 40_001));
        assert_eq!(frame[..12], Addresses::new(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])).0);
        look(tcp)
    }

    fn flags(tcp: &TcpSlice<'_>) -> (bool, bool, bool) {
        (tcp.rst(), tcp.ack(), tcp.syn() || tcp.fin() || tcp.psh() || tcp.urg())
    }

    #[test]
    fn numbers_are_read_behind_options_and_before_padding() {
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
        let end = frame.len();
        frame.resize(frame.len() + 6, 0xee);
        let numbers = Numbers::of(&frame, 34, end).unwrap();
        assert_eq!((numbers.sequence, numbers.acknowledgement, numbers.len), (7_000_000, 9_000_000, 11));
        assert!(numbers.flags.any(TcpFlags::ACK) && !numbers.flags.opens());
        // None of them is read beyond the frame.
        assert!((0..54).all(|len| Numbers::of(&frame[..len], 34, len).is_none()));
    }

    #[test]
    fn who_sent_a_segment_is_reset_at_what_it_expects_and_the_other_at_what_it_would_have_got() {
        let ack =
            Numbers { sequence: u32::MAX, acknowledgement: 5, flags: TcpFlags(TcpFlags::ACK), len: 100 };
        let answer = |tcp: &TcpSlice<'_>| (tcp.sequence_number(), flags(tcp), tcp.acknowledgment_number());
        assert_eq!(read(|bare| bare.reset_in_answer(ack), answer), (5, (true, false, false), 0));
        assert_eq!(read(|bare| bare.reset_instead(ack), answer), (u32::MAX, (true, true, false), 5));
        // Without an acknowledgement (RFC 9293 section 3.10.7.1): all of the segment is acknowledged, the circle round.
        let none = Numbers { flags: TcpFlags(TcpFlags::SYN), ..ack };
        assert_eq!(read(|bare| bare.reset_in_answer(none), answer), (0, (true, true, false), 99));
        assert_eq!(read(|bare| bare.reset_instead(none), answer), (u32::MAX, (true, false, false), 0));
    }

    #[test]
    fn no_window_holds_two_successive_questions() {
        let number = |attempt| {
            read(
                |bare| bare.ask(attempt),
                |tcp| {
                    assert_eq!(
                        (flags(tcp), tcp.data_offset(), tcp.payload()),
                        ((false, true, false), 8, &[][..])
                    );
                    tcp.sequence_number()
                },
            )
        };
        for attempt in 0..7 {
            let (this, next) = (number(attempt), number(attempt + 1));
            assert!(next.wrapping_sub(this).min(this.wrapping_sub(next)) > 1 << 30, "{this} {next}");
        }
    }
}
