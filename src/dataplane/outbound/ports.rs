//! Which ports a backend's flows have: rings of its blocks, one for each frontend and kind, and how many mappings each
//! port has.

mod hunt;

use memmap2::MmapMut;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use hunt::{Failure, HUNTS, Hunt, Hunted};

use super::slab::{slice, untouched};
use super::table::{Far, Outside, Table};
use crate::packet::SipHash;
use crate::snapshot::{
    BLOCK_LEN, BLOCKS, Claims, FIRST_PORT, MEMBERS_MAX, MemberWay, OUTBOUND_ADDRESSES_MAX, Outbound, PortKind,
};

const KINDS: usize = PortKind::ALL.len();
const PORTS: usize = BLOCKS * BLOCK_LEN;

/// The blocks that a backend has of a frontend, for one kind of flows.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Ring {
    /// Where the next port is looked for; from 1.
    head: u32,
    blocks: u32,
    /// Ports without flows.
    free: u32,
    /// When it was last looked for blocks that were handed out: one more than the version.
    looked: u32,
}

/// A block's neighbours in its ring; from 1, 0 where it is in none.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Link {
    next: u32,
    before: u32,
}

/// The ports of one worker's backends.
pub(super) struct Ports {
    rings: MmapMut,
    links: MmapMut,
    /// By port: how many mappings it has.
    uses: MmapMut,
    /// By backend and kind.
    failures: MmapMut,
    /// By backend, kind and set of destinations.
    hunts: MmapMut,
    /// Counts ports and blocks that have come free, and flows that have ended.
    freed: u32,
    /// Where the sweep goes on.
    sweep_at: usize,
}

/// A backend's flows of one kind, at one frontend.
#[derive(Clone, Copy)]
struct Share<'a> {
    member: u32,
    kind: PortKind,
    number: u8,
    claims: &'a Claims,
}

impl Share<'_> {
    fn ring(self) -> usize {
        (self.member as usize * KINDS + self.kind as usize) * OUTBOUND_ADDRESSES_MAX
            + usize::from(self.number)
    }

    fn link(self, block: usize) -> usize {
        group(self.number, self.kind) * BLOCKS + block
    }
}

fn group(number: u8, kind: PortKind) -> usize {
    usize::from(number) * KINDS + kind as usize
}

fn bit_of(port: u16) -> u8 {
    1 << (usize::from(port.wrapping_sub(FIRST_PORT)) % BLOCK_LEN)
}

/// Whom a port is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) member: u32,
    pub(super) way: &'a MemberWay,
    pub(super) far: Far,
    pub(super) hash: u64,
    pub(super) outbound: &'a Outbound,
    pub(super) hasher: &'a SipHash,
}

impl<'a> Wanted<'a> {
    fn shares(self) -> impl Iterator<Item = Share<'a>> {
        let Wanted { member, far, outbound, .. } = self;
        outbound.numbers(self.way).iter().filter_map(move |number| {
            let claims = outbound.claims(*number)?;
            Some(Share { member, kind: far.kind, number: *number, claims })
        })
    }
}

impl Ports {
    pub(super) fn new() -> std::io::Result<Self> {
        let groups = OUTBOUND_ADDRESSES_MAX * KINDS;
        Ok(Self {
            rings: untouched(MEMBERS_MAX * groups * size_of::<Ring>())?,
            links: untouched(groups * BLOCKS * size_of::<Link>())?,
            uses: untouched(groups * PORTS * size_of::<u16>())?,
            failures: untouched(MEMBERS_MAX * KINDS * size_of::<Failure>())?,
            hunts: untouched(MEMBERS_MAX * KINDS * HUNTS * size_of::<Hunt>())?,
            freed: 0,
            sweep_at: 0,
        })
    }

    fn ring(&mut self, share: Share<'_>) -> Option<&mut Ring> {
        slice::<Ring>(&mut self.rings).get_mut(share.ring())
    }

    fn link(&mut self, share: Share<'_>, block: usize) -> Option<&mut Link> {
        slice::<Link>(&mut self.links).get_mut(share.link(block))
    }

    fn uses(&mut self, number: u8, kind: PortKind, port: u16) -> Option<&mut u16> {
        let at = group(number, kind) * PORTS + usize::from(port.checked_sub(FIRST_PORT)?);
        slice::<u16>(&mut self.uses).get_mut(at)
    }

    /// A port for a new mapping: one that has none; of TCP else one that has no flow to the same destination; else one of a
    /// block that nobody has. `None` where there is none of these.
    pub(super) fn find(&mut self, wanted: Wanted<'_>, table: &mut Table) -> Option<Outside> {
        for share in wanted.shares() {
            self.look_for_new(share, wanted.outbound.version);
            if let Some(port) = self.free_port(share, wanted.hash) {
                return Some(Outside { number: share.number, port });
            }
        }
        if self.has_failed(wanted) {
            return None;
        }
        let mut tried = 0;
        if wanted.far.kind == PortKind::Tcp {
            match self.hunt(wanted, table) {
                Hunted::Found(outside) => return Some(outside),
                Hunted::InVain(ports) => tried = ports,
            }
        }
        for share in wanted.shares() {
            // Backends begin apart, so that their blocks lie together.
            let start = wanted.member as usize * 128 % BLOCKS;
            if let Some(block) = share.claims.claim_any(share.kind, share.member, start) {
                self.add(share, block);
                let port = self.free_port(share, wanted.hash)?;
                return Some(Outside { number: share.number, port });
            }
        }
        self.note_failure(wanted, tried);
        None
    }

    /// Takes blocks in that were handed out since.
    fn look_for_new(&mut self, share: Share<'_>, version: u32) {
        let looked = version.wrapping_add(1);
        match self.ring(share) {
            Some(ring) if ring.looked != looked => ring.looked = looked,
            _ => return,
        }
        for block in 0..BLOCKS {
            let is_its = share.claims.at(share.kind, block).owner() == Some(share.member);
            if is_its && self.link(share, block).is_some_and(|link| link.next == 0) {
                self.add(share, block);
            }
        }
    }

    /// Puts a block into the ring, in front of where ports are looked for next.
    fn add(&mut self, share: Share<'_>, block: usize) -> Option<()> {
        let own = block as u32 + 1;
        let used = share.claims.used(share.kind, block).count_ones();
        let ring = self.ring(share)?;
        ring.blocks += 1;
        ring.free += BLOCK_LEN as u32 - used;
        let head = std::mem::replace(&mut ring.head, own);
        let next = head.checked_sub(1).map_or(own, |_| head);
        let before = match head.checked_sub(1) {
            Some(head) => std::mem::replace(&mut self.link(share, head as usize)?.before, own),
            None => own,
        };
        *self.link(share, block)? = Link { next, before };
        if before != own {
            self.link(share, before as usize - 1)?.next = own;
        }
        Some(())
    }

    /// Takes a block out that was given back.
    fn take_out(&mut self, share: Share<'_>, block: usize) -> Option<()> {
        let own = block as u32 + 1;
        let Link { next, before } = std::mem::take(self.link(share, block)?);
        if next == 0 {
            return None;
        }
        if next != own {
            self.link(share, next as usize - 1)?.before = before;
            self.link(share, before as usize - 1)?.next = next;
        }
        let ring = self.ring(share)?;
        ring.blocks = ring.blocks.saturating_sub(1);
        ring.free = ring.free.saturating_sub(BLOCK_LEN as u32);
        if ring.head == own {
            ring.head = if next == own { 0 } else { next };
        }
        Some(())
    }

    /// A port without flows. The next one is looked for in the next block.
    fn free_port(&mut self, share: Share<'_>, hash: u64) -> Option<u16> {
        let Ring { head, blocks, free, .. } = *self.ring(share)?;
        if free == 0 {
            return None;
        }
        let mut at = head;
        for _ in 0..blocks {
            let block = at.checked_sub(1)? as usize;
            let next = self.link(share, block)?.next;
            let used = share.claims.used(share.kind, block);
            if used != u8::MAX && !share.claims.at(share.kind, block).is_reserved() {
                self.ring(share)?.head = next;
                let turn = (hash >> 40) as u32 % u8::BITS;
                let place = (used.rotate_right(turn).trailing_ones() + turn) % u8::BITS;
                return Some(Claims::first_port(block) + place as u16);
            }
            at = next;
        }
        None
    }

    /// A mapping has the port from here on.
    pub(super) fn take(&mut self, member: u32, kind: PortKind, outside: Outside, outbound: &Outbound) {
        let Outside { number, port } = outside;
        let (Some(claims), Some(block)) = (outbound.claims(number), Claims::block_of(port)) else { return };
        let Some(uses) = self.uses(number, kind, port) else { return };
        *uses = uses.saturating_add(1);
        if *uses == 1 {
            claims.set_used(kind, block, claims.used(kind, block) | bit_of(port));
            if let Some(ring) = self.ring(Share { member, kind, number, claims }) {
                ring.free = ring.free.saturating_sub(1);
            }
        }
    }

    /// A flow has ended.
    pub(super) fn note_end(&mut self) {
        self.freed = self.freed.wrapping_add(1);
    }

    /// A mapping has the port no more.
    pub(super) fn give_back(&mut self, member: u32, kind: PortKind, outside: Outside, outbound: &Outbound) {
        let Outside { number, port } = outside;
        let (Some(claims), Some(block)) = (outbound.claims(number), Claims::block_of(port)) else { return };
        let Some(uses) = self.uses(number, kind, port) else { return };
        *uses = uses.saturating_sub(1);
        if *uses > 0 {
            return;
        }
        let used = claims.used(kind, block) & !bit_of(port);
        claims.set_used(kind, block, used);
        let share = Share { member, kind, number, claims };
        if let Some(ring) = self.ring(share) {
            ring.free += 1;
        }
        if used == 0 && claims.release(kind, block, member) {
            self.take_out(share, block);
        }
    }

    /// Gives blocks back that are kept no longer and have no flows: looks at `count` of all. Those of backends that are not
    /// `mine` are left alone.
    pub(super) fn sweep(&mut self, count: usize, outbound: &Outbound, mine: impl Fn(u32) -> bool) {
        let groups = outbound.numbers_end() * KINDS;
        let mut left = count;
        if self.sweep_at >= groups * BLOCKS {
            self.sweep_at = 0;
        }
        for _ in 0..=groups {
            let (number, kind) = (self.sweep_at / BLOCKS / KINDS, self.sweep_at / BLOCKS % KINDS);
            let end = (self.sweep_at / BLOCKS + 1) * BLOCKS;
            let kind = PortKind::ALL.get(kind).copied().unwrap_or(PortKind::Tcp);
            let claims = outbound.claims(number as u8);
            let stop = if claims.is_some() { end.min(self.sweep_at + left) } else { self.sweep_at };
            if let Some(claims) = claims {
                for at in self.sweep_at..stop {
                    self.sweep_block(at % BLOCKS, number as u8, kind, claims, &mine);
                }
            }
            left -= stop - self.sweep_at;
            if claims.is_some() && stop < end {
                self.sweep_at = stop;
                return;
            }
            self.sweep_at = end % (groups * BLOCKS).max(1);
        }
    }

    fn sweep_block(
        &mut self,
        block: usize,
        number: u8,
        kind: PortKind,
        claims: &Claims,
        mine: &impl Fn(u32) -> bool,
    ) {
        let claim = claims.at(kind, block);
        let Some(member) = claim.owner().filter(|_| !claim.is_in_advance()) else { return };
        if claims.used(kind, block) == 0 && mine(member) && claims.release(kind, block, member) {
            self.take_out(Share { member, kind, number, claims }, block);
        }
    }
}
