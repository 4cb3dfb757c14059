//! Load-balancing rules.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Acl, Forward, Frontend, Pool, Quic};
use crate::config::probe::Probe;

/// `[[rule]]`: traffic to one frontend is spread over one pool. Or a port of a `[[nat_rule]]`, whose pool is one backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Unique, but for those of one NAT rule, which all have its name.
    pub name: String,
    /// What clients use. No two rules share one; of two that take the same packet, the one whose frontend comes
    /// first by [`Frontend::precedence`] has it.
    pub frontend: Frontend,
    /// Who serves. No two rules of NAT use one backend on the same port and protocol, for responses could
    /// not be told apart.
    pub pool: Arc<Pool>,
    /// The port on the backends; 0 where packets keep theirs, as those to a frontend of several ports do.
    pub backend_port: u16,
    /// How packets reach the backend.
    pub forward: Forward,
    /// Which fields of a packet choose the backend.
    pub distribution: Distribution,
    /// An established flow without packets for so long is forgotten. 1 s to 24 h.
    pub idle_timeout: Duration,
    /// Whether both ends of a TCP flow that is forgotten for that are reset.
    pub tcp_reset: bool,
    /// Whether a backend may be a client of this frontend and get itself: by NAT, its source is translated then.
    pub hairpin: bool,
    /// Whether echo requests to the frontend's addresses are answered, according to health.
    pub icmp_echo: bool,
    /// The most that either end may ask for as its maximum segment size.
    pub mss_clamp: Option<MssClamp>,
    /// How connection ids of QUIC name the backend, where they are to.
    pub quic: Option<Quic>,
    /// What tells whether its `auto` backends are up; without it they are.
    pub probe: Option<Arc<Probe>>,
    /// Its name; `None` where the rule has one of its own, or none.
    pub probe_name: Option<String>,
    /// What happens to new flows while no backend is available.
    pub no_healthy_backends: NoHealthyBackends,
    /// Who may begin flows; `None`: everybody.
    pub acl: Option<Arc<Acl>>,
    /// Whether it is of a NAT rule.
    pub is_nat_rule: bool,
}

impl Rule {
    /// Whether its flows are kept with the client's whole address and more: IPv6, and frontends of several addresses, ports
    /// or protocols. Those of full NAT are kept by their ports.
    pub fn has_wide_flows(&self) -> bool {
        let is_narrow = self.frontend.exact().is_some_and(|at| at.address.is_ipv4());
        !is_narrow && !matches!(self.forward, Forward::FullNat(_))
    }
}

/// The most that a TCP end may ask for as its maximum segment size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MssClamp {
    /// What fits the smaller of the MTUs of the two ports on the way.
    FromMtu,
    /// Bytes, 64 to 65495.
    To(u16),
}

/// Which fields are hashed to choose a backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// Source address and port, destination address and port, protocol.
    FiveTuple,
    /// Source and destination address: a client keeps its backend over all ports and protocols.
    SourceIp,
    /// Source and destination address, and protocol.
    SourceIpProtocol,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FiveTuple => "5-tuple",
            Self::SourceIp => "source-ip",
            Self::SourceIpProtocol => "source-ip-protocol",
        })
    }
}

/// What happens to new flows while no backend of the rule is available.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHealthyBackends {
    /// They are dropped and counted.
    Drop,
    /// They are spread over all backends that are not drained, as if these were up.
    All,
}

impl fmt::Display for NoHealthyBackends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drop => "drop",
            Self::All => "all",
        })
    }
}
