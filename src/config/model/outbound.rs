//! Outbound rules: whom the connections come from that backends open themselves.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Pool;

/// Ports come in aligned blocks of so many, as Azure hands them out.
pub const OUTBOUND_BLOCK_LEN: u32 = 8;

/// Ports that an address has for outbound flows of a protocol: 1024 to 65535, of which Azure counts 64,000.
pub const OUTBOUND_PORTS_PER_FRONTEND: u32 = 64_000;

/// `[[outbound_rule]]`: connections of a pool's backends leave from a frontend's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboundRule {
    /// Unique among outbound rules.
    pub name: String,
    /// Whose connections they are.
    pub pool: Arc<Pool>,
    /// Whom they come from, each once.
    pub frontends: Vec<IpAddr>,
    /// Which of them.
    pub protocol: OutboundProtocol,
    /// Ports that each backend has for itself, of each protocol; `None`: by the size of the pool.
    pub ports_per_backend: Option<u32>,
    /// An established flow without packets for so long is forgotten. 1 s to 24 h.
    pub idle_timeout: Duration,
    /// Whether both ends of a TCP flow that is forgotten for that are reset.
    pub tcp_reset: bool,
}

impl OutboundRule {
    /// Ports that each backend has for itself, of each protocol. The default is the least of what the size of the pool
    /// allows: Azure's table, for one address.
    pub fn ports(&self) -> u32 {
        self.ports_per_backend.unwrap_or(match self.pool.backends.len() {
            0..=50 => 1024,
            51..=100 => 512,
            101..=200 => 256,
            201..=400 => 128,
            401..=800 => 64,
            _ => 32,
        })
    }

    /// Those of its frontends that are of the family of `like`.
    pub fn frontends_like(&self, like: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.frontends.iter().copied().filter(move |address| address.is_ipv4() == like.is_ipv4())
    }
}

/// Which connections are translated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OutboundProtocol {
    /// Those of TCP.
    Tcp,
    /// Datagrams of UDP.
    Udp,
    /// Both, and echo requests.
    Any,
}

impl OutboundProtocol {
    /// Whether some packets are of both.
    pub fn overlaps(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

impl fmt::Display for OutboundProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        })
    }
}
