//! Addresses and ports that nobody sends from in good faith.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::drop_reason::DropReason;

/// Why no packet can come from there, if that is so: from an address that [`is_martian`], or from port 0.
///
/// Not part of parsing: only packets that begin a flow, or belong to none, need be asked.
#[inline(always)]
pub fn flaw_of_source(address: impl Into<IpAddr>, port: u16) -> Option<DropReason> {
    if is_martian(address) {
        Some(DropReason::MartianSource)
    } else if port == 0 {
        Some(DropReason::PortZero)
    } else {
        None
    }
}

/// Whether an address can stand for no single host that is forwarded to: neither as a source nor as a destination.
#[inline(always)]
pub fn is_martian(address: impl Into<IpAddr>) -> bool {
    match address.into() {
        IpAddr::V4(address) => is_martian_v4(address),
        IpAddr::V6(address) => is_martian_v6(address),
    }
}

/// "This network", loopback, multicast, reserved and broadcast (RFC 1122 section 3.2.1.3, RFC 6890).
#[inline(always)]
pub fn is_martian_v4(address: Ipv4Addr) -> bool {
    is_martian_byte(address.octets()[0])
}

/// The same by the first byte of the address, for who has no more of it at hand.
#[inline(always)]
pub fn is_martian_byte(first: u8) -> bool {
    MARTIAN_BYTES[usize::from(first)]
}

/// All but 1 to 126 and 128 to 223.
static MARTIAN_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut first = 0;
    while first < 256 {
        bytes[first] = matches!(first, 0 | 127 | 224..);
        first += 1;
    }
    bytes
};

/// Unspecified, loopback, IPv4 written as IPv6 (RFC 4291 sections 2.5.2, 2.5.3 and 2.5.5: all in ::/64), link-local,
/// which routers do not forward (section 2.5.6), and multicast (section 2.7). 64:ff9b::/96 stands for hosts (RFC 6052).
#[inline(always)]
pub fn is_martian_v6(address: Ipv6Addr) -> bool {
    let high = (address.to_bits() >> 64) as u64;
    high == 0 || high >> 54 == 0xfe80 >> 6 || high >> 56 == 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_sources_cannot_be() {
        let flaw = |address: [u8; 4], port| flaw_of_source(address, port);
        for first in [0, 127, 224, 239, 240, 255] {
            assert_eq!(flaw([first, 1, 2, 3], 9), Some(DropReason::MartianSource), "{first}");
        }
        for first in [1, 10, 126, 128, 192, 223] {
            assert_eq!(flaw([first, 1, 2, 3], 9), None, "{first}");
        }
        assert_eq!(flaw([192, 0, 2, 7], 0), Some(DropReason::PortZero));
    }

    #[test]
    fn nor_can_some_of_ipv6() {
        let flaw = |address: &str, port| flaw_of_source(address.parse::<Ipv6Addr>().unwrap(), port);
        for bad in ["::", "::1", "::ffff:192.0.2.7", "::192.0.2.7", "fe80::1", "febf::1", "ff00::", "ff02::1"]
        {
            assert_eq!(flaw(bad, 9), Some(DropReason::MartianSource), "{bad}");
        }
        for good in ["2001:db8::1", "64:ff9b::c000:207", "fc00::1", "fec0::1", "fe7f::1", "0:0:0:1::"] {
            assert_eq!(flaw(good, 9), None, "{good}");
        }
        assert_eq!(flaw("2001:db8::1", 0), Some(DropReason::PortZero));
    }
}
