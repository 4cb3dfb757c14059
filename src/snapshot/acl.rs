//! Access lists, compiled for looking up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::intervals::{Intervals, Network};
use crate::config;

/// Who may be a client.
#[derive(Debug)]
pub(crate) struct Acl {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
}

impl Acl {
    fn new(acl: &config::Acl) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for config::AclRule { permits, network } in &acl.rules {
            let range = network.range();
            match (range.first, range.last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    v4.push(Network { first: first.into(), last: last.into(), is_in: *permits });
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    v6.push(Network { first: first.into(), last: last.into(), is_in: *permits });
                }
                _ => {}
            }
        }
        let others = acl.permits_others();
        Self { v4: Intervals::new(&v4, others), v6: Intervals::new(&v6, others) }
    }

    /// Whether `client` may begin flows.
    #[inline]
    pub(crate) fn permits(&self, client: IpAddr) -> bool {
        match client {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }
}

/// Those of the latest snapshot: to compile a long one takes some milliseconds, and every flap of a backend makes a new
/// snapshot.
#[derive(Default)]
pub(super) struct Acls(HashMap<String, (Arc<config::Acl>, Arc<Acl>)>);

impl Acls {
    /// Goes over to those of a model.
    pub(super) fn follow(&mut self, acls: &[Arc<config::Acl>]) {
        let before = std::mem::take(&mut self.0);
        let compiled = |acl: &Arc<config::Acl>| {
            let same = before.get(&acl.name).filter(|(old, _)| old == acl);
            let compiled = same.map_or_else(|| Arc::new(Acl::new(acl)), |(_, compiled)| Arc::clone(compiled));
            (acl.name.clone(), (Arc::clone(acl), compiled))
        };
        self.0 = acls.iter().map(compiled).collect();
    }

    /// The one that a rule has.
    pub(super) fn of(&self, rule: &config::Rule) -> Option<Arc<Acl>> {
        self.0.get(&rule.acl.as_ref()?.name).map(|(_, compiled)| Arc::clone(compiled))
    }
}
