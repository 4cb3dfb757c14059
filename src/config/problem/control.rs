//! `[control]`.

use std::fmt;
use std::net::SocketAddr;

/// The control API over TCP against the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlProblem {
    /// It would listen without a token.
    NoToken {
        /// Where.
        address: SocketAddr,
    },
    /// It would listen where other machines can reach it.
    ListenAnywhere {
        /// Where.
        address: SocketAddr,
    },
}

impl fmt::Display for ControlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken { address } => write!(
                f,
                "[control] has listen {address} but no token_file, so that anybody could change everything; add \
                 token_file = \"/etc/guideway/token\""
            ),
            Self::ListenAnywhere { address } => write!(
                f,
                "[control] has listen {address}, which other machines can reach, and the token would go there in the \
                 clear; use 127.0.0.1 and a tunnel, or say listen_anywhere = true"
            ),
        }
    }
}
