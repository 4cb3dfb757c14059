//! The flows that backends have opened, of one worker. A backend's endpoint is mapped to one of ours, and its flows to all
//! others go by that mapping (RFC 4787 section 4.1: endpoint-independent), as long as no other has the port there.

use std::net::{IpAddr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::slab::{Entry, Slab};
use super::state::State;
use crate::dataplane::flow_table::Position;
use crate::packet::{SipHash, address_of, address_words};
use crate::snapshot::PortKind;
use crate::tick::Tick;

/// Flows of one worker at once, at most.
const FLOWS_MAX: usize = 1 << 20;
const HEADS: usize = 1 << 19;

/// An endpoint of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outside {
    pub(super) number: u8,
    pub(super) port: u16,
}

/// A flow: from an endpoint of ours to somebody else's. One cache line.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Flow {
    remote: [u64; 2],
    hash: u64,
    /// Where it is, of TCP.
    pub(super) position: Position,
    pub(super) mapping: u32,
    next: u32,
    seen: u32,
    remote_port: u16,
    port: u16,
    number: u8,
    /// From 1.
    kind: u8,
    pub(super) state: State,
    spare: [u8; 13],
}

const _: () = assert!(size_of::<Flow>() == 64, "a flow is one cache line");

/// A backend's endpoint, and ours in its place.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Mapping {
    inside: [u64; 2],
    hash: u64,
    pub(super) member: u32,
    next: u32,
    flows: u32,
    inside_port: u16,
    port: u16,
    number: u8,
    kind: u8,
    spare: [u8; 6],
}

impl Entry for Flow {
    fn hash(&self) -> u64 {
        self.hash
    }
    fn is_free(&self) -> bool {
        self.kind == 0
    }
    fn next(&self) -> u32 {
        self.next
    }
    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

impl Entry for Mapping {
    fn hash(&self) -> u64 {
        self.hash
    }
    fn is_free(&self) -> bool {
        self.kind == 0
    }
    fn next(&self) -> u32 {
        self.next
    }
    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

fn kind_of(kind: u8) -> PortKind {
    match kind {
        1 => PortKind::Tcp,
        2 => PortKind::Udp,
        _ => PortKind::Echo,
    }
}

impl Flow {
    pub(super) fn kind(&self) -> PortKind {
        kind_of(self.kind)
    }

    pub(super) fn remote(&self) -> SocketAddr {
        (address_of(self.remote), self.remote_port).into()
    }

    pub(super) fn outside(&self) -> Outside {
        Outside { number: self.number, port: self.port }
    }

    pub(super) fn see(&mut self, now: Tick) {
        self.seen = now.to_bits();
    }

    /// Ticks without packets that count.
    pub(super) fn idle_ticks(&self, now: Tick) -> u32 {
        now.since(Tick::from_bits(self.seen))
    }
}

impl Mapping {
    pub(super) fn inside(&self) -> SocketAddr {
        (address_of(self.inside), self.inside_port).into()
    }

    pub(super) fn kind(&self) -> PortKind {
        kind_of(self.kind)
    }

    pub(super) fn outside(&self) -> Outside {
        Outside { number: self.number, port: self.port }
    }
}

/// Somebody else's endpoint as an endpoint of ours has a flow to it.
#[derive(Clone, Copy)]
pub(super) struct Far {
    pub(super) kind: PortKind,
    pub(super) address: [u64; 2],
    pub(super) port: u16,
}

impl Far {
    pub(super) fn new(kind: PortKind, address: IpAddr, port: u16) -> Self {
        Self { kind, address: address_words(address), port }
    }
}

/// All flows of one worker.
pub(super) struct Table {
    flows: Slab<Flow>,
    mappings: Slab<Mapping>,
}

impl Table {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { flows: Slab::new(FLOWS_MAX, HEADS)?, mappings: Slab::new(FLOWS_MAX, HEADS)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.len() == 0
    }

    /// Places that were ever used.
    pub(super) fn top(&self) -> u32 {
        self.flows.top()
    }

    pub(super) fn flow(&mut self, index: u32) -> Option<&mut Flow> {
        self.flows.at(index)
    }

    pub(super) fn mapping(&mut self, index: u32) -> Option<Mapping> {
        self.mappings.at(index).map(|mapping| *mapping)
    }

    fn hash_of(outside: Outside, far: Far, hasher: &SipHash) -> u64 {
        let Outside { number, port } = outside;
        let ends =
            u64::from(port) << 48 | u64::from(far.port) << 32 | u64::from(number) << 8 | far.kind as u64;
        hasher.three([far.address[0], far.address[1], ends])
    }

    /// The flow from an endpoint of ours.
    pub(super) fn find(&mut self, outside: Outside, far: Far, hasher: &SipHash) -> Option<u32> {
        let hash = Self::hash_of(outside, far, hasher);
        self.flows.find(hash, None, |flow| {
            flow.remote == far.address
                && (flow.remote_port, flow.kind) == (far.port, far.kind as u8 + 1)
                && (flow.port, flow.number) == (outside.port, outside.number)
        })
    }

    fn inside_hash(inside: Far, hasher: &SipHash) -> u64 {
        let port = u64::from(inside.port) << 16 | 1 << 8 | inside.kind as u64;
        hasher.five([inside.address[0], inside.address[1], port, 0, 0])
    }

    /// A mapping of a backend's endpoint, behind the one at `after`.
    pub(super) fn find_mapping(&mut self, inside: Far, after: Option<u32>, hasher: &SipHash) -> Option<u32> {
        let hash = Self::inside_hash(inside, hasher);
        self.mappings.find(hash, after, |mapping| {
            mapping.inside == inside.address
                && (mapping.inside_port, mapping.kind) == (inside.port, inside.kind as u8 + 1)
        })
    }

    /// Maps a backend's endpoint. The caller has it take a port.
    pub(super) fn map(
        &mut self,
        inside: Far,
        member: u32,
        outside: Outside,
        hasher: &SipHash,
    ) -> Option<u32> {
        let mapping = Mapping {
            inside: inside.address,
            hash: Self::inside_hash(inside, hasher),
            member,
            next: 0,
            flows: 0,
            inside_port: inside.port,
            port: outside.port,
            number: outside.number,
            kind: inside.kind as u8 + 1,
            spare: [0; 6],
        };
        self.mappings.insert(mapping)
    }

    /// Adds a flow to a mapping.
    pub(super) fn add(
        &mut self,
        mapping: u32,
        far: Far,
        state: State,
        now: Tick,
        hasher: &SipHash,
    ) -> Option<u32> {
        let outside = self.mappings.at(mapping)?.outside();
        let flow = Flow {
            remote: far.address,
            hash: Self::hash_of(outside, far, hasher),
            position: Position::default(),
            mapping,
            next: 0,
            seen: now.to_bits(),
            remote_port: far.port,
            port: outside.port,
            number: outside.number,
            kind: far.kind as u8 + 1,
            state,
            spare: [0; 13],
        };
        let index = self.flows.insert(flow)?;
        self.mappings.at(mapping)?.flows += 1;
        Some(index)
    }

    /// Takes a flow out, and its mapping with it if that was the last. The mapping that has gone, whose port is free then.
    pub(super) fn remove(&mut self, index: u32) -> Option<Mapping> {
        let mapping = self.flows.at(index)?.mapping;
        self.flows.remove(index)?;
        let place = self.mappings.at(mapping)?;
        place.flows = place.flows.saturating_sub(1);
        self.unmap_unused(mapping)
    }

    /// Takes a mapping out that has no flows.
    pub(super) fn unmap_unused(&mut self, index: u32) -> Option<Mapping> {
        let gone = self.mapping(index).filter(|mapping| mapping.flows == 0)?;
        self.mappings.remove(index)?;
        Some(gone)
    }
}
