//! Echo requests to our addresses.

use std::net::IpAddr;

use super::{Around, Limits, made};
use crate::dataplane::lanes::Outcome;
use crate::drop_reason::DropReason;
use crate::io::Frame;
use crate::packet::IpPacket;
use crate::snapshot::Echo;
use crate::wire::checksum::Delta;
use crate::wire::ethernet::{self, Addresses};
use crate::wire::icmp_error::IcmpError;
use crate::wire::{MacAddr, checksum, icmp, icmpv6, ipv4, ipv6};

/// Whether the message asks whether we are there.
pub(super) fn is_request(message: &[u8], ip: &IpPacket) -> bool {
    let kind = if ip.source.is_ipv4() { icmp::TYPE_ECHO } else { icmpv6::TYPE_ECHO };
    message.starts_with(&[kind, 0])
}

/// The same data back (RFC 792, RFC 4443 section 4.2), to the station it came from: in the name of a port always, of a
/// frontend as its backends are.
pub(in crate::dataplane) fn answer_echo<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    around: Around<'_>,
    limits: &mut Limits,
) -> Result<Outcome, DropReason> {
    match around.world.echo_at(ip.destination).ok_or(DropReason::NotOurs)? {
        Echo::Off => Err(DropReason::EchoOff),
        Echo::Unreachable => {
            let error = IcmpError::HostUnreachable;
            made::send_back(frame, error, ip, around, limits).unwrap_or(Err(DropReason::NoBackendAvailable))
        }
        Echo::Reply => {
            let port = around.source.port();
            let mac = around.world.port(port).ok_or(DropReason::NotOurs)?.mac;
            if !limits.echoes.take(around.now) {
                return Err(DropReason::EchoLimited);
            }
            reply(frame.bytes_mut(), ip, mac)?;
            around.counters.icmp.echo_replies.add(1);
            Ok(Outcome::Answer(port))
        }
    }
}

/// The same of a later part of a request, whose first part was answered: it has none of the message's header.
pub(in crate::dataplane) fn answer_later_part(
    frame: &mut [u8],
    ip: &IpPacket,
    around: Around<'_>,
) -> Result<Outcome, DropReason> {
    let port = around.source.port();
    let mac = around.world.port(port).ok_or(DropReason::NotOurs)?.mac;
    turn_round(frame, ip, mac)?;
    Ok(Outcome::Answer(port))
}

/// The message back. Of one that comes in parts this is the first, which alone has its type and its checksum, and whose
/// checksum is over all of it: the rest is sent back as it is, so the type is all that changes (RFC 1624). That the
/// addresses change places changes no sum.
fn reply(frame: &mut [u8], ip: &IpPacket, mac: MacAddr) -> Result<(), DropReason> {
    let message = turn_round(frame, ip, mac)?;
    let kind = if ip.source.is_ipv4() { icmp::TYPE_ECHO_REPLY } else { icmpv6::TYPE_ECHO_REPLY };
    if ip.fragment.is_some_and(|part| part.more) {
        let header = message.first_chunk_mut::<4>().ok_or(DropReason::IcmpMalformed)?;
        let [old, code, a, b] = *header;
        let [a, b] = Delta::NONE.replace([old, code], [kind, code]).apply([a, b]);
        *header = [kind, code, a, b];
    } else {
        put(message, 0, &[kind]);
        write_checksum(message, ip.destination, ip.source);
    }
    Ok(())
}

/// Turns the headers of a packet to us round; returns what is behind them.
fn turn_round<'a>(frame: &'a mut [u8], ip: &IpPacket, mac: MacAddr) -> Result<&'a mut [u8], DropReason> {
    const MALFORMED: DropReason = DropReason::IcmpMalformed;
    let packet = frame.get_mut(..ip.end()).ok_or(MALFORMED)?;
    let (ethernet, packet) =
        packet.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>().ok_or(DropReason::EthernetTruncated)?;
    let station = ethernet::addresses(ethernet).source();
    if station == MacAddr::BROADCAST {
        return Err(DropReason::BroadcastSource);
    }
    ethernet[..12].copy_from_slice(&Addresses::new(station, mac).0);
    let headers_len = usize::from(ip.payload_offset) - ethernet::HEADER_LEN;
    let (headers, message) = packet.split_at_mut_checked(headers_len).ok_or(MALFORMED)?;
    match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(us)) => {
            put(headers, ipv4::SOURCE_OFFSET, &us.octets());
            put(headers, ipv4::DESTINATION_OFFSET, &source.octets());
            put(headers, ipv4::TTL_OFFSET, &[ipv4::TTL_DEFAULT]);
            ipv4::write_checksum(headers);
        }
        (IpAddr::V6(source), IpAddr::V6(us)) => {
            put(headers, ipv6::SOURCE_OFFSET, &us.octets());
            put(headers, ipv6::DESTINATION_OFFSET, &source.octets());
            put(headers, ipv6::HOP_LIMIT_OFFSET, &[ipv6::HOP_LIMIT_DEFAULT]);
        }
        _ => return Err(MALFORMED),
    }
    Ok(message)
}

/// Writes the checksum of an ICMP message of either family.
pub(super) fn write_checksum(message: &mut [u8], source: IpAddr, destination: IpAddr) {
    put(message, icmp::CHECKSUM_OFFSET, &[0, 0]);
    let sum = match source {
        IpAddr::V4(_) => checksum::sum(message),
        IpAddr::V6(_) => checksum::with_pseudo(source, destination, ipv6::PROTOCOL_ICMPV6, message),
    };
    put(message, icmp::CHECKSUM_OFFSET, &checksum::field(sum));
}

/// Writes `new` over what is at `at`, if there is so much.
pub(super) fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..new.len())) {
        place.copy_from_slice(new);
    }
}
