//! A frontend's record, and what is asked of it.

use std::sync::Arc;

use super::{BackendId, ClientAddress, Echo, Frontend, Selector};
use crate::config;
use crate::packet::{Flow, SipHash};

impl Frontend {
    /// One without backends to choose and with no time left, but with the seed of its flows, as what lingers has it.
    pub(super) fn idle(endpoint: config::Frontend, is_narrow: bool, is_bound: bool, flow_seed: u64) -> Self {
        Self {
            endpoint,
            is_narrow,
            is_bound,
            flow_seed,
            hairpin: false,
            acl: None,
            may_refuse: false,
            tcp_reset: false,
            idle_ticks: 0,
            echo: Echo::Off,
            mss_clamp: None,
            quic: None,
            client_address: ClientAddress::default(),
            selector: Selector { seed: None, table: Arc::from([]), backends: Box::default() },
        }
    }

    /// The hash of a flow to this frontend, over the 5-tuple.
    pub fn flow_hash(&self, hasher: &SipHash, key: impl Flow) -> u64 {
        key.hash(hasher, self.flow_seed)
    }

    /// The part of the Maglev table, and so of new flows, that each backend in it holds: 0 to 1.
    pub fn shares(&self) -> Vec<(BackendId, f64)> {
        let table = self.selector.table();
        let mut slots = vec![0usize; self.selector.backends().len()];
        for position in table {
            if let Some(count) = slots.get_mut(usize::from(*position)) {
                *count += 1;
            }
        }
        let share = |count| count as f64 / table.len().max(1) as f64;
        self.selector.backends().iter().copied().zip(slots.into_iter().map(share)).collect()
    }
}
