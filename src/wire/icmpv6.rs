//! ICMP for IPv6 (RFC 4443). Its header is laid out as that of [`icmp`](super::icmp); its checksum covers the pseudo
//! header too.

/// A packet cannot be delivered; the code says why.
pub const TYPE_UNREACHABLE: u8 = 1;
/// Too large for the next link, whose MTU are the four bytes from [`MTU_OFFSET`] on.
pub const TYPE_PACKET_TOO_BIG: u8 = 2;
/// A packet was under way for too long, or its fragments were.
pub const TYPE_TIME_EXCEEDED: u8 = 3;
/// A header is wrong, where the four bytes behind the checksum say.
pub const TYPE_PARAMETER_PROBLEM: u8 = 4;
/// The first type that is no error (section 2.1).
pub const TYPE_INFORMATIONAL: u8 = 128;
/// Somebody asks whether we are there.
pub const TYPE_ECHO: u8 = 128;
/// The answer.
pub const TYPE_ECHO_REPLY: u8 = 129;
/// Who has an address? (RFC 4861 section 4.3)
pub const TYPE_SOLICITATION: u8 = 135;
/// An address is at a station (RFC 4861 section 4.4).
pub const TYPE_ADVERTISEMENT: u8 = 136;
/// Which groups somebody listens to (RFC 3810 section 5.2).
pub const TYPE_LISTENER_REPORT: u8 = 143;
/// There is a better next hop (RFC 4861 section 4.5).
pub const TYPE_REDIRECT: u8 = 137;

/// Unreachable: nobody knows the way.
pub const CODE_NO_ROUTE: u8 = 0;
/// Unreachable: not allowed.
pub const CODE_PROHIBITED: u8 = 1;
/// Unreachable: the host does not answer.
pub const CODE_ADDRESS: u8 = 3;
/// Unreachable: nobody has the port.
pub const CODE_PORT: u8 = 4;
/// Parameter problem: the host does not know the protocol.
pub const CODE_NEXT_HEADER: u8 = 1;

/// Offset of the MTU in "packet too big".
pub const MTU_OFFSET: usize = 4;

/// Whether messages of this type tell of an error and quote the packet that had it.
pub fn is_error(kind: u8) -> bool {
    kind < TYPE_INFORMATIONAL
}
