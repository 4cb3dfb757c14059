//! What plain translation in IPv6 needs of a backend, in one cache line each.

use super::NextHop;
use super::backend::{Backend, Forwarding, Rewrite6};
use super::routes::Hop;
use crate::wire::checksum::Delta;
use crate::wire::{ipv4, ipv6};

/// A client's packet in IPv6 on its way to a backend. A cache line. Nothing fits where packets are not translated in
/// IPv6, so that they are left to the other ways.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct ToBackend6 {
    pub(crate) hop: Hop,
    pub(crate) rewrite: Rewrite6,
    /// The rule's.
    pub(crate) protocol: u8,
    /// A payload that is not shorter does not fit.
    pub(crate) payload_end: u16,
}

const _: () = assert!(size_of::<ToBackend6>() == 64, "it is read for each packet");

impl ToBackend6 {
    /// From the backend's own record.
    pub(super) fn of(backend: &Backend) -> Self {
        let (hop, rewrite) = match backend.forwarding {
            Forwarding::Translate6 { there, .. } => (backend.next_hop.hop, there),
            _ => (NextHop::NO_ROUTE.hop, Rewrite6::NONE),
        };
        Self { hop, rewrite, protocol: rewrite.protocol(), payload_end: hop.payload_end6() }
    }
}

impl Hop {
    /// Bytes behind a fixed header of IPv6 that are too many.
    #[inline(always)]
    pub(crate) fn payload_end6(&self) -> u16 {
        (u32::from(self.mtu) + 1).saturating_sub(ipv6::HEADER_LEN as u32) as u16
    }
}

impl Rewrite6 {
    /// Of packets that are not translated in IPv6, and need not be of IPv6 at all.
    const NONE: Self = Self {
        address: [0; 16],
        port: [0; 2],
        l4: Delta::NONE,
        zero_checksum: [0; 2],
        checksum_at: 0,
        is_udp: false,
    };

    /// Whether there is nothing to be written over.
    pub(crate) fn is_none(&self) -> bool {
        // Neither TCP nor UDP begins with its checksum.
        self.checksum_at == 0
    }

    /// The rule's.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        const OTHER: u8 = ipv4::PROTOCOL_UDP - ipv4::PROTOCOL_TCP;
        ipv4::PROTOCOL_TCP + OTHER * u8::from(self.is_udp)
    }
}
