//! Who has which ports of an address. One for each frontend of outbound rules, shared by all generations: the management
//! thread hands out blocks in advance, workers take further ones where a backend runs short, and give them back.
//!
//! A block has one owner, a backend, and a backend's flows have one worker. So what is in a block, that worker alone
//! writes; blocks change hands by compare-and-swap, and nobody ever waits.

use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

/// The lowest port that flows are given: those below only a superuser may listen at.
pub(crate) const FIRST_PORT: u16 = 1024;

/// Ports of a block.
pub(crate) const BLOCK_LEN: usize = crate::config::OUTBOUND_BLOCK_LEN as usize;

/// Blocks of an address for each kind of flows.
pub(crate) const BLOCKS: usize = (65_536 - FIRST_PORT as usize) / BLOCK_LEN;

/// Flows whose ports are counted apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum PortKind {
    Tcp = 0,
    Udp = 1,
    /// Identifiers of echo requests.
    Echo = 2,
}

impl PortKind {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Echo];
}

/// A block's word: its owner, counted from 1, and what the management thread says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim(u32);

const OWNER_MASK: u32 = 0x00ff_ffff;
/// It was handed out in advance, and is not given back.
const ADVANCE: u32 = 1 << 30;
/// A rule has a port in it: no flow gets one.
const RESERVED: u32 = 1 << 31;

impl Claim {
    pub(crate) fn owner(self) -> Option<u32> {
        (self.0 & OWNER_MASK).checked_sub(1)
    }

    pub(crate) fn is_in_advance(self) -> bool {
        self.0 & ADVANCE != 0
    }

    pub(crate) fn is_reserved(self) -> bool {
        self.0 & RESERVED != 0
    }
}

/// The blocks of an address.
pub(crate) struct Claims {
    words: Box<[AtomicU32]>,
    /// A bit for each port that flows have.
    used: Box<[AtomicU8]>,
    /// Blocks that nobody has, give or take those that are changing hands.
    free: [AtomicI32; 3],
}

impl Default for Claims {
    fn default() -> Self {
        let all = || 0..BLOCKS * PortKind::ALL.len();
        Self {
            words: all().map(|_| AtomicU32::new(0)).collect(),
            used: all().map(|_| AtomicU8::new(0)).collect(),
            free: PortKind::ALL.map(|_| AtomicI32::new(BLOCKS as i32)),
        }
    }
}

impl Claims {
    /// The block of a port.
    pub(crate) fn block_of(port: u16) -> Option<usize> {
        Some(usize::from(port.checked_sub(FIRST_PORT)?) / BLOCK_LEN)
    }

    /// The first port of a block.
    pub(crate) fn first_port(block: usize) -> u16 {
        FIRST_PORT + (block * BLOCK_LEN) as u16
    }

    fn word(&self, kind: PortKind, block: usize) -> Option<&AtomicU32> {
        self.words.get(kind as usize * BLOCKS + block)
    }

    pub(crate) fn at(&self, kind: PortKind, block: usize) -> Claim {
        Claim(self.word(kind, block).map_or(RESERVED, |word| word.load(Ordering::Relaxed)))
    }

    /// The bits of ports that flows have. Only the owner's worker writes them.
    pub(crate) fn used(&self, kind: PortKind, block: usize) -> u8 {
        self.used.get(kind as usize * BLOCKS + block).map_or(0, |bits| bits.load(Ordering::Relaxed))
    }

    pub(crate) fn set_used(&self, kind: PortKind, block: usize, used: u8) {
        if let Some(bits) = self.used.get(kind as usize * BLOCKS + block) {
            bits.store(used, Ordering::Relaxed);
        }
    }

    /// Whether some block may be nobody's.
    pub(crate) fn has_free(&self, kind: PortKind) -> bool {
        self.free.get(kind as usize).is_some_and(|free| free.load(Ordering::Relaxed) > 0)
    }

    fn count_free(&self, kind: PortKind, more: i32) {
        if let Some(free) = self.free.get(kind as usize) {
            free.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn exchange(&self, kind: PortKind, block: usize, old: u32, new: u32) -> bool {
        let Some(word) = self.word(kind, block) else { return false };
        word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes a block that nobody has. Whether it was so.
    pub(crate) fn claim(&self, kind: PortKind, block: usize, owner: u32) -> bool {
        let has = self.exchange(kind, block, 0, owner + 1);
        if has {
            self.count_free(kind, -1);
        }
        has
    }

    /// Takes the first block from `start` on, around the circle, that nobody has.
    pub(crate) fn claim_any(&self, kind: PortKind, owner: u32, start: usize) -> Option<usize> {
        if !self.has_free(kind) {
            return None;
        }
        (0..BLOCKS)
            .map(|turn| (start + turn) % BLOCKS)
            .find(|block| self.at(kind, *block) == Claim(0) && self.claim(kind, *block, owner))
    }

    /// Gives a block back that its owner has no flows in. One that was handed out in advance is kept; whether it was given
    /// back.
    pub(crate) fn release(&self, kind: PortKind, block: usize, owner: u32) -> bool {
        let old = self.at(kind, block);
        if old.owner() != Some(owner) || old.is_in_advance() {
            return false;
        }
        let is_done = self.exchange(kind, block, old.0, old.0 & RESERVED);
        if is_done && !old.is_reserved() {
            self.count_free(kind, 1);
        }
        is_done
    }

    /// For the management thread: says whether a block that has an owner is kept by it.
    pub(super) fn keep(&self, kind: PortKind, block: usize, owner: u32, keep: bool) -> bool {
        let Some(word) = self.word(kind, block) else { return false };
        let old = Claim(word.load(Ordering::Relaxed));
        if old.owner() != Some(owner) {
            return false;
        }
        let new = if keep { old.0 | ADVANCE } else { old.0 & !ADVANCE };
        old.0 == new || self.exchange(kind, block, old.0, new)
    }

    /// For the management thread: keeps flows out of a block, or lets them in.
    pub(super) fn reserve(&self, kind: PortKind, block: usize, is_reserved: bool) {
        let Some(word) = self.word(kind, block) else { return };
        let old = if is_reserved {
            word.fetch_or(RESERVED, Ordering::AcqRel)
        } else {
            word.fetch_and(!RESERVED, Ordering::AcqRel)
        };
        if Claim(old).owner().is_none() && Claim(old).is_reserved() != is_reserved {
            self.count_free(kind, if is_reserved { -1 } else { 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_change_hands_whole() {
        let claims = Claims::default();
        assert_eq!((BLOCKS, Claims::block_of(1023), Claims::block_of(1024)), (8064, None, Some(0)));
        assert_eq!((Claims::block_of(65_535), Claims::first_port(8063)), (Some(8063), 65_528));
        assert!(claims.claim(PortKind::Tcp, 5, 0) && !claims.claim(PortKind::Tcp, 5, 1));
        assert!(claims.claim(PortKind::Udp, 5, 1));
        assert_eq!(claims.claim_any(PortKind::Tcp, 1, 5), Some(6));
        assert!(claims.keep(PortKind::Tcp, 5, 0, true));
        // What was handed out in advance stays, and nobody gives back what is another's.
        assert!(!claims.release(PortKind::Tcp, 5, 0) && !claims.release(PortKind::Tcp, 6, 0));
        assert!(claims.keep(PortKind::Tcp, 5, 0, false) && claims.release(PortKind::Tcp, 5, 0));
        assert!(!claims.keep(PortKind::Tcp, 5, 0, true));
        claims.reserve(PortKind::Tcp, 6, true);
        claims.reserve(PortKind::Tcp, 7, true);
        assert!(!claims.claim(PortKind::Tcp, 7, 3));
        assert!(claims.release(PortKind::Tcp, 6, 1) && !claims.claim(PortKind::Tcp, 6, 1));
        claims.reserve(PortKind::Tcp, 6, false);
        assert!(claims.claim(PortKind::Tcp, 6, 1));
        assert!((0..BLOCKS - 2).all(|_| claims.claim_any(PortKind::Tcp, 9, 17).is_some()));
        assert!(!claims.has_free(PortKind::Tcp) && claims.has_free(PortKind::Udp));
    }
}
