//! The datagrams of which a part has come and another has not. All memory is taken at the start; whatever comes, a
//! fragment costs a hash, a few looks at a table, and one at the parts of its datagram.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::held::{Chain, NOWHERE, PLACES, Places};
use super::pieces::Pieces;
use crate::dataplane::bucket::Bucket;
use crate::dataplane::full_nat::Aside;
use crate::dataplane::lanes::{Lane, Source, WorkerId};
use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, Frame, PortId};
use crate::packet::{FragmentPart, IpPacket, SipHash};
use crate::snapshot::BackendId;
use crate::tick::{TICKS_PER_SECOND, Tick};

/// Datagrams that a worker remembers at once, at most.
const DATAGRAMS_MAX: usize = 4096;
/// Chains by hash: twice as many, so that most have one datagram or none.
const HEADS: usize = 2 * DATAGRAMS_MAX;

/// How long a datagram is remembered after its first part. Hosts wait for 15 to 60 seconds (RFC 791 section 3.2, RFC 8200
/// section 4.5), as they need all parts. We need the first alone; parts take ways that differ by milliseconds, and in
/// IPv4 a name comes again after 65,536 datagrams (RFC 4963), so that the sooner one is forgotten the better.
const LIFETIME_TICKS: u32 = 2 * TICKS_PER_SECOND;

/// Fragments that a worker takes from its ports in a second: 4.8 Gbit/s of them at 1,500 bytes. One costs about as much as ten
/// whole packets, so that these have less than a tenth of a worker's time; beyond, one costs as much as two.
const PER_SECOND: u32 = 400_000;

/// What becomes of the parts of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// The first has not come.
    Unknown,
    /// They go to the backend, with this hash of their flow.
    ToBackend(BackendId, u64),
    /// They come from the backend, and go to its client.
    ToClient(BackendId),
    /// They are an echo request to us, and go back.
    Answered,
    /// They go either way, by full NAT.
    FullNat(BackendId, Aside),
    /// They are of a flow that this backend has opened.
    Outbound(u32, Aside),
    /// Another worker has their flow, and has got the first.
    Elsewhere(WorkerId),
    /// The first was dropped.
    Drop(DropReason),
    /// They contradict each other, or found no place.
    GivenUp(DropReason),
}

/// What names a datagram: addresses and identification, in IPv4 the protocol too (RFC 791 section 3.2, RFC 8200 section
/// 4.5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name([u64; 5]);

impl Name {
    pub(super) fn of(ip: &IpPacket, part: FragmentPart) -> Self {
        let number = u64::from(part.id);
        let halves = |address: IpAddr| match address {
            IpAddr::V4(address) => [0, u64::from(u32::from(address))],
            IpAddr::V6(address) => [(u128::from(address) >> 64) as u64, u128::from(address) as u64],
        };
        let ([a, b], [c, d]) = (halves(ip.source), halves(ip.destination));
        let family = if ip.source.is_ipv4() { 1 << 40 | u64::from(part.next_header) << 32 } else { 0 };
        Self([a, b, c, d, family | number])
    }

    pub(super) fn hash(self, hash: &SipHash) -> u64 {
        hash.five(self.0)
    }
}

/// The chain that a hash leads to. The lowest bits choose the worker.
fn head_of(hash: u64) -> usize {
    (hash >> 48) as usize % HEADS
}

struct Datagram {
    name: Name,
    hash: u64,
    /// Whether there is one.
    lives: bool,
    /// How many were here before it.
    turn: u32,
    born: Tick,
    fate: Fate,
    /// Those that wait for the first.
    chain: Chain,
    /// The next with the same head.
    next: u16,
    pieces: Pieces,
}

/// A datagram of the table, if that has it still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dataplane) struct DatagramId {
    at: u16,
    turn: u32,
}

/// One worker's datagrams.
pub(in crate::dataplane) struct Fragments {
    /// A ring, in the order of their birth.
    datagrams: Box<[Datagram]>,
    oldest: usize,
    /// Positions from the oldest to the youngest, those of the dead between them included.
    spanned: usize,
    heads: Box<[u16]>,
    places: Places,
    /// How many more may come.
    allowance: Bucket,
    /// Frames that wait no longer, and what becomes of them.
    released: VecDeque<(u16, Fate)>,
    /// The same of those that the burst at hand is made of.
    fates: [Fate; BURST_MAX],
}

impl Fragments {
    pub(in crate::dataplane) fn new() -> Self {
        let none = || Datagram {
            name: Name([0; 5]),
            hash: 0,
            lives: false,
            turn: 0,
            born: Tick::default(),
            fate: Fate::Unknown,
            chain: Chain::EMPTY,
            next: NOWHERE,
            pieces: Pieces::NONE,
        };
        Self {
            datagrams: (0..DATAGRAMS_MAX).map(|_| none()).collect(),
            oldest: 0,
            spanned: 0,
            heads: vec![NOWHERE; HEADS].into(),
            places: Places::new(),
            allowance: Bucket::new(PER_SECOND),
            released: VecDeque::with_capacity(PLACES),
            fates: [Fate::Unknown; BURST_MAX],
        }
    }

    /// Whether one more may come. Where another worker has taken it already, it counts there.
    pub(in crate::dataplane) fn may_take(&mut self, source: Source, now: Tick) -> bool {
        match source {
            Source::Port { .. } => self.allowance.take(now),
            Source::Worker { .. } | Source::Held(_) => true,
        }
    }

    fn find(&self, name: Name, hash: u64) -> Option<DatagramId> {
        let mut at = *self.heads.get(head_of(hash))?;
        while let Some(datagram) = self.datagrams.get(usize::from(at)) {
            if datagram.name == name {
                return Some(DatagramId { at, turn: datagram.turn });
            }
            at = datagram.next;
        }
        None
    }

    fn get(&self, id: DatagramId) -> Option<&Datagram> {
        self.datagrams.get(usize::from(id.at)).filter(|datagram| datagram.lives && datagram.turn == id.turn)
    }

    fn get_mut(&mut self, id: DatagramId) -> Option<&mut Datagram> {
        let datagram = self.datagrams.get_mut(usize::from(id.at))?;
        (datagram.lives && datagram.turn == id.turn).then_some(datagram)
    }

    /// Takes a part of a datagram, the bytes from `start` to before `end`.
    ///
    /// # Errors
    /// When it goes no further, and perhaps none of its datagram does.
    pub(super) fn admit(
        &mut self,
        name: Name,
        hash: u64,
        (start, end, is_last): (u16, u16, bool),
        now: Tick,
    ) -> Result<DatagramId, DropReason> {
        let id = match self.find(name, hash) {
            Some(id) if self.get(id).is_some_and(|datagram| !datagram.is_over(now)) => id,
            Some(id) => {
                self.forget(id, DropReason::FragmentTimedOut);
                self.begin(name, hash, now)
            }
            None => self.begin(name, hash, now),
        };
        let datagram = self.get_mut(id).ok_or(DropReason::FragmentTableFull)?;
        if let Fate::GivenUp(reason) = datagram.fate {
            return Err(reason);
        }
        let added = datagram.pieces.add(start, end, is_last);
        if let Err(reason @ (DropReason::FragmentOverlap | DropReason::FragmentTooMany)) = added {
            self.give_up(id, reason);
        }
        added.map(|()| id)
    }

    /// Forgets a datagram of this name, if there is one: another of the same name begins.
    pub(super) fn begin_anew(&mut self, name: Name, hash: u64) {
        if let Some(id) = self.find(name, hash) {
            self.forget(id, DropReason::FragmentTimedOut);
        }
    }

    /// Whether a datagram of this name is known.
    pub(super) fn knows(&self, name: Name, hash: u64) -> bool {
        self.find(name, hash).is_some()
    }

    /// A new datagram, in the place of the oldest where there is no other.
    fn begin(&mut self, name: Name, hash: u64, now: Tick) -> DatagramId {
        self.sweep(1, now);
        if self.spanned == DATAGRAMS_MAX {
            self.forget_oldest(DropReason::FragmentTableFull);
        }
        let at = (self.oldest + self.spanned) % DATAGRAMS_MAX;
        self.spanned += 1;
        let mut id = DatagramId { at: at as u16, turn: 0 };
        if let (Some(datagram), Some(head)) = (self.datagrams.get_mut(at), self.heads.get_mut(head_of(hash)))
        {
            datagram.turn = datagram.turn.wrapping_add(1);
            (datagram.name, datagram.hash, datagram.lives, datagram.born) = (name, hash, true, now);
            (datagram.fate, datagram.chain, datagram.next) = (Fate::Unknown, Chain::EMPTY, *head);
            datagram.pieces.clear();
            id.turn = datagram.turn;
            *head = id.at;
        }
        id
    }

    fn forget_oldest(&mut self, reason: DropReason) {
        if let Some(turn) = self.datagrams.get(self.oldest).map(|datagram| datagram.turn) {
            self.forget(DatagramId { at: self.oldest as u16, turn }, reason);
        }
        self.oldest = (self.oldest + 1) % DATAGRAMS_MAX;
        self.spanned -= 1;
    }

    /// Forgets a datagram; frames that still wait are dropped for `reason`.
    fn forget(&mut self, id: DatagramId, reason: DropReason) {
        self.release(id, Fate::Drop(reason));
        let Some((hash, next)) = self.get_mut(id).map(|datagram| {
            datagram.lives = false;
            (datagram.hash, datagram.next)
        }) else {
            return;
        };
        let Some(head) = self.heads.get_mut(head_of(hash)) else { return };
        if *head == id.at {
            *head = next;
            return;
        }
        let mut at = usize::from(*head);
        while let Some(before) = self.datagrams.get_mut(at) {
            if before.next == id.at {
                before.next = next;
                return;
            }
            at = before.next.into();
        }
    }

    /// No part of the datagram goes on from here.
    fn give_up(&mut self, id: DatagramId, reason: DropReason) {
        self.release(id, Fate::Drop(reason));
        if let Some(datagram) = self.get_mut(id) {
            datagram.fate = Fate::GivenUp(reason);
        }
    }

    /// Nothing of the datagram waits any longer.
    fn release(&mut self, id: DatagramId, fate: Fate) {
        let Some(datagram) = self.get_mut(id) else { return };
        let chain = std::mem::replace(&mut datagram.chain, Chain::EMPTY);
        let Self { places, released, .. } = self;
        released.extend(places.release(chain).map(|at| (at, fate)));
    }

    /// What is to become of the datagram's parts; `None` where it has been forgotten.
    pub(super) fn fate(&self, id: DatagramId) -> Option<Fate> {
        self.get(id).map(|datagram| datagram.fate)
    }

    /// What has become of its first part.
    pub(super) fn decide(&mut self, id: DatagramId, fate: Fate) {
        let Some(datagram) = self.get_mut(id) else { return };
        if datagram.fate == Fate::Unknown {
            datagram.fate = fate;
            self.release(id, fate);
        }
    }

    /// Takes a place for a frame that waits for the first of its datagram.
    pub(super) fn hold(&mut self, id: DatagramId, port: PortId) -> Option<u16> {
        let Self { datagrams, places, .. } = self;
        let datagram = datagrams.get_mut(usize::from(id.at))?;
        let place = places.take(id.at, port, &mut datagram.chain)?;
        if let Some(at) = self.places.in_the_way()
            && let Some(turn) = self.datagrams.get(usize::from(at)).map(|datagram| datagram.turn)
        {
            self.give_up(DatagramId { at, turn }, DropReason::FragmentTableFull);
        }
        Some(place)
    }

    /// Forgets the datagram if all of its parts have come and gone.
    pub(super) fn finish(&mut self, id: DatagramId) {
        let is_over = |datagram: &Datagram| datagram.pieces.is_complete() && datagram.fate != Fate::Unknown;
        if self.get(id).is_some_and(is_over) {
            self.forget(id, DropReason::FragmentTimedOut);
        }
    }

    /// Forgets datagrams whose time is over, some at a time.
    pub(in crate::dataplane) fn sweep(&mut self, datagrams: usize, now: Tick) {
        for _ in 0..datagrams.min(self.spanned) {
            let Some(oldest) = self.datagrams.get(self.oldest) else { return };
            if oldest.lives && !oldest.is_over(now) {
                return;
            }
            self.forget_oldest(DropReason::FragmentTimedOut);
        }
    }

    /// Whether frames wait no longer, and want to be taken.
    #[inline(always)]
    pub(in crate::dataplane) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Makes a burst of frames that wait no longer, and returns the port by which they came in. `held` are the frames, by
    /// place.
    pub(in crate::dataplane) fn take_released<F: Frame>(
        &mut self,
        held: &mut [Option<F>],
        burst: &mut Vec<F>,
    ) -> Option<PortId> {
        let port = self.places.port(self.released.front()?.0)?;
        while burst.len() < BURST_MAX
            && let Some((at, fate)) =
                self.released.pop_front_if(|(at, _)| self.places.port(*at) == Some(port))
        {
            self.places.free(at);
            if let Some(frame) = held.get_mut(usize::from(at)).and_then(Option::take)
                && let Some(place) = self.fates.get_mut(burst.len())
            {
                *place = fate;
                burst.push(frame);
            }
        }
        Some(port)
    }

    /// What is to become of a frame of such a burst.
    pub(super) fn fate_of_released(&self, lane: Lane) -> Fate {
        self.fates[lane.index()]
    }
}

impl Datagram {
    fn is_over(&self, now: Tick) -> bool {
        now.since(self.born) > LIFETIME_TICKS
    }
}
