//! What plain packets of IPv6 are: the straight way for nearly all of them, in stages as for IPv4.

use super::classify::{FRAMES_AHEAD, is_behind};
use super::flow_table::Tables;
use super::lanes::{Lane, Lanes, Source};
use crate::io::Frame;
use crate::packet::{FrontendWord, PlainPacket6, is_martian_v6};
use crate::snapshot::{BackendId, Snapshot};

/// Wide keys below which filling vector lanes is not worth the while: the lanes of other packets are hashed with them.
const HASHED_MIN: u32 = 8;

impl Lanes {
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
            self.find_plain6::<F, false>(burst, source, world);
        }
        if self.wide.is_empty() {
            return;
        }
        let lines = flows.wide.open();
        if self.wide.len() < HASHED_MIN {
            for lane in self.wide {
                let [a, b, _] = self.wide_key(lane).0;
                self.hashes[lane.index()] = world.hash.three([a, b, self.wide_to_hash[lane.index()]]);
            }
        } else {
            let mut hashes = [0; crate::io::BURST_MAX];
            let [a, b, _] = &self.wide_keys;
            world.hash.threes([a, b, &self.wide_to_hash], &mut hashes);
            self.wide.for_each(|lane| self.hashes[lane.index()] = hashes[lane.index()]);
        }
        self.wide.for_each(|lane| lines.prefetch_first(self.hashes[lane.index()]));
    }

    /// Looks at the frames of `rest`. Of `FRESH` ones nothing has been looked at before.
    #[inline(never)]
    pub(super) fn find_plain6<F: Frame, const FRESH: bool>(
        &mut self,
        burst: &[F],
        source: Source,
        world: &Snapshot,
    ) {
        let port = source.port().index();
        let (Some(pattern), Some(sound)) = (world.patterns6.get(port), world.patterns.get(port)) else {
            return;
        };
        let (mut rest, mut wide, mut responses) = (self.rest, self.wide, self.wide_responses);
        for lane in self.rest {
            let Some(frame) = burst.get(lane.index()) else { continue };
            if FRESH && let Some(later) = burst.get(lane.index() + FRAMES_AHEAD) {
                later.prefetch();
            }
            let Some(packet) = PlainPacket6::parse(frame.bytes(), pattern, sound) else { continue };
            if let Some(word) = world.by_frontend_wide.get(packet.destination()).map(FrontendWord) {
                self.take_client(lane, &packet, word);
                wide.insert(lane);
            } else if let Some(backend) = responder(&packet, source, world) {
                self.backends[lane.index()] = backend;
                responses.insert(lane);
            } else {
                continue;
            }
            rest.remove(lane);
        }
        (self.rest, self.wide, self.wide_responses) = (rest, wide, responses);
    }

    #[inline(always)]
    fn take_client(&mut self, lane: Lane, packet: &PlainPacket6<'_>, word: FrontendWord) {
        let key = packet.key(word);
        self.set_wide_key(lane, key);
        let [.., to_hash] = key.to_hash(FrontendWord::seed(word.0));
        self.wide_to_hash[lane.index()] = to_hash;
        self.tcp_flags[lane.index()] = packet.tcp_flags;
    }
}

/// The backend that sent the packet to a client. What is wrong with one that has none is found out elsewhere.
#[inline(always)]
fn responder(packet: &PlainPacket6<'_>, source: Source, world: &Snapshot) -> Option<BackendId> {
    let id = BackendId(world.by_response_wide.get(packet.source())? as u32);
    let to = packet.destination_address();
    let is_fine = is_behind(world.to_client.get(id.index())?, source)
        && !world.is_local6(to)
        && !is_martian_v6(to)
        && !packet.is_to_port_zero();
    is_fine.then_some(id)
}
