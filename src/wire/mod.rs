//! Headers as bytes: where fields lie, how they are read and written. Knows no policy.

pub mod arp;
pub mod bare;
pub mod checksum;
pub mod cut;
pub mod encap;
pub mod ethernet;
pub mod icmp;
pub mod icmp_error;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod l4;
pub mod mld;
pub mod nd;
pub mod plain;
pub mod tcp_options;
pub mod vlan;

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00, no station's address.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the group bit is set (IEEE 802-2014 section 8.2.2): multicast or broadcast.
    #[inline]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six pairs of hexadecimal digits joined by colons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadMacAddr;

impl FromStr for MacAddr {
    type Err = BadMacAddr;

    fn from_str(text: &str) -> Result<Self, BadMacAddr> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
                .ok_or(BadMacAddr)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadMacAddr)?;
        }
        parts.next().map_or(Ok(Self(bytes)), |_| Err(BadMacAddr))
    }
}

/// A transport protocol that rules can name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Protocol {
    /// The number in the IPv4 protocol field (IANA protocol numbers).
    #[inline]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => ipv4::PROTOCOL_TCP,
            Self::Udp => ipv4::PROTOCOL_UDP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The header does not fit in the bytes that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncated;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_read_back_what_they_print() {
        let mac = MacAddr([2, 0, 0x5e, 0, 0x53, 0xff]);
        assert_eq!(mac.to_string(), "02:00:5e:00:53:ff");
        assert_eq!("02:00:5e:00:53:ff".parse(), Ok(mac));
        for bad in [
            "",
            "02:00:5e:00:53",
            "02:00:5e:00:53:ff:00",
            "2:0:5e:0:53:ff",
            "02:00:5e:00:53:fg",
            "+2:00:5e:00:53:ff",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err(BadMacAddr), "{bad}");
        }
    }
}
