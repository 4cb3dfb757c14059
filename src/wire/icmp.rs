//! ICMP for IPv4 (RFC 792): the echo messages.

/// Type, code, checksum, identifier, sequence number.
pub const HEADER_LEN: usize = 8;
/// Somebody asks whether we are there.
pub const TYPE_ECHO: u8 = 8;
/// The answer.
pub const TYPE_ECHO_REPLY: u8 = 0;
/// Offset of the checksum, which covers the whole message.
pub const CHECKSUM_OFFSET: usize = 2;
