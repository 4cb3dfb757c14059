//! How packets reach a backend.

use std::fmt;

use super::{AddressRange, Cidr};
use crate::wire::MacAddr;

/// How the packets of a rule reach the backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forward {
    /// The destination is translated, and the source of responses.
    Nat,
    /// The source is translated too.
    FullNat(FullNat),
    /// The Ethernet addresses alone: the backend answers the client by itself.
    Dsr,
    /// The packet goes in another to the backend, which answers the client by itself.
    Tunnel(Tunnel),
}

/// What full NAT translates sources to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FullNat {
    /// The addresses that backends see, of either family; none: the own address of the port that leads to the backend.
    pub source_addresses: Vec<AddressRange>,
    /// The client's address goes along as a TCP option (kind 254).
    pub toa: bool,
    /// The client's address goes before the data, as version 2 of the PROXY protocol.
    pub proxy_v2: bool,
}

/// What a tunnel puts around packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunnel {
    /// The outer source; `None`: the own address of the port that leads to the backend.
    pub source: Option<TunnelSource>,
    /// What is between the two IP headers.
    pub encapsulation: Encapsulation,
}

/// One address, or a network that flows are spread over, 65,536 addresses at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelSource(pub Cidr);

/// As it is written: one address without a prefix.
impl fmt::Display for TunnelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.host_bits() == 0 { write!(f, "{}", self.0.address) } else { write!(f, "{}", self.0) }
    }
}

/// What is between the two IP headers of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// Nothing: RFC 2003, RFC 2473, RFC 4213.
    Ipip,
    /// RFC 2784.
    Gre,
    /// Generic UDP Encapsulation, `draft-ietf-intarea-gue`.
    Gue {
        /// The UDP port that backends listen at.
        port: u16,
        /// Whether a header of GUE precedes the packet.
        variant: GueVariant,
    },
    /// RFC 7348.
    Vxlan {
        /// The UDP port that backends listen at.
        port: u16,
        /// The network identifier, 24 bits.
        vni: u32,
        /// The inner frame's destination; `None`: 02:00 and the last four bytes of the backend's address.
        inner_mac: Option<MacAddr>,
    },
}

/// The form of GUE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GueVariant {
    /// With a header of four bytes.
    Header,
    /// Without one: the IP packet follows UDP at once. As Katran sends it.
    Direct,
}

/// The word for each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as Forward and Encapsulation have them")]
pub enum ForwardMode {
    Nat,
    FullNat,
    Dsr,
    Ipip,
    Gre,
    Gue,
    Vxlan,
}

impl ForwardMode {
    /// All, by the word that is written.
    pub(crate) const ALL: [(&str, Self); 7] = [
        ("nat", Self::Nat),
        ("full-nat", Self::FullNat),
        ("dsr", Self::Dsr),
        ("ipip", Self::Ipip),
        ("gre", Self::Gre),
        ("gue", Self::Gue),
        ("vxlan", Self::Vxlan),
    ];

    /// Whether the backend's responses come by guideway.
    pub fn translates(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }
}

impl fmt::Display for ForwardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(_, mode)| mode == self).map(|(word, _)| *word);
        f.pad(word.unwrap_or_default())
    }
}

impl Forward {
    /// Its word.
    pub fn mode(&self) -> ForwardMode {
        match self {
            Self::Nat => ForwardMode::Nat,
            Self::FullNat(_) => ForwardMode::FullNat,
            Self::Dsr => ForwardMode::Dsr,
            Self::Tunnel(tunnel) => match tunnel.encapsulation {
                Encapsulation::Ipip => ForwardMode::Ipip,
                Encapsulation::Gre => ForwardMode::Gre,
                Encapsulation::Gue { .. } => ForwardMode::Gue,
                Encapsulation::Vxlan { .. } => ForwardMode::Vxlan,
            },
        }
    }
}

/// The word, and what is said besides.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mode())?;
        match self {
            Self::Nat | Self::Dsr => {}
            Self::FullNat(FullNat { source_addresses, toa, proxy_v2 }) => {
                for (index, range) in source_addresses.iter().enumerate() {
                    write!(f, "{}{range}", if index == 0 { " from " } else { ", " })?;
                }
                for word in [("toa", *toa), ("proxy-v2", *proxy_v2)].iter().filter(|(_, is_said)| *is_said) {
                    write!(f, " with {}", word.0)?;
                }
            }
            Self::Tunnel(Tunnel { source, encapsulation }) => {
                match encapsulation {
                    Encapsulation::Ipip | Encapsulation::Gre => {}
                    Encapsulation::Gue { port, variant } => {
                        write!(f, " to port {port}, variant {}", *variant as u8)?;
                    }
                    Encapsulation::Vxlan { port, vni, inner_mac } => {
                        write!(f, " to port {port}, vni {vni}")?;
                        inner_mac.iter().try_for_each(|mac| write!(f, ", inner mac {mac}"))?;
                    }
                }
                source.iter().try_for_each(|source| write!(f, " from {source}"))?;
            }
        }
        Ok(())
    }
}
