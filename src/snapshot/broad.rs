//! Frontends of more than one address, one port or one protocol, and those of protocols without ports.

use std::net::IpAddr;

use super::{FrontendId, WideMap};
use crate::config;
use crate::packet::{FrontendWord, wide_endpoint};

/// The broad frontends, those first that a packet belongs to if it could be several's.
#[derive(Default)]
pub(crate) struct BroadFrontends {
    /// Of one address each, address by address.
    of_address: Box<[Broad]>,
    /// Address → where its frontends begin and how many there are, in 32 bits each.
    by_address: WideMap,
    /// Of networks, the longest prefix first.
    of_network: Box<[Broad]>,
}

/// A broad frontend.
#[derive(Clone, Copy)]
pub(crate) struct Broad {
    pub(crate) frontend: config::Frontend,
    pub(crate) word: FrontendWord,
}

impl Broad {
    /// Its id.
    pub(crate) fn id(&self) -> FrontendId {
        FrontendId(self.word.frontend())
    }
}

impl BroadFrontends {
    pub(super) fn new(all: impl IntoIterator<Item = Broad>) -> Self {
        let (mut of_address, mut of_network): (Vec<Broad>, Vec<Broad>) =
            all.into_iter().partition(|broad| broad.frontend.is_one_address());
        of_address.sort_by_key(|broad| (broad.frontend.address, broad.frontend.precedence()));
        of_network.sort_by_key(|broad| broad.frontend.precedence());
        let mut places = Vec::new();
        let mut start = 0;
        for group in of_address.chunk_by(|one, next| one.frontend.address == next.frontend.address) {
            if let Some(first) = group.first() {
                places.push((address_key(first.frontend.address), (start as u64) << 32 | group.len() as u64));
            }
            start += group.len();
        }
        Self { of_address: of_address.into(), by_address: WideMap::of(places), of_network: of_network.into() }
    }

    /// Whether there are none.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.of_address.is_empty() && self.of_network.is_empty()
    }

    /// The one that takes packets of a protocol, by its number, to an address and to a port, if it has ports.
    pub(crate) fn find(&self, address: IpAddr, port: Option<u16>, protocol: u8) -> Option<&Broad> {
        let place = self.by_address.get(address_key(address));
        let group = place.and_then(|place| {
            let (start, len) = ((place >> 32) as usize, (place & 0xffff_ffff) as usize);
            self.of_address.get(start..start + len)
        });
        let mut all = group.unwrap_or_default().iter().chain(&self.of_network);
        all.find(|broad| broad.frontend.takes(address, port, protocol))
    }

    /// Those that have the address, among others.
    pub(crate) fn networks_with(&self, address: IpAddr) -> impl Iterator<Item = FrontendId> {
        let with = self.of_network.iter().filter(move |broad| broad.frontend.network().contains(address));
        with.map(Broad::id)
    }

    /// Whether some frontend has the address, among others.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.of_network.iter().any(|broad| broad.frontend.network().contains(address))
    }
}

fn address_key(address: IpAddr) -> [u64; 3] {
    wide_endpoint(address, 0, 0)
}
