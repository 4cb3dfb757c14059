//! IP headers of the other family (RFC 7915 sections 4.1 and 5.1). Extension headers and options do not come along;
//! what says which part of a datagram a fragment is does.

use std::net::{IpAddr, Ipv6Addr};

use crate::packet::{FragmentPart, IpPacket};
use crate::wire::{ethernet, ipv4, ipv6};

/// A header that takes the place of a packet's own.
#[derive(Clone, Copy)]
pub(super) struct NewHeader {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
    /// Of a part of a datagram.
    pub(super) fragment: Option<FragmentPart>,
    /// Of a packet of IPv4 that may be cut up on its way; of none else.
    pub(super) identification: Option<u16>,
    /// Bytes behind it.
    pub(super) payload_len: usize,
}

/// Bytes by which the header of an IPv6 packet is longer than that of the same packet in IPv4.
pub(super) const V6_LONGER_BY: u16 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16;

/// The least MTU of IPv6, as the packet is in IPv4.
const V4_CUT_UP_MAX: usize = ipv6::MTU_MIN - V6_LONGER_BY as usize;

impl NewHeader {
    /// For what `ip` carries, between two addresses of one family. `None` for a fragment whose extension headers are a part
    /// of what was cut up: they would have to come along.
    pub(super) fn of(ip: &IpPacket, source: IpAddr, destination: IpAddr, payload_len: usize) -> Option<Self> {
        let fragment = ip.fragment.filter(|part| !part.is_all());
        if fragment.is_some() && ip.has_hidden_protocol() || source.is_ipv4() != destination.is_ipv4() {
            return None;
        }
        let protocol = fragment.map_or(ip.protocol, |part| part.next_header);
        let IpPacket { traffic_class, hop_limit, .. } = *ip;
        Some(Self {
            source,
            destination,
            protocol,
            traffic_class,
            hop_limit,
            fragment,
            identification: None,
            payload_len,
        })
    }

    /// The same for what can be cut up in IPv4 because it is short, and its sender, who may not send less than this, is told
    /// of no shorter link (RFC 7915 section 5.1). The checksum of what it carries names it: that of the next packet is another.
    pub(super) fn named_by(self, checksum: [u8; 2]) -> Self {
        let is_short = self.source.is_ipv4() && self.total_len() <= V4_CUT_UP_MAX;
        let identification = is_short.then_some(u16::from_be_bytes(checksum));
        Self { identification, ..self }
    }

    /// Its own bytes.
    pub(super) fn len(&self) -> usize {
        match (self.source, self.fragment) {
            (IpAddr::V4(_), _) => ipv4::HEADER_LEN,
            (IpAddr::V6(_), None) => ipv6::HEADER_LEN,
            (IpAddr::V6(_), Some(_)) => ipv6::HEADER_LEN + ipv6::EXTENSION_LEN_MIN,
        }
    }

    /// Bytes of the packet.
    pub(super) fn total_len(&self) -> usize {
        self.len() + self.payload_len
    }

    /// Writes it, if `header` is as long as [`Self::len`] says. Returns its EtherType.
    pub(super) fn write(&self, header: &mut [u8]) -> Option<u16> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let fields = ipv4::Fields {
                    type_of_service: self.traffic_class,
                    total_len: u16::try_from(self.total_len()).ok()?,
                    protocol: self.protocol,
                    source,
                    destination,
                };
                // "Don't fragment", as IPv6 always means it, but of what has been cut up already, and of what is short.
                let mut bytes = fields.to_bytes();
                bytes[ipv4::TTL_OFFSET] = self.hop_limit;
                if let Some(identification) = self.identification {
                    bytes[ipv4::IDENTIFICATION_OFFSET..ipv4::FRAGMENT_OFFSET]
                        .copy_from_slice(&identification.to_be_bytes());
                    bytes[ipv4::FRAGMENT_OFFSET] = 0;
                }
                if let Some(part) = self.fragment {
                    let more = if part.more { u16::from(ipv4::MORE_FRAGMENTS) << 8 } else { 0 };
                    bytes[ipv4::IDENTIFICATION_OFFSET..ipv4::FRAGMENT_OFFSET]
                        .copy_from_slice(&(part.id as u16).to_be_bytes());
                    bytes[ipv4::FRAGMENT_OFFSET..ipv4::TTL_OFFSET]
                        .copy_from_slice(&(more | part.offset >> 3).to_be_bytes());
                }
                ipv4::write_checksum(&mut bytes);
                *header.first_chunk_mut()? = bytes;
                Some(ethernet::TYPE_IPV4)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.write_v6(header, source, destination)?;
                Some(ethernet::TYPE_IPV6)
            }
            _ => None,
        }
    }

    fn write_v6(&self, header: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) -> Option<()> {
        let next_header = if self.fragment.is_some() { ipv6::FRAGMENT } else { self.protocol };
        let fields = ipv6::Fields {
            traffic_class: self.traffic_class,
            flow_label: 0,
            payload_len: u16::try_from(self.total_len() - ipv6::HEADER_LEN).ok()?,
            next_header,
            hop_limit: self.hop_limit,
            source,
            destination,
        };
        let (fixed, rest) = header.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
        *fixed = fields.to_bytes();
        if let Some(FragmentPart { id, offset, more, .. }) = self.fragment {
            let [high, low] = (offset & 0xfff8 | u16::from(more)).to_be_bytes();
            let [a, b, c, d] = id.to_be_bytes();
            *rest.first_chunk_mut::<{ ipv6::EXTENSION_LEN_MIN }>()? =
                [self.protocol, 0, high, low, a, b, c, d];
        }
        Some(())
    }
}
