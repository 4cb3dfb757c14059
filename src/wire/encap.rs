//! Outer headers for packets that travel in a tunnel, inner packet untouched. What goes in front of the inner IP
//! packet, in bytes, without the outer Ethernet header:
//!
//! | tunnel | layout | over IPv4 | over IPv6 |
//! |---|---|---|---|
//! | IPIP (RFC 2003, RFC 4213, RFC 2473) | IP | 20 | 40 |
//! | GRE (RFC 2784) | IP, GRE 4 | 24 | 44 |
//! | GUE, variant 1 (draft-ietf-intarea-gue-09 section 4) | IP, UDP 8 | 28 | 48 |
//! | GUE, variant 0 (the same, section 3) | IP, UDP 8, GUE 4 | 32 | 52 |
//! | VXLAN (RFC 7348) | IP, UDP 8, VXLAN 8, Ethernet 14 | 50 | 70 |
//!
//! A [`Template`] is made once, with all that is the same for every packet; [`Template::write`] copies it and fills in the
//! rest:
//!
//! - **lengths** from the inner packet's;
//! - **type of service / traffic class** is the inner packet's, ECN included (RFC 2983 section 3, RFC 6040 section 4.1);
//! - **don't fragment** over IPv4: set if the inner packet has it or is IPv6, which routers never cut up; else as the
//!   template says. With it the identification is 0 (RFC 6864 section 4.1), without it the caller's;
//! - **TTL / hop limit** 64: the tunnel is a way of its own (RFC 2003 section 3.1);
//! - **entropy** for the receiver's queues and for ECMP, from the flow's hash: UDP's source port within 49152 to 65535
//!   (RFC 7348 section 5), IPv6's flow label (RFC 6438), and low bits of the source address as the template says;
//! - **UDP checksum** 0 over IPv4. Over IPv6 there are two ways: 0, which RFC 6935 and RFC 6936 allow tunnels, and which
//!   receivers must be told to take (Linux drops it unless `udp6zerocsumrx` is set); or [`complete_udp6`] over all of the
//!   packet, which anybody takes. The second is the one to begin with: a drop in the backend's kernel has no name here.

mod front;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use self::front::{Front, InnerFront};
use super::ethernet::{self, Addresses};
use super::l4::{UDP_CHECKSUM_OFFSET, UDP_HEADER_LEN};
use super::{checksum, ipv4, ipv6};

/// The most that goes in front of a packet, in bytes.
pub const LEN_MAX: usize = ipv6::HEADER_LEN + VXLAN_ALL_LEN;

/// UDP port of GUE (IANA).
pub const PORT_GUE: u16 = 6080;
/// UDP port of VXLAN (IANA).
pub const PORT_VXLAN: u16 = 4789;

const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;
/// "The VNI is valid" (RFC 7348 section 5).
const VXLAN_FLAGS: u8 = 0x08;
const VXLAN_LEN: usize = 8;
const GRE_LEN: usize = 4;
const GUE_LEN: usize = 4;
/// All that stands between the IP header and the inner packet.
const GUE_ALL_LEN: usize = UDP_HEADER_LEN + GUE_LEN;
const VXLAN_ALL_LEN: usize = UDP_HEADER_LEN + VXLAN_LEN + ethernet::HEADER_LEN;
/// The first of the ports that nobody is assigned (RFC 6335 section 6), and how many there are, less one.
const PORT_FIRST: u16 = 49_152;
const PORT_MASK: u16 = 0x3fff;
const FLOW_LABEL_MASK: u32 = 0xf_ffff;
/// UDP's length field.
const UDP_LEN_OFFSET: usize = 4;
/// Where the last two bytes of the source address are.
const V4_SOURCE_LOW: usize = ipv4::SOURCE_OFFSET + 2;
const V6_SOURCE_LOW: usize = ipv6::SOURCE_OFFSET + 14;

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// What stands between the outer IP header and the inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnel {
    /// Nothing.
    Ipip,
    /// GRE without checksum, key or sequence number.
    Gre,
    /// UDP and the base header of GUE.
    Gue {
        /// Where the receiver listens; [`PORT_GUE`].
        port: u16,
    },
    /// UDP alone: the first four bits behind it are the inner packet's version.
    GueDirect {
        /// Where the receiver listens; [`PORT_GUE`].
        port: u16,
    },
    /// UDP, VXLAN, and an Ethernet header.
    Vxlan {
        /// Where the receiver listens; [`PORT_VXLAN`].
        port: u16,
        /// The network's identifier, 24 bits.
        vni: u32,
        /// Of the inner frame.
        inner: Addresses,
    },
}

/// Who sends through a tunnel, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outer {
    /// Of us.
    pub source: IpAddr,
    /// How many of the source's low bits the flow's hash takes the place of, 16 at most; 0 for a receiver that spreads
    /// by ports or flow label.
    pub source_bits: u8,
    /// Of the backend, of the same family.
    pub destination: IpAddr,
    /// Over IPv4: whether "don't fragment" is set whatever the inner packet says.
    pub dont_fragment: bool,
}

/// The headers of all packets from one frontend to one backend, less what differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Template {
    /// Zero where [`Self::write`] fills in, but for the source address.
    bytes: [u8; LEN_MAX],
    len: u8,
    is_v6: bool,
    has_udp: bool,
    dont_fragment: bool,
    /// The bits of the source's last two bytes that the hash takes the place of.
    source_mask: u16,
    /// Of the IPv4 header, without what is filled in.
    sum: u16,
}

/// What the outer headers take from the inner packet and its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inner {
    /// Bytes of the inner IP packet, without Ethernet's padding.
    pub len: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Of IPv6 always true.
    pub dont_fragment: bool,
}

impl Inner {
    /// Of the IP packet that begins with `packet`; `None` if it is none.
    #[inline]
    pub fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let header = ipv4::Header(packet.first_chunk()?);
                Some(Self {
                    len: header.total_len() as u16,
                    traffic_class: header.type_of_service(),
                    dont_fragment: header.dont_fragment(),
                })
            }
            6 => {
                let header = ipv6::Header(packet.first_chunk()?);
                let len = u16::try_from(ipv6::HEADER_LEN + header.payload_len()).ok()?;
                Some(Self { len, traffic_class: header.traffic_class(), dont_fragment: true })
            }
            _ => None,
        }
    }
}

impl Template {
    /// For packets of one family. `None` if the outer addresses are of two.
    pub fn new(tunnel: Tunnel, outer: &Outer, inner: Family) -> Option<Self> {
        let between = between(tunnel, inner);
        let (protocol, has_udp) = match tunnel {
            Tunnel::Ipip => (number(inner), false),
            Tunnel::Gre => (PROTOCOL_GRE, false),
            _ => (ipv4::PROTOCOL_UDP, true),
        };
        let mut bytes = [0; LEN_MAX];
        let (is_v6, header_len) = match (outer.source, outer.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes[..ipv4::HEADER_LEN].copy_from_slice(&outer_v4(protocol, source, destination));
                (false, ipv4::HEADER_LEN)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes[..ipv6::HEADER_LEN].copy_from_slice(&outer_v6(protocol, source, destination));
                (true, ipv6::HEADER_LEN)
            }
            _ => return None,
        };
        let len = header_len + between.len();
        bytes.get_mut(header_len..len)?.copy_from_slice(&between);
        let low = if is_v6 { V6_SOURCE_LOW } else { V4_SOURCE_LOW };
        let source_mask = (0xffff_u32 >> (16 - u32::from(outer.source_bits.min(16)))) as u16;
        let [clear_high, clear_low] = (!source_mask).to_be_bytes();
        bytes[low] &= clear_high;
        bytes[low + 1] &= clear_low;
        Some(Self {
            sum: checksum::sum(&bytes[..ipv4::HEADER_LEN]),
            bytes,
            len: len as u8,
            is_v6,
            has_udp,
            dont_fragment: outer.dont_fragment,
            source_mask,
        })
    }

    /// Bytes that go in front of the inner packet: by so much less is the MTU.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// The EtherType of the outer frame.
    #[inline]
    pub fn ether_type(&self) -> u16 {
        if self.is_v6 { ethernet::TYPE_IPV6 } else { ethernet::TYPE_IPV4 }
    }

    /// Whether the UDP checksum is zero where a receiver need not take that: [`complete_udp6`] mends it.
    #[inline]
    pub fn lacks_checksum(&self) -> bool {
        self.is_v6 && self.has_udp
    }

    /// Writes the headers to `into`, which ends where the inner packet begins and has room for [`Self::len`] bytes, no
    /// more. `hash` is the flow's; `identification` counts where "don't fragment" is not set. `None` if the room is
    /// another, or the packet would be longer than 65,535 bytes.
    #[inline(always)]
    pub fn write(&self, into: &mut [u8], inner: Inner, hash: u32, identification: u16) -> Option<()> {
        let total_len = inner.len.checked_add(self.len.into())?;
        if into.len() != self.len() {
            return None;
        }
        let source_bits = (hash >> 16) as u16 & self.source_mask;
        let header_len = if self.is_v6 {
            let ip = into.first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
            *ip = *self.bytes.first_chunk()?;
            self.finish_v6(ip, inner, total_len, hash, source_bits);
            ipv6::HEADER_LEN
        } else {
            let ip = into.first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
            *ip = *self.bytes.first_chunk()?;
            let dont_fragment = self.dont_fragment || inner.dont_fragment;
            let part = if dont_fragment { [0, 0, ipv4::DONT_FRAGMENT, 0] } else { at_large(identification) };
            self.finish_v4(ip, inner, total_len, part, source_bits);
            ipv4::HEADER_LEN
        };
        let between = into.get_mut(header_len..)?;
        self.write_between(between, header_len);
        if self.has_udp {
            let udp = between.first_chunk_mut::<UDP_HEADER_LEN>()?;
            let port = PORT_FIRST | hash as u16 & PORT_MASK;
            udp[..2].copy_from_slice(&port.to_be_bytes());
            let len = total_len - header_len as u16;
            udp[UDP_LEN_OFFSET..UDP_CHECKSUM_OFFSET].copy_from_slice(&len.to_be_bytes());
        }
        Some(())
    }

    /// What stands between the IP header and the inner packet. The compiler knows the lengths that there are: some
    /// instructions for each, where a call would take thirty.
    #[inline(always)]
    fn write_between(&self, into: &mut [u8], header_len: usize) {
        let bytes = self.bytes.get(header_len..).unwrap_or_default();
        match into.len() {
            0 => {}
            GRE_LEN => copy_some::<GRE_LEN>(into, bytes),
            UDP_HEADER_LEN => copy_some::<UDP_HEADER_LEN>(into, bytes),
            GUE_ALL_LEN => copy_some::<GUE_ALL_LEN>(into, bytes),
            VXLAN_ALL_LEN => copy_some::<VXLAN_ALL_LEN>(into, bytes),
            _ => into.iter_mut().zip(bytes).for_each(|(into, from)| *into = *from),
        }
    }

    #[inline(always)]
    fn finish_v4(
        &self,
        ip: &mut [u8; ipv4::HEADER_LEN],
        inner: Inner,
        total_len: u16,
        part: [u8; 4],
        source_bits: u16,
    ) {
        let len = total_len.to_be_bytes();
        let source_low =
            (u16::from_be_bytes([ip[V4_SOURCE_LOW], ip[V4_SOURCE_LOW + 1]]) | source_bits).to_be_bytes();
        let [a, b, c, d] = part;
        let filled_in = [[0, inner.traffic_class], len, [a, b], [c, d], source_bits.to_be_bytes()];
        let sum: u64 = filled_in.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum();
        let field = checksum::field(checksum::fold(u64::from(self.sum) + sum));
        ip[ipv4::TYPE_OF_SERVICE_OFFSET] = inner.traffic_class;
        ip[ipv4::TOTAL_LEN_OFFSET..ipv4::IDENTIFICATION_OFFSET].copy_from_slice(&len);
        ip[ipv4::IDENTIFICATION_OFFSET..ipv4::TTL_OFFSET].copy_from_slice(&part);
        ip[ipv4::CHECKSUM_OFFSET..ipv4::SOURCE_OFFSET].copy_from_slice(&field);
        ip[V4_SOURCE_LOW..ipv4::DESTINATION_OFFSET].copy_from_slice(&source_low);
    }

    #[inline(always)]
    fn finish_v6(
        &self,
        ip: &mut [u8; ipv6::HEADER_LEN],
        inner: Inner,
        total_len: u16,
        hash: u32,
        source_bits: u16,
    ) {
        // A label of zero would say that there is none.
        let flow_label = (hash & FLOW_LABEL_MASK).max(1);
        ip[..4].copy_from_slice(&ipv6::first_word(inner.traffic_class, flow_label));
        let payload_len = total_len - ipv6::HEADER_LEN as u16;
        ip[ipv6::PAYLOAD_LEN_OFFSET..ipv6::NEXT_HEADER_OFFSET].copy_from_slice(&payload_len.to_be_bytes());
        let source_low = u16::from_be_bytes([ip[V6_SOURCE_LOW], ip[V6_SOURCE_LOW + 1]]) | source_bits;
        ip[V6_SOURCE_LOW..ipv6::DESTINATION_OFFSET].copy_from_slice(&source_low.to_be_bytes());
    }
}

#[inline(always)]
fn copy_some<const LEN: usize>(into: &mut [u8], from: &[u8]) {
    if let (Some(into), Some(from)) = (into.first_chunk_mut::<LEN>(), from.first_chunk()) {
        *into = *from;
    }
}

/// The words of a packet that may be cut up.
#[inline(always)]
fn at_large(identification: u16) -> [u8; 4] {
    let [high, low] = identification.to_be_bytes();
    [high, low, 0, 0]
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => PROTOCOL_IPV4,
        Family::V6 => PROTOCOL_IPV6,
    }
}

fn outer_v4(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; ipv4::HEADER_LEN] {
    let fields = ipv4::Fields { type_of_service: 0, total_len: 0, protocol, source, destination };
    let mut bytes = fields.to_bytes();
    bytes[ipv4::FRAGMENT_OFFSET] = 0;
    bytes[ipv4::CHECKSUM_OFFSET..ipv4::SOURCE_OFFSET].fill(0);
    bytes
}

fn outer_v6(next_header: u8, source: Ipv6Addr, destination: Ipv6Addr) -> [u8; ipv6::HEADER_LEN] {
    let hop_limit = ipv6::HOP_LIMIT_DEFAULT;
    let (traffic_class, flow_label, payload_len) = (0, 0, 0);
    ipv6::Fields { traffic_class, flow_label, payload_len, next_header, hop_limit, source, destination }
        .to_bytes()
}

/// What stands between the outer IP header and the inner packet, in order.
fn between(tunnel: Tunnel, inner: Family) -> Vec<u8> {
    let ether_type = match inner {
        Family::V4 => ethernet::TYPE_IPV4,
        Family::V6 => ethernet::TYPE_IPV6,
    };
    let [type_high, type_low] = ether_type.to_be_bytes();
    let udp = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [0, 0, high, low, 0, 0, 0, 0]
    };
    match tunnel {
        Tunnel::Ipip => Vec::new(),
        // No flags, version 0.
        Tunnel::Gre => vec![0, 0, type_high, type_low],
        // Variant 0, no control message, no further words, no flags.
        Tunnel::Gue { port } => [&udp(port)[..], &[0, number(inner), 0, 0]].concat(),
        Tunnel::GueDirect { port } => udp(port).to_vec(),
        Tunnel::Vxlan { port, vni, inner } => {
            let [_, a, b, c] = vni.to_be_bytes();
            let header = [VXLAN_FLAGS, 0, 0, 0, a, b, c, 0];
            [&udp(port)[..], &header, &inner.0, &[type_high, type_low]].concat()
        }
    }
}

/// Whether a packet of this protocol that carries `payload` can be one that [`Template::write`] has made the headers of.
pub fn is_tunnel(protocol: u8, payload: &[u8]) -> bool {
    match protocol {
        PROTOCOL_IPV4 | PROTOCOL_IPV6 | PROTOCOL_GRE => true,
        ipv4::PROTOCOL_UDP => {
            payload.first_chunk().is_some_and(|port| u16::from_be_bytes(*port) >= PORT_FIRST)
        }
        _ => false,
    }
}

/// Where the inner packet begins in what the outer one carries, of a packet as [`Template::write`] makes it. What stands
/// behind UDP says what it is by its first byte: a version of IP, GUE's of all zeros, or VXLAN's flags.
pub fn inner_offset(protocol: u8, payload: &[u8]) -> Option<usize> {
    match protocol {
        PROTOCOL_IPV4 | PROTOCOL_IPV6 => Some(0),
        PROTOCOL_GRE => payload.starts_with(&[0, 0]).then_some(GRE_LEN),
        ipv4::PROTOCOL_UDP => match *payload.get(UDP_HEADER_LEN)? {
            0 => Some(UDP_HEADER_LEN + GUE_LEN),
            VXLAN_FLAGS => Some(UDP_HEADER_LEN + VXLAN_LEN + ethernet::HEADER_LEN),
            first => matches!(first >> 4, 4 | 6).then_some(UDP_HEADER_LEN),
        },
        _ => None,
    }
}

/// Writes the checksum of the UDP datagram in `packet`, which begins with an IPv6 header without extension headers as
/// [`Template::write`] makes it, and ends with the datagram. It reads all of the inner packet.
/// `None` if there is no such datagram.
pub fn complete_udp6(packet: &mut [u8]) -> Option<()> {
    let (ip, datagram) = packet.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
    let header = ipv6::Header(ip);
    let (source, destination) = (header.source().into(), header.destination().into());
    let field = UDP_CHECKSUM_OFFSET..UDP_HEADER_LEN;
    datagram.get_mut(field.clone())?.fill(0);
    let sum = checksum::with_pseudo(source, destination, ipv4::PROTOCOL_UDP, datagram);
    // A checksum of zero is sent as ones (RFC 768).
    let checksum = if sum == 0xffff { [0xff; 2] } else { checksum::field(sum) };
    datagram.get_mut(field)?.copy_from_slice(&checksum);
    Some(())
}

#[cfg(test)]
mod tests;
