//! Addresses that backends have for themselves.

use std::net::IpAddr;

use super::{BackendId, WideMap};
use crate::packet::wide_endpoint;

/// By a NAT rule that leads all of an address to one backend.
pub(crate) struct BackendAddresses {
    /// Such an address → backend.
    by_own: WideMap,
    /// The address that the backend itself knows → backend.
    by_backend: WideMap,
    is_empty: bool,
}

impl BackendAddresses {
    /// Of an own address, the backend's, and the backend's id each.
    pub(super) fn new(all: &[(IpAddr, IpAddr, BackendId)]) -> Self {
        let entry = |address: IpAddr, id: BackendId| (wide_endpoint(address, 0, 0), u64::from(id.0));
        Self {
            by_own: WideMap::of(all.iter().map(|(own, _, id)| entry(*own, *id))),
            by_backend: WideMap::of(all.iter().map(|(_, backend, id)| entry(*backend, *id))),
            is_empty: all.is_empty(),
        }
    }

    /// Whether there are none.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The backend that has the address for itself.
    pub(crate) fn leading_to(&self, own: IpAddr) -> Option<BackendId> {
        self.by_own.get(wide_endpoint(own, 0, 0)).map(|id| BackendId(id as u32))
    }

    /// The backend that is at the address, if it has another for itself.
    pub(crate) fn of_backend(&self, address: IpAddr) -> Option<BackendId> {
        self.by_backend.get(wide_endpoint(address, 0, 0)).map(|id| BackendId(id as u32))
    }
}
