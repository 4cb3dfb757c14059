//! What plain packets of IPv6 are: the straight way for nearly all of them, in stages as for IPv4.

use super::flow_table::Tables;
use super::lanes::{Lane, Lanes, Source};
use crate::io::Frame;
use crate::packet::{FrontendWord, PlainPacket6, address_of, is_martian};
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
        if self.rest.is_empty() {
            return;
        }
        self.find_plain6(burst, source, world);
        if self.wide.is_empty() {
            return;
        }
        let lines = flows.wide.open();
        if self.wide.len() < HASHED_MIN {
            for lane in self.wide {
                self.hashes[lane.index()] = world.hash.three(self.wide_to_hash.map(|row| row[lane.index()]));
            }
        } else {
            let mut hashes = [0; crate::io::BURST_MAX];
            let [a, b, c] = &self.wide_to_hash;
            world.hash.threes([a, b, c], &mut hashes);
            self.wide.for_each(|lane| self.hashes[lane.index()] = hashes[lane.index()]);
        }
        self.wide.for_each(|lane| lines.prefetch_first(self.hashes[lane.index()]));
    }

    #[inline(never)]
    fn find_plain6<F: Frame>(&mut self, burst: &[F], source: Source, world: &Snapshot) {
        let port = source.port().index();
        let (Some(pattern), Some(sound)) = (world.patterns6.get(port), world.patterns.get(port)) else {
            return;
        };
        for lane in self.rest {
            let Some(frame) = burst.get(lane.index()) else { continue };
            let Some(packet) = PlainPacket6::parse(frame.bytes(), pattern, sound) else { continue };
            if let Some(word) = world.by_frontend_wide.get(packet.destination()).map(FrontendWord) {
                self.rest.remove(lane);
                self.take_client(lane, &packet, word);
            } else if let Some(backend) = responder(&packet, source, world) {
                self.rest.remove(lane);
                self.backends[lane.index()] = backend;
                self.wide_responses.insert(lane);
            }
        }
    }

    #[inline(always)]
    fn take_client(&mut self, lane: Lane, packet: &PlainPacket6, word: FrontendWord) {
        let key = packet.key(word);
        self.set_wide_key(lane, key);
        let to_hash = key.to_hash(FrontendWord::seed(word.0));
        self.wide_to_hash.iter_mut().zip(to_hash).for_each(|(row, word)| row[lane.index()] = word);
        self.tcp_flags[lane.index()] = packet.tcp_flags;
        self.wide.insert(lane);
    }
}

/// The backend that sent the packet to a client. What is wrong with one that has none is found out elsewhere.
#[inline(always)]
fn responder(packet: &PlainPacket6, source: Source, world: &Snapshot) -> Option<BackendId> {
    let id = BackendId(world.by_response_wide.get(packet.source())? as u32);
    let [low, high, port] = packet.destination();
    let to = address_of([low, high]);
    let from = world.to_client.get(id.index())?.from;
    let is_fine = from.is_none_or(|port| port == source.port())
        && world.local_at(to).is_none()
        && !is_martian(to)
        && port & 0xffff_0000 != 0;
    is_fine.then_some(id)
}
