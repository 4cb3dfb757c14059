//! How packets of a rule get to a backend: from the configuration to what the path reads.

use std::net::IpAddr;

use super::NextHop;
use super::backend::Forwarding;
use crate::config::{self, Encapsulation, GueVariant, Model, TunnelSource};
use crate::wire::MacAddr;
use crate::wire::encap::{Family, Outer, Template, Tunnel};
use crate::wire::ethernet::Addresses;

/// The first address of a port that is of the family of `like` and known beyond the link, else the first of the family.
pub(super) fn own_address(port: &config::Port, like: IpAddr) -> Option<IpAddr> {
    let all = || port.addresses.iter().map(|own| own.address).filter(|own| own.is_ipv4() == like.is_ipv4());
    let is_of_link = |own: &IpAddr| matches!(own, IpAddr::V6(own) if own.is_unicast_link_local());
    all().find(|own| !is_of_link(own)).or_else(|| all().next())
}

/// 02:00 and the last four bytes of the address.
fn synthetic_mac(address: IpAddr) -> MacAddr {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => (u128::from(address) as u32).to_be_bytes(),
    };
    MacAddr([2, 0, a, b, c, d])
}

/// Of a rule that sends packets to a backend as they are.
pub(super) fn as_they_are(
    forward: &config::Forward,
    frontend: config::Frontend,
    backend: IpAddr,
    next_hop: &NextHop,
    model: &Model,
) -> Option<Forwarding> {
    let tunnel = match forward {
        config::Forward::Dsr => return Some(Forwarding::Direct),
        config::Forward::Tunnel(tunnel) => tunnel,
        config::Forward::Nat | config::Forward::FullNat(_) => return None,
    };
    let own = || {
        let port = model.ports.get(next_hop.hop.port.index())?;
        own_address(port, backend)
    };
    let said = tunnel.source.map(|TunnelSource(network)| (network.address, network.host_bits() as u8));
    let (source, source_bits) = said.or_else(|| Some((own()?, 0)))?;
    let outer = Outer { source, source_bits, destination: backend, dont_fragment: false };
    let kind = match tunnel.encapsulation {
        Encapsulation::Ipip => Tunnel::Ipip,
        Encapsulation::Gre => Tunnel::Gre,
        Encapsulation::Gue { port, variant: GueVariant::Header } => Tunnel::Gue { port },
        Encapsulation::Gue { port, variant: GueVariant::Direct } => Tunnel::GueDirect { port },
        Encapsulation::Vxlan { port, vni, inner_mac } => {
            let station = inner_mac.unwrap_or_else(|| synthetic_mac(backend));
            let inner = Addresses::new(station, next_hop.hop.addresses.source());
            Tunnel::Vxlan { port, vni, inner }
        }
    };
    let family = if frontend.address.is_ipv4() { Family::V4 } else { Family::V6 };
    Template::new(kind, &outer, family).map(Forwarding::Tunnel)
}
