//! The two kinds of key, and what a line has of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dataplane::lanes::{Lane, Lanes};
use crate::drop_reason::DropReason;
use crate::packet::{Flow, FlowKey, WideKey, flaw_of_source, is_martian, is_martian_byte};
use crate::snapshot::{BackendId, FrontendId, Snapshot};

/// A key of flows. A table finds it by its tag, a word; what that does not say of the client's address lies elsewhere.
pub(in crate::dataplane) trait Key: Flow {
    /// Whether there is such a rest.
    const HAS_REST: bool;

    /// The word that it is found by; zero is an empty place.
    fn tag(self, secret: Secret) -> u64;

    /// The rest.
    fn rest(self) -> [u64; 2];

    /// The key of a tag and its rest.
    fn of(tag: u64, rest: [u64; 2], secret: Secret) -> Self;

    /// The key of the flow that the packet in `lane` belongs to.
    fn in_lane(lanes: &Lanes, lane: Lane) -> Self;

    /// Whether no packet can come from the client.
    fn is_flawed(self) -> bool;

    /// Why that is so.
    fn flaw(self) -> Option<DropReason>;

    /// The same flow's wide key.
    fn widened(self) -> WideKey;

    /// Whether the client has an address of ours.
    fn is_ours(self, world: &Snapshot) -> bool;

    /// Whether the client has the address of a backend.
    fn is_of_backend(self, id: BackendId, world: &Snapshot) -> bool;

    /// Whether it is one of those.
    fn is_wanted(self, filter: &KeyFilter) -> bool;
}

/// Two words that only one table knows, and that differ from start to start.
#[derive(Clone, Copy)]
pub(in crate::dataplane) struct Secret([u64; 2]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(super) fn new() -> std::io::Result<Self> {
        let word = || getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()));
        Ok(Self([word()?, word()?]))
    }

    /// What stands for an address in a tag: the product of its halves, each mixed with a word that nobody knows, the upper
    /// half of it laid on the lower.
    #[inline(always)]
    fn fold(self, [low, high]: [u64; 2]) -> u64 {
        let product = u128::from(low ^ self.0[0]) * u128::from(high ^ self.0[1]);
        product as u64 ^ (product >> 64) as u64
    }
}

/// Keys, by some of their bits: the bits that matter, and what they must be.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::dataplane) struct KeyFilter {
    narrow: (u64, u64),
    wide: ([u64; 3], [u64; 3]),
}

impl KeyFilter {
    /// Of those only the ones of a client, and of one port of it if one is given.
    pub(in crate::dataplane) fn client(mut self, address: IpAddr, port: Option<u16>) -> Self {
        let port_mask = port.map_or(0, |_| u16::MAX);
        if let IpAddr::V4(address) = address {
            self.narrow.0 |= FlowKey::client_word(Ipv4Addr::BROADCAST, port_mask);
            self.narrow.1 |= FlowKey::client_word(address, port.unwrap_or(0));
        } else {
            // No bit of a key that is not looked at can be set.
            self.narrow = (0, 1);
        }
        let all = Ipv6Addr::from_bits(u128::MAX).into();
        self.add_wide(client_of(all, port_mask), client_of(address, port.unwrap_or(0)));
        self
    }

    /// Of those only the ones to a frontend.
    pub(in crate::dataplane) fn frontend(mut self, frontend: FrontendId) -> Self {
        let word = u64::from(frontend.0) + 1;
        self.narrow = (self.narrow.0 | 0xffff, self.narrow.1 | word);
        self.add_wide(WideKey([0, 0, 0xffff]), WideKey([0, 0, word]));
        self
    }

    fn add_wide(&mut self, mask: WideKey, words: WideKey) {
        let (masks, wanted) = &mut self.wide;
        for row in 0..3 {
            masks[row] |= mask.0[row];
            wanted[row] |= words.0[row];
        }
    }
}

/// The words of a key that name the client.
fn client_of(address: IpAddr, port: u16) -> WideKey {
    let [low, high, rest] = WideKey::new(address, port, 0).0;
    WideKey([low, high, rest & !0xffff])
}

/// The tag is all of it.
impl Key for FlowKey {
    const HAS_REST: bool = false;

    #[inline(always)]
    fn tag(self, _: Secret) -> u64 {
        self.0
    }

    #[inline(always)]
    fn rest(self) -> [u64; 2] {
        [0; 2]
    }

    #[inline(always)]
    fn of(tag: u64, _: [u64; 2], _: Secret) -> Self {
        Self(tag)
    }

    #[inline(always)]
    fn in_lane(lanes: &Lanes, lane: Lane) -> Self {
        lanes.keys[lane.index()]
    }

    #[inline(always)]
    fn is_flawed(self) -> bool {
        // In a key as on the wire: the address's first byte is the lowest of its word.
        self.0 & 0xffff_0000 == 0 || is_martian_byte((self.0 >> 32) as u8)
    }

    fn flaw(self) -> Option<DropReason> {
        flaw_of_source(self.client_address(), self.client_port())
    }

    fn widened(self) -> WideKey {
        WideKey::new(self.client_address().into(), self.client_port(), self.frontend())
    }

    #[inline(always)]
    fn is_ours(self, world: &Snapshot) -> bool {
        world.is_local(self.client_address())
    }

    #[inline(always)]
    fn is_of_backend(self, id: BackendId, world: &Snapshot) -> bool {
        let address = self.client_address().octets();
        world.to_backend(id).is_some_and(|backend| backend.rewrite.address == address)
    }

    #[inline(always)]
    fn is_wanted(self, filter: &KeyFilter) -> bool {
        self.0 & filter.narrow.0 == filter.narrow.1
    }
}

/// The tag is what the key has besides the address, laid on what stands for that. Two flows of one client never have the same.
/// Of two clients they are the same once in some 2⁶⁰ pairs, of which nobody can know any: of all the keys that a table is
/// asked for, each is held against eight at most.
impl Key for WideKey {
    const HAS_REST: bool = true;

    #[inline(always)]
    fn tag(self, secret: Secret) -> u64 {
        let [low, high, others] = self.0;
        others ^ secret.fold([low, high])
    }

    #[inline(always)]
    fn rest(self) -> [u64; 2] {
        let [low, high, _] = self.0;
        [low, high]
    }

    #[inline(always)]
    fn of(tag: u64, rest: [u64; 2], secret: Secret) -> Self {
        Self([rest[0], rest[1], tag ^ secret.fold(rest)])
    }

    #[inline(always)]
    fn in_lane(lanes: &Lanes, lane: Lane) -> Self {
        lanes.wide_key(lane)
    }

    fn is_flawed(self) -> bool {
        is_martian(self.client().ip())
    }

    fn flaw(self) -> Option<DropReason> {
        // That of ports was found before: not all protocols have them.
        is_martian(self.client().ip()).then_some(DropReason::MartianSource)
    }

    fn widened(self) -> WideKey {
        self
    }

    fn is_ours(self, world: &Snapshot) -> bool {
        world.local_at(self.client().ip()).is_some()
    }

    fn is_of_backend(self, id: BackendId, world: &Snapshot) -> bool {
        let address = self.client().ip();
        world.backend(id).is_some_and(|backend| backend.address == address)
    }

    #[inline(always)]
    fn is_wanted(self, filter: &KeyFilter) -> bool {
        let is = |row: usize| self.0[row] & filter.wide.0[row] == filter.wide.1[row];
        is(2) && is(1) && is(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_is_its_tag_and_its_rest_and_other_flows_have_others(
            client in any::<u128>(), other in any::<u128>(), ports in any::<[u16; 4]>(), frontends in any::<[u16; 2]>(),
        ) {
            let secret = Secret::new().unwrap();
            let key = |client: u128, [port, to]: [u16; 2], frontend: u16| {
                WideKey::new(Ipv6Addr::from_bits(client).into(), port, frontend.min(65_534)).to_port(to)
            };
            let [a, b] = [[ports[0], ports[1]], [ports[2], ports[3]]];
            let own = key(client, a, frontends[0]);
            prop_assert_eq!(WideKey::of(own.tag(secret), own.rest(), secret), own);
            for another in [key(client, b, frontends[0]), key(client, a, frontends[1]), key(other, b, frontends[1])] {
                prop_assert_eq!(another.tag(secret) == own.tag(secret), another == own);
            }
            let narrow = FlowKey::new(Ipv4Addr::from_bits(client as u32), ports[0], frontends[0].min(65_534));
            prop_assert_eq!(FlowKey::of(narrow.tag(secret), narrow.rest(), secret), narrow);
        }
    }
}
