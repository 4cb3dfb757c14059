//! ICMP for IPv4 (RFC 792).

/// Type, code, checksum, and four bytes that mean something else in each type.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum, which covers the whole message.
pub const CHECKSUM_OFFSET: usize = 2;

/// Somebody asks whether we are there.
pub const TYPE_ECHO: u8 = 8;
/// The answer.
pub const TYPE_ECHO_REPLY: u8 = 0;
/// A packet cannot be delivered; the code says why.
pub const TYPE_UNREACHABLE: u8 = 3;
/// Deprecated (RFC 6633).
pub const TYPE_SOURCE_QUENCH: u8 = 4;
/// There is a better next hop.
pub const TYPE_REDIRECT: u8 = 5;
/// A packet was under way for too long, or its fragments were.
pub const TYPE_TIME_EXCEEDED: u8 = 11;
/// A header is wrong.
pub const TYPE_PARAMETER_PROBLEM: u8 = 12;

/// Unreachable: the host does not answer.
pub const CODE_HOST: u8 = 1;
/// Unreachable: the host does not know the protocol.
pub const CODE_PROTOCOL: u8 = 2;
/// Unreachable: nobody has the port.
pub const CODE_PORT: u8 = 3;
/// Unreachable: too large for the next link, and may not be cut up. Bytes 6 and 7 are the link's MTU (RFC 1191
/// section 4); 0 from those who do not know it.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;
/// Unreachable: not allowed (RFC 1812 section 5.2.7.1).
pub const CODE_PROHIBITED: u8 = 13;

/// Offset of the MTU in "fragmentation needed".
pub const MTU_OFFSET: usize = 6;

/// Whether messages of this type tell of an error and quote the packet that had it.
pub fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        TYPE_UNREACHABLE | TYPE_SOURCE_QUENCH | TYPE_REDIRECT | TYPE_TIME_EXCEEDED | TYPE_PARAMETER_PROBLEM
    )
}

/// Whether messages of this type ask or answer: echo (RFC 792), timestamp and information (likewise), address mask
/// (RFC 950), extended echo (RFC 8335).
pub fn is_query(kind: u8) -> bool {
    matches!(kind, TYPE_ECHO_REPLY | TYPE_ECHO | 13..=18 | 42 | 43)
}
