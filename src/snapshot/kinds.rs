//! Which map of the snapshot a frontend is found in.

use crate::config::{self, Forward};

/// Where packets find their frontend, and so which keys its flows have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// One address of IPv4, one port: narrow keys.
    Narrow,
    /// One address of IPv6, one port: wide keys.
    Wide,
    /// One address and port, full NAT: wide keys, and a port of ours.
    Bound,
    /// Several addresses, ports or protocols.
    Broad,
}

impl Kind {
    /// Of a frontend whose packets are forwarded so.
    pub(super) fn of(frontend: config::Frontend, forward: Option<&Forward>) -> Self {
        match frontend.exact() {
            None => Self::Broad,
            Some(_) if is_full_nat(forward) => Self::Bound,
            Some(at) if at.address.is_ipv4() => Self::Narrow,
            Some(_) => Self::Wide,
        }
    }

    pub(super) fn of_rule(rule: &config::Rule) -> Self {
        Self::of(rule.frontend, Some(&rule.forward))
    }
}

/// Whether flows are given ports of ours.
pub(super) fn is_full_nat(forward: Option<&Forward>) -> bool {
    matches!(forward, Some(Forward::FullNat(_)))
}
