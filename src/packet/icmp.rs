//! ICMP of both families: whether a message is sound, what it tells, and when no error may be sent.

use std::net::IpAddr;

use super::{IpPacket, is_martian};
use crate::drop_reason::DropReason;
use crate::wire::{checksum, ethernet, icmp, icmpv6, ipv4, ipv6, nd};

/// The ICMP message of [`Parsed::Icmp`](super::Parsed::Icmp), in the same `frame`.
///
/// # Errors
/// `IcmpMalformed` where its checksum is wrong.
#[cold]
pub fn icmp_message<'a>(frame: &'a [u8], ip: &IpPacket) -> Result<&'a [u8], DropReason> {
    let message = message(frame, ip).ok_or(DropReason::IcmpMalformed)?;
    let sum = match ip.source {
        IpAddr::V4(_) => checksum::sum(message),
        IpAddr::V6(_) => checksum::with_pseudo(ip.source, ip.destination, ip.protocol, message),
    };
    if sum == 0xffff { Ok(message) } else { Err(DropReason::IcmpMalformed) }
}

/// Where in the frame an ICMP error quotes the packet that it is about; `None` for messages that are no errors. `message`
/// is what [`icmp_message`] gives.
pub fn quote_offset(message: &[u8], ip: &IpPacket) -> Option<usize> {
    let kind = *message.first()?;
    let is_error = if ip.source.is_ipv4() { icmp::is_error(kind) } else { icmpv6::is_error(kind) };
    is_error.then_some(usize::from(ip.payload_offset) + icmp::HEADER_LEN)
}

/// A neighbour's solicitation or advertisement, if it is one; of [`Parsed::Icmp`](super::Parsed::Icmp).
///
/// # Errors
/// `NdMalformed` for what RFC 4861 section 7.1 has nodes discard, and for what has a fragment header (RFC 6980
/// section 5).
#[cold]
pub fn neighbour_message(frame: &[u8], ip: &IpPacket) -> Result<Option<nd::Message>, DropReason> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else { return Ok(None) };
    let message = message(frame, ip).ok_or(DropReason::NdMalformed)?;
    if !matches!(message.first(), Some(&(icmpv6::TYPE_SOLICITATION | icmpv6::TYPE_ADVERTISEMENT))) {
        return Ok(None);
    }
    let envelope = nd::Envelope { source, destination, hop_limit: ip.hop_limit };
    match nd::Message::parse(&envelope, message) {
        Ok(message) if ip.fragment.is_none() => Ok(Some(message)),
        _ => Err(DropReason::NdMalformed),
    }
}

/// Whether an ICMP error may be sent about the packet in `frame` (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e): not
/// about another error, what went to many, what came from nobody, or a later part of a datagram. An error that the
/// packet `is_too_big` may be sent about IPv6 to many as well. That an address is a network's broadcast only who knows
/// the network can tell.
#[cold]
pub fn merits_error(frame: &[u8], ip: &IpPacket, is_too_big: bool) -> bool {
    let Some(header) = frame.first_chunk() else { return false };
    let is_v6 = ip.source.is_ipv6();
    let is_to_many = ethernet::addresses(header).destination().is_group()
        || ip.destination.is_multicast()
        || !is_v6 && is_martian(ip.destination);
    let is_later = ip.fragment.is_some_and(|part| part.offset != 0);
    if is_to_many && !(is_v6 && is_too_big) || is_later || is_martian(ip.source) {
        return false;
    }
    let own = if is_v6 { ipv6::PROTOCOL_ICMPV6 } else { ipv4::PROTOCOL_ICMP };
    // What is of a type that nobody knows may be an error.
    let may_answer = |kind| {
        if is_v6 { !icmpv6::is_error(kind) && kind != icmpv6::TYPE_REDIRECT } else { icmp::is_query(kind) }
    };
    ip.protocol != own || message(frame, ip).and_then(<[u8]>::first).is_some_and(|kind| may_answer(*kind))
}

fn message<'a>(frame: &'a [u8], ip: &IpPacket) -> Option<&'a [u8]> {
    frame.get(usize::from(ip.payload_offset)..ip.end())
}
