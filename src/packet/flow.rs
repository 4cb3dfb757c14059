//! The keys by which packets find frontends, responses find backends, and flows find their entries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::SipHash;
use crate::wire::Protocol;

/// An address, a port and a protocol in one word. Addresses and ports are taken as they stand on the wire,
/// the first byte lowest, so that none need be turned round on the way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndpointKey(pub u64);

impl EndpointKey {
    /// Never zero, for a protocol's number is not.
    #[inline]
    pub fn new(address: Ipv4Addr, port: u16, protocol: Protocol) -> Self {
        Self(address_word(address) << 32 | port_word(port) << 16 | u64::from(protocol.number()))
    }
}

/// What keys of both kinds say of their flow.
pub trait Flow: Copy + Eq + Default + fmt::Debug {
    /// The index of the frontend.
    fn frontend(self) -> u16;

    /// The client's address and port.
    fn client(self) -> SocketAddr;

    /// The port the flow is to, where its frontend has several.
    fn destination_port(self) -> Option<u16> {
        None
    }

    /// False for a flow of UDP to a frontend that takes TCP as well.
    fn may_be_tcp(self) -> bool {
        true
    }

    /// The flow's hash. `seed` stands for the destination.
    fn hash(self, hasher: &SipHash, seed: u64) -> u64;

    /// The hash over the client's address and `seed` alone.
    fn source_hash(self, hasher: &SipHash, seed: u64) -> u64;
}

/// A flow as the client sends it: client address, client port, and the frontend, which stands for the
/// destination address, the destination port and the protocol. One word, never zero.
///
/// For clients with IPv4 addresses, at frontends of one address and port; [`WideKey`] is for all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey(pub u64);

impl Flow for FlowKey {
    #[inline(always)]
    fn frontend(self) -> u16 {
        (self.0 as u16).wrapping_sub(1)
    }

    fn client(self) -> SocketAddr {
        (self.client_address(), self.client_port()).into()
    }

    #[inline(always)]
    fn hash(self, hasher: &SipHash, seed: u64) -> u64 {
        hasher.word(self.client_part() ^ seed)
    }

    #[inline(always)]
    fn source_hash(self, hasher: &SipHash, seed: u64) -> u64 {
        hasher.word(seed ^ (self.0 >> 32 << 32))
    }
}

/// A flow whose client's address or whose destination takes more than a [`FlowKey`] has room for: IPv6, and frontends of
/// many ports or addresses. Three words, of which the last is never zero:
///
/// ```text
/// 0, 1: the client's address, IPv4 addresses mapped (RFC 4291 section 2.5.5.2)
/// 2:    destination, protocol 16 | destination port 16 | client port 16 | frontend + 1: 16
/// ```
///
/// Destination, its port and the protocol are zero where the frontend has only one. Of a destination in a frontend's network, the key
/// has sixteen bits that its address is folded to: two that fold to the same, with the same client, client port and
/// destination port, would be taken for one flow and have the same backend, and that is all they would have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct WideKey(pub [u64; 3]);

impl WideKey {
    /// `frontend` is the index of the frontend, below 65,535. The flow is to its only address and port.
    pub fn new(client: IpAddr, client_port: u16, frontend: u16) -> Self {
        let [low, high] = address_words(client);
        Self([low, high, port_word(client_port) << 16 | (u64::from(frontend) + 1)])
    }

    /// The same, of a frontend with several ports.
    #[must_use]
    pub fn to_port(self, port: u16) -> Self {
        let [low, high, rest] = self.0;
        Self([low, high, rest | port_word(port) << 32])
    }

    /// The same, of a frontend with several addresses.
    #[must_use]
    pub fn to_address(self, address: IpAddr) -> Self {
        let [low, high] = address_words(address);
        let folded = low ^ high;
        let folded = folded ^ folded >> 32;
        let [low, high, rest] = self.0;
        Self([low, high, rest | ((folded ^ folded >> 16) & 0xffff) << 48])
    }

    /// The same, of a frontend with several protocols.
    #[must_use]
    pub fn of_protocol(self, number: u8) -> Self {
        let [low, high, rest] = self.0;
        Self([low, high, rest ^ u64::from(number) << 48])
    }

    /// What is hashed of it. It says nothing of the frontend's index, which differs from process to process.
    #[inline(always)]
    pub fn to_hash(self, seed: u64) -> [u64; 3] {
        let [low, high, rest] = self.0;
        [low, high, (rest ^ seed) >> 16]
    }
}

impl Flow for WideKey {
    #[inline(always)]
    fn frontend(self) -> u16 {
        (self.0[2] as u16).wrapping_sub(1)
    }

    fn client(self) -> SocketAddr {
        let [low, high, rest] = self.0;
        let port = u16::from_be_bytes(((rest >> 16) as u16).to_le_bytes());
        (address_of([low, high]), port).into()
    }

    fn may_be_tcp(self) -> bool {
        (self.0[2] >> 48) as u8 != Protocol::Udp.number()
    }

    fn destination_port(self) -> Option<u16> {
        let port = u16::from_be_bytes(((self.0[2] >> 32) as u16).to_le_bytes());
        (port != 0).then_some(port)
    }

    #[inline(always)]
    fn hash(self, hasher: &SipHash, seed: u64) -> u64 {
        hasher.wide(self.to_hash(seed))
    }

    fn source_hash(self, hasher: &SipHash, seed: u64) -> u64 {
        let [low, high, _] = self.0;
        match address_of([low, high]) {
            // As of a narrow key: a client has one backend at all ports of an address.
            IpAddr::V4(address) => hasher.word(seed ^ address_word(address) << 32),
            IpAddr::V6(_) => hasher.three([low, high, seed]),
        }
    }
}

/// An address, a port and a protocol where an [`EndpointKey`] is too small: three words, of which the last is never
/// zero.
pub fn wide_endpoint(address: IpAddr, port: u16, protocol: u8) -> [u64; 3] {
    let [low, high] = address_words(address);
    [low, high, 1 << 8 | port_word(port) << 16 | u64::from(protocol)]
}

/// An address as two words, the first byte of each lowest; IPv4 addresses mapped.
#[inline(always)]
pub fn address_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, address_word(address) << 32 | 0xffff_0000],
        IpAddr::V6(address) => {
            let word = u128::from_le_bytes(address.octets());
            [word as u64, (word >> 64) as u64]
        }
    }
}

/// The address of [`address_words`].
pub fn address_of([low, high]: [u64; 2]) -> IpAddr {
    let word = u128::from(high) << 64 | u128::from(low);
    Ipv6Addr::from(word.to_le_bytes()).to_canonical()
}

impl FlowKey {
    /// `frontend` is the index of the frontend, below 65,535.
    #[inline]
    pub fn new(client: Ipv4Addr, client_port: u16, frontend: u16) -> Self {
        FrontendWord::new(frontend, 0).key(Self::client_word(client, client_port))
    }

    /// The client's address and port, where they stand in a key.
    #[inline]
    pub fn client_word(client: Ipv4Addr, client_port: u16) -> u64 {
        address_word(client) << 32 | port_word(client_port) << 16
    }

    /// The part of the key that names the client.
    #[inline]
    pub fn client_part(self) -> u64 {
        self.0 & !0xffff
    }

    /// The client's address.
    pub fn client_address(self) -> Ipv4Addr {
        Ipv4Addr::from(((self.0 >> 32) as u32).to_le_bytes())
    }

    /// The client's port.
    pub fn client_port(self) -> u16 {
        u16::from_be_bytes(((self.0 >> 16) as u16).to_le_bytes())
    }
}

/// What a flow takes from its frontend: the frontend's part of the key in the low 16 bits, and above them what
/// is mixed into the client's address and port before hashing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrontendWord(pub u64);

impl FrontendWord {
    /// `frontend` is the index of the frontend, below 65,535.
    pub fn new(frontend: u16, seed: u64) -> Self {
        // One more than the index, so that a key of all zeros can mean "no flow".
        Self(Self::seed(seed) | (u64::from(frontend) + 1))
    }

    /// As much of `seed` as there is room for.
    pub fn seed(seed: u64) -> u64 {
        seed & !0xffff
    }

    /// The index of the frontend.
    pub fn frontend(self) -> u16 {
        (self.0 as u16).wrapping_sub(1)
    }

    /// The key of a flow from the client of [`FlowKey::client_word`].
    #[inline(always)]
    pub fn key(self, client_word: u64) -> FlowKey {
        FlowKey(client_word | self.0 & 0xffff)
    }

    /// What is hashed of that flow. It says nothing of the index, which differs from process to process.
    #[inline(always)]
    pub fn to_hash(self, client_word: u64) -> u64 {
        (client_word ^ self.0) & !0xffff
    }
}

#[inline(always)]
fn address_word(address: Ipv4Addr) -> u64 {
    u64::from(u32::from_le_bytes(address.octets()))
}

#[inline(always)]
fn port_word(port: u16) -> u64 {
    u64::from(u16::from_le_bytes(port.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_what_it_was_made_of() {
        let key = FlowKey::new(Ipv4Addr::new(192, 0, 2, 7), 40_001, 65_534);
        assert_eq!((key.client_address(), key.client_port()), (Ipv4Addr::new(192, 0, 2, 7), 40_001));
        assert_eq!(key.frontend(), 65_534);
        assert_eq!(key.client_part() & 0xffff, 0);
        let word = FrontendWord::new(65_534, 0x1234_5678_9abc_def0);
        assert_eq!(word.key(key.client_part()), key);
        assert_eq!(word.frontend(), 65_534);
        assert_eq!(
            word.to_hash(key.client_part()),
            key.client_part() ^ FrontendWord::seed(0x1234_5678_9abc_def0)
        );
    }

    #[test]
    fn a_wide_key_gives_back_what_it_was_made_of() {
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        for client in [v6, Ipv4Addr::new(192, 0, 2, 7).into()] {
            let key = WideKey::new(client, 40_001, 65_534);
            assert_eq!((key.client(), key.frontend()), (SocketAddr::new(client, 40_001), 65_534));
            assert_eq!(key.destination_port(), None);
            let key = key.to_port(443).to_address(v6);
            assert_eq!((key.client(), key.frontend()), (SocketAddr::new(client, 40_001), 65_534));
            assert_eq!(key.destination_port(), Some(443));
            assert_ne!(key, key.to_address(Ipv4Addr::new(1, 2, 3, 4).into()));
        }
    }

    #[test]
    fn a_client_has_one_backend_by_its_address_whichever_key_its_flow_has() {
        let hasher = SipHash::new([7; 16]);
        let client = Ipv4Addr::new(192, 0, 2, 7);
        let wide = WideKey::new(client.into(), 1, 2).to_port(3);
        assert_eq!(
            wide.source_hash(&hasher, 99 << 16),
            FlowKey::new(client, 4, 5).source_hash(&hasher, 99 << 16)
        );
    }
}
