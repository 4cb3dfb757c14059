//! The IP layer: where a packet's headers lie, of either family.

use std::net::{IpAddr, Ipv4Addr};

use super::ipv6::is_extension;
use crate::drop_reason::DropReason;
use crate::wire::ipv4;

/// An IP packet whose headers lie whole within the frame. The packet itself does too, but for quoted ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPacket {
    /// Who sent it, or so it says; see [`flaw_of_source`](super::flaw_of_source).
    pub source: IpAddr,
    /// Whom it is for. Of the same family.
    pub destination: IpAddr,
    /// What it carries: in IPv6 what stands behind the extension headers. Of a later fragment in IPv6 it is what the
    /// fragment header says, which may be an extension header.
    pub protocol: u8,
    /// Where the IP header begins, in bytes from the start of the frame.
    pub header_offset: u16,
    /// Where begins what it carries, likewise.
    pub payload_offset: u16,
    /// Bytes of the packet, its IP header included.
    pub total_len: u16,
    /// Hops left.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Of a fragment; and of a datagram in one part that has a fragment header all the same (RFC 6946).
    pub fragment: Option<FragmentPart>,
}

/// Which part of a datagram a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentPart {
    /// With both addresses it names the datagram; in IPv4 together with the protocol (RFC 791 section 3.2), in IPv6
    /// without (RFC 8200 section 4.5).
    pub id: u32,
    /// Where its data begins in the datagram, in bytes.
    pub offset: u16,
    /// Bytes of its data, extension headers behind its own included.
    pub len: u16,
    /// Whether it is not the last.
    pub more: bool,
    /// In IPv4 the protocol, in IPv6 what the fragment header says.
    pub next_header: u8,
}

/// The most that a datagram can have, in bytes, whatever parts it comes in.
const DATAGRAM_MAX: usize = 65_535;

impl IpPacket {
    /// Both addresses, source first, if it is an IPv4 packet.
    #[inline]
    pub fn v4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
            _ => None,
        }
    }

    /// Of an IPv6 fragment: whether further extension headers stand between its header and what the datagram carries. Only
    /// the first fragment has them.
    #[inline]
    pub fn has_hidden_protocol(&self) -> bool {
        self.source.is_ipv6() && self.fragment.is_some_and(|part| is_extension(part.next_header))
    }

    /// Where the packet ends, in bytes from the start of the frame.
    #[inline]
    pub fn end(&self) -> usize {
        usize::from(self.header_offset) + usize::from(self.total_len)
    }
}

impl FragmentPart {
    /// Whether it is the whole datagram (RFC 6946).
    #[inline]
    pub fn is_all(self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Holds a fragment's length against RFC 791 section 3.2 and RFC 8200 section 4.5. `before` are the bytes that
    /// count in front of the fragments' data, `len` are those of this one's data.
    pub(super) fn check(self, before: usize, len: usize) -> Result<(), DropReason> {
        let ends_askew = self.more && !len.is_multiple_of(8);
        if len == 0 || ends_askew || before + usize::from(self.offset) + len > DATAGRAM_MAX {
            return Err(DropReason::FragmentBadLength);
        }
        Ok(())
    }
}

/// How much of a packet must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// What an ICMP error quotes: it may end anywhere.
    Quote,
}

/// The first `len` bytes; fewer only where the packet may be cut off.
#[inline]
pub(super) fn extent(bytes: &[u8], len: usize, extent: Extent) -> Option<&[u8]> {
    bytes.get(..len).or((extent == Extent::Quote).then_some(bytes))
}

/// Reads the IPv4 header at `at` in `frame`. What comes with it is what the packet carries.
#[inline]
pub(super) fn read_ipv4(frame: &[u8], at: usize, whole: Extent) -> Result<(IpPacket, &[u8]), DropReason> {
    let bytes = frame.get(at..).unwrap_or_default();
    let fixed = bytes.first_chunk::<{ ipv4::HEADER_LEN }>().ok_or(DropReason::Ipv4Truncated)?;
    let header = ipv4::Header(fixed);
    let (header_len, total_len) = (header.header_len(), header.total_len());
    if header.version() != 4 || header_len < ipv4::HEADER_LEN || total_len < header_len {
        return Err(DropReason::Ipv4BadHeader);
    }
    // Ethernet pads short frames: there may be more bytes than the packet has, never fewer.
    let packet = extent(bytes, total_len, whole).ok_or(DropReason::Ipv4Truncated)?;
    let (whole_header, payload) = packet.split_at_checked(header_len).ok_or(DropReason::Ipv4Truncated)?;
    if !ipv4::checksum_is_right(whole_header) {
        return Err(DropReason::Ipv4BadChecksum);
    }
    let fragment = header.is_fragment().then(|| FragmentPart {
        id: header.identification().into(),
        offset: header.fragment_offset(),
        len: (total_len - header_len) as u16,
        more: header.more_fragments(),
        next_header: header.protocol(),
    });
    if let Some(part) = fragment.filter(|_| whole == Extent::Whole) {
        part.check(header_len, payload.len())?;
    }
    let ip = IpPacket {
        source: header.source().into(),
        destination: header.destination().into(),
        protocol: header.protocol(),
        header_offset: at as u16,
        payload_offset: (at + header_len) as u16,
        total_len: total_len as u16,
        hop_limit: header.ttl(),
        traffic_class: header.type_of_service(),
        fragment,
    };
    Ok((ip, payload))
}
