//! Routing by server ids in QUIC connection ids.

use std::fmt;
use std::net::IpAddr;

use super::HashKey;

/// How server ids stand in the connection ids that a rule's backends give out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quic {
    /// As draft-ietf-quic-load-balancers has it.
    QuicLb(QuicLb),
    /// As Katran has it.
    Katran,
}

/// A configuration of QUIC-LB. Lengths are bytes, and 19 at most together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuicLb {
    /// The config rotation bits, 0 to 6.
    pub config: u8,
    /// 1 to 15.
    pub server_id_len: u8,
    /// 4 to 18.
    pub nonce_len: u8,
    /// What server id and nonce are encrypted with. A secret.
    pub key: Option<HashKey>,
}

/// The longest server id, in bytes: a connection id of 20 less the first byte and the shortest nonce.
pub(crate) const QUIC_SERVER_ID_LEN_MAX: usize = 15;

/// What a backend calls itself in connection ids: 1 to 15 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QuicServerId {
    bytes: [u8; QUIC_SERVER_ID_LEN_MAX],
    len: u8,
}

impl QuicServerId {
    /// `None` for none, and for too many bytes.
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; QUIC_SERVER_ID_LEN_MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        (!id.is_empty()).then_some(Self { bytes, len: id.len() as u8 })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }

    /// What a backend is called that has not been given an id: the last `len` bytes of its address, behind zeros where
    /// it has not so many.
    pub fn of_address(address: IpAddr, len: usize) -> Option<Self> {
        let number = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let bytes = number.to_be_bytes();
        Self::new(bytes.get(bytes.len().checked_sub(len)?..)?)
    }
}

impl fmt::Display for QuicServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
