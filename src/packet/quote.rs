//! The packet that an ICMP error quotes, from its IP header on, as far as the sender of the error cared to go
//! (RFC 792: eight bytes of what it carries; RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 c: as much as fits).

use super::ip::{Extent, IpPacket, read_ipv4};
use super::ipv6::read_ipv6;
use crate::drop_reason::DropReason;
use crate::wire::l4::{self, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET, UDP_HEADER_LEN};
use crate::wire::{Protocol, ipv4};

/// A quoted packet. Its source is who the error is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Its headers. `total_len` is what the packet had; the frame may end long before.
    pub ip: IpPacket,
    /// Of TCP and UDP; not of later fragments.
    pub ends: Option<QuotedEnds>,
}

/// What is quoted of a TCP segment or UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotedEnds {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Of the quoted packet.
    pub source_port: u16,
    /// Of the quoted packet.
    pub destination_port: u16,
    /// Where the checksum of the segment or datagram is, in bytes from the start of the frame, if so much is quoted.
    pub checksum_offset: Option<u16>,
}

/// Reads the packet that is quoted at `at` in `frame`, which must end where the message does.
///
/// # Errors
/// `IcmpBadQuote`, also where the quoted IPv4 header has a wrong checksum (RFC 5508 section 4.1, REQ-3 a), and where
/// TCP or UDP is cut off before its first eight bytes are over. The checksum of what it carries is not looked at
/// (REQ-3 c), nor are lengths, which routers have been seen to get wrong.
#[cold]
pub fn parse_quote(frame: &[u8], at: usize) -> Result<Quote, DropReason> {
    const BAD: DropReason = DropReason::IcmpBadQuote;
    let version = frame.get(at).ok_or(BAD)? >> 4;
    // Offsets are counted in 16 bits.
    let frame = frame.get(..usize::from(u16::MAX)).unwrap_or(frame);
    let read = if version == 6 { read_ipv6 } else { read_ipv4 };
    let (ip, payload) = read(frame, at, Extent::Quote).map_err(|_| BAD)?;
    let protocol = match ip.protocol {
        ipv4::PROTOCOL_TCP => Protocol::Tcp,
        ipv4::PROTOCOL_UDP => Protocol::Udp,
        _ => return Ok(Quote { ip, ends: None }),
    };
    if ip.fragment.is_some_and(|part| part.offset != 0) {
        return Ok(Quote { ip, ends: None });
    }
    let header = payload.first_chunk::<UDP_HEADER_LEN>().ok_or(BAD)?;
    let (source_port, destination_port) = l4::ports(header);
    let checksum_at = match protocol {
        Protocol::Tcp => TCP_CHECKSUM_OFFSET,
        Protocol::Udp => UDP_CHECKSUM_OFFSET,
    };
    let checksum_offset = (payload.len() >= checksum_at + 2).then(|| ip.payload_offset + checksum_at as u16);
    Ok(Quote { ip, ends: Some(QuotedEnds { protocol, source_port, destination_port, checksum_offset }) })
}
