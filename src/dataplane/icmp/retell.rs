//! An ICMP error told anew: both ends of the packet that brings it and of the packet that it quotes are others, and perhaps
//! of the other family (RFC 7915 sections 4.2 to 4.5 and 5.2 to 5.5).

use std::net::IpAddr;

use super::echo::{put, write_checksum};
use super::notice::Notice;
use crate::dataplane::ends::NewEnds;
use crate::dataplane::family::{NewHeader, V6_LONGER_BY};
use crate::dataplane::nat::Refusal;
use crate::drop_reason::DropReason;
use crate::packet::{IpPacket, QuotedEnds};
use crate::snapshot::Hop;
use crate::wire::checksum::{self, Delta};
use crate::wire::{Protocol, ethernet, icmp, icmpv6, ipv4, ipv6, l4};

/// The longest frame that is made. What comes behind it of a quote is left off.
pub(in crate::dataplane) const FRAME_MAX: usize = ethernet::HEADER_LEN + 1500;

/// As long as an error may be: RFC 4443 section 2.4 c, and RFC 1812 section 4.3.2.3.
const V6_MAX: usize = ipv6::MTU_MIN;
const V4_MAX: usize = 576;

/// What takes the place of all ends.
pub(in crate::dataplane) struct Retelling {
    /// In whose name the error goes.
    pub(in crate::dataplane) from: IpAddr,
    pub(in crate::dataplane) to: IpAddr,
    /// Of the quoted packet.
    pub(in crate::dataplane) quoted: NewEnds,
    /// For its sequence number, which the receiver of the error compares.
    pub(in crate::dataplane) sequence: Option<u32>,
    /// The MTU of the link to the receiver of the error, and of the one that the packet left by.
    pub(in crate::dataplane) mtu: u16,
    pub(in crate::dataplane) mtu_there: u16,
}

/// Why it cannot be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::dataplane) enum Mute {
    /// It cannot go its way.
    Refused(Refusal),
    /// Nobody is to be told.
    Dropped(DropReason),
}

const MALFORMED: Mute = Mute::Dropped(DropReason::IcmpMalformed);

impl Retelling {
    /// Writes the whole frame into `made`, and says how long it is.
    pub(in crate::dataplane) fn write(
        &self,
        made: &mut [u8; FRAME_MAX],
        frame: &[u8],
        notice: &Notice,
        hop: &Hop,
    ) -> Result<usize, Mute> {
        let (ip, quoted) = (&notice.ip, &notice.quote.ip);
        if ip.hop_limit <= 1 {
            return Err(Mute::Refused(Refusal::Ttl));
        }
        let is_other = ip.source.is_ipv4() != self.to.is_ipv4();
        let message = frame.get(usize::from(ip.payload_offset)..ip.end()).ok_or(MALFORMED)?;
        let mut head = *message.first_chunk::<{ icmp::HEADER_LEN }>().ok_or(MALFORMED)?;
        let mut quote_end = ip.end();
        if is_other {
            // Extensions (RFC 4884) are left off, and so is the length that they need.
            quote_end = quote_end.min(quote_end_without_extensions(head, ip));
            head = self.head_of_other_family(head, notice).ok_or(Mute::Dropped(DropReason::IcmpUnhandled))?;
        }
        let quote = frame.get(quoted.header_offset.into()..quote_end).ok_or(MALFORMED)?;
        let quoted_at = usize::from(quoted.payload_offset - quoted.header_offset);
        let (header, payload) = quote.split_at_checked(quoted_at).ok_or(MALFORMED)?;

        // In its own family it keeps its header, options and all.
        let own = frame.get(ethernet::HEADER_LEN..ip.payload_offset.into()).filter(|_| !is_other);
        let protocol = if self.to.is_ipv4() { ipv4::PROTOCOL_ICMP } else { ipv6::PROTOCOL_ICMPV6 };
        let mut outer = NewHeader {
            source: self.from,
            destination: self.to,
            protocol,
            traffic_class: ip.traffic_class,
            hop_limit: ip.hop_limit - 1,
            fragment: None,
            identification: None,
            payload_len: 0,
        };
        let header_len = own.map_or(outer.len(), <[u8]>::len);
        let message_at = ethernet::HEADER_LEN + header_len;
        let most = match (self.to, is_other) {
            (IpAddr::V6(_), _) => V6_MAX,
            (IpAddr::V4(_), true) => V4_MAX,
            (IpAddr::V4(_), false) => FRAME_MAX - ethernet::HEADER_LEN,
        };
        let room = most.saturating_sub(header_len + icmp::HEADER_LEN);
        let mut at = message_at + icmp::HEADER_LEN;
        put(made, message_at, &head);
        at += self
            .write_quoted_header(made.get_mut(at..).unwrap_or_default(), header, quoted)
            .ok_or(MALFORMED)?;
        let payload_at = at;
        let room = (message_at + icmp::HEADER_LEN + room).saturating_sub(at);
        let payload = payload.get(..room).unwrap_or(payload);
        put(made, at, payload);
        at += payload.len();
        if let Some(ends) = notice.quote.ends {
            self.write_quoted_ends(made.get_mut(payload_at..at).unwrap_or_default(), quoted, ends)
                .ok_or(MALFORMED)?;
        }
        if at - ethernet::HEADER_LEN > usize::from(hop.mtu) {
            return Err(Mute::Refused(Refusal::Mtu));
        }
        outer.payload_len = at - message_at;
        self.finish(made.get_mut(..at).ok_or(MALFORMED)?, message_at, outer, own, hop)?;
        Ok(at)
    }

    /// The message's checksum, and the headers in front of it.
    fn finish(
        &self,
        made: &mut [u8],
        message_at: usize,
        mut outer: NewHeader,
        own: Option<&[u8]>,
        hop: &Hop,
    ) -> Result<(), Mute> {
        let (head, message) = made.split_at_mut_checked(message_at).ok_or(MALFORMED)?;
        write_checksum(message, self.from, self.to);
        if let Some([_, _, a, b]) = message.first_chunk() {
            outer = outer.named_by([*a, *b]);
        }
        let (ethernet, header) = head.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>().ok_or(MALFORMED)?;
        ethernet[..12].copy_from_slice(&hop.addresses.0);
        let ether_type = match own {
            Some(own) => keep(header, own, &outer),
            None => outer.write(header),
        };
        ethernet[12..].copy_from_slice(&ether_type.ok_or(MALFORMED)?.to_be_bytes());
        Ok(())
    }

    /// The quoted packet's header as its sender knows it. No hop is taken off or put back (RFC 7915 section 4.1). Its
    /// length.
    fn write_quoted_header(&self, made: &mut [u8], header: &[u8], quoted: &IpPacket) -> Option<usize> {
        let (source, destination) = (self.quoted.source.ip(), self.quoted.destination.ip());
        if quoted.source.is_ipv4() != source.is_ipv4() {
            let payload_len = usize::from(quoted.total_len).checked_sub(header.len())?;
            let new = NewHeader::of(quoted, source, destination, payload_len)?;
            new.write(made.get_mut(..new.len())?)?;
            return Some(new.len());
        }
        let made = made.get_mut(..header.len())?;
        made.copy_from_slice(header);
        readdress(made, source, destination)?;
        Some(header.len())
    }

    /// Ports, sequence number, and the checksum as far as it is quoted.
    fn write_quoted_ends(&self, payload: &mut [u8], quoted: &IpPacket, ends: QuotedEnds) -> Option<()> {
        let NewEnds { source, destination } = self.quoted;
        let ([a, b], [c, d]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
        let ports = [a, b, c, d];
        let old_ports = std::mem::replace(payload.first_chunk_mut::<4>()?, ports);
        let mut sum = Delta::NONE
            .replace_sum(sum_of(quoted.source), sum_of(source.ip()))
            .replace_sum(sum_of(quoted.destination), sum_of(destination.ip()))
            .replace(old_ports, ports);
        let is_udp = ends.protocol == Protocol::Udp;
        if let (Some(sequence), false) = (self.sequence, is_udp) {
            let number = payload.get_mut(l4::TCP_SEQUENCE_OFFSET..)?.first_chunk_mut::<4>()?;
            sum = sum.replace(std::mem::replace(number, sequence.to_be_bytes()), sequence.to_be_bytes());
        }
        let Some(checksum_at) = ends.checksum_offset else { return Some(()) };
        let at = usize::from(checksum_at - quoted.payload_offset);
        // What is left off of a long quote has none.
        let Some(field) = payload.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
            return Some(());
        };
        if is_udp && *field == [0, 0] {
            return Some(());
        }
        *field = sum.apply(*field);
        if is_udp && *field == [0, 0] {
            *field = [0xff, 0xff];
        }
        Some(())
    }

    /// Type, code and what stands behind the checksum; `None` for errors that the other family does not have.
    fn head_of_other_family(
        &self,
        [kind, code, _, _, a, b, c, d]: [u8; icmp::HEADER_LEN],
        notice: &Notice,
    ) -> Option<[u8; icmp::HEADER_LEN]> {
        let no_word = |kind, code| Some([kind, code, 0, 0, 0, 0, 0, 0]);
        if notice.ip.source.is_ipv4() {
            return match (kind, code) {
                (icmp::TYPE_UNREACHABLE, icmp::CODE_PROTOCOL) => {
                    let [e, f, g, h] = (ipv6::NEXT_HEADER_OFFSET as u32).to_be_bytes();
                    Some([icmpv6::TYPE_PARAMETER_PROBLEM, icmpv6::CODE_NEXT_HEADER, 0, 0, e, f, g, h])
                }
                (icmp::TYPE_UNREACHABLE, icmp::CODE_PORT) => {
                    no_word(icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_PORT)
                }
                (icmp::TYPE_UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED) => {
                    let [e, f, g, h] =
                        u32::from(self.mtu_in_v6(u16::from_be_bytes([c, d]), notice)).to_be_bytes();
                    Some([icmpv6::TYPE_PACKET_TOO_BIG, 0, 0, 0, e, f, g, h])
                }
                (icmp::TYPE_UNREACHABLE, 9 | 10 | icmp::CODE_PROHIBITED | 15) => {
                    no_word(icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_PROHIBITED)
                }
                (icmp::TYPE_UNREACHABLE, 0 | icmp::CODE_HOST | 5..=8 | 11 | 12) => {
                    no_word(icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_NO_ROUTE)
                }
                (icmp::TYPE_TIME_EXCEEDED, code) => no_word(icmpv6::TYPE_TIME_EXCEEDED, code),
                (icmp::TYPE_PARAMETER_PROBLEM, 0 | 2) => {
                    Some([icmpv6::TYPE_PARAMETER_PROBLEM, 0, 0, 0, 0, 0, 0, pointer_in_v6(a)?])
                }
                _ => None,
            };
        }
        let word = u32::from_be_bytes([a, b, c, d]);
        match (kind, code) {
            (icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_PROHIBITED) => no_word(icmp::TYPE_UNREACHABLE, 10),
            (icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_PORT) => no_word(icmp::TYPE_UNREACHABLE, icmp::CODE_PORT),
            (icmpv6::TYPE_UNREACHABLE, icmpv6::CODE_NO_ROUTE | 2 | icmpv6::CODE_ADDRESS) => {
                no_word(icmp::TYPE_UNREACHABLE, icmp::CODE_HOST)
            }
            (icmpv6::TYPE_PACKET_TOO_BIG, _) => {
                let said = u16::try_from(word).unwrap_or(u16::MAX);
                let mtu = said.min(self.mtu_there).saturating_sub(V6_LONGER_BY).min(self.mtu);
                let [high, low] = mtu.to_be_bytes();
                Some([icmp::TYPE_UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low])
            }
            (icmpv6::TYPE_TIME_EXCEEDED, code) => no_word(icmp::TYPE_TIME_EXCEEDED, code),
            (icmpv6::TYPE_PARAMETER_PROBLEM, 0) => {
                Some([icmp::TYPE_PARAMETER_PROBLEM, 0, 0, 0, pointer_in_v4(word)?, 0, 0, 0])
            }
            (icmpv6::TYPE_PARAMETER_PROBLEM, icmpv6::CODE_NEXT_HEADER) => {
                no_word(icmp::TYPE_UNREACHABLE, icmp::CODE_PROTOCOL)
            }
            _ => None,
        }
    }

    /// No less than what each IPv6 link takes. Routers older than RFC 1191 say 0: then it is the plateau below the packet's
    /// length (section 7 there).
    fn mtu_in_v6(&self, said: u16, notice: &Notice) -> u16 {
        const PLATEAUS: [u16; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
        let length = notice.quote.ip.total_len;
        let said = match said {
            0 => PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(68),
            said => said,
        };
        let mtu = said.min(self.mtu_there).saturating_add(V6_LONGER_BY).min(self.mtu);
        mtu.max(ipv6::MTU_MIN as u16)
    }
}

/// Writes the packet's own header with what is new in it. Returns its EtherType.
fn keep(header: &mut [u8], own: &[u8], new: &NewHeader) -> Option<u16> {
    let payload_len = u16::try_from(new.payload_len).ok()?;
    let own_len = u16::try_from(own.len()).ok()?;
    header.get_mut(..own.len())?.copy_from_slice(own);
    let ether_type = if new.source.is_ipv4() {
        put(header, ipv4::TTL_OFFSET, &[new.hop_limit]);
        put(header, ipv4::TOTAL_LEN_OFFSET, &(own_len + payload_len).to_be_bytes());
        ethernet::TYPE_IPV4
    } else {
        put(header, ipv6::HOP_LIMIT_OFFSET, &[new.hop_limit]);
        let extensions = own_len.checked_sub(ipv6::HEADER_LEN as u16)?;
        put(header, ipv6::PAYLOAD_LEN_OFFSET, &(extensions + payload_len).to_be_bytes());
        ethernet::TYPE_IPV6
    };
    readdress(header, new.source, new.destination)?;
    Some(ether_type)
}

/// Puts new addresses into a header of their family.
fn readdress(header: &mut [u8], source: IpAddr, destination: IpAddr) -> Option<()> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            put(header, ipv4::SOURCE_OFFSET, &source.octets());
            put(header, ipv4::DESTINATION_OFFSET, &destination.octets());
            ipv4::write_checksum(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put(header, ipv6::SOURCE_OFFSET, &source.octets());
            put(header, ipv6::DESTINATION_OFFSET, &destination.octets());
        }
        _ => return None,
    }
    Some(())
}

/// Where the quote ends that extensions follow: RFC 4884 section 4.1 and 4.2 count it in words of four bytes in IPv4, of eight in
/// IPv6.
fn quote_end_without_extensions(head: [u8; icmp::HEADER_LEN], ip: &IpPacket) -> usize {
    let is_v4 = ip.source.is_ipv4();
    let has_length = match head[0] {
        kind if is_v4 => {
            matches!(kind, icmp::TYPE_UNREACHABLE | icmp::TYPE_TIME_EXCEEDED | icmp::TYPE_PARAMETER_PROBLEM)
        }
        kind => matches!(kind, icmpv6::TYPE_UNREACHABLE | icmpv6::TYPE_TIME_EXCEEDED),
    };
    let len = if is_v4 { usize::from(head[5]) * 4 } else { usize::from(head[4]) * 8 };
    if !has_length || len == 0 {
        return ip.end();
    }
    usize::from(ip.payload_offset) + icmp::HEADER_LEN + len
}

/// RFC 7915 figure 3.
fn pointer_in_v6(pointer: u8) -> Option<u8> {
    Some(match pointer {
        0 | 1 => pointer,
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// RFC 7915 figure 6.
fn pointer_in_v4(pointer: u32) -> Option<u8> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}

fn sum_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}
