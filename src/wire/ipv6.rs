//! IPv6 header (RFC 8200 section 3), and the numbers of what can follow it (section 4).

use std::net::Ipv6Addr;

/// The fixed header.
pub const HEADER_LEN: usize = 40;
/// Offset of the payload length: bytes behind the fixed header.
pub const PAYLOAD_LEN_OFFSET: usize = 4;
/// Offset of the number of what follows.
pub const NEXT_HEADER_OFFSET: usize = 6;
/// Offset of the hop limit. No checksum covers it.
pub const HOP_LIMIT_OFFSET: usize = 7;
/// Offset of the source address.
pub const SOURCE_OFFSET: usize = 8;
/// Offset of the destination address.
pub const DESTINATION_OFFSET: usize = 24;

/// Hop limit of the packets we make ourselves (RFC 1700, "the current recommended default").
pub const HOP_LIMIT_DEFAULT: u8 = 64;

/// Bytes that every link carries whole (RFC 8200 section 5).
pub const MTU_MIN: usize = 1280;

/// Hop-by-hop options: only right behind the fixed header (RFC 8200 section 4.1).
pub const HOP_BY_HOP: u8 = 0;
/// Routing header (RFC 8200 section 4.4).
pub const ROUTING: u8 = 43;
/// Fragment header (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
/// Encapsulating security payload (RFC 4303): nothing behind it can be read.
pub const ESP: u8 = 50;
/// Authentication header (RFC 4302): its length counts words of 4 bytes, less two.
pub const AUTHENTICATION: u8 = 51;
/// ICMP for IPv6 (RFC 4443).
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Nothing follows (RFC 8200 section 4.7).
pub const NO_NEXT_HEADER: u8 = 59;
/// Destination options (RFC 8200 section 4.6).
pub const DESTINATION_OPTIONS: u8 = 60;
/// Mobility header (RFC 6275 section 6.1).
pub const MOBILITY: u8 = 135;
/// Host identity protocol (RFC 7401 section 5.1).
pub const HIP: u8 = 139;
/// Shim6 (RFC 5533 section 5.1).
pub const SHIM6: u8 = 140;

/// Bytes of a fragment header, and the least that any extension header has.
pub const EXTENSION_LEN_MIN: usize = 8;

/// The fixed header.
#[derive(Clone, Copy)]
pub struct Header<'a>(pub &'a [u8; HEADER_LEN]);

impl Header<'_> {
    /// 6, or it is not IPv6.
    #[inline]
    pub fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// What IPv4 calls type of service: DSCP and ECN (RFC 2474, RFC 3168).
    #[inline]
    pub fn traffic_class(self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// 20 bits (RFC 6437); 0 where the sender set none.
    #[inline]
    pub fn flow_label(self) -> u32 {
        u32::from_be_bytes([0, self.0[1] & 0x0f, self.0[2], self.0[3]])
    }

    /// Bytes behind the fixed header, extension headers included.
    #[inline]
    pub fn payload_len(self) -> usize {
        usize::from(u16::from_be_bytes([self.0[4], self.0[5]]))
    }

    /// The number of what follows: an extension header or a protocol.
    #[inline]
    pub fn next_header(self) -> u8 {
        self.0[NEXT_HEADER_OFFSET]
    }

    /// Hops left.
    #[inline]
    pub fn hop_limit(self) -> u8 {
        self.0[HOP_LIMIT_OFFSET]
    }

    /// Where it came from.
    #[inline]
    pub fn source(self) -> Ipv6Addr {
        self.address(SOURCE_OFFSET)
    }

    /// Where it goes.
    #[inline]
    pub fn destination(self) -> Ipv6Addr {
        self.address(DESTINATION_OFFSET)
    }

    #[inline(always)]
    fn address(self, at: usize) -> Ipv6Addr {
        let bytes = self.0.get(at..).and_then(<[u8]>::first_chunk).copied();
        Ipv6Addr::from(bytes.unwrap_or([0; 16]))
    }
}

/// What a fixed header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The low 20 bits count.
    pub flow_label: u32,
    /// Bytes behind the fixed header.
    pub payload_len: u16,
    /// The number of what follows.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Where it comes from.
    pub source: Ipv6Addr,
    /// Where it goes.
    pub destination: Ipv6Addr,
}

impl Fields {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&first_word(self.traffic_class, self.flow_label));
        bytes[PAYLOAD_LEN_OFFSET..NEXT_HEADER_OFFSET].copy_from_slice(&self.payload_len.to_be_bytes());
        bytes[NEXT_HEADER_OFFSET] = self.next_header;
        bytes[HOP_LIMIT_OFFSET] = self.hop_limit;
        bytes[SOURCE_OFFSET..DESTINATION_OFFSET].copy_from_slice(&self.source.octets());
        bytes[DESTINATION_OFFSET..].copy_from_slice(&self.destination.octets());
        bytes
    }
}

/// Version, traffic class and flow label, of which the low 20 bits count.
#[inline]
pub fn first_word(traffic_class: u8, flow_label: u32) -> [u8; 4] {
    (6 << 28 | u32::from(traffic_class) << 20 | flow_label & 0xf_ffff).to_be_bytes()
}

/// The group of all nodes of a link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group of a link that whoever has `address` is in (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

/// What a fragment header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The number of what the datagram carries behind the headers that each fragment has.
    pub next_header: u8,
    /// Where in the datagram, in bytes.
    pub offset: u16,
    /// Whether it is not the last.
    pub more: bool,
    /// The same for all fragments of a datagram.
    pub id: u32,
}

impl Fragment {
    /// From the header's bytes. Reserved bits are not looked at.
    pub fn of(header: &[u8; EXTENSION_LEN_MIN]) -> Self {
        let [next_header, _, high, low, a, b, c, d] = *header;
        let part = u16::from_be_bytes([high, low]);
        Self { next_header, offset: part & 0xfff8, more: part & 1 == 1, id: u32::from_be_bytes([a, b, c, d]) }
    }
}

/// Bytes of an extension header with this number that begins with these bytes; `None` if the number is of none that
/// can be passed over, or its length is impossible.
#[inline]
pub fn extension_len(number: u8, first: &[u8; EXTENSION_LEN_MIN]) -> Option<usize> {
    match number {
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => {
            Some((usize::from(first[1]) + 1) * 8)
        }
        FRAGMENT => Some(EXTENSION_LEN_MIN),
        // Three words are fixed (RFC 4302 section 2).
        AUTHENTICATION if first[1] > 0 => Some((usize::from(first[1]) + 2) * 4),
        _ => None,
    }
}

/// Where the number of what `packet` carries stands, in bytes from its start: behind the last extension header that is
/// there and can be passed over.
pub fn number_offset(packet: &[u8]) -> u32 {
    let (mut number_at, mut at) = (NEXT_HEADER_OFFSET, HEADER_LEN);
    while let (Some(number), Some(header)) =
        (packet.get(number_at), packet.get(at..).and_then(<[u8]>::first_chunk))
    {
        let Some(len) = extension_len(*number, header) else { break };
        (number_at, at) = (at, at + len);
    }
    number_at as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::Ipv6HeaderSlice;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_read_back_what_they_write_and_etherparse_agrees(
            traffic_class in any::<u8>(), flow_label in 0u32..1 << 20, payload_len in any::<u16>(),
            next_header in any::<u8>(), hop_limit in any::<u8>(), source in any::<u128>(), destination in any::<u128>(),
        ) {
            let (source, destination) = (Ipv6Addr::from(source), Ipv6Addr::from(destination));
            let fields =
                Fields { traffic_class, flow_label, payload_len, next_header, hop_limit, source, destination };
            let bytes = fields.to_bytes();
            let header = Header(&bytes);
            prop_assert_eq!(header.version(), 6);
            prop_assert_eq!(Fields {
                traffic_class: header.traffic_class(), flow_label: header.flow_label(),
                payload_len: header.payload_len() as u16, next_header: header.next_header(),
                hop_limit: header.hop_limit(), source: header.source(), destination: header.destination(),
            }, fields);
            let other = Ipv6HeaderSlice::from_slice(&bytes).unwrap();
            prop_assert_eq!(other.traffic_class(), traffic_class);
            prop_assert_eq!(other.flow_label().value(), flow_label);
            prop_assert_eq!((other.source_addr(), other.destination_addr()), (source, destination));
            prop_assert_eq!((other.next_header().0, other.hop_limit()), (next_header, hop_limit));
        }
    }
}
