//! The flow table: which backend each flow goes to. One worker's own; a cache of decisions, never a gate.
//!
//! Four entries of 16 bytes fill a cache line: a tag, which the flow is found by, and a value. Narrow keys are their own
//! tags; of wide ones the client's address lies in memory of its own, which only new flows and those that end take a look
//! at. A flow has two lines it can be in, chosen by its hash, and nothing is ever moved to make room: under a flood of new
//! flows such moves would be tried in vain for every packet. When both lines are full, a flow that is over makes room, or
//! one that has shown only one packet gives way; if there is none the new flow is not recorded: the hash alone decides
//! then, and established flows keep their places.

mod entry;
mod idle;
mod key;
mod line;
mod lines;
mod reset;
mod table;
mod walk;

use super::full_nat::PortMemory;
use super::outbound;
use crate::packet::{FlowKey, WideKey};
use crate::snapshot::{BackendId, Frontend, Snapshot};
use crate::tick::Tick;
use crate::wire::l4::TcpFlags;

pub use entry::State;
pub(super) use entry::{End, Value};
pub(super) use idle::Position;
pub(super) use key::{Key, KeyFilter};
pub(super) use line::{TURNS, settle_flow};
pub(super) use lines::Lines;
pub(super) use reset::Silent;
pub(super) use table::Table;
pub(super) use walk::Standing;

/// What a packet brings to a lookup.
#[derive(Clone, Copy)]
pub(super) struct Query<'a, K> {
    pub(super) key: K,
    pub(super) hash: u64,
    pub(super) flags: TcpFlags,
    pub(super) is_udp: bool,
    pub(super) frontend: &'a Frontend,
    pub(super) world: &'a Snapshot,
    pub(super) now: Tick,
}

/// What the table says of a packet's flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It goes where it went.
    Backend(BackendId),
    /// Not there, as far as has been looked.
    Absent,
    /// There, but over, or its backend takes no more of it: to be forgotten.
    Stale,
    /// There, and to be reset at this backend. It is kept a while, for what its ends have on its way.
    Reset(BackendId),
}

/// Room for a worker's flows: a table of narrow keys, one of wide keys, and the ports of full NAT.
pub struct FlowTable {
    tables: Tables,
    ports: PortMemory,
    outbound: Box<outbound::Flows>,
    /// Whether the wide table has its memory from the start.
    with_wide: bool,
}

/// A worker's tables.
pub(super) struct Tables {
    pub(super) narrow: Table<FlowKey>,
    pub(super) wide: Table<WideKey>,
}

impl FlowTable {
    /// Room for `flows` flows of each kind at a load of 0.6, which leaves about 1 % of them without a place: 26.7 bytes
    /// a flow, and 53.3 where keys are wide. The narrow table is on hugepages where enough are free; else the kernel is
    /// asked for transparent ones. The wide one takes memory as it is used; see [`Self::with_wide`].
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(flows: usize) -> std::io::Result<Self> {
        let tables = Tables { narrow: Table::new(flows)?, wide: Table::untouched(flows)? };
        Self::of(tables, false)
    }

    /// The same, with all memory of the wide table from the start: where the configuration has use for it.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn with_wide(flows: usize) -> std::io::Result<Self> {
        let tables = Tables { narrow: Table::new(flows)?, wide: Table::new(flows)? };
        Self::of(tables, true)
    }

    fn of(tables: Tables, with_wide: bool) -> std::io::Result<Self> {
        let (ports, outbound) = (PortMemory::new()?, Box::new(outbound::Flows::new()?));
        Ok(Self { tables, ports, outbound, with_wide })
    }

    /// The bytes in hugepages that a table for `flows` flows takes, with the wide one or without.
    pub fn hugepage_bytes(flows: usize, with_wide: bool) -> usize {
        let wide = if with_wide { Table::<WideKey>::hugepage_bytes(flows) } else { 0 };
        Table::<FlowKey>::hugepage_bytes(flows) + wide
    }

    /// The bytes of the lines that have memory from the start.
    pub fn len_bytes(&self) -> usize {
        let wide = if self.with_wide { self.tables.wide.len_bytes() } else { 0 };
        self.tables.narrow.len_bytes() + wide
    }

    /// The number of lines of either table.
    pub fn lines(&self) -> usize {
        self.tables.narrow.lines()
    }

    /// Whether these lines lie on reserved hugepages.
    pub fn is_on_hugepages(&self) -> bool {
        self.tables.narrow.is_on_hugepages() && (!self.with_wide || self.tables.wide.is_on_hugepages())
    }

    /// What the path takes apart.
    pub(super) fn into_parts(self) -> (Tables, PortMemory, Box<outbound::Flows>) {
        (self.tables, self.ports, self.outbound)
    }
}
