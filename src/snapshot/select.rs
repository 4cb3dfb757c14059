//! How a rule chooses the backend of a new flow.

use std::sync::Arc;

use super::BackendId;
use crate::maglev;
use crate::packet::{Flow, SipHash};

/// A Maglev table of positions in a rule's list of available backends. Shared between the rules and the
/// generations in which its inputs are the same.
pub type MaglevTable = Arc<[u16]>;

/// Chooses a backend by hash over the fields of the rule's distribution.
pub struct Selector {
    /// The destination's part of the hash, for distributions that do not hash the source port; `None`
    /// where the flow's own hash serves, which is over the 5-tuple.
    pub(super) seed: Option<u64>,
    /// Empty when no backend is available.
    pub(super) table: MaglevTable,
    /// The available backends, in the order the table counts them.
    pub(super) backends: Box<[BackendId]>,
}

/// What chose a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The hash over the fields of the distribution.
    pub hash: u64,
    /// The slot of the Maglev table.
    pub slot: usize,
    /// Who sits there.
    pub backend: BackendId,
}

impl Selector {
    /// The backend for a flow whose key is `key` and whose own hash is `flow_hash`; `None` when no backend
    /// is available.
    #[inline(always)]
    pub fn choose(&self, hasher: &SipHash, key: impl Flow, flow_hash: u64) -> Option<Choice> {
        let hash = match self.seed {
            None => flow_hash,
            Some(seed) => key.source_hash(hasher, seed),
        };
        let slot = maglev::slot(hash, self.table.len());
        let position = *self.table.get(slot)?;
        let backend = *self.backends.get(usize::from(position))?;
        Some(Choice { hash, slot, backend })
    }

    /// Asks the memory for the slot of a flow, where the flow's own hash chooses it.
    #[inline(always)]
    pub(crate) fn prefetch(&self, flow_hash: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(slot) = self.table.get(maglev::slot(flow_hash, self.table.len())) {
            safe_arch::prefetch_t0(slot);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = flow_hash;
    }

    /// The available backends.
    pub fn backends(&self) -> &[BackendId] {
        &self.backends
    }

    /// The table, as positions in [`Selector::backends`].
    pub fn table(&self) -> &[u16] {
        &self.table
    }
}
