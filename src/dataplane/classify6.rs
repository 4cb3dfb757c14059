//! What plain packets of IPv6 are: the straight way for nearly all of them, in stages as for IPv4.

use super::classify::{FRAMES_AHEAD, is_behind};
use super::flow_table::{Lines, Tables};
use super::lanes::{LaneSet, Lanes, Source};
use crate::io::{BURST_MAX, Frame};
use crate::packet::{FrontendWord, PlainEnds6, PlainPacket6, WideKey, is_martian_v6};
use crate::snapshot::{BackendId, Snapshot};

/// Wide keys below which filling vector lanes is not worth the while: the lanes of other packets are hashed with them.
const HASHED_MIN: u32 = 8;

impl Lanes {
    /// Does what [`Lanes::find_clients`] does with IPv6 looked for first, as all else in a burst is likely to be what its
    /// first frame and the one in the middle are.
    #[inline(never)]
    pub(super) fn find_wide_first<F: Frame>(
        &mut self,
        burst: &[F],
        source: Source,
        world: &Snapshot,
        flows: &mut Tables,
    ) {
        let Some(pattern) = world.patterns.get(source.port().index()) else { return };
        let all = LaneSet::first(burst.len());
        self.rest = all;
        self.wide = self.find_plain6::<F, true>(all, burst, source, world);
        if !self.wide.is_empty() {
            // What else is in the burst has its hash written later.
            self.hash_all(burst.len(), world);
            self.ask_for(burst.len(), self.wide == all, self.wide, &flows.wide.open());
        }
        self.find_wide_responses(burst, source, world);
        let wide = self.wide.with(self.wide_responses);
        let narrow = std::mem::take(&mut self.rest).without(wide);
        for lane in narrow {
            self.find_some(lane.index()..lane.index() + 1, burst, pattern, &world.by_frontend);
        }
        self.clients = LaneSet::first(burst.len()).without(wide).without(self.strangers).without(self.rest);
        let lines = flows.narrow.open();
        for lane in self.clients {
            self.hashes[lane.index()] = world.hash.word(self.hashes[lane.index()]);
            lines.prefetch_first(self.hashes[lane.index()]);
        }
    }

    /// Of the frames that are no plain packets of IPv4: finds those of IPv6, which frontend each is for or which
    /// backend it comes from, hashes flows, and asks the memory for their first lines. The rest stays the rest.
    #[inline(always)]
    pub(super) fn find_wide_clients<F: Frame>(
        &mut self,
        burst: &[F],
        source: Source,
        world: &Snapshot,
        flows: &mut Tables,
    ) {
        if !self.rest.is_empty() {
            self.find_wide_among_others(burst, source, world, flows);
        }
    }

    #[inline(never)]
    fn find_wide_among_others<F: Frame>(
        &mut self,
        burst: &[F],
        source: Source,
        world: &Snapshot,
        flows: &mut Tables,
    ) {
        let clients = self.find_plain6::<F, false>(self.rest, burst, source, world);
        self.rest = self.rest.without(clients);
        self.wide = self.wide.with(clients);
        self.find_wide_responses(burst, source, world);
        if clients.len() < HASHED_MIN {
            for lane in clients {
                let [a, b, _] = self.wide_key(lane).0;
                self.hashes[lane.index()] = world.hash.wide([a, b, self.wide_to_hash[lane.index()]]);
            }
        } else {
            let others = self.hashes;
            self.hash_all(BURST_MAX, world);
            let kept = LaneSet::first(burst.len()).without(clients);
            kept.for_each(|lane| self.hashes[lane.index()] = others[lane.index()]);
        }
        self.ask_for(0, false, clients, &flows.wide.open());
    }

    /// Hashes the wide keys of the first `len` lanes, whether there are any or not.
    #[inline(always)]
    fn hash_all(&mut self, len: usize, world: &Snapshot) {
        let Self { hashes, wide_keys: [a, b, _], wide_to_hash, .. } = self;
        world.hash.wides([a, b, wide_to_hash], hashes.get_mut(..len).unwrap_or_default());
    }

    /// Asks the memory for the first lines of flows: those of the first `len` lanes if that `is_all`, else of `clients`.
    #[inline(always)]
    fn ask_for(&self, len: usize, is_all: bool, clients: LaneSet, lines: &Lines<'_, WideKey>) {
        if is_all {
            let hashes = self.hashes.get(..len).unwrap_or_default();
            hashes.iter().for_each(|hash| lines.prefetch_first(*hash));
        } else {
            clients.for_each(|lane| lines.prefetch_first(self.hashes[lane.index()]));
        }
    }

    /// Looks at the frames of `wanted`, and returns which are clients' packets to frontends. Of `FRESH` ones nothing has
    /// been looked at before.
    // Not inlined: a loop by itself has more registers.
    #[inline(never)]
    fn find_plain6<F: Frame, const FRESH: bool>(
        &mut self,
        wanted: LaneSet,
        burst: &[F],
        source: Source,
        world: &Snapshot,
    ) -> LaneSet {
        let port = source.port().index();
        let mut clients = LaneSet::default();
        let (Some(pattern), Some(sound)) = (world.patterns6.get(port), world.patterns.get(port)) else {
            return clients;
        };
        for lane in wanted {
            let Some(frame) = burst.get(lane.index()) else { continue };
            if FRESH && let Some(later) = burst.get(lane.index() + FRAMES_AHEAD) {
                later.prefetch();
            }
            let Some(packet) = PlainPacket6::parse(frame.bytes(), pattern, sound) else { continue };
            if let Some(word) = world.by_frontend_wide.get(packet.ends.destination()).map(FrontendWord) {
                let key = packet.ends.key(word);
                self.set_wide_key(lane, key);
                let [.., to_hash] = key.to_hash(FrontendWord::seed(word.0));
                self.wide_to_hash[lane.index()] = to_hash;
                self.tcp_flags[lane.index()] = packet.tcp_flags;
                clients.insert(lane);
            } else {
                // In memory: this is seldom, and its register is wanted.
                self.wide_strangers.insert(lane);
            }
        }
        clients
    }

    /// Finds out which backends plain packets come from that are for no frontend. Those of others stay the rest.
    #[inline(always)]
    fn find_wide_responses<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        if !self.wide_strangers.is_empty() {
            self.find_all_wide_responses(burst, source, world);
        }
    }

    #[inline(never)]
    fn find_all_wide_responses<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let mut responses = LaneSet::default();
        for lane in self.wide_strangers {
            let ends = burst.get(lane.index()).and_then(|frame| PlainEnds6::of_parsed(frame.bytes()));
            if let Some(backend) = ends.and_then(|ends| responder(&ends, source, world)) {
                self.backends[lane.index()] = backend;
                responses.insert(lane);
            }
        }
        self.wide_strangers = LaneSet::default();
        self.wide_responses = self.wide_responses.with(responses);
        self.rest = self.rest.without(responses);
    }
}

/// The backend that sent the packet to a client. What is wrong with one that has none is found out elsewhere.
#[inline(always)]
fn responder(ends: &PlainEnds6<'_>, source: Source, world: &Snapshot) -> Option<BackendId> {
    let id = BackendId(world.by_response_wide.get(ends.source())? as u32);
    let to = ends.destination_address();
    let is_fine = is_behind(world.to_client.get(id.index())?, source)
        && !world.is_local6(to)
        && !is_martian_v6(to)
        && !ends.is_to_port_zero();
    is_fine.then_some(id)
}
