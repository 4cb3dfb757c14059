//! NAT rules against themselves and the rest.

use std::fmt;
use std::net::IpAddr;

use crate::config::error::Place;
use crate::config::model::Frontend;

/// A NAT rule that cannot be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NatProblem {
    /// `backend` and `pool`.
    BothTargets {
        /// The rule.
        subject: String,
    },
    /// Neither `backend` nor `pool`.
    NoTarget {
        /// The rule.
        subject: String,
    },
    /// A key that only rules with a pool have.
    KeyOfPool {
        /// The rule.
        subject: String,
        /// The key.
        key: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Several addresses.
    Network {
        /// The rule.
        subject: String,
        /// Its frontend.
        frontend: Frontend,
    },
    /// A pool with no range of ports.
    NoRange {
        /// The rule.
        subject: String,
        /// Its frontend.
        frontend: Frontend,
    },
    /// A pool that is larger than the range.
    TooFewPorts {
        /// The rule.
        subject: String,
        /// Its frontend.
        frontend: Frontend,
        /// Ports in it.
        ports: usize,
        /// The pool.
        pool: String,
        /// Its backends.
        backends: usize,
    },
    /// A port that is not in the range.
    PortBeyond {
        /// The rule.
        subject: String,
        /// What is said.
        said: (IpAddr, u16),
        /// The rule's frontend.
        frontend: Frontend,
    },
    /// One backend or one port twice.
    PortTwice {
        /// The rule.
        subject: String,
        /// What is said.
        said: (IpAddr, u16),
        /// What was said before.
        before: (IpAddr, u16),
    },
    /// A backend that is a frontend.
    IsFrontend {
        /// The rule.
        subject: String,
        /// The backend.
        address: IpAddr,
        /// Where the frontend is.
        frontend: Place,
    },
    /// No way leads to the backend.
    Unreachable {
        /// The rule.
        subject: String,
        /// The backend.
        address: IpAddr,
    },
    /// A frontend that takes ports of a range, each of which is for one backend.
    InRange {
        /// The rule.
        rule: String,
        /// Its frontend.
        frontend: Frontend,
        /// The NAT rule.
        nat_rule: String,
        /// Its frontend.
        range: Frontend,
        /// Where that is.
        place: Place,
    },
    /// An own address of a backend that has several.
    OwnAddressTwice {
        /// The rule.
        subject: String,
        /// The backend.
        backend: IpAddr,
        /// The other rule.
        other: String,
        /// Where that is.
        first: Place,
    },
    /// A port of an own address that leads nowhere, for the backend answers another rule from there.
    Shadowed {
        /// The rule.
        subject: String,
        /// Its frontend's address.
        address: IpAddr,
        /// The backend's ports.
        backend: Frontend,
        /// The other rule.
        other: String,
        /// Where that is.
        first: Place,
    },
}

impl fmt::Display for NatProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothTargets { subject } => {
                write!(f, "{subject} has both backend and pool; delete one of them")
            }
            Self::NoTarget { subject } => write!(
                f,
                "{subject} has neither backend nor pool; add backend = \"10.0.0.4:22\", or pool = \"web\" for a port of \
                 each of its backends"
            ),
            Self::KeyOfPool { subject, key, instead } => {
                write!(f, "{subject} has {key}, which is for rules with a pool; {instead}")
            }
            Self::Network { subject, frontend } => write!(
                f,
                "{subject} has frontend {frontend}, which is several addresses; a NAT rule has one, as in \
                 203.0.113.10:2201/tcp"
            ),
            Self::NoRange { subject, frontend } => write!(
                f,
                "{subject} has a pool and frontend {frontend}, which is no range of ports; write it as \
                 203.0.113.10:2300-2349/tcp, one port for each backend"
            ),
            Self::TooFewPorts { subject, frontend, ports, pool, backends } => write!(
                f,
                "{subject} has {ports} ports in {frontend} for the {backends} backends of pool {pool}, and each needs \
                 one; widen the range, or take backends out of the pool"
            ),
            _ => self.fmt_against_others(f),
        }
    }
}

impl NatProblem {
    /// Against ports of its own, and the rest of the file.
    fn fmt_against_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortBeyond { subject, said: (address, port), frontend } => write!(
                f,
                "{subject} gives port {port} to backend {address}, which is not one of {frontend}; use one of these"
            ),
            Self::PortTwice { subject, said, before } => write!(
                f,
                "{subject} has {}={} in ports, and {}={} before; each backend has one port, and each port one backend",
                said.0, said.1, before.0, before.1
            ),
            Self::IsFrontend { subject, address, frontend } => write!(
                f,
                "{subject} has backend {address}, which is the address of a frontend ({frontend}); use another"
            ),
            Self::Unreachable { subject, address } => write!(
                f,
                "{subject} has backend {address}, which is on no port's network, and no port has a gateway; add an \
                 address in its network to a port, or a gateway"
            ),
            Self::InRange { rule, frontend, nat_rule, range, place } => write!(
                f,
                "rule {rule} has frontend {frontend}, and NAT rule {nat_rule} has {range} ({place}), of which each port \
                 is for one backend; let the ports be apart"
            ),
            Self::OwnAddressTwice { subject, backend, other, first } => write!(
                f,
                "{subject} gives backend {backend} an address of its own, and so does NAT rule {other} ({first}): what the \
                 backend sends can leave by one address only; delete one of them"
            ),
            Self::Shadowed { subject, address, backend, other, first } => write!(
                f,
                "{subject} leads {address} to the backend of {backend}, whose answers from there belong to rule {other} \
                 ({first}): connections to that port of {address} will not come about; use rule {other}'s frontend for it"
            ),
            _ => Ok(()),
        }
    }
}
