//! Pools and rules, and what has no effect.

use std::fmt;
use std::net::IpAddr;

use crate::config::error::Place;
use crate::config::model::Frontend;
use crate::config::probe::PROBE_PORT_FIRST;

/// A pool against the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PoolProblem {
    /// `backends` and `addresses`.
    BothSources {
        /// The pool.
        subject: String,
    },
    /// Neither `backends` nor `addresses`.
    NoSource {
        /// The pool.
        subject: String,
    },
    /// `instances` counts the addresses of a range, and there is none.
    InstancesOfList {
        /// The pool.
        subject: String,
    },
    /// More instances than addresses.
    InstancesTooMany {
        /// The pool.
        subject: String,
        /// `instances`.
        instances: i128,
        /// Addresses in the range.
        range_len: u64,
    },
    /// One backend twice.
    DuplicateBackend {
        /// The pool.
        pool: String,
        /// The backend.
        address: IpAddr,
        /// Where it was first.
        first: Place,
    },
    /// A backend that is a frontend: packets to it would come back to us.
    IsFrontend {
        /// The pool.
        pool: String,
        /// The backend.
        address: IpAddr,
        /// Where the frontend is.
        frontend: Place,
    },
    /// No way leads to the backend.
    Unreachable {
        /// The pool.
        pool: String,
        /// The backend.
        address: IpAddr,
    },
}

impl fmt::Display for PoolProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothSources { subject } => {
                write!(f, "{subject} has both backends and addresses; delete one of them")
            }
            Self::NoSource { subject } => write!(
                f,
                "{subject} has neither backends nor addresses; add backends = [{{ address = \"10.0.0.4\" }}], or \
                 addresses = \"10.0.1.4-10.0.1.99\" and instances = 3"
            ),
            Self::InstancesOfList { subject } => {
                write!(f, "{subject} has instances but no addresses; add the range, or delete instances")
            }
            Self::InstancesTooMany { subject, instances, range_len } => {
                write!(
                    f,
                    "{subject} has {instances} instances in a range of {range_len} addresses; widen the range"
                )
            }
            Self::DuplicateBackend { pool, address, first } => {
                write!(
                    f,
                    "backend {address} is in pool {pool} already ({first}); use weight for a larger share"
                )
            }
            Self::IsFrontend { pool, address, frontend } => {
                write!(
                    f,
                    "backend {address} of pool {pool} is the address of a frontend ({frontend}); use another"
                )
            }
            Self::Unreachable { pool, address } => write!(
                f,
                "backend {address} of pool {pool} is on no port's network, and no port has a gateway; add an address \
                 in its network to a port, or a gateway"
            ),
        }
    }
}

/// A rule against the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RuleProblem {
    /// Nothing is balanced.
    NoRules,
    /// Two rules for one frontend.
    DuplicateFrontend {
        /// The later rule.
        rule: String,
        /// What both have.
        frontend: Frontend,
        /// The earlier rule.
        other: String,
        /// Where its frontend is.
        first: Place,
    },
    /// Two rules for some of the same ports, neither of which has all of the other's.
    OverlappingFrontend {
        /// The later rule.
        rule: String,
        /// What it has.
        frontend: Frontend,
        /// The earlier rule.
        other: String,
        /// What that has.
        theirs: Frontend,
        /// Where its frontend is.
        first: Place,
    },
    /// Two rules for one backend endpoint.
    SharedBackend {
        /// The later rule.
        rule: String,
        /// The earlier rule.
        other: String,
        /// Where it is.
        first: Place,
        /// The first backend that both have, with the later rule's ports there.
        backend: Frontend,
        /// How many more they share.
        more: usize,
    },
    /// A frontend where answers to probes arrive.
    ProbePort {
        /// The frontend.
        frontend: Frontend,
        /// The port whose own address it has.
        port: String,
        /// A rule whose probe goes out of ports.
        rule: String,
    },
    /// No backend would be chosen.
    NoneAvailable {
        /// The rule.
        rule: String,
        /// Its pool.
        pool: String,
    },
    /// A backend that may be a client of its rule, and whom the rule's list denies.
    AclDeniesBackend {
        /// The rule.
        rule: String,
        /// Its list.
        acl: String,
        /// The first such backend.
        backend: IpAddr,
    },
    /// A list for an address of a backend's own that denies most hosts: the backend cannot reach them either.
    AclCutsOff {
        /// The rule.
        rule: String,
        /// Its list.
        acl: String,
        /// The backend.
        backend: IpAddr,
    },
    /// The management thread has a worker for a neighbour.
    ManagementCpuIsWorker {
        /// The CPU.
        cpu: usize,
    },
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => {
                write!(
                    f,
                    "there is no rule, so nothing is balanced; add a [[rule]], or --frontend and --backend"
                )
            }
            Self::DuplicateFrontend { rule, frontend, other, first } => write!(
                f,
                "rule {rule} has frontend {frontend}, which rule {other} has ({first}); change one of them"
            ),
            Self::OverlappingFrontend { rule, frontend, other, theirs, first } => write!(
                f,
                "rule {rule} has frontend {frontend}, which shares ports with {theirs} of rule {other} ({first}), and \
                 neither has all of the other's; let one range be within the other, or apart"
            ),
            Self::SharedBackend { rule, other, first, backend, more } => {
                write!(f, "rules {rule} and {other} ({first}) both send to backend {backend}")?;
                if *more > 0 {
                    write!(f, " and {more} more")?;
                }
                write!(
                    f,
                    ", so that responses could not be told apart; give one of them another backend_port, or use \
                     forward = \"full-nat\", \"dsr\" or a tunnel for one"
                )
            }
            Self::ProbePort { frontend, port, rule } => write!(
                f,
                "frontend {frontend} is port {port}'s own address, whose TCP ports from {PROBE_PORT_FIRST} are for \
                 probes with via = \"port\" (rule {rule} has one); use a lower port, or another address"
            ),
            Self::NoneAvailable { rule, pool } => write!(
                f,
                "rule {rule} has no backend to choose: all of pool {pool} are down, drained or of weight 0, or it \
                 is empty"
            ),
            Self::AclDeniesBackend { rule, acl, backend } => write!(
                f,
                "rule {rule} has hairpin = true for its backends, but acl {acl} denies backend {backend}; permit the backends \
                 in the list, or delete hairpin"
            ),
            Self::AclCutsOff { rule, acl, backend } => write!(
                f,
                "NAT rule {rule}: acl {acl} decides on answers too, so {backend} can open connections only to whom the list \
                 permits; permit whom it needs, and the backend's own firewall can keep others from it"
            ),
            Self::ManagementCpuIsWorker { cpu } => write!(
                f,
                "management_cpu {cpu} is also a worker's, which will lose packets whenever management work is done; \
                 use another CPU for one of them"
            ),
        }
    }
}

/// Accepted, but without effect in this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoEffect {
    /// `token_file` without `listen`.
    TokenFile,
}

impl fmt::Display for NoEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenFile => write!(
                f,
                "token_file has no effect: the control API listens at its Unix socket only; add listen = \
                 \"127.0.0.1:9465\", or delete the token_file"
            ),
        }
    }
}
