//! What a worker does for those who watch, while there are any: it writes down the frames of the burst before the path,
//! and after it what became of them. Cold code, which neither allocates nor waits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Path;
use super::lanes::{Lane, Outcome, Source};
use super::mesh::ControlFrame;
use crate::drop_reason::DropReason;
use crate::io::{BURST_MAX, Frame, PortId};
use crate::packet::{EndpointKey, Flow, FlowKey};
use crate::snapshot::{BackendId, FrontendId, Snapshot};
use crate::tick::Tick;
use crate::watch::{
    About, Chosen, Direction, End, Ends, Entry, FlowState, FlowStory, Record, Rewritten, WATCHES_MAX, Watch,
};
use crate::wire::{ethernet, ipv4, ipv6};

/// A worker's notes of the burst at hand.
pub(super) struct Recorder {
    worker: u8,
    /// In the order of lanes. Empty between two bursts.
    notes: Vec<Note>,
}

/// What is known so far of a frame that a watch may want.
struct Note {
    watch: usize,
    lane: usize,
    /// Where the frame lies: who it is, wherever it has gone.
    frame: usize,
    ends: Option<Ends>,
    is_wanted: bool,
    /// Who transmits it, if it leaves.
    about: About,
    /// `None` where no record was left.
    received: Option<Box<Record>>,
    sent: Option<(PortId, Option<Box<Record>>)>,
}

/// The burst at hand, and what it is seen by.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) world: &'a Snapshot,
    pub(super) source: Source,
    pub(super) now: Tick,
    /// Since 1970.
    pub(super) at: Duration,
}

fn address_of<F: Frame>(frame: &F) -> usize {
    frame.bytes().as_ptr().addr()
}

impl Recorder {
    pub(super) fn new(worker: u8) -> Self {
        Self { worker, notes: Vec::with_capacity(BURST_MAX * WATCHES_MAX) }
    }

    /// Writes down the frames that may be wanted, before the path changes them.
    #[cold]
    pub(super) fn begin<F: Frame>(&mut self, path: &mut Path, burst: &[F], scene: Scene<'_>) {
        for (lane, frame) in burst.iter().enumerate() {
            let ends = Ends::of(frame.bytes());
            let watches = scene.world.watches.iter().enumerate().take(WATCHES_MAX);
            for (watch, wants) in watches {
                if wants.has_ended() || !wants.filter.may_take(ends.as_ref()) {
                    continue;
                }
                let about = self.about(frame, scene, ends.and_then(|ends| before(path, &ends, scene)));
                let mut received = wants.take();
                if let Some(record) = &mut received {
                    record.keep(frame.bytes());
                }
                let frame = address_of(frame);
                self.notes.push(Note {
                    watch,
                    lane,
                    frame,
                    ends,
                    is_wanted: false,
                    about,
                    received,
                    sent: None,
                });
            }
        }
    }

    fn about<F: Frame>(&self, frame: &F, scene: Scene<'_>, flow: Option<FlowStory>) -> About {
        About {
            at: scene.at,
            port: scene.source.port(),
            direction: Direction::Received,
            worker: self.worker,
            was_handed_over: matches!(scene.source, Source::Worker { .. }),
            len: frame.bytes().len(),
            end: End::Controlled,
            flow,
            rewritten: None,
        }
    }

    /// Writes down what the path has decided. `transmitter` says who sends out of a port.
    #[cold]
    pub(super) fn decided<F: Frame>(
        &mut self,
        path: &mut Path,
        burst: &[F],
        scene: Scene<'_>,
        transmitter: impl Fn(PortId) -> u8,
    ) {
        let mut outcomes = [Outcome::Control; BURST_MAX];
        outcomes.iter_mut().zip(path.lanes.outcomes.by_lane()).for_each(|(to, outcome)| *to = outcome);
        let mut notes = self.notes.iter_mut().peekable();
        for (lane, frame) in burst.iter().enumerate() {
            while let Some(note) = notes.next_if(|note| note.lane == lane) {
                let (Some(watch), Some(outcome)) = (scene.world.watches.get(note.watch), outcomes.get(lane))
                else {
                    continue;
                };
                note.about.flow = story(path, Lane::new(lane), note, scene);
                let flow = note.about.flow;
                note.is_wanted = watch.filter.takes(
                    note.ends.as_ref(),
                    flow.map(|flow| flow.frontend),
                    flow.and_then(|flow| flow.backend).map(|backend| (backend.ip(), backend.port())),
                );
                note.about.end = match *outcome {
                    Outcome::Forward(port) => End::Forwarded(port, transmitter(port)),
                    // As one packet, before it is cut up, and put into a tunnel.
                    Outcome::ForwardInParts(index) => {
                        let port = path.lanes.outcomes.cut_at(index).map_or(PortId(0), |cut| cut.port);
                        End::Forwarded(port, transmitter(port))
                    }
                    Outcome::Answer(port) => End::Answered(port, transmitter(port)),
                    Outcome::Control | Outcome::HandUp => End::Controlled,
                    Outcome::HandOver(_) | Outcome::Ask(_) | Outcome::Hold(_) => End::HandedOver,
                    Outcome::Drop(reason) => End::Dropped(reason),
                };
                note.leave(frame, watch, scene.world);
            }
        }
    }

    /// A frame of this burst could not be given on.
    #[cold]
    pub(super) fn lost<F: Frame>(&mut self, frame: &F, reason: DropReason) {
        let frame = address_of(frame);
        let notes = self.notes.iter_mut().filter(|note| note.frame == frame);
        notes.for_each(|note| note.about.end = End::Dropped(reason));
    }

    /// A queue did not take these frames: of this burst, or of another worker's.
    #[cold]
    pub(super) fn refused<F: Frame>(&mut self, frames: &[F], port: PortId, at: Duration, world: &Snapshot) {
        const REASON: DropReason = DropReason::TransmitFull;
        for frame in frames {
            if self.notes.iter().any(|note| note.frame == address_of(frame)) {
                self.lost(frame, REASON);
            } else {
                self.record_sent(frame.bytes(), port, End::Dropped(REASON), at, world);
            }
        }
    }

    /// Nobody has sent us this: the management thread made it, or the reset of a flow.
    #[cold]
    pub(super) fn originated(&self, frame: &ControlFrame, at: Duration, world: &Snapshot) {
        self.record_sent(frame.bytes(), frame.port, End::Originated, at, world);
    }

    fn record_sent(&self, bytes: &[u8], port: PortId, end: End, at: Duration, world: &Snapshot) {
        let dropped = if let End::Dropped(reason) = end { Some(reason) } else { None };
        let ends = Ends::of(bytes);
        for watch in &world.watches {
            let is_wanted = watch.filter.takes(ends.as_ref(), None, None) && watch.filter.takes_end(dropped);
            // A drop is told also to those who do not want what is sent.
            if watch.has_ended() || !is_wanted || (dropped.is_none() && !watch.wants_sent()) {
                continue;
            }
            let Some(mut record) = watch.take() else {
                watch.lose(port);
                continue;
            };
            record.keep(bytes);
            record.about = About {
                at,
                port,
                direction: Direction::Sent,
                worker: self.worker,
                was_handed_over: false,
                len: bytes.len(),
                end,
                flow: None,
                rewritten: None,
            };
            watch.hand_in(record);
        }
    }

    /// Hands in what is wanted. All ends are known now.
    #[cold]
    pub(super) fn commit(&mut self, world: &Snapshot) {
        for note in self.notes.drain(..) {
            if let Some(watch) = world.watches.get(note.watch) {
                note.hand_in(watch);
            }
        }
    }
}

impl Note {
    /// Keeps the frame as it leaves, if it does and that is wanted.
    fn leave<F: Frame>(&mut self, frame: &F, watch: &Arc<Watch>, world: &Snapshot) {
        let (End::Forwarded(port, _) | End::Answered(port, _)) = self.about.end else { return };
        if !self.is_wanted {
            return;
        }
        self.about.rewritten = rewritten(frame.bytes());
        if let (Some(flow), Some(rewritten)) = (&mut self.about.flow, &self.about.rewritten) {
            flow.next_hop =
                world.routes.neighbour_for(rewritten.destination.ip()).map(|(_, address)| address);
        }
        if watch.wants_sent() {
            let mut record = watch.take();
            if let Some(record) = &mut record {
                record.keep(frame.bytes());
                record.about.len = frame.bytes().len();
            }
            self.sent = Some((port, record));
        }
    }

    fn hand_in(self, watch: &Arc<Watch>) {
        let Self { about, received, sent, is_wanted, .. } = self;
        let (dropped, leaves) = match about.end {
            End::Dropped(reason) => (Some(reason), false),
            end => (None, end != End::HandedOver),
        };
        // What another worker has, that worker writes down; and what is held, whoever sends or drops it later.
        let is_wanted = is_wanted && watch.filter.takes_end(dropped) && about.end != End::HandedOver;
        hand_in(watch, received, is_wanted.then_some(about));
        if let Some((port, record)) = sent {
            let len = record.as_ref().map_or(0, |record| record.about.len);
            let about = About { port, direction: Direction::Sent, len, ..about };
            hand_in(watch, record, (is_wanted && leaves).then_some(about));
        }
    }
}

/// Hands a record in with what is said of it; or gives it back, where nothing is.
fn hand_in(watch: &Arc<Watch>, record: Option<Box<Record>>, about: Option<About>) {
    match (record, about) {
        (Some(mut record), Some(about)) => {
            record.about = about;
            watch.hand_in(record);
        }
        (Some(record), None) => watch.give_back(record),
        (None, Some(about)) => watch.lose(about.port),
        (None, None) => {}
    }
}

/// What the flow table says of a client's packet that the path has not seen yet.
fn before(path: &mut Path, ends: &Ends, scene: Scene<'_>) -> Option<FlowStory> {
    let (from, to, protocol) = ends.ports?;
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (ends.source, ends.destination) else { return None };
    let id = scene.world.frontend_at(EndpointKey::new(destination, to, protocol))?;
    let frontend = scene.world.frontend(id)?;
    let key = FlowKey::new(source, from, id.0);
    let hash = frontend.flow_hash(&scene.world.hash, key);
    Some(FlowStory {
        frontend: frontend.endpoint,
        backend: None,
        is_response: false,
        before: entry(path, key, hash, scene),
        after: None,
        by_server_id: false,
        choice: None,
        next_hop: None,
    })
}

/// What the path has found out about the flow of a frame.
fn story(path: &mut Path, lane: Lane, note: &Note, scene: Scene<'_>) -> Option<FlowStory> {
    let before = note.about.flow;
    let world = scene.world;
    let lanes = &path.lanes;
    let backend = lanes.backends.get(lane.index()).copied().unwrap_or(BackendId::NONE);
    // Which way a packet goes that is answered by a reset, only its addresses still say.
    let is_reset = lanes.resets.has(lane);
    if lanes.responses.has(lane) || is_reset && before.is_none() {
        let frontend = world.frontend(world.backend(backend)?.frontend)?.endpoint;
        let backend = endpoint_of(backend, world);
        let next_hop = None;
        return Some(FlowStory {
            frontend,
            backend,
            is_response: true,
            before: None,
            after: None,
            by_server_id: false,
            choice: None,
            next_hop,
        });
    }
    if !lanes.clients.has(lane) && !is_reset {
        // One that was dropped before its flow was looked up, or that another worker has: the flow is what it was, or what
        // others of the burst have made of it.
        let mut story = before?;
        if story.before.is_some() {
            story.after = self::before(path, &note.ends?, scene).and_then(|now| now.before);
        }
        return Some(story);
    }
    let (key, hash) = (*lanes.keys.get(lane.index())?, *lanes.hashes.get(lane.index())?);
    let frontend = world.frontend(FrontendId(key.frontend()))?;
    let by_server_id = lanes.by_server_id.has(lane);
    let choice = frontend.selector.choose(&world.hash, key, hash).map(|choice| Chosen {
        hash: choice.hash,
        slot: choice.slot,
        table_len: frontend.selector.table().len(),
        backend: endpoint_of(choice.backend, world),
    });
    Some(FlowStory {
        frontend: frontend.endpoint,
        backend: endpoint_of(backend, world),
        is_response: false,
        before: before.and_then(|story| story.before),
        after: entry(path, key, hash, scene),
        by_server_id,
        choice,
        next_hop: None,
    })
}

fn entry(path: &mut Path, key: FlowKey, hash: u64, scene: Scene<'_>) -> Option<Entry> {
    use super::flow_table::State;
    let value = path.flows.narrow.open().peek(key, hash)?;
    let idle_ticks = scene.world.frontend_of(key)?.idle_ticks;
    let state = match value.state() {
        _ if value.is_over(idle_ticks, scene.now) => FlowState::Over,
        State::HalfOpen => FlowState::HalfOpen,
        State::Fresh => FlowState::Fresh,
        State::Established => FlowState::Established,
        State::Closing => FlowState::Closing,
    };
    Some(Entry { backend: endpoint_of(value.backend(), scene.world), state })
}

fn endpoint_of(id: BackendId, world: &Snapshot) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(world.to_backend(id)?.rewrite.port);
    Some(SocketAddr::new(world.backend(id)?.address, port))
}

fn rewritten(frame: &[u8]) -> Option<Rewritten> {
    let to_mac = ethernet::addresses(frame.first_chunk()?).destination();
    let ends = Ends::of(frame)?;
    let (from, to) = ends.ports.map_or((0, 0), |(from, to, _)| (from, to));
    let hops_at = if ends.source.is_ipv4() { ipv4::TTL_OFFSET } else { ipv6::HOP_LIMIT_OFFSET };
    let ttl = *frame.get(ethernet::HEADER_LEN + hops_at)?;
    Some(Rewritten {
        to_mac,
        source: SocketAddr::new(ends.source, from),
        destination: SocketAddr::new(ends.destination, to),
        ttl,
    })
}
