//! The hunt for a port that a backend's flows to other destinations have: some for each packet, each from where the last one
//! ended.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::slab::slice;
use super::super::table::{Far, Outside, Table};
use super::{KINDS, Link, Ports, Ring, Share, Wanted};
use crate::snapshot::{BLOCK_LEN, Claims, PortKind};

/// Ports that are tried for a packet where all have flows already: a microsecond or so. The next packet goes on from there.
const TRIES: usize = 64;

/// Sets of destinations of a backend, by hash: each has a place where ports for it are tried next.
pub(super) const HUNTS: usize = 8;

/// What was last looked for in vain, so that a backend that asks again and again is told so at once.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Failure {
    address: [u64; 2],
    port: u32,
    /// How many ports had come free by then; from 1.
    freed: u32,
    /// Ports that were tried; where other destinations of the same set are looked for meanwhile, not all of them are others.
    tried: u32,
    spare: u32,
}

/// Where ports are tried next for a set of destinations: a frontend's number and a block, from 1.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hunt {
    number: u32,
    block: u32,
}

/// What came of trying ports.
pub(super) enum Hunted {
    Found(Outside),
    /// So many were tried.
    InVain(u32),
}

impl Failure {
    /// Whether it was for that destination, and no port has come free since.
    fn is_of(&self, far: Far, freed: u32) -> bool {
        (self.address, self.port, self.freed) == (far.address, far.port.into(), freed)
    }
}

impl Ports {
    fn hunt_of(&mut self, wanted: Wanted<'_>) -> Option<&mut Hunt> {
        let Far { kind, address: [a, b], port } = wanted.far;
        let set = wanted.hasher.three([a, b, u64::from(port)]) as usize % HUNTS;
        let at = (wanted.member as usize * KINDS + kind as usize) * HUNTS + set;
        slice::<Hunt>(&mut self.hunts).get_mut(at)
    }

    /// Looks for a port that others of the backend have for other destinations, from where it was looked for last. Of each
    /// frontend it begins anew.
    pub(super) fn hunt(&mut self, wanted: Wanted<'_>, table: &mut Table) -> Hunted {
        let Hunt { number, block } = self.hunt_of(wanted).copied().unwrap_or_default();
        let all = wanted.shares().count();
        let start = wanted.shares().position(|share| u32::from(share.number) + 1 == number);
        let mut tried = 0;
        for (turn, share) in
            wanted.shares().chain(wanted.shares()).skip(start.unwrap_or(0)).take(all).enumerate()
        {
            let from = if turn == 0 && start.is_some() { block } else { 0 };
            let found = self.shared_port(share, from, wanted, table, &mut tried);
            let Some((next, port)) = found else { continue };
            if let Some(hunt) = self.hunt_of(wanted) {
                *hunt = Hunt { number: u32::from(share.number) + 1, block: next };
            }
            return match port {
                Some(port) => Hunted::Found(Outside { number: share.number, port }),
                None => Hunted::InVain(tried),
            };
        }
        // That was all there are.
        Hunted::InVain(u32::MAX)
    }

    /// The block to go on at, and the port that was found, if not too many were tried before; `None` where this frontend has
    /// none.
    fn shared_port(
        &mut self,
        share: Share<'_>,
        from: u32,
        wanted: Wanted<'_>,
        table: &mut Table,
        tried: &mut u32,
    ) -> Option<(u32, Option<u16>)> {
        let Ring { head, blocks, .. } = *self.ring(share)?;
        let is_in_ring = |link: Option<&mut Link>| link.is_some_and(|link| link.next != 0);
        // Meanwhile the block may have gone to another backend, and have its place in that one's ring.
        let is_its = |block: usize| share.claims.at(share.kind, block).owner() == Some(share.member);
        let is_place = from
            .checked_sub(1)
            .map(|block| block as usize)
            .is_some_and(|block| is_its(block) && is_in_ring(self.link(share, block)));
        let mut at = if is_place { from } else { head };
        for _ in 0..blocks {
            let block = at.checked_sub(1)? as usize;
            let own = std::mem::replace(&mut at, self.link(share, block)?.next);
            if share.claims.at(share.kind, block).is_reserved() {
                continue;
            }
            for port in (0..BLOCK_LEN as u16).map(|place| Claims::first_port(block) + place) {
                if *tried as usize >= TRIES {
                    return Some((own, None));
                }
                *tried += 1;
                let outside = Outside { number: share.number, port };
                let has_room = *self.uses(share.number, share.kind, port)? < u16::MAX;
                if has_room && table.find(outside, wanted.far, wanted.hasher).is_none() {
                    return Some((at, Some(port)));
                }
            }
        }
        None
    }

    fn failure(&mut self, wanted: Wanted<'_>) -> Option<&mut Failure> {
        let at = wanted.member as usize * KINDS + wanted.far.kind as usize;
        slice::<Failure>(&mut self.failures).get_mut(at)
    }

    /// Whether it is known that there is no port.
    pub(super) fn has_failed(&mut self, wanted: Wanted<'_>) -> bool {
        let has_free = wanted.shares().any(|share| share.claims.has_free(share.kind));
        let ports: u32 = if wanted.far.kind == PortKind::Tcp {
            wanted.shares().filter_map(|share| Some(self.ring(share)?.blocks * BLOCK_LEN as u32)).sum()
        } else {
            0
        };
        let freed = self.freed.wrapping_add(1);
        let is_same = self.failure(wanted).filter(|failure| failure.is_of(wanted.far, freed));
        !has_free && is_same.is_some_and(|failure| failure.tried >= ports)
    }

    pub(super) fn note_failure(&mut self, wanted: Wanted<'_>, tried: u32) {
        let freed = self.freed.wrapping_add(1);
        let Far { address, port, .. } = wanted.far;
        let Some(failure) = self.failure(wanted) else { return };
        let before = if failure.is_of(wanted.far, freed) { failure.tried } else { 0 };
        let tried = before.saturating_add(tried);
        *failure = Failure { address, port: port.into(), freed, tried, spare: 0 };
    }
}
