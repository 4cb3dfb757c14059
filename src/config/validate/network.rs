//! Ports, their addresses, and static neighbours.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::{Names, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::model::{Cidr, Port, StaticNeighbour};
use crate::config::problem::{AddressFlaw, NameProblem, NetworkProblem, NoEffect, ValueProblem};
use crate::config::raw::{At, RawConfig, RawNeighbour, RawPort};
use crate::config::subject_of;
use crate::config::text::Versioned;
use crate::io::PORTS_MAX;

/// From the least that every IPv4 host takes (RFC 791 section 3.1) to jumbo frames.
const MTU: (i128, i128) = (576, 9216);
const MTU_DEFAULT: u16 = 1500;

/// All ports and neighbours that are sound.
pub(super) struct Network {
    pub(super) ports: Vec<At<Port>>,
    pub(super) neighbours: Vec<StaticNeighbour>,
    /// Whether every network is known, so that an address on none of these is on none at all.
    pub(super) is_whole: bool,
}

impl Network {
    pub(super) fn has_gateway(&self) -> bool {
        self.ports.iter().any(|port| port.value.gateway.is_some())
    }

    pub(super) fn is_connected(&self, address: Ipv4Addr) -> bool {
        self.networks().any(|network| network.contains(address))
    }

    /// The port that has `address` as its own.
    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<&Port> {
        let has = |port: &&Port| port.addresses.iter().any(|own| own.address == address);
        self.ports.iter().map(|port| &port.value).find(has)
    }

    fn networks(&self) -> impl Iterator<Item = Cidr> {
        self.ports.iter().flat_map(|port| port.value.addresses.iter().copied())
    }

    /// Why no host has `address`, if none has.
    pub(super) fn flaw(&self, address: Ipv4Addr) -> Option<AddressFlaw> {
        flaw(address).or_else(|| self.networks().find_map(|network| flaw_in(network, address)))
    }
}

fn flaw(address: Ipv4Addr) -> Option<AddressFlaw> {
    match address.octets() {
        [0, ..] => Some(AddressFlaw::ThisNetwork),
        [127, ..] => Some(AddressFlaw::Loopback),
        [224..=239, ..] => Some(AddressFlaw::Multicast),
        [255, 255, 255, 255] => Some(AddressFlaw::Broadcast),
        _ => None,
    }
}

/// First and last address of a network belong to no host (RFC 1122 section 3.2.1.3), but in networks of two
/// addresses (RFC 3021) and of one.
fn flaw_in(network: Cidr, address: Ipv4Addr) -> Option<AddressFlaw> {
    if network.prefix_len >= 31 || !network.contains(address) {
        return None;
    }
    let host = u32::from(address) & !network.mask();
    match host {
        0 => Some(AddressFlaw::Network),
        last if last == !network.mask() => Some(AddressFlaw::Broadcast),
        _ => None,
    }
}

/// Checks all ports and neighbours.
pub(super) fn check(raw: &RawConfig, report: &mut Report) -> Network {
    let mut checker =
        Checker { names: Names::new("port", raw), devices: HashMap::new(), addresses: HashMap::new() };
    if let Some(first_beyond) = raw.ports.get(PORTS_MAX) {
        let what = "ports".to_owned();
        let problem = ValueProblem::TooMany { what, count: raw.ports.len(), max: PORTS_MAX };
        report.error(first_beyond.place, problem);
    }
    let mut network = Network { ports: Vec::new(), neighbours: Vec::new(), is_whole: !raw.is_partial };
    for port in &raw.ports {
        network.is_whole &= port.addresses_are_whole && !port.gateway.is_broken();
        network.ports.extend(checker.port(port, report));
    }
    network.is_whole &= network.ports.len() == raw.ports.len();
    let mut seen = HashMap::new();
    for neighbour in &raw.neighbours {
        network.neighbours.extend(check_neighbour(neighbour, &network, &mut seen, report));
    }
    network
}

struct Checker {
    names: Names,
    devices: HashMap<String, Place>,
    addresses: HashMap<Ipv4Addr, Place>,
}

impl Checker {
    /// A port; `None` where it is too broken to compare others with.
    fn port(&mut self, raw: &RawPort, report: &mut Report) -> Option<At<Port>> {
        let name = self.names.add(&raw.name, raw.place, report);
        let subject = subject_of("port", name.as_deref().unwrap_or_default());
        if let Some(gateway6) = raw.gateway6.given() {
            let text = format!("gateway6 {}", gateway6.value);
            report.warn(gateway6.place, NoEffect::Ipv6 { subject: subject.clone(), text });
        }
        let addresses = self.port_addresses(raw, &subject, report);
        let gateway = port_gateway(raw, &addresses, &subject, report);
        let mtu = in_range(&subject, "mtu", &raw.mtu, MTU, report).unwrap_or(MTU_DEFAULT);
        let name = name?;
        self.check_device(&name, raw, report);
        let place = raw.name.place_or(raw.place);
        if raw.addresses.is_empty() && raw.addresses_are_whole {
            let (kind, name, remedy) = ("port", name.clone(), "give it addresses, or delete it");
            report.warn(place, NameProblem::Unused { kind, name, remedy });
        }
        let (device, mac) = (raw.device.value().cloned(), raw.mac.value().copied());
        Some(At { value: Port { name, device, addresses, gateway, mac, mtu }, place })
    }

    fn check_device(&mut self, port: &str, raw: &RawPort, report: &mut Report) {
        let Some(At { value: device, place }) = raw.device.given() else { return };
        if let Some(first) = self.devices.insert(device.clone(), *place) {
            let (port, device) = (port.to_owned(), device.clone());
            report.error(*place, NetworkProblem::DuplicateDevice { port, device, first });
        }
    }

    fn port_addresses(&mut self, raw: &RawPort, subject: &str, report: &mut Report) -> Vec<Cidr> {
        let mut addresses = Vec::new();
        for At { value, place } in &raw.addresses {
            let subject = subject.to_owned();
            let Versioned::V4(cidr) = value else {
                report.warn(*place, NoEffect::Ipv6 { subject, text: "an IPv6 address".to_owned() });
                continue;
            };
            let address = cidr.address;
            if let Some(flaw) = flaw(address).or_else(|| flaw_in(*cidr, address)) {
                report.error(*place, NetworkProblem::Unusable { subject, address, flaw });
            } else if let Some(first) = self.addresses.get(&address).copied() {
                report.error(*place, NetworkProblem::DuplicateAddress { subject, address, first });
            } else {
                self.addresses.insert(address, *place);
            }
            // With its flaw too: its network may be right.
            addresses.push(*cidr);
        }
        addresses
    }
}

fn port_gateway(raw: &RawPort, addresses: &[Cidr], subject: &str, report: &mut Report) -> Option<Ipv4Addr> {
    let At { value: gateway, place } = *raw.gateway.given()?;
    if addresses.iter().any(|own| own.address == gateway) {
        let subject = format!("gateway of {subject}");
        let port = raw.name.value().cloned().unwrap_or_default();
        report.error(place, NetworkProblem::Own { subject, address: gateway, port });
    } else if let Some(flaw) =
        flaw(gateway).or_else(|| addresses.iter().find_map(|own| flaw_in(*own, gateway)))
    {
        report.error(
            place,
            NetworkProblem::Unusable { subject: format!("gateway of {subject}"), address: gateway, flaw },
        );
    } else if raw.addresses_are_whole && !addresses.iter().any(|own| own.contains(gateway)) {
        let (subject, wanted) = (format!("{subject} has gateway"), "on a network of the port");
        report.error(place, NetworkProblem::OffNetwork { subject, address: gateway, wanted });
    }
    // With its flaw too: that there is a gateway is all that others ask.
    Some(gateway)
}

fn check_neighbour(
    raw: &RawNeighbour,
    network: &Network,
    seen: &mut HashMap<Ipv4Addr, Place>,
    report: &mut Report,
) -> Option<StaticNeighbour> {
    let address = required("a neighbour", "address", &raw.address, raw.place, report);
    let mac = required("a neighbour", "mac", &raw.mac, raw.place, report);
    let At { value, place } = address?;
    let Versioned::V4(address) = *value else {
        let subject = "a neighbour".to_owned();
        report.warn(*place, NoEffect::Ipv6 { subject, text: "an IPv6 address".to_owned() });
        return None;
    };
    let subject = "a neighbour".to_owned();
    if let Some(first) = seen.insert(address, *place) {
        report.error(*place, NetworkProblem::DuplicateAddress { subject, address, first });
    } else if let Some(flaw) = network.flaw(address) {
        report.error(*place, NetworkProblem::Unusable { subject, address, flaw });
    } else if let Some(port) = network.owner(address) {
        report.error(*place, NetworkProblem::Own { subject, address, port: port.name.clone() });
    } else if network.is_whole && !network.is_connected(address) {
        let (subject, wanted) = ("a neighbour has address".to_owned(), "on a network of any port");
        report.error(*place, NetworkProblem::OffNetwork { subject, address, wanted });
    }
    Some(StaticNeighbour { address, mac: mac?.value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_addresses_belong_to_no_host_but_in_the_smallest_networks() {
        let network = |prefix_len| Cidr { address: Ipv4Addr::new(198, 51, 100, 2), prefix_len };
        let at = |last| Ipv4Addr::new(198, 51, 100, last);
        assert_eq!(flaw_in(network(24), at(0)), Some(AddressFlaw::Network));
        assert_eq!(flaw_in(network(24), at(255)), Some(AddressFlaw::Broadcast));
        assert_eq!(flaw_in(network(30), at(3)), Some(AddressFlaw::Broadcast));
        assert_eq!(flaw_in(network(24), at(7)), None);
        assert_eq!(flaw_in(network(31), at(3)), None);
        assert_eq!(flaw_in(network(32), at(2)), None);
        assert_eq!(flaw_in(network(30), at(255)), None);
    }
}
