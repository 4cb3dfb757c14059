//! How a rule's packets reach its backends, against the rest of the rule.

use std::fmt;
use std::net::IpAddr;

use crate::config::error::Place;
use crate::config::model::{AddressRange, ForwardMode, Frontend};

/// A way to forward that does not go with the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForwardProblem {
    /// A key that the way does not know.
    KeyOfOtherMode {
        /// The rule.
        subject: String,
        /// The key.
        key: &'static str,
        /// The rule's way.
        mode: ForwardMode,
        /// The ways that know it.
        modes: &'static [ForwardMode],
    },
    /// A key for TCP.
    KeyOfTcp {
        /// The rule.
        subject: String,
        /// The key.
        key: &'static str,
        /// The rule's frontend.
        frontend: Frontend,
    },
    /// Translation of what is neither TCP nor UDP.
    Protocol {
        /// The rule.
        subject: String,
        /// The rule's frontend.
        frontend: Frontend,
        /// The rule's way.
        mode: ForwardMode,
    },
    /// NAT of a network of addresses.
    Network {
        /// The rule.
        subject: String,
        /// The rule's frontend.
        frontend: Frontend,
    },
    /// A port for packets that keep theirs.
    KeepsPort {
        /// The rule.
        subject: String,
        /// `backend_port`.
        port: u16,
        /// The rule's frontend.
        frontend: Frontend,
        /// The rule's way.
        mode: ForwardMode,
    },
    /// A probe that has no port to ask.
    NoProbePort {
        /// The rule.
        subject: String,
        /// The rule's frontend.
        frontend: Frontend,
    },
    /// Backends of the other family, in a way that keeps it.
    Families {
        /// The rule.
        subject: String,
        /// The rule's frontend.
        frontend: Frontend,
        /// The first such backend.
        backend: IpAddr,
        /// How many more there are.
        more: usize,
        /// The rule's way.
        mode: ForwardMode,
    },
    /// A backend behind a router, in a way that reaches neighbours only.
    NotNeighbour {
        /// The rule.
        subject: String,
        /// The first such backend.
        backend: IpAddr,
        /// How many more there are.
        more: usize,
    },
    /// No source address of a backend's family.
    SourceFamily {
        /// The rule.
        subject: String,
        /// The key.
        key: &'static str,
        /// The first such backend.
        backend: IpAddr,
    },
    /// Source addresses that are given twice.
    SourceTwice {
        /// The rule.
        subject: String,
        /// What is given.
        range: AddressRange,
        /// What was given before.
        other: AddressRange,
    },
    /// A source address that is a frontend's or a backend's.
    SourceTaken {
        /// The rule.
        subject: String,
        /// The key.
        key: &'static str,
        /// What is given.
        source: String,
        /// Whose address is in it.
        owner: String,
        /// Where that is.
        place: Place,
    },
}

impl ForwardProblem {
    /// What is wrong with the backends or their port.
    fn fmt_backends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepsPort { subject, port, frontend, mode } => {
                write!(f, "{subject} has backend_port {port}, but ")?;
                match mode.translates() {
                    true => write!(f, "packets to the ports of {frontend} keep theirs")?,
                    false => write!(f, "forward = \"{mode}\" keeps the port of {frontend}")?,
                }
                write!(f, "; delete backend_port")
            }
            Self::NoProbePort { subject, frontend } => write!(
                f,
                "{subject} has a probe without a port, and frontend {frontend} has not one port that it could ask; \
                 add a port to the probe"
            ),
            Self::Families { subject, frontend, backend, more, mode } => {
                write!(f, "{subject} has frontend {frontend} and backend {backend}")?;
                and_more(f, *more)?;
                write!(
                    f,
                    ", which are not of one family, and forward = \"{mode}\" keeps it; use full-nat, ipip, gre, gue or \
                     vxlan, or other backends"
                )
            }
            Self::NotNeighbour { subject, backend, more } => {
                write!(f, "{subject} has backend {backend}")?;
                and_more(f, *more)?;
                write!(
                    f,
                    " on no port's network, and forward = \"dsr\" reaches neighbours only; use ipip, gre, gue or vxlan, \
                     or add an address in its network to a port"
                )
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with sources.
    fn fmt_sources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceFamily { subject, key, backend } => write!(
                f,
                "{subject} has backend {backend}, and {key} has no address of its family; add one, or delete {key}"
            ),
            Self::SourceTwice { subject, range, other } => {
                write!(
                    f,
                    "{subject} has source_addresses {range}, which {other} has some of already; delete one"
                )
            }
            Self::SourceTaken { subject, key, source, owner, place } => write!(
                f,
                "{subject} has {key} {source}, where {owner} is ({place}); use addresses that nobody has"
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ForwardProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyOfOtherMode { subject, key, mode, modes } => {
                write!(f, "{subject} has {key}, which has no effect with forward = \"{mode}\"; it is for ")?;
                for (index, mode) in modes.iter().enumerate() {
                    let between = match index {
                        0 => "",
                        last if last + 1 == modes.len() => " and ",
                        _ => ", ",
                    };
                    write!(f, "{between}{mode}")?;
                }
                write!(f, ": delete it, or change forward")
            }
            Self::KeyOfTcp { subject, key, frontend } => write!(
                f,
                "{subject} has {key}, which has no effect: its frontend {frontend} takes no TCP; delete it"
            ),
            Self::Protocol { subject, frontend, mode } => write!(
                f,
                "{subject} has frontend {frontend} and forward = \"{mode}\", which translates TCP and UDP only; use \
                 dsr, ipip, gre, gue or vxlan"
            ),
            Self::Network { subject, frontend } => write!(
                f,
                "{subject} has frontend {frontend} and forward = \"nat\", which could not tell from which of these \
                 addresses a response has to come; use full-nat, dsr, ipip, gre, gue or vxlan, or a rule for each address"
            ),
            Self::KeepsPort { .. }
            | Self::NoProbePort { .. }
            | Self::Families { .. }
            | Self::NotNeighbour { .. } => self.fmt_backends(f),
            _ => self.fmt_sources(f),
        }
    }
}

fn and_more(f: &mut fmt::Formatter<'_>, more: usize) -> fmt::Result {
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}
