//! Pools and their backends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::network::Network;
use super::{Names, PlacedPool, duration_in_range, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::model::{AdminState, Backend, Cidr, Pool};
use crate::config::problem::{NetworkProblem, PoolProblem, ValueProblem};
use crate::config::raw::{At, Field, RawBackend, RawConfig, RawPool};
use crate::config::subject_of;

/// The most backends of a pool. A Maglev table has a hundred slots for each, and slots are 16 bits wide.
pub const BACKENDS_PER_POOL_MAX: usize = 10_000;

const WEIGHT: (i128, i128) = (0, 100);
const WEIGHT_DEFAULT: u8 = 1;
const DRAIN_TIMEOUT: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(24 * 3600));

/// All pools.
pub(super) struct Pools {
    pub(super) list: Vec<PlacedPool>,
    pub(super) names: Names,
    by_name: HashMap<String, usize>,
}

impl Pools {
    pub(super) fn find(&self, name: &str) -> Option<&PlacedPool> {
        self.by_name.get(name).and_then(|index| self.list.get(*index))
    }
}

/// Checks all pools.
pub(super) fn check(raw: &RawConfig, network: &Network, report: &mut Report) -> Pools {
    let mut frontends = Frontends::default();
    for At { value: frontend, place } in super::frontends::said(raw) {
        if frontend.is_one_address() {
            frontends.addresses.entry(frontend.address).or_insert(*place);
        } else {
            frontends.networks.push((frontend.network(), *place));
        }
    }
    for At { value: frontend, place } in
        raw.outbound.iter().filter_map(|rule| rule.frontends.value()).flatten()
    {
        frontends.addresses.entry(*frontend).or_insert(*place);
    }
    let mut pools = Pools { list: Vec::new(), names: Names::new("pool", raw), by_name: HashMap::new() };
    for pool in &raw.pools {
        let name = pools.names.add(&pool.name, pool.place, report);
        let subject = subject_of("pool", name.as_deref().unwrap_or_default());
        let members = members(pool, &subject, report);
        pools.by_name.extend(name.clone().map(|name| (name, pools.list.len())));
        // A pool without a name is looked through all the same.
        let name = name.unwrap_or_else(|| "?".to_owned());
        let seen = HashMap::with_capacity(members.backends.len());
        let mut checker = Checker { pool: &name, network, frontends: &frontends, seen };
        let is_whole = checker.check(&members, report);
        let place = pool.name.place_or(pool.place);
        let backends = members.backends.into_iter().map(|backend| backend.value).collect();
        let drain_timeout =
            duration_in_range(&subject, "drain_timeout", &pool.drain_timeout, DRAIN_TIMEOUT, report);
        let pool = Arc::new(Pool { name, backends, drain_timeout });
        pools.list.push(PlacedPool { place, pool, is_whole });
    }
    pools
}

/// Where each address is a frontend's.
#[derive(Default)]
struct Frontends {
    addresses: HashMap<IpAddr, Place>,
    networks: Vec<(Cidr, Place)>,
}

impl Frontends {
    fn at(&self, address: IpAddr) -> Option<Place> {
        let by_network = || self.networks.iter().find(|(network, _)| network.contains(address));
        self.addresses.get(&address).copied().or_else(|| by_network().map(|(_, place)| *place))
    }
}

/// The backends of a pool, before they are compared with anything.
struct Members {
    backends: Vec<At<Backend>>,
    /// Whether they come from a range, so that one finding stands for all.
    are_range: bool,
    is_whole: bool,
}

impl Members {
    fn none() -> Self {
        Self { backends: Vec::new(), are_range: false, is_whole: false }
    }
}

fn members(raw: &RawPool, subject: &str, report: &mut Report) -> Members {
    let subject_owned = || subject.to_owned();
    match (&raw.backends, &raw.addresses) {
        (Field::Given(_), Field::Given(At { place, .. })) => {
            report.error(*place, PoolProblem::BothSources { subject: subject_owned() });
            Members::none()
        }
        (Field::Absent, Field::Absent) if raw.instances.is_absent() => {
            report.error(raw.place, PoolProblem::NoSource { subject: subject_owned() });
            Members::none()
        }
        (_, Field::Absent) if raw.instances.given().is_some() => {
            let place = raw.instances.place_or(raw.place);
            report.error(place, PoolProblem::InstancesOfList { subject: subject_owned() });
            Members::none()
        }
        (Field::Given(list), _) => list_members(&list.value, list.place, subject, report),
        (_, Field::Given(_)) => range_members(raw, subject, report),
        // One of them is broken, and has been reported.
        _ => Members::none(),
    }
}

fn list_members(list: &[RawBackend], place: Place, pool: &str, report: &mut Report) -> Members {
    if list.len() > BACKENDS_PER_POOL_MAX {
        report.error(place, too_many(pool, list.len()));
        return Members::none();
    }
    let mut members = Members { backends: Vec::with_capacity(list.len()), are_range: false, is_whole: true };
    for raw in list {
        match backend(raw, pool, report) {
            Some(backend) => members.backends.push(At { value: backend, place: raw.place }),
            None => members.is_whole = false,
        }
    }
    members
}

fn too_many(pool: &str, count: usize) -> ValueProblem {
    ValueProblem::TooMany { what: format!("backends in {pool}"), count, max: BACKENDS_PER_POOL_MAX }
}

fn backend(raw: &RawBackend, pool: &str, report: &mut Report) -> Option<Backend> {
    let state = raw.state.value().copied().unwrap_or(AdminState::Auto);
    // Nearly all have an address and no weight, and there are tens of thousands: nothing is to be said of these.
    let quic_server_id = raw.quic_server_id.value().copied();
    if let (Some(address), true) = (raw.address.value(), raw.weight.is_absent()) {
        return Some(Backend { address: *address, weight: WEIGHT_DEFAULT, state, quic_server_id });
    }
    let address = required(&format!("a backend of {pool}"), "address", &raw.address, raw.place, report);
    let subject = address.map_or("a backend".to_owned(), |address| format!("backend {}", address.value));
    let weight = in_range(&subject, "weight", &raw.weight, WEIGHT, report).unwrap_or(WEIGHT_DEFAULT);
    Some(Backend { address: address?.value, weight, state, quic_server_id })
}

fn range_members(raw: &RawPool, subject: &str, report: &mut Report) -> Members {
    let count = required(subject, "instances", &raw.instances, raw.place, report);
    let (Some(count), Some(range)) = (count, raw.addresses.given()) else { return Members::none() };
    let At { value: instances, place } = *count;
    let range_len = range.value.len();
    if instances > i128::from(range_len) {
        let subject = subject.to_owned();
        report.error(place, PoolProblem::InstancesTooMany { subject, instances, range_len });
        return Members::none();
    }
    let bounds = (0, BACKENDS_PER_POOL_MAX as i128);
    let Some(instances) = in_range(subject, "instances", &raw.instances, bounds, report) else {
        return Members::none();
    };
    let backend =
        |address| Backend { address, weight: WEIGHT_DEFAULT, state: AdminState::Auto, quic_server_id: None };
    let addresses = range.value.addresses().take(instances);
    let backends = addresses.map(|address| At { value: backend(address), place: range.place }).collect();
    Members { backends, are_range: true, is_whole: true }
}

/// Compares the backends of one pool with each other and with the network.
struct Checker<'a> {
    pool: &'a str,
    network: &'a Network,
    frontends: &'a Frontends,
    seen: HashMap<IpAddr, Place>,
}

impl Checker<'_> {
    fn check(&mut self, members: &Members, report: &mut Report) -> bool {
        for backend in &members.backends {
            let is_sound = self.backend(backend.value.address, backend.place, report);
            if !is_sound && members.are_range {
                return false;
            }
        }
        members.is_whole
    }

    fn backend(&mut self, address: IpAddr, place: Place, report: &mut Report) -> bool {
        let pool = || self.pool.to_owned();
        let subject = || format!("a backend of pool {}", self.pool);
        if let Some(first) = self.seen.insert(address, place) {
            report.error(place, PoolProblem::DuplicateBackend { pool: pool(), address, first });
        } else if let Some(flaw) = self.network.flaw(address) {
            report.error(place, NetworkProblem::Unusable { subject: subject(), address, flaw });
        } else if let Some(port) = self.network.owner(address) {
            report.error(place, NetworkProblem::Own { subject: subject(), address, port: port.name.clone() });
        } else if let Some(frontend) = self.frontends.at(address) {
            report.error(place, PoolProblem::IsFrontend { pool: pool(), address, frontend });
        } else if self.is_unreachable(address) {
            report.error(place, PoolProblem::Unreachable { pool: pool(), address });
        } else {
            return true;
        }
        false
    }

    /// Without any port there is nothing to reach it by, and no harm: ports come with `run`.
    fn is_unreachable(&self, address: IpAddr) -> bool {
        let network = self.network;
        !network.ports.is_empty() && network.is_whole && !network.is_reachable(address)
    }
}
