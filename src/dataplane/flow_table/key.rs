//! The two kinds of key, as they lie in lines.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::line::WAYS;
use crate::dataplane::lanes::{Lane, Lanes};
use crate::drop_reason::DropReason;
use crate::packet::{
    Flow, FlowKey, WideKey, flaw_of_source, is_martian, is_martian_byte, position, position_of,
};
use crate::snapshot::{BackendId, FrontendId, Snapshot};

/// A row of a line: a word of each of its flows.
type Row = [u64; WAYS];

/// A key of flows, and how four of them lie in a line with their values.
pub(in crate::dataplane) trait Key: Flow {
    /// Rows of keys, and one of values.
    type Rows: Copy + fmt::Debug + FromBytes + IntoBytes + KnownLayout + Immutable;

    /// The key of the flow that the packet in `lane` belongs to.
    fn in_lane(lanes: &Lanes, lane: Lane) -> Self;

    /// Whether no packet can come from the client.
    fn is_flawed(self) -> bool;

    /// Why that is so.
    fn flaw(self) -> Option<DropReason>;

    /// The same flow's wide key.
    fn widened(self) -> WideKey;

    /// Whether the client has an address of ours.
    fn is_ours(self, world: &Snapshot) -> bool;

    /// Whether the client has the address of a backend.
    fn is_of_backend(self, id: BackendId, world: &Snapshot) -> bool;

    /// Whether it is one of those.
    fn is_wanted(self, filter: &KeyFilter) -> bool;

    /// Whether no flow has it: an empty place.
    fn is_none(self) -> bool;

    /// Where it stands.
    fn position(self, rows: &Self::Rows) -> Option<usize>;

    /// A way without a flow.
    fn empty_way(rows: &Self::Rows) -> Option<usize>;

    /// The key of a way.
    fn at(rows: &Self::Rows, way: usize) -> Self;

    /// Writes the key of a way.
    fn put(self, rows: &mut Self::Rows, way: usize);

    /// The values, as words.
    fn values(rows: &Self::Rows) -> &Row;

    /// The same, to be changed.
    fn values_mut(rows: &mut Self::Rows) -> &mut Row;
}

/// Keys, by some of their bits: the bits that matter, and what they must be.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::dataplane) struct KeyFilter {
    narrow: (u64, u64),
    wide: ([u64; 3], [u64; 3]),
}

impl KeyFilter {
    /// Of those only the ones of a client, and of one port of it if one is given.
    pub(in crate::dataplane) fn client(mut self, address: IpAddr, port: Option<u16>) -> Self {
        let port_mask = port.map_or(0, |_| u16::MAX);
        if let IpAddr::V4(address) = address {
            self.narrow.0 |= FlowKey::client_word(Ipv4Addr::BROADCAST, port_mask);
            self.narrow.1 |= FlowKey::client_word(address, port.unwrap_or(0));
        } else {
            // No bit of a key that is not looked at can be set.
            self.narrow = (0, 1);
        }
        let all = Ipv6Addr::from_bits(u128::MAX).into();
        self.add_wide(client_of(all, port_mask), client_of(address, port.unwrap_or(0)));
        self
    }

    /// Of those only the ones to a frontend.
    pub(in crate::dataplane) fn frontend(mut self, frontend: FrontendId) -> Self {
        let word = u64::from(frontend.0) + 1;
        self.narrow = (self.narrow.0 | 0xffff, self.narrow.1 | word);
        self.add_wide(WideKey([0, 0, 0xffff]), WideKey([0, 0, word]));
        self
    }

    fn add_wide(&mut self, mask: WideKey, words: WideKey) {
        let (masks, wanted) = &mut self.wide;
        for row in 0..3 {
            masks[row] |= mask.0[row];
            wanted[row] |= words.0[row];
        }
    }
}

/// The words of a key that name the client.
fn client_of(address: IpAddr, port: u16) -> WideKey {
    let [low, high, rest] = WideKey::new(address, port, 0).0;
    WideKey([low, high, rest & !0xffff])
}

/// 64 bytes a line.
impl Key for FlowKey {
    type Rows = [Row; 2];

    #[inline(always)]
    fn in_lane(lanes: &Lanes, lane: Lane) -> Self {
        lanes.keys[lane.index()]
    }

    #[inline(always)]
    fn is_flawed(self) -> bool {
        // In a key as on the wire: the address's first byte is the lowest of its word.
        self.0 & 0xffff_0000 == 0 || is_martian_byte((self.0 >> 32) as u8)
    }

    fn flaw(self) -> Option<DropReason> {
        flaw_of_source(self.client_address(), self.client_port())
    }

    fn widened(self) -> WideKey {
        WideKey::new(self.client_address().into(), self.client_port(), self.frontend())
    }

    #[inline(always)]
    fn is_ours(self, world: &Snapshot) -> bool {
        world.is_local(self.client_address())
    }

    #[inline(always)]
    fn is_of_backend(self, id: BackendId, world: &Snapshot) -> bool {
        let address = self.client_address().octets();
        world.to_backend(id).is_some_and(|backend| backend.rewrite.address == address)
    }

    #[inline(always)]
    fn is_wanted(self, filter: &KeyFilter) -> bool {
        self.0 & filter.narrow.0 == filter.narrow.1
    }

    #[inline(always)]
    fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    fn position(self, [keys, _]: &Self::Rows) -> Option<usize> {
        position(keys, self.0)
    }

    #[inline(always)]
    fn empty_way([keys, _]: &Self::Rows) -> Option<usize> {
        position(keys, 0)
    }

    #[inline(always)]
    fn at([keys, _]: &Self::Rows, way: usize) -> Self {
        Self(keys[way])
    }

    #[inline(always)]
    fn put(self, [keys, _]: &mut Self::Rows, way: usize) {
        keys[way] = self.0;
    }

    #[inline(always)]
    fn values([_, values]: &Self::Rows) -> &Row {
        values
    }

    #[inline(always)]
    fn values_mut([_, values]: &mut Self::Rows) -> &mut Row {
        values
    }
}

/// 128 bytes a line. The words of a key lie one below the other, so that the same words of four keys are compared at
/// once.
impl Key for WideKey {
    type Rows = [Row; 4];

    #[inline(always)]
    fn in_lane(lanes: &Lanes, lane: Lane) -> Self {
        lanes.wide_key(lane)
    }

    fn is_flawed(self) -> bool {
        is_martian(self.client().ip())
    }

    fn flaw(self) -> Option<DropReason> {
        // That of ports was found before: not all protocols have them.
        is_martian(self.client().ip()).then_some(DropReason::MartianSource)
    }

    fn widened(self) -> WideKey {
        self
    }

    fn is_ours(self, world: &Snapshot) -> bool {
        world.local_at(self.client().ip()).is_some()
    }

    fn is_of_backend(self, id: BackendId, world: &Snapshot) -> bool {
        let address = self.client().ip();
        world.backend(id).is_some_and(|backend| backend.address == address)
    }

    #[inline(always)]
    fn is_wanted(self, filter: &KeyFilter) -> bool {
        let is = |row: usize| self.0[row] & filter.wide.0[row] == filter.wide.1[row];
        is(2) && is(1) && is(0)
    }

    #[inline(always)]
    fn is_none(self) -> bool {
        self.0[2] == 0
    }

    #[inline(always)]
    fn position(self, [a, b, c, _]: &Self::Rows) -> Option<usize> {
        position_of([a, b, c], self.0)
    }

    #[inline(always)]
    fn empty_way([_, _, last, _]: &Self::Rows) -> Option<usize> {
        position(last, 0)
    }

    #[inline(always)]
    fn at([a, b, c, _]: &Self::Rows, way: usize) -> Self {
        Self([a[way], b[way], c[way]])
    }

    #[inline(always)]
    fn put(self, [a, b, c, _]: &mut Self::Rows, way: usize) {
        [a[way], b[way], c[way]] = self.0;
    }

    #[inline(always)]
    fn values([.., values]: &Self::Rows) -> &Row {
        values
    }

    #[inline(always)]
    fn values_mut([.., values]: &mut Self::Rows) -> &mut Row {
        values
    }
}
