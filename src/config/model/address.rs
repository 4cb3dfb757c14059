//! Networks and ranges of addresses.

use std::fmt;
use std::net::IpAddr;

/// An address in its network, as in 198.51.100.2/24.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cidr {
    /// The address itself.
    pub address: IpAddr,
    /// Bits of the network, 0 to 32 of IPv4 and to 128 of IPv6.
    pub prefix_len: u8,
}

impl Cidr {
    /// Bits of an address that are no part of the network.
    pub(crate) fn host_bits(self) -> u32 {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        bits - u32::from(self.prefix_len).min(bits)
    }

    /// The bits of `address` in the network, all ones where it is the last.
    fn host_mask(self) -> u128 {
        u128::MAX.checked_shl(self.host_bits()).map_or(u128::MAX, |network| !network)
    }

    /// Whether `address` lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && (number(self.address) ^ number(address)) & !self.host_mask() == 0
    }

    /// Whether `address` is the network's first.
    pub fn is_first(self, address: IpAddr) -> bool {
        self.contains(address) && number(address) & self.host_mask() == 0
    }

    /// Whether `address` is the network's last.
    pub fn is_last(self, address: IpAddr) -> bool {
        self.contains(address) && number(address) | !self.host_mask() == u128::MAX
    }

    /// All of its addresses.
    pub(crate) fn range(self) -> AddressRange {
        let (is_ipv4, number) = (self.address.is_ipv4(), number(self.address));
        // Of IPv4 neither has more than 32 bits.
        let of = |number: u128| {
            if is_ipv4 { IpAddr::V4((number as u32).into()) } else { IpAddr::V6(number.into()) }
        };
        AddressRange { first: of(number & !self.host_mask()), last: of(number | self.host_mask()) }
    }

    /// Whether no host has `address`, being IPv4, the network's first or last (RFC 1122 section 3.2.1.3); or
    /// IPv6, and its first, all routers' own (RFC 4291 section 2.6.1). Networks of one or two addresses have only
    /// hosts (RFC 3021, RFC 6164).
    pub fn is_edge(self, address: IpAddr) -> bool {
        let is_last = self.address.is_ipv4() && self.is_last(address);
        self.host_bits() > 1 && (self.is_first(address) || is_last)
    }
}

/// An address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Addresses from the first to the last, of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRange {
    /// The lowest.
    pub first: IpAddr,
    /// The highest.
    pub last: IpAddr,
}

impl AddressRange {
    /// How many addresses there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(self) -> u64 {
        u64::try_from(number(self.last).abs_diff(number(self.first))).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Whether `address` is one of them.
    pub fn contains(self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// The addresses, upward.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let is_ipv4 = self.first.is_ipv4();
        // Of IPv4 the number has no more than 32 bits.
        let address = move |number: u128| match is_ipv4 {
            true => IpAddr::V4((number as u32).into()),
            false => IpAddr::V6(number.into()),
        };
        (number(self.first)..=number(self.last)).map(address)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
