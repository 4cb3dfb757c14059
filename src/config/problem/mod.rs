//! Every way in which a configuration can be wrong or odd, as types; and the sentence for each.
//!
//! A sentence begins with its subject ("port outside", "rule https") and ends with what to do.

mod balancing;
mod control;
mod forward;
mod name;
mod nat_rule;
mod network;
mod outbound;
mod quic;
mod route;
mod value;

use std::fmt;

pub use balancing::{NoEffect, PoolProblem, RuleProblem};
pub use control::ControlProblem;
pub use forward::ForwardProblem;
pub use name::{FlagProblem, NameProblem};
pub use nat_rule::NatProblem;
pub use network::{AddressFlaw, NetworkProblem};
pub use outbound::OutboundProblem;
pub use quic::QuicProblem;
pub use route::RouteProblem;
pub use value::{FileProblem, ValueProblem};

/// What a finding says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The file cannot be read, or is not TOML.
    File(FileProblem),
    /// A key or a value taken by itself.
    Value(ValueProblem),
    /// A name that is bad, taken, missing or unused.
    Name(NameProblem),
    /// A flag that does not fit the others.
    Flag(FlagProblem),
    /// Ports, addresses and neighbours against each other.
    Network(NetworkProblem),
    /// A static route.
    Route(RouteProblem),
    /// How a rule's packets reach its backends.
    Forward(ForwardProblem),
    /// A NAT rule.
    Nat(NatProblem),
    /// An outbound rule.
    Outbound(OutboundProblem),
    /// Routing by QUIC connection ids.
    Quic(QuicProblem),
    /// A pool against the rest.
    Pool(PoolProblem),
    /// A rule against the rest.
    Rule(RuleProblem),
    /// The control API.
    Control(ControlProblem),
    /// Accepted, but without effect in this version.
    NoEffect(NoEffect),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(problem) => problem.fmt(f),
            Self::Value(problem) => problem.fmt(f),
            Self::Name(problem) => problem.fmt(f),
            Self::Flag(problem) => problem.fmt(f),
            Self::Network(problem) => problem.fmt(f),
            Self::Route(problem) => problem.fmt(f),
            Self::Forward(problem) => problem.fmt(f),
            Self::Nat(problem) => problem.fmt(f),
            Self::Outbound(problem) => problem.fmt(f),
            Self::Quic(problem) => problem.fmt(f),
            Self::Pool(problem) => problem.fmt(f),
            Self::Rule(problem) => problem.fmt(f),
            Self::Control(problem) => problem.fmt(f),
            Self::NoEffect(problem) => problem.fmt(f),
        }
    }
}

/// Text of the user's in quotes, with control characters escaped, and cut where it is too long for a line.
struct Quoted<'a>(&'a str);

/// Longer than any sound value; shorter than a screen.
const QUOTED_CHARS_MAX: usize = 80;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(QUOTED_CHARS_MAX) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}...", self.0.get(..end).unwrap_or_default()),
        }
    }
}

macro_rules! problem_from {
    ($($variant:ident($problem:ident)),*) => {
        $(impl From<$problem> for Problem {
            fn from(problem: $problem) -> Self {
                Self::$variant(problem)
            }
        })*
    };
}

problem_from!(
    File(FileProblem),
    Value(ValueProblem),
    Name(NameProblem),
    Flag(FlagProblem),
    Network(NetworkProblem),
    Route(RouteProblem),
    Forward(ForwardProblem),
    Nat(NatProblem),
    Outbound(OutboundProblem),
    Quic(QuicProblem),
    Pool(PoolProblem),
    Rule(RuleProblem),
    Control(ControlProblem),
    NoEffect(NoEffect)
);
