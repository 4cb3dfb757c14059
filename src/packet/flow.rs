//! The keys by which packets find frontends, responses find backends, and flows find their entries.

use std::net::Ipv4Addr;

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

/// A flow as the client sends it: client address, client port, and the frontend, which stands for the
/// destination address, the destination port and the protocol. One word, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey(pub u64);

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
    pub fn client(self) -> u64 {
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

    /// The index of the frontend.
    #[inline]
    pub fn frontend(self) -> u16 {
        (self.0 as u16).wrapping_sub(1)
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
        assert_eq!(key.client() & 0xffff, 0);
        let word = FrontendWord::new(65_534, 0x1234_5678_9abc_def0);
        assert_eq!(word.key(key.client()), key);
        assert_eq!(word.frontend(), 65_534);
        assert_eq!(word.to_hash(key.client()), key.client() ^ FrontendWord::seed(0x1234_5678_9abc_def0));
    }
}
