//! Echo requests and their answers: the identifier is translated as ports are (RFC 5508 section 3.1).

use std::net::IpAddr;

use super::sort::Passing;
use crate::dataplane::ends::{self, NewEnds};
use crate::dataplane::nat::Refusal;
use crate::io::Frame;
use crate::packet::IpPacket;
use crate::snapshot::Hop;
use crate::wire::checksum::{self, Delta};
use crate::wire::icmp;

/// Offset of the identifier, in both families.
pub(super) const ID_OFFSET: usize = 4;

/// Gives a message, or the first part of one, its new addresses and identifier; its new length.
pub(super) fn translate<F: Frame>(
    frame: &mut F,
    passing: &Passing,
    hop: &Hop,
    ends: &NewEnds,
) -> Result<u16, Refusal> {
    let ip = &passing.ip;
    ends::fit(ip, hop, ends.source.ip(), ends.destination.ip(), 0)?;
    let id = if passing.is_out() { ends.source.port() } else { ends.destination.port() };
    let message = frame.bytes_mut().get_mut(usize::from(ip.payload_offset)..ip.end()).ok_or(Refusal::Mtu)?;
    set_id(message, id, ip, ends).ok_or(Refusal::Mtu)?;
    ends::readdress(frame, ip, hop, ends.source.ip(), ends.destination.ip())
}

/// Writes an identifier, and the checksum by what it and the addresses change: those count in IPv6 alone.
pub(super) fn set_id(message: &mut [u8], id: u16, ip: &IpPacket, ends: &NewEnds) -> Option<()> {
    let place = message.get_mut(ID_OFFSET..)?.first_chunk_mut::<2>()?;
    let old = std::mem::replace(place, id.to_be_bytes());
    let mut delta = Delta::NONE.replace(old, id.to_be_bytes());
    if ip.source.is_ipv6() {
        delta = delta
            .replace_sum(sum_of(ip.source), sum_of(ends.source.ip()))
            .replace_sum(sum_of(ip.destination), sum_of(ends.destination.ip()));
    }
    let field = message.get_mut(icmp::CHECKSUM_OFFSET..)?.first_chunk_mut::<2>()?;
    *field = delta.apply(*field);
    Some(())
}

fn sum_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}
