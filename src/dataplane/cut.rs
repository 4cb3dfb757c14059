//! Packets of IPv4 that do not fit, and that routers may cut up (RFC 791 section 3.2, RFC 1812 section 5.2.7): they are
//! rewritten as if they fitted, and cut up when they leave. What goes into a tunnel is cut up before.

use super::encapsulate::{added_by, push};
use super::icmp::Around;
use super::lanes::{Lane, Lanes};
use super::nat;
use super::others::{readdress_response, send_one};
use crate::drop_reason::DropReason;
use crate::io::{Frame, PortId, Queues};
use crate::packet::IpPacket;
use crate::snapshot::{Backend, BackendId, Forwarding, Hop, Snapshot};
use crate::wire::cut::Parts;
use crate::wire::ethernet;

/// A packet that is to be cut up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Where it leaves.
    pub(super) port: PortId,
    /// The longest part, without a tunnel's headers.
    pub(super) mtu: u16,
    /// Whose tunnel each part goes into, and the flow's hash.
    pub(super) tunnel: Option<(BackendId, u64)>,
}

/// A hop that takes a packet whole.
pub(super) fn unlimited(hop: &Hop) -> Hop {
    Hop { mtu: u16::MAX, ..*hop }
}

/// Whether the packet in the frame may be cut up so.
pub(super) fn may_be_cut(frame: &[u8], mtu: u16) -> bool {
    frame.get(ethernet::HEADER_LEN..).is_some_and(|packet| Parts::of(packet, mtu).is_some())
}

impl Lanes {
    /// Has a packet that was dropped for its length, and may be cut up, leave in parts.
    pub(super) fn cut_up<F: Frame>(
        &mut self,
        lane: Lane,
        frame: &mut F,
        ip: &IpPacket,
        around: Around<'_>,
    ) -> Option<()> {
        let is_response = self.responses.with(self.wide_responses).has(lane);
        let is_ours = is_response || self.clients.with(self.wide).has(lane);
        if !is_ours {
            return None;
        }
        let (id, hash) = (self.backends[lane.index()], self.hashes[lane.index()]);
        let cut = if is_response {
            to_client(frame, ip, id, around)?
        } else {
            to_backend(frame, ip, (id, hash), around)?
        };
        self.outcomes.cut(lane, cut);
        Some(())
    }
}

fn to_client<F: Frame>(frame: &mut F, ip: &IpPacket, id: BackendId, around: Around<'_>) -> Option<Cut> {
    let world = around.world;
    let backend = world.backend(id)?;
    let counters = around.counters.to_client().get(id.index())?;
    let hop = world.routes.next_hop_to(ip.destination).hop;
    if let Forwarding::Translate = backend.forwarding {
        nat::to_client(frame.bytes_mut(), &unlimited(&hop), world.to_client.get(id.index())?, counters)?;
    } else {
        counters.count(readdress_response(frame, backend, &unlimited(&hop), world).ok()?);
    }
    Some(Cut { port: hop.port, mtu: hop.mtu, tunnel: None })
}

fn to_backend<F: Frame>(
    frame: &mut F,
    ip: &IpPacket,
    (id, hash): (BackendId, u64),
    around: Around<'_>,
) -> Option<Cut> {
    let backend = around.world.backend(id)?;
    let counters = around.counters.to_backend().get(id.index())?;
    let hop = unlimited(&backend.next_hop.hop);
    match &backend.forwarding {
        Forwarding::Tunnel(_) => counters.count(ip.total_len),
        Forwarding::Translate => {
            nat::to_backend(frame.bytes_mut(), &hop, around.world.to_backend(id)?, counters)?;
        }
        _ => counters.count(send_one(frame, backend, &hop, hash).ok()?),
    }
    Some(to_backend_in_parts(backend, (id, hash)))
}

/// How parts get to a backend.
pub(super) fn to_backend_in_parts(backend: &Backend, flow: (BackendId, u64)) -> Cut {
    let Hop { port, mtu, .. } = backend.next_hop.hop;
    let len = added_by(&backend.forwarding);
    let tunnel = matches!(backend.forwarding, Forwarding::Tunnel(_)).then_some(flow);
    Cut { port, mtu: usize::from(mtu).saturating_sub(len) as u16, tunnel }
}

/// Parts of one packet, at most: of 65,535 bytes through the least MTU of a port, 576, less a tunnel's headers.
const PARTS_MAX: usize = 144;
/// The longest part, and Ethernet's header.
const PART_MAX: usize = ethernet::HEADER_LEN + 9216;

/// Where a worker cuts packets up.
pub(super) struct Cutter<F> {
    /// The part at hand.
    place: Box<[u8; PART_MAX]>,
    /// All but the first, the last in front.
    parts: Vec<F>,
}

impl<F> Default for Cutter<F> {
    fn default() -> Self {
        Self { place: Box::new([0; PART_MAX]), parts: Vec::with_capacity(PARTS_MAX) }
    }
}

impl<F: Frame> Cutter<F> {
    /// Makes the frame the first part of the packet in it, and has the others ready. Returns how many there are of these. An
    /// error where there was not the memory for them all.
    pub(super) fn cut<Q: Queues<Frame = F>>(
        &mut self,
        frame: &mut F,
        cut: &Cut,
        queues: &mut Q,
        world: &Snapshot,
    ) -> Result<usize, DropReason> {
        let made = self.make_parts(frame, cut, queues, world);
        if made.is_err() {
            // Memory for frames is what there may be too little of.
            self.parts.clear();
        }
        made
    }

    fn make_parts<Q: Queues<Frame = F>>(
        &mut self,
        frame: &mut F,
        cut: &Cut,
        queues: &mut Q,
        world: &Snapshot,
    ) -> Result<usize, DropReason> {
        const NO_PARTS: DropReason = DropReason::ExceedsMtu;
        self.parts.clear();
        let (head, packet) = frame.bytes().split_first_chunk().ok_or(NO_PARTS)?;
        let whole = Parts::of(packet, cut.mtu).ok_or(NO_PARTS)?;
        let (_, mut from) = write_part(&mut self.place, head, &whole, 0).ok_or(NO_PARTS)?;
        while let Some((part, next)) = write_part(&mut self.place, head, &whole, from) {
            if self.parts.len() == PARTS_MAX {
                return Err(NO_PARTS);
            }
            let mut part = queues.new_frame(part).ok_or(DropReason::NoFrame)?;
            encapsulate(&mut part, cut, world)?;
            self.parts.push(part);
            from = next;
        }
        let (first, _) = write_part(&mut self.place, head, &whole, 0).ok_or(NO_PARTS)?;
        if !frame.fill(first) {
            return Err(DropReason::NoFrame);
        }
        encapsulate(frame, cut, world)?;
        self.parts.reverse();
        Ok(self.parts.len())
    }

    /// The next of the others.
    pub(super) fn next(&mut self) -> Option<F> {
        self.parts.pop()
    }
}

/// The frame of the part that begins at `from`, and where the next one begins.
fn write_part<'a>(
    place: &'a mut [u8; PART_MAX],
    head: &[u8; ethernet::HEADER_LEN],
    whole: &Parts<'_>,
    from: usize,
) -> Option<(&'a [u8], usize)> {
    let (ethernet, part) = place.split_first_chunk_mut()?;
    *ethernet = *head;
    let (len, next) = whole.write(from, part)?;
    Some((place.get(..ethernet::HEADER_LEN + len)?, next))
}

/// Puts a part into its tunnel, if it goes by one.
fn encapsulate<F: Frame>(part: &mut F, cut: &Cut, world: &Snapshot) -> Result<(), DropReason> {
    let Some((id, hash)) = cut.tunnel else { return Ok(()) };
    let backend = world.backend(id).ok_or(DropReason::NoBackendAvailable)?;
    if let Forwarding::Tunnel(template) = &backend.forwarding {
        push(part, &backend.next_hop.hop, template, hash).map_err(|_| DropReason::NoHeadroom)?;
    }
    Ok(())
}
