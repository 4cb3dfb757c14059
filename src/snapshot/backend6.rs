//! What plain translation in IPv6 needs of a backend, in one cache line each.

use super::NextHop;
use super::backend::{Backend, Forwarding, Rewrite6};
use super::routes::Hop;
use crate::wire::checksum::Delta;
use crate::wire::ipv4;

/// A client's packet in IPv6 on its way to a backend. A cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct ToBackend6 {
    pub(crate) hop: Hop,
    pub(crate) rewrite: Rewrite6,
    /// Where packets get that are not translated in IPv6, nothing fits, so that they are left to the other ways.
    pub(crate) protocol: u8,
}

const _: () = assert!(size_of::<ToBackend6>() == 64, "it is read for each packet");

impl ToBackend6 {
    /// From the backend's own record.
    pub(super) fn of(backend: &Backend) -> Self {
        match backend.forwarding {
            Forwarding::Translate6 { there, .. } => {
                Self { hop: backend.next_hop.hop, rewrite: there, protocol: there.protocol() }
            }
            _ => Self { hop: NextHop::NO_ROUTE.hop, rewrite: Rewrite6::NONE, protocol: 0 },
        }
    }
}

impl Rewrite6 {
    const NONE: Self = Self {
        address: [0; 16],
        port: [0; 2],
        l4: Delta::NONE,
        zero_checksum: [0; 2],
        checksum_at: 0,
        is_udp: false,
    };

    /// The rule's.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        const OTHER: u8 = ipv4::PROTOCOL_UDP - ipv4::PROTOCOL_TCP;
        ipv4::PROTOCOL_TCP + OTHER * u8::from(self.is_udp)
    }
}
