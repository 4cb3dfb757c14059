//! Which record belongs to which frontend and backend, over all generations.
//!
//! A flow entry holds a backend's id for as long as the flow lives, and that may be longer than the
//! backend stands in the configuration. So what is removed lingers, with its id, until the workers hold no
//! flow to it; only then can the id go to another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::{BACKENDS_MAX, BackendId, FRONTENDS_MAX, FrontendId};
use crate::config::Frontend;

/// What makes a backend the same one in another generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BackendIdentity {
    /// The frontend it serves.
    pub frontend: Frontend,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// Too many frontends, backends or source addresses at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    /// "frontends", "backends" or "source addresses".
    pub what: &'static str,
    /// How many there would be, those that linger included.
    pub wanted: usize,
    /// How many there may be.
    pub limit: usize,
}

/// Of full NAT.
pub(super) const SOURCES: &str = "source addresses";

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, wanted, limit } = self;
        let until = if *what == SOURCES { "guideway is started anew" } else { "their flows have ended" };
        write!(
            f,
            "{wanted} {what} are more than the {limit} that fit at once; those removed earlier count until {until}"
        )
    }
}

/// The ids in use.
#[derive(Default)]
pub(super) struct Ids {
    frontends: Slots<Frontend>,
    backends: Slots<BackendIdentity>,
}

impl Ids {
    /// Gives an id to each that has none. Those absent linger. Both lists ascend.
    pub(super) fn assign(
        &mut self,
        frontends: &[Frontend],
        backends: &[BackendIdentity],
    ) -> Result<(), TooMany> {
        let new_frontends = self.frontends.check("frontends", frontends, FRONTENDS_MAX)?;
        let new_backends = self.backends.check("backends", backends, BACKENDS_MAX)?;
        self.frontends.assign(new_frontends, frontends);
        self.backends.assign(new_backends, backends);
        Ok(())
    }

    /// All ids of backends are below.
    pub(super) fn backends_end(&self) -> usize {
        self.backends.ids.len() + self.backends.free.len()
    }

    pub(super) fn frontend(&self, endpoint: Frontend) -> Option<FrontendId> {
        self.frontends.ids.get(&endpoint).map(|id| FrontendId(*id as u16))
    }

    pub(super) fn backend(&self, identity: &BackendIdentity) -> Option<BackendId> {
        self.backends.ids.get(identity).map(|id| BackendId(*id))
    }

    /// The ids of the backends of `frontend` that are named, in ascending order, by `identities`. Faster
    /// than to ask for one after the other.
    pub(super) fn backends_of(
        &self,
        frontend: Frontend,
        identities: impl Iterator<Item = BackendIdentity>,
    ) -> impl Iterator<Item = BackendId> {
        let lowest = BackendIdentity { frontend, address: Ipv4Addr::UNSPECIFIED.into(), port: 0 };
        let mut known = self.backends.ids.range(lowest..).peekable();
        identities.filter_map(move |identity| {
            while known.next_if(|(other, _)| **other < identity).is_some() {}
            known.peek().filter(|(other, _)| **other == identity).map(|(_, id)| BackendId(**id))
        })
    }

    /// Frontends that are in no rule any more.
    pub(super) fn lingering_frontends(&self) -> impl Iterator<Item = Frontend> {
        self.frontends.lingering.keys().copied()
    }

    /// All frontends, those that linger included, and the number of records they need.
    pub(super) fn frontends(&self) -> impl Iterator<Item = (Frontend, FrontendId)> {
        self.frontends.ids.iter().map(|(endpoint, id)| (*endpoint, FrontendId(*id as u16)))
    }

    /// All backends, those that linger included.
    pub(super) fn backends(&self) -> impl Iterator<Item = (BackendIdentity, BackendId)> {
        self.backends.ids.iter().map(|(identity, id)| (*identity, BackendId(*id)))
    }

    pub(super) fn lingering(&self) -> impl Iterator<Item = BackendId> {
        self.backends.lingering.values().map(|id| BackendId(*id))
    }

    /// Frees what lingers and `is_unused`; a frontend once all its backends are gone.
    pub(super) fn release(
        &mut self,
        is_unused: impl Fn(BackendId) -> bool,
    ) -> Vec<(BackendIdentity, BackendId)> {
        let freed = self.backends.release(|_, id| is_unused(BackendId(id)));
        let backends = &self.backends.ids;
        self.frontends.release(|endpoint, _| backends.keys().all(|identity| identity.frontend != *endpoint));
        freed.into_iter().map(|(identity, id)| (identity, BackendId(id))).collect()
    }
}

/// Small numbers for keys, the lowest free one first.
struct Slots<K> {
    ids: BTreeMap<K, u32>,
    lingering: BTreeMap<K, u32>,
    free: BTreeSet<u32>,
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self { ids: BTreeMap::new(), lingering: BTreeMap::new(), free: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Slots<K> {
    /// Those of `current` that have no id yet; an error where there would be too many.
    fn check(&self, what: &'static str, current: &[K], limit: usize) -> Result<Vec<K>, TooMany> {
        let new: Vec<K> = absent_from(current.iter(), self.ids.keys()).copied().collect();
        let wanted = self.ids.len() + new.len();
        if wanted > limit { Err(TooMany { what, wanted, limit }) } else { Ok(new) }
    }

    fn assign(&mut self, new: Vec<K>, current: &[K]) {
        for key in new {
            let id = self.free.pop_first().unwrap_or(self.ids.len() as u32);
            self.ids.insert(key, id);
        }
        let gone = absent_from(self.ids.keys(), current.iter());
        self.lingering = gone.filter_map(|key| Some((*key, *self.ids.get(key)?))).collect();
    }

    fn release(&mut self, is_unused: impl Fn(&K, u32) -> bool) -> Vec<(K, u32)> {
        let freed: Vec<(K, u32)> =
            self.lingering.iter().filter(|(key, id)| is_unused(key, **id)).map(|(k, id)| (*k, *id)).collect();
        for (key, id) in &freed {
            self.ids.remove(key);
            self.lingering.remove(key);
            self.free.insert(*id);
        }
        freed
    }
}

/// Those of `these` that are not among `those`, both ascending. Walks them side by side: tens of thousands of
/// backends are compared with themselves at every change.
fn absent_from<'k, K: Ord + 'k>(
    these: impl Iterator<Item = &'k K>,
    those: impl Iterator<Item = &'k K>,
) -> impl Iterator<Item = &'k K> {
    let mut those = those.peekable();
    these.filter(move |key| {
        while those.next_if(|other| other < key).is_some() {}
        those.peek() != Some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;
    use crate::wire::Protocol;

    fn assign(slots: &mut Slots<char>, current: &str) {
        let current: Vec<char> = current.chars().collect();
        let new = slots.check("things", &current, 100).unwrap();
        slots.assign(new, &current);
    }

    #[test]
    fn ids_stay_linger_and_return() {
        let mut slots = Slots::default();
        assign(&mut slots, "abc");
        assign(&mut slots, "acd");
        assert_eq!(slots.ids, BTreeMap::from([('a', 0), ('b', 1), ('c', 2), ('d', 3)]));
        assert_eq!(slots.lingering, BTreeMap::from([('b', 1)]));
        // Still in use: its id goes to nobody.
        assert!(slots.release(|_, _| false).is_empty());
        assign(&mut slots, "acde");
        assert_eq!(slots.ids[&'e'], 4);
        // No longer in use: the next newcomer gets it.
        assert_eq!(slots.release(|_, _| true), [('b', 1)]);
        assign(&mut slots, "acdef");
        assert_eq!(slots.ids[&'f'], 1);
        // One that comes back before its id was freed has it again.
        assign(&mut slots, "cdef");
        assign(&mut slots, "acdef");
        assert_eq!((slots.ids[&'a'], slots.lingering.len()), (0, 0));
    }

    #[test]
    fn the_limit_counts_what_lingers() {
        let mut slots = Slots::default();
        assign(&mut slots, "ab");
        assign(&mut slots, "c");
        assert!(slots.check("things", &['c', 'd'], 4).is_ok());
        let error = slots.check("things", &['c', 'd', 'e'], 4).unwrap_err();
        assert_eq!((error.wanted, error.limit), (5, 4));
    }

    #[test]
    fn backends_of_a_frontend_are_found_among_those_that_linger_and_those_of_others() {
        let frontend = |port| {
            Frontend::from(Endpoint { address: [203, 0, 113, 1].into(), port, protocol: Protocol::Tcp })
        };
        let identity =
            |frontend, host, port| BackendIdentity { frontend, address: [10, 0, 0, host].into(), port };
        let (web, tls) = (frontend(80), frontend(443));
        let old = [identity(web, 1, 80), identity(web, 2, 80), identity(tls, 1, 8443)];
        let new = [identity(web, 1, 8080), identity(web, 2, 80), identity(tls, 1, 8443)];
        let mut ids = Ids::default();
        ids.assign(&[web, tls], &old).unwrap();
        ids.assign(&[web, tls], &new).unwrap();
        let of = |frontend, wanted: &[BackendIdentity]| {
            ids.backends_of(frontend, wanted.iter().copied()).map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(of(web, &new[..2]), [3, 1]);
        assert_eq!(of(tls, &new[2..]), [2]);
        // One that nobody knows is left out.
        assert_eq!(of(web, &[identity(web, 1, 9), new[1]]), [1]);
        assert_eq!(ids.backends_end(), 4);
    }
}
