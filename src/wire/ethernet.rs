//! Ethernet II header (IEEE 802.3 section 3.2.6): destination, source, type.

use std::net::Ipv6Addr;

use super::MacAddr;

/// Destination, source and type.
pub const HEADER_LEN: usize = 14;

/// EtherType of IPv4 (IANA).
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6 (RFC 2464).
pub const TYPE_IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
pub const TYPE_QINQ: u16 = 0x88a8;

/// Destination and source, as they stand at the start of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Addresses(pub [u8; 12]);

impl Addresses {
    /// Joins the two.
    pub fn new(destination: MacAddr, source: MacAddr) -> Self {
        let mut both = [0; 12];
        both[..6].copy_from_slice(&destination.0);
        both[6..].copy_from_slice(&source.0);
        Self(both)
    }

    /// Where the frame goes.
    #[inline]
    pub fn destination(self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Where the frame came from.
    #[inline]
    pub fn source(self) -> MacAddr {
        let [.., a, b, c, d, e, f] = self.0;
        MacAddr([a, b, c, d, e, f])
    }
}

/// The group of stations that an IPv6 multicast address is sent to (RFC 2464 section 7).
pub fn group_of(address: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = address.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The two addresses of the frame that begins with `header`.
#[inline]
pub fn addresses(header: &[u8; HEADER_LEN]) -> Addresses {
    let [both @ .., _, _] = *header;
    Addresses(both)
}

/// The EtherType of the frame that begins with `header`.
#[inline]
pub fn ether_type(header: &[u8; HEADER_LEN]) -> u16 {
    u16::from_be_bytes([header[12], header[13]])
}
