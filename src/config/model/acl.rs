//! Access lists: who may be a client.

use std::fmt;
use std::net::IpAddr;

use super::Cidr;

/// `[[acl]]`: an ordered list of networks whose hosts may begin flows, or may not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acl {
    /// Unique.
    pub name: String,
    /// The first that has an address decides; there is one at least.
    pub rules: Vec<AclRule>,
}

/// One line of an access list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AclRule {
    /// Whether its hosts may.
    pub permits: bool,
    /// By its first address.
    pub network: Cidr,
}

impl Acl {
    /// Whether those may whom no rule has: not where any rule permits.
    pub fn permits_others(&self) -> bool {
        self.rules.iter().all(|rule| !rule.permits)
    }

    /// The number of the rule that decides on `address`, counted from 1, and the rule; by looking at one after the other.
    pub fn deciding(&self, address: IpAddr) -> Option<(usize, AclRule)> {
        (1..).zip(&self.rules).find(|(_, rule)| rule.network.contains(address)).map(|(n, rule)| (n, *rule))
    }

    /// Whether a host may be a client.
    pub fn permits(&self, address: IpAddr) -> bool {
        self.deciding(address).map_or(self.permits_others(), |(_, rule)| rule.permits)
    }
}

/// As it is written.
impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.permits { "permit" } else { "deny" }, self.network)
    }
}
