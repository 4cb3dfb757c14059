//! What clients use, and what backends are reached at.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::Cidr;
use crate::wire::Protocol;

/// An address, a port and a protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// 1 to 65535.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// What clients use: one address or a network of them, one port, several or all, and one protocol or two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Frontend {
    /// The address, or the first of the network.
    pub address: IpAddr,
    /// Bits of the network; 32 of IPv4 and 128 of IPv6 for one address.
    pub prefix_len: u8,
    /// The lowest port; 0 where all are meant, and where the protocol has none.
    pub first_port: u16,
    /// The highest port; 65535 where all are meant.
    pub last_port: u16,
    /// Which protocols.
    pub protocol: ProtocolSelector,
}

impl Frontend {
    /// One address.
    pub fn prefix_len_max(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// Its address or addresses.
    pub fn network(self) -> Cidr {
        Cidr { address: self.address, prefix_len: self.prefix_len }
    }

    /// Whether it has one address only.
    pub fn is_one_address(self) -> bool {
        self.prefix_len == Self::prefix_len_max(self.address)
    }

    /// Its port, if it has one only.
    pub fn one_port(self) -> Option<u16> {
        (self.first_port == self.last_port).then_some(self.first_port)
    }

    /// The same as an endpoint, if it is one: one address, one port, TCP or UDP.
    pub fn exact(self) -> Option<Endpoint> {
        let protocol = match self.protocol {
            ProtocolSelector::Tcp => Protocol::Tcp,
            ProtocolSelector::Udp => Protocol::Udp,
            ProtocolSelector::Any | ProtocolSelector::Other(_) => return None,
        };
        let port = self.one_port().filter(|_| self.is_one_address())?;
        Some(Endpoint { address: self.address, port, protocol })
    }

    /// Whether it takes packets to `address` of the protocol with that number. Ports are looked at where the packet
    /// has any.
    pub fn takes(self, address: IpAddr, port: Option<u16>, protocol: u8) -> bool {
        self.protocol.takes(protocol)
            && self.network().contains(address)
            && port.is_none_or(|port| (self.first_port..=self.last_port).contains(&port))
    }

    /// Of all frontends that take a packet, the one with the least has it: one address before a network, a longer prefix
    /// before a shorter one; then one port before several, fewer before more; then a protocol before any.
    pub fn precedence(self) -> (Reverse<u8>, u16, bool) {
        let more_ports = self.last_port - self.first_port;
        (Reverse(self.prefix_len), more_ports, self.protocol == ProtocolSelector::Any)
    }
}

impl From<Endpoint> for Frontend {
    fn from(Endpoint { address, port, protocol }: Endpoint) -> Self {
        let prefix_len = Self::prefix_len_max(address);
        Self { address, prefix_len, first_port: port, last_port: port, protocol: protocol.into() }
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.is_one_address() { String::new() } else { format!("/{}", self.prefix_len) };
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}{prefix}:")?,
            IpAddr::V6(address) => write!(f, "[{address}{prefix}]:")?,
        }
        match self.one_port() {
            Some(port) => write!(f, "{port}/")?,
            None if self.first_port == 0 => f.write_str("0/")?,
            None => write!(f, "{}-{}/", self.first_port, self.last_port)?,
        }
        write!(f, "{}", self.protocol)
    }
}

/// Which protocols a frontend takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ProtocolSelector {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// Both.
    Any,
    /// One that has no ports, or whose ports are where those of TCP are (SCTP); by its number.
    Other(u8),
}

impl ProtocolSelector {
    /// Stream Control Transmission Protocol, RFC 9260: like TCP and UDP, it begins with two ports.
    pub const SCTP: Self = Self::Other(132);

    /// IANA's protocol numbers by the names that may be written; all others are written as numbers.
    pub(crate) const NAMED: [(&str, u8); 4] = [("sctp", 132), ("gre", 47), ("esp", 50), ("ah", 51)];

    /// Whether it is that of the number.
    pub fn takes(self, number: u8) -> bool {
        match self {
            Self::Tcp => number == Protocol::Tcp.number(),
            Self::Udp => number == Protocol::Udp.number(),
            Self::Any => Self::Tcp.takes(number) || Self::Udp.takes(number),
            Self::Other(own) => number == own,
        }
    }

    /// Whether any packet is of both.
    pub fn overlaps(self, other: Self) -> bool {
        let is_transport = |one: Self| matches!(one, Self::Tcp | Self::Udp | Self::Any);
        self == other
            || is_transport(self) && is_transport(other) && (self == Self::Any || other == Self::Any)
    }
}

impl From<Protocol> for ProtocolSelector {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

impl fmt::Display for ProtocolSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Any => f.write_str("any"),
            Self::Other(number) => match Self::NAMED.iter().find(|(_, known)| known == number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{number}"),
            },
        }
    }
}
