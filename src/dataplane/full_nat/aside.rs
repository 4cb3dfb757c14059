//! What later stages need to know of some packets of full NAT: those in parts, and those that were refused.

use std::net::IpAddr;

use crate::dataplane::ends::NewEnds;
use crate::dataplane::family::V6_LONGER_BY;
use crate::dataplane::lanes::{Lane, Lanes, Ours};
use crate::packet::IpPacket;
use crate::snapshot::Hop;

/// The way of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dataplane) struct Aside {
    /// The addresses that it is given.
    pub(in crate::dataplane) source: IpAddr,
    pub(in crate::dataplane) destination: IpAddr,
    pub(in crate::dataplane) to_client: bool,
    /// The largest packet that could go where this one should, as its sender counts.
    pub(in crate::dataplane) mtu: u16,
}

impl Aside {
    pub(in crate::dataplane) fn of_way(ends: &NewEnds, hop: &Hop, to_client: bool) -> Self {
        Self { source: ends.source.ip(), destination: ends.destination.ip(), to_client, mtu: hop.mtu }
    }
}

/// RFC 7915 sections 4.2 and 5.2: headers of IPv6 are longer.
pub(super) fn mtu_of_sender(ip: &IpPacket, ends: &NewEnds, hop: &Hop) -> u16 {
    match (ip.source.is_ipv4(), ends.source.is_ipv4()) {
        (true, false) => hop.mtu.saturating_sub(V6_LONGER_BY),
        (false, true) => hop.mtu.saturating_add(V6_LONGER_BY),
        _ => hop.mtu,
    }
}

impl Lanes {
    /// That of a packet of full NAT, if it was in parts or refused.
    pub(in crate::dataplane) fn aside(&self, lane: Lane) -> Option<Aside> {
        self.asides.iter().rev().find(|(of, _)| *of == lane).map(|(_, aside)| *aside)
    }

    /// Whether the packet in `lane` is one of full NAT, of a flow that a backend has opened, or of an address of a backend's own.
    pub(in crate::dataplane) fn is_full_nat(&self, lane: Lane) -> bool {
        let is_readdressed = |(of, ours): &(Lane, Ours)| *of == lane && matches!(ours, Ours::Readdressed(_));
        self.bound.has(lane)
            || self.to_sources.iter().any(|(of, _)| *of == lane)
            || self.is_outbound(lane)
            || self.ours.iter().any(is_readdressed)
    }
}
