//! The two ways to tell a backend its client's address: a header of the PROXY protocol, version 2, in front of the client's
//! data (haproxy's `proxy-protocol.txt`, section 2.2), and the TCP option of the modules called TOA.

use std::net::{IpAddr, SocketAddr};

use super::stream::Extras;
use crate::dataplane::ends::NewEnds;
use crate::dataplane::family::NewHeader;
use crate::dataplane::others::transport;
use crate::io::Frame;
use crate::packet::{IpPacket, Packet};
use crate::wire::checksum::{self, Delta};
use crate::wire::l4::{self, TCP_CHECKSUM_OFFSET, TCP_HEADER_LEN, TCP_URGENT_OFFSET, TcpFlags};
use crate::wire::{ethernet, ipv4, ipv6, tcp_options};

/// What a header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of another.
const COMMAND: u8 = 0x21;
/// TCP over IPv4, and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Signature, command, family, and the length of what follows.
const FIXED_LEN: usize = 16;
/// Two addresses and two ports.
const ENDS4_LEN: usize = 12;
const ENDS6_LEN: usize = 36;
/// Bytes of the longest.
pub(super) const LEN_MAX: usize = FIXED_LEN + ENDS6_LEN;

/// Bytes of the header.
pub(super) const fn len(is_v6: bool) -> usize {
    FIXED_LEN + if is_v6 { ENDS6_LEN } else { ENDS4_LEN }
}

/// Bytes of the option: kind, length, port, address.
const fn toa_len(is_v6: bool) -> usize {
    if is_v6 { 20 } else { 8 }
}

/// Some bytes, and how many.
pub(super) struct Bytes {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Bytes {
    const NONE: Self = Self { bytes: [0; LEN_MAX], len: 0 };

    fn push(&mut self, part: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + part.len()) {
            place.copy_from_slice(part);
            self.len += part.len();
        }
    }

    fn push_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.push(&address.octets()),
            IpAddr::V6(address) => self.push(&address.octets()),
        }
    }

    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The header for a connection of `client` to `frontend`, which are of one family.
pub(super) fn header(client: SocketAddr, frontend: SocketAddr) -> Bytes {
    let is_v6 = client.is_ipv6();
    let mut header = Bytes::NONE;
    header.push(&SIGNATURE);
    header.push(&[COMMAND, if is_v6 { TCP6 } else { TCP4 }]);
    header.push(&((len(is_v6) - FIXED_LEN) as u16).to_be_bytes());
    header.push_address(client.ip());
    header.push_address(frontend.ip());
    header.push(&client.port().to_be_bytes());
    header.push(&frontend.port().to_be_bytes());
    header
}

fn option(client: SocketAddr) -> Bytes {
    let mut option = Bytes::NONE;
    option.push(&[tcp_options::KIND_TOA, toa_len(client.is_ipv6()) as u8]);
    option.push(&client.port().to_be_bytes());
    option.push_address(client.ip());
    option
}

/// What is put into a segment: an option, and bytes in front of its data.
pub(super) struct Insertion {
    option: Bytes,
    header: Bytes,
}

impl Insertion {
    /// What `extras` want, of a connection of `client` to `frontend`.
    pub(super) fn new(extras: Extras, client: SocketAddr, frontend: SocketAddr) -> Self {
        Self {
            option: if extras.toa { option(client) } else { Bytes::NONE },
            header: if extras.proxy { header(client, frontend) } else { Bytes::NONE },
        }
    }

    /// Bytes that the segment grows by.
    pub(super) fn len(&self) -> usize {
        self.option.len + self.header.len
    }

    /// Whether the header of the segment of `packet` has room for the option.
    pub(super) fn has_room(&self, frame: &[u8], packet: &Packet) -> bool {
        let segment = frame.get(packet.ip.payload_offset.into()..).unwrap_or_default();
        let header_len = segment.first_chunk().map_or(usize::MAX, l4::tcp_header_len);
        header_len.saturating_add(self.option.len) <= TCP_HEADER_LEN + tcp_options::LEN_MAX
    }

    /// Puts them in; the packet is a whole one of TCP. `None` where there is no room, and nothing has changed then.
    pub(super) fn insert<F: Frame>(&self, frame: &mut F, packet: &mut Packet) -> Option<()> {
        let (added, segment_at) = (self.len(), usize::from(packet.ip.payload_offset));
        if added == 0 {
            return Some(());
        }
        let header_len = l4::tcp_header_len(frame.bytes().get(segment_at..)?.first_chunk()?);
        let data_at = segment_at + header_len;
        frame.bytes().get(..data_at)?;
        frame.truncate(packet.ip.end());
        if !frame.grow(added) {
            return None;
        }
        let bytes = frame.bytes_mut();
        // The option goes before all others, the header behind them.
        let options_at = segment_at + TCP_HEADER_LEN;
        bytes.copy_within(added..added + options_at, 0);
        bytes.get_mut(options_at..options_at + self.option.len)?.copy_from_slice(self.option.get());
        bytes.copy_within(added + options_at..added + data_at, options_at + self.option.len);
        let data_at = data_at + self.option.len;
        bytes.get_mut(data_at..data_at + self.header.len)?.copy_from_slice(self.header.get());
        set_len(bytes, packet, packet.ip.total_len + added as u16);
        let segment = bytes.get_mut(segment_at..)?;
        let old_offset = [*segment.get(12)?, *segment.get(13)?];
        let offset = segment.get_mut(12)?;
        *offset += (self.option.len as u8 / 4) << 4;
        let new_offset = [*offset, old_offset[1]];
        let urgent = self.move_urgent(segment, old_offset[1])?;
        let old_len = (packet.ip.end() - segment_at) as u16;
        let sum = Delta::NONE
            .replace(old_offset, new_offset)
            .replace((old_len - added as u16).to_be_bytes(), old_len.to_be_bytes())
            .replace_sum(0, checksum::sum(self.option.get()))
            .replace_sum(0, checksum::sum(self.header.get()))
            .and(urgent);
        let field = segment.get_mut(TCP_CHECKSUM_OFFSET..)?.first_chunk_mut::<2>()?;
        *field = sum.apply(*field);
        Some(())
    }
}

impl Insertion {
    /// What was urgent comes later, behind the header, which has the segment's sequence number now.
    fn move_urgent(&self, segment: &mut [u8], flags: u8) -> Option<Delta> {
        let field = segment.get_mut(TCP_URGENT_OFFSET..)?.first_chunk_mut::<2>()?;
        if !TcpFlags(flags).any(TcpFlags::URG) {
            return Some(Delta::NONE);
        }
        let old = *field;
        // The pointer reaches no further; the data is urgent all the same.
        *field = u16::from_be_bytes(old).saturating_add(self.header.len as u16).to_be_bytes();
        Some(Delta::NONE.replace(old, *field))
    }
}

/// Leaves off the data of a segment. What is left has the checksum that it had, less the data.
pub(super) fn cut_data<F: Frame>(frame: &mut F, packet: &mut Packet) -> Option<()> {
    let segment_at = usize::from(packet.ip.payload_offset);
    let header_len = l4::tcp_header_len(frame.bytes().get(segment_at..)?.first_chunk()?);
    let data = frame.bytes().get(segment_at + header_len..packet.ip.end())?;
    if data.is_empty() {
        return Some(());
    }
    let (len, sum) = (data.len() as u16, checksum::sum(data));
    let old_len = (packet.ip.end() - segment_at) as u16;
    let delta = Delta::NONE.replace(old_len.to_be_bytes(), (old_len - len).to_be_bytes()).replace_sum(sum, 0);
    let bytes = frame.bytes_mut();
    let field = bytes.get_mut(segment_at + TCP_CHECKSUM_OFFSET..)?.first_chunk_mut::<2>()?;
    *field = delta.apply(*field);
    set_len(bytes, packet, packet.ip.total_len - len);
    frame.truncate(packet.ip.end());
    Some(())
}

/// The IPv4 checksum is made anew when the packet is sent on.
fn set_len(frame: &mut [u8], packet: &mut Packet, total_len: u16) {
    packet.ip.total_len = total_len;
    let (at, len) = match packet.ip.source {
        IpAddr::V4(_) => (ipv4::TOTAL_LEN_OFFSET, total_len),
        IpAddr::V6(_) => (ipv6::PAYLOAD_LEN_OFFSET, total_len.saturating_sub(ipv6::HEADER_LEN as u16)),
    };
    let at = ethernet::HEADER_LEN + at;
    if let Some(field) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = len.to_be_bytes();
    }
}

/// Bytes of the longest frame with such a segment in it: a TCP header is sixty bytes long at most.
pub(super) const SEGMENT_MAX: usize =
    ethernet::HEADER_LEN + ipv6::HEADER_LEN + TCP_HEADER_LEN + tcp_options::LEN_MAX + LEN_MAX;

/// Writes a frame with `header` alone as the data at `sequence`, which is otherwise like the segment in `frame`, sent on between
/// `ends`. Its length.
pub(super) fn segment(
    made: &mut [u8; SEGMENT_MAX],
    frame: &[u8],
    header: &Bytes,
    sequence: u32,
    ends: &NewEnds,
) -> Option<usize> {
    let packet = transport(frame)?;
    // It is whole, whatever that one is.
    let ip = IpPacket { fragment: None, ..packet.ip };
    let at = usize::from(ip.payload_offset);
    let tcp = frame.get(at..)?;
    let tcp = tcp.get(..l4::tcp_header_len(tcp.first_chunk()?))?;
    let payload_len = tcp.len() + header.len;
    // No more hops are taken off: this was sent on already.
    let head = NewHeader::of(&ip, ends.source.ip(), ends.destination.ip(), payload_len)?;
    let segment_at = ethernet::HEADER_LEN + head.len();
    let len = segment_at + payload_len;
    let ether_type = head.write(made.get_mut(ethernet::HEADER_LEN..segment_at)?)?;
    made.get_mut(..12)?.copy_from_slice(frame.get(..12)?);
    made.get_mut(12..ethernet::HEADER_LEN)?.copy_from_slice(&ether_type.to_be_bytes());
    let segment = made.get_mut(segment_at..len)?;
    segment.get_mut(..tcp.len())?.copy_from_slice(tcp);
    segment.get_mut(tcp.len()..)?.copy_from_slice(header.get());
    segment.get_mut(4..8)?.copy_from_slice(&sequence.to_be_bytes());
    // What ends, or is urgent, is in the segment behind.
    *segment.get_mut(13)? &= !(TcpFlags::FIN | TcpFlags::URG);
    segment.get_mut(TCP_URGENT_OFFSET..)?.first_chunk_mut::<2>()?.fill(0);
    segment.get_mut(TCP_CHECKSUM_OFFSET..TCP_CHECKSUM_OFFSET + 2)?.fill(0);
    let sum = checksum::with_pseudo(ends.source.ip(), ends.destination.ip(), ipv4::PROTOCOL_TCP, segment);
    segment
        .get_mut(TCP_CHECKSUM_OFFSET..)?
        .first_chunk_mut::<2>()
        .map(|field| *field = checksum::field(sum))?;
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::HeapFrame;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    #[test]
    fn what_is_urgent_is_found_behind_the_header() {
        const FRONTEND: SocketAddr =
            SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)), 443);
        for (urgent, wanted) in [(Some(3), 31), (Some(65_530), 65_535), (None, 0)] {
            let tcp = PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64)
                .tcp(40_000, 443, 1000, 512)
                .ack(1);
            let tcp = if let Some(pointer) = urgent { tcp.urg(pointer) } else { tcp };
            let mut frame = HeapFrame(Vec::new());
            tcp.write(&mut frame.0, b"hello").unwrap();
            let mut packet = transport(frame.bytes()).unwrap();
            let client = (packet.ip.source, packet.source_port).into();
            let extras = Extras { toa: true, proxy: true, cut: false };
            Insertion::new(extras, client, FRONTEND).insert(&mut frame, &mut packet).unwrap();
            let told = SlicedPacket::from_ethernet(frame.bytes()).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = told.transport else { panic!("no TCP") };
            assert_eq!((tcp.urgent_pointer(), tcp.urg()), (wanted, urgent.is_some()));
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4([192, 0, 2, 7], [203, 0, 113, 1]).unwrap());
            assert!(
                tcp.payload()
                    .ends_with(b"QUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x01\x9c\x40\x01\xbbhello")
            );
        }
    }
}
