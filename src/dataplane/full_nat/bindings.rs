//! Which port of which source address each flow of full NAT has. One worker's own.
//!
//! The ports of every source address are divided among the workers, so that whoever receives a response can work out
//! from its destination port which worker holds the flow. A flow's port comes from its hash, and so does its worker: as
//! long as ports are free, flows get the same ones however many workers there are. A port has one place in the memory,
//! and so is found without a search; clients' packets find their flow by a chain of the places whose keys hash alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{ControlFlow, Range, RangeInclusive};

use memmap2::{Advice, MmapMut, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::ToSource;
use super::stream::Stream;
use crate::dataplane::flow_table::{Standing, Value};
use crate::dataplane::lanes::{Outcome, WorkerId};
use crate::dataplane::steer::{OWNER_BITS, owner_of};
use crate::drop_reason::DropReason;
use crate::packet::{Flow, Packet, WideKey};
use crate::snapshot::{SOURCE_PORTS_END, SOURCES_MAX, Snapshot};
use crate::tick::Tick;
use crate::wire::Protocol;

/// Ports that flows are given: above those that only a superuser may listen at, and below those of probes, which may
/// use the same address.
pub(in crate::dataplane) const PORTS: Range<u16> = 1024..SOURCE_PORTS_END;

const PORT_COUNT: u32 = (PORTS.end - PORTS.start) as u32;

/// Chains. With as many flows as there are ports of sixteen addresses, they are about twelve long.
const CHAINS: usize = 1 << 17;

/// Places looked at for a free port, or for one whose flow is over: bounds what a flood of new flows costs.
const TRIES: u32 = 32;

/// A flow, and the port that it has by where this lies. One cache line.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(in crate::dataplane) struct Binding {
    key: [u64; 3],
    pub(super) value: Value,
    hash: u64,
    /// The next of the chain, counted from 1.
    next: u32,
    /// The low 32 bits of the address that the flow is to, where its frontend has several.
    host: u32,
    pub(super) stream: Stream,
}

const _: () = assert!(size_of::<Binding>() == 64, "a flow is one cache line");

impl Binding {
    pub(in crate::dataplane) fn key(&self) -> WideKey {
        WideKey(self.key)
    }

    fn is_free(&self) -> bool {
        self.key[2] == 0
    }

    /// As it stands; `None` if it is over.
    pub(in crate::dataplane) fn standing(&self, world: &Snapshot, now: Tick) -> Option<Standing<WideKey>> {
        let (key, value) = (self.key(), self.value);
        let idle_ticks = now.since(value.seen());
        let timeout = value.timeout(world.frontend_of(key).map_or(0, |frontend| frontend.idle_ticks));
        let left_ticks = timeout.checked_sub(idle_ticks)?;
        Some(Standing { key, backend: value.backend(), state: value.state(), idle_ticks, left_ticks })
    }

    /// The address and port that its client knows.
    pub(super) fn frontend(&self, world: &Snapshot) -> Option<SocketAddr> {
        let endpoint = world.frontend_of(self.key())?.endpoint;
        let port = self.key().destination_port().or(endpoint.one_port())?;
        let address = match endpoint.address {
            address if endpoint.is_one_address() => address,
            IpAddr::V4(_) => Ipv4Addr::from(self.host).into(),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 32 << 32;
                Ipv6Addr::from(network | u128::from(self.host)).into()
            }
        };
        Some((address, port).into())
    }
}

/// What names a flow. Keys have few bits of an address, and responses must bear all of it.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Name {
    pub(super) key: WideKey,
    pub(super) hash: u64,
    host: u32,
}

impl Name {
    /// Of a client's packet to `destination`.
    pub(in crate::dataplane) fn new(key: WideKey, hash: u64, destination: IpAddr, world: &Snapshot) -> Self {
        let is_one = world.frontend_of(key).is_none_or(|frontend| frontend.endpoint.is_one_address());
        let host = match destination {
            _ if is_one => 0,
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => u128::from(address) as u32,
        };
        Self { key, hash, host }
    }

    pub(in crate::dataplane) fn hash(self) -> u64 {
        self.hash
    }
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
    pub(in crate::dataplane) fn source_of(place: Place) -> (u16, u16) {
        ((place.0 / PORT_COUNT / 2) as u16, PORTS.start + (place.0 % PORT_COUNT) as u16)
    }

    /// Whether flows at a place are of UDP.
    pub(super) fn is_udp(place: Place) -> bool {
        !(place.0 / PORT_COUNT).is_multiple_of(2)
    }

    /// The flow that has the address and port that a packet is to. An error is what becomes of the packet before that is
    /// known.
    pub(super) fn of_response(&mut self, to: &ToSource) -> Result<(Place, &mut Binding), Outcome> {
        const NOBODY: Outcome = Outcome::Drop(DropReason::NoRule);
        let Packet { destination_port: port, protocol, .. } = to.packet;
        let owner = self.owner(port).ok_or(NOBODY)?;
        if owner != self.me() {
            return Err(Outcome::HandOver(owner));
        }
        let place = Self::place(to.source, protocol == Protocol::Udp, port).ok_or(NOBODY)?;
        self.at(place).map(|binding| (place, binding)).ok_or(NOBODY)
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
    pub(in crate::dataplane) fn at(&mut self, place: Place) -> Option<&mut Binding> {
        self.places().get_mut(place.0 as usize).filter(|binding| !binding.is_free())
    }

    /// The place of a flow.
    pub(in crate::dataplane) fn find(&mut self, name: Name) -> Option<Place> {
        let mut next = *self.chain(name.hash)?;
        let places = self.places();
        // No chain is longer than all there is.
        for _ in 0..places.len() {
            let index = next.checked_sub(1)?;
            let binding = places.get(index as usize)?;
            if binding.key == name.key.0 && binding.host == name.host {
                return Some(Place(index));
            }
            next = binding.next;
        }
        None
    }

    /// Looks for a free port of a source address, or one whose flow `is_over`, or one whose flow gives way. Ports that are
    /// `reserved` are passed over.
    pub(super) fn free(
        &mut self,
        source: u16,
        is_udp: bool,
        hash: u64,
        reserved: &[RangeInclusive<u16>],
        is_over: impl Fn(WideKey, Value) -> bool,
    ) -> Free {
        let len = self.mine.len() as u32;
        let wanted = wanted(hash);
        let start = if self.mine.contains(&wanted) { wanted - self.mine.start } else { wanted % len.max(1) };
        let mut found = Free::None;
        for turn in 0..TRIES.min(len) {
            let offset = self.mine.start + (start + turn) % len;
            let place = Place(group_of(source, is_udp) * PORT_COUNT + offset);
            let (_, port) = Self::source_of(place);
            if reserved.iter().any(|range| range.contains(&port)) {
                continue;
            }
            match self.at(place).map(|binding| (binding.key(), binding.value)) {
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
    pub(super) fn bind(&mut self, place: Place, name: Name, value: Value, stream: Stream) {
        let Name { key, hash, host } = name;
        let Some(chain) = self.chain(hash) else { return };
        let next = std::mem::replace(chain, place.0 + 1);
        if let Some(binding) = self.places().get_mut(place.0 as usize) {
            *binding = Binding { key: key.0, value, hash, next, host, stream };
        }
        if let Some(used) = self.used.get_mut((place.0 / PORT_COUNT) as usize) {
            *used += 1;
            self.flows += 1;
        }
    }

    /// Frees a place.
    pub(super) fn forget(&mut self, place: Place) {
        let Some(binding) = self.places().get(place.0 as usize).copied() else { return };
        if binding.is_free() {
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
    pub(super) fn sweep(&mut self, count: usize, mut is_over: impl FnMut(Place, &mut Binding) -> bool) {
        let (groups, ports) = (self.used.len(), PORT_COUNT as usize);
        let mut left = count;
        for _ in 0..=groups {
            let group = self.sweep_at / ports;
            let end = (group + 1) * ports;
            let is_used = self.used.get(group).is_some_and(|used| *used > 0);
            let stop = if is_used { end.min(self.sweep_at + left) } else { self.sweep_at };
            for place in (self.sweep_at..stop).map(|index| Place(index as u32)) {
                if self.at(place).is_some_and(|binding| is_over(place, binding)) {
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

    /// Shows `visit` the flows of the places from `at` on, `count` of them at most, and returns where to go on: `None` at
    /// the end. Source addresses without flows are passed over.
    pub(in crate::dataplane) fn walk(
        &mut self,
        mut at: usize,
        count: usize,
        mut visit: impl FnMut(Place, &Binding) -> ControlFlow<()>,
    ) -> Option<usize> {
        let ports = PORT_COUNT as usize;
        for _ in 0..count {
            let used = *self.used.get(at / ports)?;
            if used == 0 {
                at = (at / ports + 1) * ports;
                continue;
            }
            let place = Place(at as u32);
            if self.at(place).is_some_and(|binding| visit(place, binding).is_break()) {
                return Some(at);
            }
            at += 1;
        }
        Some(at)
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
