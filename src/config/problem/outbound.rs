//! Outbound rules against the rest.

use std::fmt;
use std::net::IpAddr;

use crate::config::error::Place;
use crate::config::model::OutboundProtocol;

/// An outbound rule that does not go with the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OutboundProblem {
    /// No address.
    NoFrontends {
        /// The rule.
        subject: String,
    },
    /// An address twice.
    FrontendTwice {
        /// The rule.
        subject: String,
        /// The address.
        address: IpAddr,
    },
    /// An address that is somebody else's.
    FrontendTaken {
        /// The rule.
        subject: String,
        /// The address.
        address: IpAddr,
        /// Whose it is.
        owner: String,
    },
    /// No address of a backend's family.
    Family {
        /// The rule.
        subject: String,
        /// The first such backend.
        backend: IpAddr,
        /// How many more there are.
        more: usize,
    },
    /// Two rules for the same packets.
    SharedBackend {
        /// The later rule.
        subject: String,
        /// The earlier rule.
        other: String,
        /// Where that is.
        first: Place,
        /// The first backend that both have.
        backend: IpAddr,
        /// The later rule's protocol.
        protocol: OutboundProtocol,
    },
    /// No whole number of blocks.
    NotInBlocks {
        /// The rule.
        subject: String,
        /// `ports_per_backend`.
        ports: u32,
    },
    /// More ports than there are.
    TooFewPorts {
        /// The rule.
        subject: String,
        /// For each backend.
        ports: u32,
        /// Backends of the family.
        backends: usize,
        /// Ports of the frontends of the family, those left out that rules and other outbound rules have.
        available: u64,
        /// Such frontends.
        frontends: usize,
        /// Ports of blocks that rules have ports in.
        reserved: u64,
        /// Ports that other outbound rules have there.
        shared: u64,
    },
}

impl fmt::Display for OutboundProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrontends { subject } => {
                write!(f, "{subject} has no frontends; add the addresses that connections leave from")
            }
            Self::FrontendTwice { subject, address } => {
                write!(f, "{subject} has frontend {address} twice; delete one")
            }
            Self::FrontendTaken { subject, address, owner } => {
                write!(
                    f,
                    "{subject} has frontend {address}, which is {owner}; use an address that nobody has"
                )
            }
            Self::Family { subject, backend, more } => {
                write!(f, "{subject} has no frontend of the family of backend {backend}")?;
                if *more > 0 {
                    write!(f, " and {more} more")?;
                }
                write!(f, "; add one, or use a pool of one family")
            }
            Self::SharedBackend { subject, other, first, backend, protocol } => write!(
                f,
                "{subject} and outbound rule {other} ({first}) both have backend {backend}, and both take {protocol}; \
                 give them different protocols, or delete one"
            ),
            Self::NotInBlocks { subject, ports } => write!(
                f,
                "{subject} has ports_per_backend {ports}, which is no multiple of 8: ports are handed out in blocks of 8; \
                 use {} or {}",
                ports / 8 * 8,
                ports / 8 * 8 + 8
            ),
            Self::TooFewPorts { subject, ports, backends, available, frontends, reserved, shared } => {
                let each = available / (*backends as u64).max(1) / 8 * 8;
                write!(
                    f,
                    "{subject} has {ports} ports for each of {backends} backends, {} in all, and its {frontends} \
                     frontends of their family have {available}",
                    u64::from(*ports) * *backends as u64
                )?;
                if *reserved > 0 {
                    write!(f, " (rules have ports in blocks of {reserved} more)")?;
                }
                if *shared > 0 {
                    write!(f, " beside the {shared} of other outbound rules")?;
                }
                match each {
                    0 => write!(f, "; add frontends that rules leave more of"),
                    each => write!(f, "; add frontends, or set ports_per_backend to {each} or less"),
                }
            }
        }
    }
}
