//! Which port of which source address each flow of full NAT has. One worker's own.
//!
//! The ports of every source address are divided among the workers, so that whoever receives a response can work out
//! from its destination port which worker holds the flow. A flow's port comes from its hash, and so does its worker: as
//! long as ports are free, flows get the same ones however many workers there are. A port has one place in the memory,
//! and so is found without a search; clients' packets find their flow by a chain of the places whose keys hash alike.

use std::ops::Range;

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dataplane::flow_table::Value;
use crate::dataplane::lanes::WorkerId;
use crate::dataplane::steer::{OWNER_BITS, owner_of};
use crate::packet::WideKey;
use crate::snapshot::{SOURCE_PORTS_END, SOURCES_MAX};

/// Ports that flows are given: above those that only a superuser may listen at, and below those of probes, which may
/// use the same address.
pub(in crate::dataplane) const PORTS: Range<u16> = 1024..SOURCE_PORTS_END;

const PORT_COUNT: u32 = (PORTS.end - PORTS.start) as u32;

/// Chains. With as many flows as there are ports of sixteen addresses, they are about twelve long.
const CHAINS: usize = 1 << 17;

/// Places looked at for a free port, or for one whose flow is over: bounds what a flood of new flows costs.
const TRIES: u32 = 32;

/// A flow, and the port that it has by where this lies.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Binding {
    key: [u64; 3],
    pub(super) value: Value,
    hash: u64,
    /// The next of the chain, counted from 1.
    next: u32,
    spare: u32,
}

/// A place: which source address, which protocol, which port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::dataplane) struct Place(u32);

/// What was found for a new flow.
pub(super) enum Free {
    /// A port that no flow has.
    Empty(Place),
    /// One whose flow is over.
    Over(Place, Value),
    /// One whose flow has shown one packet only.
    GivesWay(Place, Value),
    /// All are taken, as far as has been looked.
    None,
}

/// Memory for the bindings of one worker, given as it is touched.
pub(in crate::dataplane) struct PortMemory {
    places: MmapMut,
    chains: MmapMut,
}

impl PortMemory {
    pub(in crate::dataplane) fn new() -> std::io::Result<Self> {
        let untouched = |bytes: usize| {
            let memory = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
            let _ = memory.advise(Advice::HugePage);
            std::io::Result::Ok(memory)
        };
        let places = SOURCES_MAX * 2 * PORT_COUNT as usize;
        let places = untouched(places * size_of::<Binding>())?;
        Ok(Self { places, chains: untouched(CHAINS * size_of::<u32>())? })
    }
}

/// The bindings of one worker.
pub(in crate::dataplane) struct Bindings {
    memory: PortMemory,
    workers: u64,
    me: WorkerId,
    /// This worker's ports, counted from the first of [`PORTS`].
    mine: Range<u32>,
    /// Flows of each source address and protocol, so that the sweep passes over those without.
    used: Box<[u32]>,
    /// Their sum.
    flows: usize,
    sweep_at: usize,
}

impl Bindings {
    /// For worker `me` of `workers`.
    pub(in crate::dataplane) fn new(me: WorkerId, workers: usize, memory: PortMemory) -> Self {
        let workers = workers.max(1) as u64;
        let is_mine = |offset: &u32| owner(*offset, workers) == me;
        let first = (0..PORT_COUNT).find(is_mine).unwrap_or(0);
        let mine = first..first + (0..PORT_COUNT).filter(is_mine).count() as u32;
        Self { memory, workers, me, mine, used: vec![0; SOURCES_MAX * 2].into(), flows: 0, sweep_at: 0 }
    }

    /// The worker whose port it is, if it is anybody's.
    pub(super) fn owner(&self, port: u16) -> Option<WorkerId> {
        PORTS.contains(&port).then(|| owner(u32::from(port - PORTS.start), self.workers))
    }

    pub(super) fn me(&self) -> WorkerId {
        self.me
    }

    /// The place of a port.
    pub(super) fn place(source: u16, is_udp: bool, port: u16) -> Option<Place> {
        let offset = u32::from(port).checked_sub(PORTS.start.into()).filter(|offset| *offset < PORT_COUNT)?;
        Some(Place(group_of(source, is_udp) * PORT_COUNT + offset))
    }

    /// The source address, by its number, and the port of a place.
    pub(super) fn source_of(place: Place) -> (u16, u16) {
        ((place.0 / PORT_COUNT / 2) as u16, PORTS.start + (place.0 % PORT_COUNT) as u16)
    }

    fn places(&mut self) -> &mut [Binding] {
        <[Binding]>::mut_from_bytes(&mut self.memory.places).unwrap_or_default()
    }

    fn chain(&mut self, hash: u64) -> Option<&mut u32> {
        <[u32]>::mut_from_bytes(&mut self.memory.chains)
            .unwrap_or_default()
            .get_mut(hash as usize >> 3 & (CHAINS - 1))
    }

    /// The flow at a place, if there is one.
    pub(super) fn at(&mut self, place: Place) -> Option<(WideKey, &mut Value)> {
        let binding = self.places().get_mut(place.0 as usize)?;
        (binding.key[2] != 0).then_some((WideKey(binding.key), &mut binding.value))
    }

    /// The place of a flow.
    pub(super) fn find(&mut self, key: WideKey, hash: u64) -> Option<Place> {
        let mut next = *self.chain(hash)?;
        let places = self.places();
        // No chain is longer than all there is.
        for _ in 0..places.len() {
            let index = next.checked_sub(1)?;
            let binding = places.get(index as usize)?;
            if binding.key == key.0 {
                return Some(Place(index));
            }
            next = binding.next;
        }
        None
    }

    /// Looks for a free port of a source address, or one whose flow `is_over`, or one whose flow gives way.
    pub(super) fn free(
        &mut self,
        source: u16,
        is_udp: bool,
        hash: u64,
        is_over: impl Fn(WideKey, Value) -> bool,
    ) -> Free {
        let len = self.mine.len() as u32;
        let wanted = wanted(hash);
        let start = if self.mine.contains(&wanted) { wanted - self.mine.start } else { wanted % len.max(1) };
        let mut found = Free::None;
        for turn in 0..TRIES.min(len) {
            let offset = self.mine.start + (start + turn) % len;
            let place = Place(group_of(source, is_udp) * PORT_COUNT + offset);
            match self.at(place).map(|(key, value)| (key, *value)) {
                None => return Free::Empty(place),
                Some((key, value)) if is_over(key, value) => return Free::Over(place, value),
                Some((_, value)) if value.state().gives_way() == Some(0) && matches!(found, Free::None) => {
                    found = Free::GivesWay(place, value);
                }
                Some(_) => {}
            }
        }
        found
    }

    /// Gives a free place to a flow.
    pub(super) fn bind(&mut self, place: Place, key: WideKey, hash: u64, value: Value) {
        let Some(chain) = self.chain(hash) else { return };
        let next = std::mem::replace(chain, place.0 + 1);
        if let Some(binding) = self.places().get_mut(place.0 as usize) {
            *binding = Binding { key: key.0, value, hash, next, spare: 0 };
        }
        if let Some(used) = self.used.get_mut((place.0 / PORT_COUNT) as usize) {
            *used += 1;
            self.flows += 1;
        }
    }

    /// Frees a place.
    pub(super) fn forget(&mut self, place: Place) {
        let Some(binding) = self.places().get(place.0 as usize).copied() else { return };
        if binding.key[2] == 0 {
            return;
        }
        self.unchain(place, binding);
        if let Some(binding) = self.places().get_mut(place.0 as usize) {
            binding.key = [0; 3];
        }
        if let Some(used) = self.used.get_mut((place.0 / PORT_COUNT) as usize) {
            *used = used.saturating_sub(1);
            self.flows = self.flows.saturating_sub(1);
        }
    }

    fn unchain(&mut self, place: Place, binding: Binding) {
        let Some(chain) = self.chain(binding.hash) else { return };
        if *chain == place.0 + 1 {
            *chain = binding.next;
            return;
        }
        let mut at = *chain;
        let places = self.places();
        for _ in 0..places.len() {
            let Some(index) = at.checked_sub(1) else { return };
            let Some(before) = places.get_mut(index as usize) else { return };
            if before.next == place.0 + 1 {
                before.next = binding.next;
                return;
            }
            at = before.next;
        }
    }

    /// Shows `is_over` the flows of the next `count` places, and frees those that are. Source addresses without flows are
    /// passed over.
    pub(super) fn sweep(&mut self, count: usize, mut is_over: impl FnMut(WideKey, Value) -> bool) {
        let (groups, ports) = (self.used.len(), PORT_COUNT as usize);
        let mut left = count;
        for _ in 0..=groups {
            let group = self.sweep_at / ports;
            let end = (group + 1) * ports;
            let is_used = self.used.get(group).is_some_and(|used| *used > 0);
            let stop = if is_used { end.min(self.sweep_at + left) } else { self.sweep_at };
            for place in (self.sweep_at..stop).map(|index| Place(index as u32)) {
                if let Some((key, value)) = self.at(place).map(|(key, value)| (key, *value))
                    && is_over(key, value)
                {
                    self.forget(place);
                }
            }
            left -= stop - self.sweep_at;
            if is_used && stop < end {
                self.sweep_at = stop;
                return;
            }
            self.sweep_at = end % (groups * ports);
        }
    }

    /// How many places there are at source addresses with flows.
    pub(super) fn places_in_use(&self) -> usize {
        self.used.iter().filter(|used| **used > 0).count() * PORT_COUNT as usize
    }

    /// Whether there is no flow: sweeping costs nothing then.
    pub(super) fn is_empty(&self) -> bool {
        self.flows == 0
    }
}

fn group_of(source: u16, is_udp: bool) -> u32 {
    u32::from(source) * 2 + u32::from(is_udp)
}

/// The port that a flow would have, counted from the first: in the part of all ports that its owner's are.
fn wanted(hash: u64) -> u32 {
    // The bits that choose the owner come first.
    let bits = (hash & 0xffff_ffff) as u32;
    let turned = u64::from(bits.rotate_right(OWNER_BITS));
    ((turned * u64::from(PORT_COUNT)) >> 32) as u32
}

/// Whose the port is, as the owner of the flows that want it.
fn owner(offset: u32, workers: u64) -> WorkerId {
    owner_of((u64::from(offset) << OWNER_BITS) / u64::from(PORT_COUNT), workers)
}
