//! Ports, addresses and neighbours.

use std::fmt;
use std::net::IpAddr;

use super::Quoted;
use crate::config::error::Place;
use crate::wire::MacAddr;

/// Why an address cannot be that of a port, a backend or a frontend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressFlaw {
    /// 0.0.0.0/8, RFC 1122 section 3.2.1.3.
    ThisNetwork,
    /// 127.0.0.0/8.
    Loopback,
    /// 224.0.0.0/4.
    Multicast,
    /// 255.255.255.255, or the last address of a connected network.
    Broadcast,
    /// The first address of a connected network.
    Network,
    /// `::`, RFC 4291 section 2.5.2.
    Unspecified,
    /// fe80::/10: the same on every link, so that nobody beyond one can use it.
    LinkLocal,
    /// ::ffff:0:0/96: IPv4 in the clothes of IPv6, RFC 4291 section 2.5.5.2.
    V4Mapped,
    /// The first address of an IPv6 network, RFC 4291 section 2.6.1.
    AllRouters,
}

impl fmt::Display for AddressFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisNetwork => "in 0.0.0.0/8",
            Self::Loopback => "a loopback address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Network => "the address of a network",
            Self::Unspecified => "no address",
            Self::LinkLocal => "link-local",
            Self::V4Mapped => "an IPv4 address in the form of IPv6",
            Self::AllRouters => "the one that all routers of the network have",
        })
    }
}

/// Ports, addresses and neighbours against each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetworkProblem {
    /// `run` opens ports, and there are none.
    NoPorts,
    /// `run` opens ports, and this one has nothing to open.
    NoDevice {
        /// The port.
        port: String,
    },
    /// Two ports on one device, with different Ethernet addresses.
    OtherMac {
        /// The port.
        port: String,
        /// The device.
        device: String,
        /// The port's address.
        mac: MacAddr,
        /// The other port's.
        first: MacAddr,
        /// Where that one is given.
        first_at: Place,
    },
    /// More VLAN tags than the path knows.
    VlanTags {
        /// The port.
        subject: String,
        /// How many.
        count: usize,
    },
    /// Two ports on one device, with the same VLAN tags or none.
    DuplicateDevice {
        /// The port.
        port: String,
        /// Its device.
        device: String,
        /// Where the other is.
        first: Place,
    },
    /// One address twice.
    DuplicateAddress {
        /// Whose.
        subject: String,
        /// The address.
        address: IpAddr,
        /// Where the other is.
        first: Place,
    },
    /// No host has such an address.
    Unusable {
        /// Whose.
        subject: String,
        /// The address.
        address: IpAddr,
        /// Why.
        flaw: AddressFlaw,
    },
    /// Cannot be asked for by ARP.
    OffNetwork {
        /// "port outside has gateway", "neighbour".
        subject: String,
        /// The address.
        address: IpAddr,
        /// "on a network of the port", "on a network of any port".
        wanted: &'static str,
    },
    /// It is our own address.
    Own {
        /// Whose it is to be.
        subject: String,
        /// The address.
        address: IpAddr,
        /// The port that has it.
        port: String,
    },
}

impl fmt::Display for NetworkProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPorts => {
                write!(f, "there is no port; add a [[port]] with a device, or --port NAME=DEVICE")
            }
            Self::NoDevice { port } => write!(
                f,
                "port {port} has no device; add device = \"0000:3b:00.0\" to its section, or --port {port}=DEVICE"
            ),
            Self::DuplicateDevice { port, device, first } => write!(
                f,
                "port {port} has device {}, which another port has ({first}); use another, or give them different vlan tags",
                Quoted(device)
            ),
            Self::OtherMac { port, device, mac, first, first_at } => write!(
                f,
                "port {port} has mac {mac}, and its device {} has mac {first} for another port ({first_at}); a device has \
                 one: give it once",
                Quoted(device)
            ),
            Self::VlanTags { subject, count } => {
                write!(
                    f,
                    "{subject} has {count} vlan tags; two are the most, as in vlan = [200, 100], the outer first"
                )
            }
            Self::DuplicateAddress { subject, address, first } => {
                write!(f, "{subject} has address {address}, which is given already ({first}); delete one")
            }
            Self::Unusable { subject, address, flaw } => {
                write!(f, "{subject} has address {address}, which is {flaw}; use the address of one host")
            }
            Self::OffNetwork { subject, address, wanted } => write!(
                f,
                "{subject} {address}, which is not {wanted}; correct it, or add an address in its network to the port"
            ),
            Self::Own { subject, address, port } => {
                write!(f, "{subject} has address {address}, which is our own on port {port}; use another")
            }
        }
    }
}
