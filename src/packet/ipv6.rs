//! IPv6: the fixed header, and the walk along the extension headers (RFC 8200 section 4, RFC 7045).
//!
//! A load balancer must know what a packet carries, so it passes over extension headers without looking into them.
//! What it cannot pass over in bounded time it drops by name.

use super::ip::{Extent, FragmentPart, IpPacket, extent};
use crate::drop_reason::DropReason;
use crate::wire::ipv6::{self, Fragment};

/// Extension headers that are passed over. The order of RFC 8200 section 4.1 has a use for six: hop-by-hop, routing,
/// fragment, authentication, and destination options twice.
const HEADERS_MAX: usize = 8;
/// Bytes of them, all together; ours, as no standard names a number. Options that anybody uses take eight to forty.
const BYTES_MAX: usize = 256;

/// Reads the IPv6 headers at `at` in `frame`. What comes with it is what the packet carries.
#[inline(never)]
pub(super) fn read_ipv6(frame: &[u8], at: usize, whole: Extent) -> Result<(IpPacket, &[u8]), DropReason> {
    let bytes = frame.get(at..).unwrap_or_default();
    let fixed = bytes.first_chunk::<{ ipv6::HEADER_LEN }>().ok_or(DropReason::Ipv6Truncated)?;
    let header = ipv6::Header(fixed);
    let total_len = ipv6::HEADER_LEN + header.payload_len();
    // A jumbogram says in its hop-by-hop options how long it is (RFC 2675 section 2).
    let is_jumbo = header.payload_len() == 0 && header.next_header() == ipv6::HOP_BY_HOP;
    if header.version() != 6 || is_jumbo || total_len > usize::from(u16::MAX) && whole == Extent::Whole {
        return Err(DropReason::Ipv6BadHeader);
    }
    let packet = extent(bytes, total_len, whole).ok_or(DropReason::Ipv6Truncated)?;
    let chain = Chain::walk(packet, header.next_header(), total_len, whole)?;
    let ip = IpPacket {
        source: header.source().into(),
        destination: header.destination().into(),
        protocol: chain.number,
        header_offset: at as u16,
        payload_offset: (at + chain.at) as u16,
        total_len: total_len.min(usize::from(u16::MAX)) as u16,
        hop_limit: header.hop_limit(),
        traffic_class: header.traffic_class(),
        fragment: chain.fragment,
    };
    Ok((ip, packet.get(chain.at..).unwrap_or_default()))
}

/// How far the walk is.
struct Chain {
    /// The number of what stands at `at`.
    number: u8,
    /// In bytes from the start of the packet.
    at: usize,
    fragment: Option<FragmentPart>,
    /// Bytes of the packet, as its header says.
    total_len: usize,
}

impl Chain {
    fn walk(packet: &[u8], first: u8, total_len: usize, whole: Extent) -> Result<Self, DropReason> {
        let mut chain = Self { number: first, at: ipv6::HEADER_LEN, fragment: None, total_len };
        // One more than there may be: the last turn finds what is carried, or one too many.
        for _ in 0..=HEADERS_MAX {
            if !is_extension(chain.number) {
                return Ok(chain);
            }
            chain.pass(packet, whole)?;
            if chain.fragment.is_some_and(|part| part.offset != 0) {
                return Ok(chain);
            }
        }
        Err(DropReason::Ipv6LongExtensions)
    }

    /// Passes over the header at `at`.
    fn pass(&mut self, packet: &[u8], whole: Extent) -> Result<(), DropReason> {
        // The first fragment holds all headers (RFC 7112 section 5).
        let beyond =
            if self.fragment.is_some() { DropReason::FragmentTiny } else { DropReason::Ipv6BadExtension };
        let rest = packet.get(self.at..).unwrap_or_default();
        let header = rest.first_chunk::<{ ipv6::EXTENSION_LEN_MIN }>().ok_or(beyond)?;
        let len = ipv6::extension_len(self.number, header).ok_or(DropReason::Ipv6BadExtension)?;
        let behind = rest.get(len..).ok_or(beyond)?;
        let end = self.at + len;
        if end - ipv6::HEADER_LEN > BYTES_MAX {
            return Err(DropReason::Ipv6LongExtensions);
        }
        match self.number {
            ipv6::HOP_BY_HOP if self.at != ipv6::HEADER_LEN => return Err(DropReason::Ipv6BadExtension),
            ipv6::ROUTING => check_routing(header, whole)?,
            ipv6::FRAGMENT if self.fragment.is_some() => return Err(DropReason::Ipv6BadExtension),
            ipv6::FRAGMENT => {
                let Fragment { next_header, offset, more, id } = Fragment::of(header);
                // As much as there is of it in a quote says nothing of the part.
                let len = self.total_len.saturating_sub(end).min(usize::from(u16::MAX)) as u16;
                let part = FragmentPart { id, offset, len, more, next_header };
                if !part.is_all() && whole == Extent::Whole {
                    // The headers in front of it count, its own does not (RFC 8200 section 4.5).
                    part.check(self.at - ipv6::HEADER_LEN, behind.len())?;
                }
                self.fragment = Some(part);
            }
            _ => {}
        }
        (self.number, self.at) = (header[0], end);
        Ok(())
    }
}

pub(super) fn is_extension(number: u8) -> bool {
    use ipv6::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HIP, HOP_BY_HOP, MOBILITY, ROUTING, SHIM6};
    matches!(
        number,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6
    )
}

/// Type 0 is forbidden (RFC 5095). With segments left, the packet is for whoever comes next on its list, which is not
/// who its destination says, and whom it names must refuse it unless it knows the type (RFC 8200 section 4.4).
fn check_routing(header: &[u8; ipv6::EXTENSION_LEN_MIN], whole: Extent) -> Result<(), DropReason> {
    let [_, _, kind, segments_left, ..] = *header;
    if whole == Extent::Whole && (kind == 0 || segments_left != 0) {
        return Err(DropReason::Ipv6SourceRoute);
    }
    Ok(())
}
