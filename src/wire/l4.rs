//! TCP and UDP headers: what a load balancer reads and rewrites of them.

/// TCP header without options (RFC 9293 section 3.1).
pub const TCP_HEADER_LEN: usize = 20;
/// UDP header (RFC 768).
pub const UDP_HEADER_LEN: usize = 8;

/// Offset of the source port, in both.
pub const SOURCE_PORT_OFFSET: usize = 0;
/// Offset of the destination port, in both.
pub const DESTINATION_PORT_OFFSET: usize = 2;
/// Offset of TCP's sequence number.
pub const TCP_SEQUENCE_OFFSET: usize = 4;
/// Offset of TCP's acknowledgement.
pub const TCP_ACKNOWLEDGEMENT_OFFSET: usize = 8;
/// Offset of TCP's checksum.
pub const TCP_CHECKSUM_OFFSET: usize = 16;
/// Where a TCP header has the offset of the byte behind its urgent data, from the segment's sequence number on.
pub const TCP_URGENT_OFFSET: usize = 18;
/// Offset of UDP's checksum; zero there means that the sender made none (RFC 768).
pub const UDP_CHECKSUM_OFFSET: usize = 6;

/// The control bits of a TCP segment (RFC 9293 section 3.1), as they stand in byte 13.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;

    /// Whether any of `bits` is set.
    #[inline]
    pub const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether this asks for a new connection: SYN without ACK.
    #[inline]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// Whether the sender is done: FIN or RST.
    #[inline]
    pub const fn closes(self) -> bool {
        self.any(Self::FIN | Self::RST)
    }

    /// Whether no segment of RFC 9293 has this combination: SYN with FIN or RST, or none of SYN, ACK
    /// and RST (section 3.10.7.4: every segment but these carries ACK).
    #[inline(always)]
    pub fn is_nonsense(self) -> bool {
        self.are_in(NONSENSE)
    }

    /// Whether the five lowest bits are one of `set`, a bit for each combination.
    #[inline(always)]
    pub fn are_in(self, set: u32) -> bool {
        set >> (self.0 & 0x1f) & 1 == 1
    }
}

/// A bit for each combination of the five lowest control bits that makes no sense.
pub const NONSENSE: u32 = {
    let mut set = 0;
    let mut bits = 0;
    while bits < 32u8 {
        let opens_and_closes = bits & TcpFlags::SYN != 0 && bits & (TcpFlags::FIN | TcpFlags::RST) != 0;
        if opens_and_closes || bits & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == 0 {
            set |= 1 << bits;
        }
        bits += 1;
    }
    set
};

/// The two ports at the start of either header, source first.
#[inline]
pub fn ports(header: &[u8; UDP_HEADER_LEN]) -> (u16, u16) {
    (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]]))
}

/// The length field of a UDP header: header and data, in bytes.
#[inline]
pub fn udp_len(header: &[u8; UDP_HEADER_LEN]) -> usize {
    usize::from(u16::from_be_bytes([header[4], header[5]]))
}

/// Bytes of a TCP header with its options, as its data offset says.
#[inline]
pub fn tcp_header_len(header: &[u8; TCP_HEADER_LEN]) -> usize {
    usize::from(header[12] >> 4) * 4
}

/// The control bits of a TCP header.
#[inline]
pub fn tcp_flags(header: &[u8; TCP_HEADER_LEN]) -> TcpFlags {
    TcpFlags(header[13])
}
