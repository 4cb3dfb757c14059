//! What a worker counts. Each counter has one writer, its worker, and is read by anyone at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::outbound::OutboundCounters;
use crate::drop_reason::DropReason;
use crate::io::PORTS_MAX;
use crate::snapshot::{BACKENDS_MAX, BackendId, FRONTENDS_MAX, FrontendId};

/// A number that one thread writes and others read. Adding to it costs what adding to a `u64` costs.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Only for the one writer.
    #[inline]
    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Only for the one writer.
    #[inline]
    pub(super) fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// The value some time ago, as a rule nanoseconds.
    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of one worker. For each worker, at any moment when it is between two bursts:
/// `received + taken_over = transmitted + answered + controlled + handed_over + held + Σ drops`.
pub struct WorkerCounters {
    /// Frames taken from ports.
    pub(super) received: CachePadded<[Counter; PORTS_MAX]>,
    /// Frames forwarded out of ports.
    pub(super) transmitted: CachePadded<[Counter; PORTS_MAX]>,
    pub(super) drops: CachePadded<[Counter; DropReason::COUNT]>,
    pub(super) flow: CachePadded<FlowCounters>,
    pub(super) reset: CachePadded<ResetCounters>,
    pub(super) icmp: CachePadded<IcmpCounters>,
    pub(super) parts: CachePadded<PartCounters>,
    pub(super) quic: CachePadded<QuicCounters>,
    pub(super) client_address: CachePadded<ClientAddressCounters>,
    pub(super) other: CachePadded<OtherCounters>,
    /// By `BackendId`: what the backends got.
    to_backend: Box<[Traffic]>,
    /// By `BackendId`: what they gave.
    to_client: Box<[Traffic]>,
    /// By `BackendId`.
    flows: Box<[BackendFlows]>,
    pub(super) outbound: OutboundCounters,
    /// By `FrontendId`: packets dropped for its access list.
    denied: Box<[Counter]>,
}

/// Frames with another end than forwarding or a drop.
#[derive(Default)]
pub(super) struct OtherCounters {
    /// Turned round into an answer of our own.
    pub(super) answered: Counter,
    /// For the management thread: ARP replies.
    pub(super) controlled: Counter,
    /// Given to the worker that owns the flow or the transmit queue.
    pub(super) handed_over: Counter,
    /// Come from another worker.
    pub(super) taken_over: Counter,
    /// Fragments that wait just now for the first of their datagram.
    pub(super) held: Counter,
    /// Frames of the management thread that left.
    pub(super) originated: Counter,
    /// Bursts, empty polls not counted.
    pub(super) bursts: Counter,
    /// Times all receive queues were asked.
    pub(super) polls: Counter,
    /// Those of them that found frames.
    pub(super) busy_polls: Counter,
}

/// What happened in the flow table.
#[derive(Default)]
pub(super) struct FlowCounters {
    pub(super) created: Counter,
    pub(super) expired: Counter,
    /// Half-open or unconfirmed flows that gave their place to a new one.
    pub(super) reclaimed: Counter,
    /// Packets forwarded without an entry, for the table had no place.
    pub(super) untracked: Counter,
}

/// What became of flows whose backend's drain has passed its deadline.
#[derive(Default)]
pub(super) struct ResetCounters {
    /// Flows forgotten after resets.
    pub(super) flows: Counter,
    /// Flows forgotten because nobody said where they were.
    pub(super) flows_unanswered: Counter,
    pub(super) to_client: Counter,
    pub(super) to_backend: Counter,
    /// Segments that asked for the numbers.
    pub(super) asked: Counter,
}

/// What was sent of ICMP.
#[derive(Default)]
pub(super) struct IcmpCounters {
    pub(super) echo_replies: Counter,
    /// Errors of our own: nobody serves the address.
    pub(super) unreachable: Counter,
    /// Errors of our own: the packet does not fit.
    pub(super) too_big: Counter,
    /// Errors of our own: the packet has no hop left.
    pub(super) time_exceeded: Counter,
    /// Errors of others about responses.
    pub(super) to_backend: Counter,
    /// Errors of others about packets to backends.
    pub(super) to_client: Counter,
}

/// Packets of IPv4 that did not fit, and left in parts.
#[derive(Default)]
pub(super) struct PartCounters {
    pub(super) packets: Counter,
    /// The first of each included.
    pub(super) made: Counter,
}

/// Packets to frontends that ask QUIC connection ids.
#[derive(Default)]
pub(super) struct QuicCounters {
    /// Sent to the backend that the id names.
    pub(super) by_id: Counter,
    /// Those of them whose flow was at another backend.
    pub(super) moved: Counter,
    /// The id names no backend.
    pub(super) unknown: Counter,
    /// The id names a backend that is down.
    pub(super) down: Counter,
    /// There is no id of this coding.
    pub(super) unroutable: Counter,
}

/// Clients' packets that told their backend who the client is.
#[derive(Default)]
pub(super) struct ClientAddressCounters {
    /// By the TCP option.
    pub(super) toa: Counter,
    /// Those that had no room for it, in the TCP header or in the MTU.
    pub(super) toa_no_room: Counter,
    /// By a header of the PROXY protocol, sent again ones included.
    pub(super) proxy: Counter,
}

/// Packets one way. A quarter of a cache line, for there is one for each backend and all are written to.
#[derive(Default)]
#[repr(align(16))]
pub(super) struct Traffic {
    packets: Counter,
    bytes: Counter,
}

impl Traffic {
    #[inline(always)]
    pub(super) fn count(&self, bytes: u16) {
        self.packets.add(1);
        self.bytes.add(bytes.into());
    }

    /// Packets and bytes.
    pub(super) fn get(&self) -> (u64, u64) {
        (self.packets.get(), self.bytes.get())
    }
}

/// Flows of one backend.
#[derive(Default)]
#[repr(align(16))]
pub(super) struct BackendFlows {
    pub(super) now: Counter,
    pub(super) ever: Counter,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            received: CachePadded::default(),
            transmitted: CachePadded::default(),
            drops: CachePadded::new(std::array::from_fn(|_| Counter::default())),
            flow: CachePadded::default(),
            reset: CachePadded::default(),
            icmp: CachePadded::default(),
            parts: CachePadded::default(),
            quic: CachePadded::default(),
            client_address: CachePadded::default(),
            other: CachePadded::default(),
            to_backend: (0..BACKENDS_MAX).map(|_| Traffic::default()).collect(),
            to_client: (0..BACKENDS_MAX).map(|_| Traffic::default()).collect(),
            flows: (0..BACKENDS_MAX).map(|_| BackendFlows::default()).collect(),
            outbound: OutboundCounters::default(),
            denied: (0..FRONTENDS_MAX).map(|_| Counter::default()).collect(),
        }
    }
}

impl WorkerCounters {
    #[inline(always)]
    pub(super) fn flows(&self, id: BackendId) -> Option<&BackendFlows> {
        self.flows.get(id.index())
    }

    /// What the backends got, by [`BackendId::index`].
    #[inline(always)]
    pub(super) fn to_backend(&self) -> &[Traffic] {
        &self.to_backend
    }

    /// What the backends gave, by [`BackendId::index`].
    #[inline(always)]
    pub(super) fn to_client(&self) -> &[Traffic] {
        &self.to_client
    }

    #[inline]
    pub(super) fn dropped(&self, reason: DropReason) {
        self.dropped_many(reason, 1);
    }

    #[inline]
    pub(super) fn dropped_many(&self, reason: DropReason, frames: u64) {
        if let Some(counter) = self.drops.get(reason as usize) {
            counter.add(frames);
        }
    }

    /// Established and other flows to `id` in this worker's table.
    pub fn flows_to(&self, id: BackendId) -> u64 {
        self.flows(id).map_or(0, |flows| flows.now.get())
    }

    /// One packet more that an access list has kept from `frontend`.
    pub(super) fn count_denied(&self, frontend: FrontendId) {
        self.denied.get(usize::from(frontend.0)).iter().for_each(|counter| counter.add(1));
    }

    /// Packets that access lists have kept from whoever has had that id.
    pub fn denied(&self, frontend: FrontendId) -> u64 {
        self.denied.get(usize::from(frontend.0)).map_or(0, Counter::get)
    }

    /// What `id` got and gave by this worker.
    pub fn backend_totals(&self, id: BackendId) -> BackendTotals {
        let at = id.index();
        let (Some(flows), Some(to_backend), Some(to_client)) =
            (self.flows.get(at), self.to_backend.get(at), self.to_client.get(at))
        else {
            return BackendTotals::default();
        };
        BackendTotals {
            flows: flows.now.get(),
            flows_total: flows.ever.get(),
            packets_in: to_backend.packets.get(),
            bytes_in: to_backend.bytes.get(),
            packets_out: to_client.packets.get(),
            bytes_out: to_client.bytes.get(),
        }
    }

    /// All but the backends'.
    pub fn totals(&self) -> WorkerTotals {
        let sum = |counters: &[Counter]| counters.iter().map(Counter::get).sum();
        WorkerTotals {
            received: sum(&*self.received),
            transmitted: sum(&*self.transmitted),
            answered: self.other.answered.get(),
            controlled: self.other.controlled.get(),
            handed_over: self.other.handed_over.get(),
            taken_over: self.other.taken_over.get(),
            held: self.other.held.get(),
            originated: self.other.originated.get(),
            drops: DropReason::ALL.iter().map(|r| (*r, self.drops[*r as usize].get())).collect(),
            flows_created: self.flow.created.get(),
            flows_expired: self.flow.expired.get(),
            flows_reclaimed: self.flow.reclaimed.get(),
            untracked: self.flow.untracked.get(),
            flows_reset: self.reset.flows.get(),
            flows_unanswered: self.reset.flows_unanswered.get(),
            resets_to_client: self.reset.to_client.get(),
            resets_to_backend: self.reset.to_backend.get(),
            reset_asks: self.reset.asked.get(),
            echo_replies: self.icmp.echo_replies.get(),
            unreachable_sent: self.icmp.unreachable.get(),
            too_big_sent: self.icmp.too_big.get(),
            time_exceeded_sent: self.icmp.time_exceeded.get(),
            errors_to_backend: self.icmp.to_backend.get(),
            errors_to_client: self.icmp.to_client.get(),
            quic_by_id: self.quic.by_id.get(),
            quic_moved: self.quic.moved.get(),
            quic_unknown: self.quic.unknown.get(),
            quic_down: self.quic.down.get(),
            quic_unroutable: self.quic.unroutable.get(),
            packets_cut: self.parts.packets.get(),
            parts_made: self.parts.made.get(),
            toa_sent: self.client_address.toa.get(),
            toa_no_room: self.client_address.toa_no_room.get(),
            proxy_headers_sent: self.client_address.proxy.get(),
            bursts: self.other.bursts.get(),
            polls: self.other.polls.get(),
            busy_polls: self.other.busy_polls.get(),
        }
    }
}

/// A worker's counters, read once. See [`WorkerCounters`] for the sum that holds.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the counters of the same names")]
pub struct WorkerTotals {
    pub received: u64,
    pub transmitted: u64,
    pub answered: u64,
    pub controlled: u64,
    pub handed_over: u64,
    pub taken_over: u64,
    pub held: u64,
    pub originated: u64,
    pub drops: Vec<(DropReason, u64)>,
    pub flows_created: u64,
    pub flows_expired: u64,
    pub flows_reclaimed: u64,
    pub untracked: u64,
    pub flows_reset: u64,
    pub flows_unanswered: u64,
    pub resets_to_client: u64,
    pub resets_to_backend: u64,
    pub reset_asks: u64,
    pub echo_replies: u64,
    pub unreachable_sent: u64,
    pub too_big_sent: u64,
    pub time_exceeded_sent: u64,
    pub errors_to_backend: u64,
    pub errors_to_client: u64,
    pub quic_by_id: u64,
    pub quic_moved: u64,
    pub quic_unknown: u64,
    pub quic_down: u64,
    pub quic_unroutable: u64,
    pub packets_cut: u64,
    pub parts_made: u64,
    pub toa_sent: u64,
    pub toa_no_room: u64,
    pub proxy_headers_sent: u64,
    pub bursts: u64,
    pub polls: u64,
    pub busy_polls: u64,
}

/// What one backend of one rule got and gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the counters of the same names")]
pub struct BackendTotals {
    pub flows: u64,
    pub flows_total: u64,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
}

/// The sum over all workers. Between bursts `received = transmitted + answered + controlled + held + dropped`,
/// for what one worker hands over another takes over.
pub type Totals = WorkerTotals;

impl WorkerTotals {
    /// Adds those of another worker.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.transmitted += other.transmitted;
        self.answered += other.answered;
        self.controlled += other.controlled;
        self.handed_over += other.handed_over;
        self.taken_over += other.taken_over;
        self.held += other.held;
        self.originated += other.originated;
        self.flows_created += other.flows_created;
        self.flows_expired += other.flows_expired;
        self.flows_reclaimed += other.flows_reclaimed;
        self.untracked += other.untracked;
        self.flows_reset += other.flows_reset;
        self.flows_unanswered += other.flows_unanswered;
        self.resets_to_client += other.resets_to_client;
        self.resets_to_backend += other.resets_to_backend;
        self.reset_asks += other.reset_asks;
        self.echo_replies += other.echo_replies;
        self.unreachable_sent += other.unreachable_sent;
        self.too_big_sent += other.too_big_sent;
        self.time_exceeded_sent += other.time_exceeded_sent;
        self.errors_to_backend += other.errors_to_backend;
        self.errors_to_client += other.errors_to_client;
        self.quic_by_id += other.quic_by_id;
        self.quic_moved += other.quic_moved;
        self.quic_unknown += other.quic_unknown;
        self.quic_down += other.quic_down;
        self.quic_unroutable += other.quic_unroutable;
        self.packets_cut += other.packets_cut;
        self.parts_made += other.parts_made;
        self.toa_sent += other.toa_sent;
        self.toa_no_room += other.toa_no_room;
        self.proxy_headers_sent += other.proxy_headers_sent;
        self.bursts += other.bursts;
        self.polls += other.polls;
        self.busy_polls += other.busy_polls;
        if self.drops.is_empty() {
            self.drops = DropReason::ALL.iter().map(|reason| (*reason, 0)).collect();
        }
        self.drops.iter_mut().zip(&other.drops).for_each(|((_, sum), (_, count))| *sum += count);
    }

    /// Σ drops.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().map(|(_, count)| count).sum()
    }
}

impl BackendTotals {
    /// Adds those of another worker.
    pub fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.flows_total += other.flows_total;
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
    }
}
