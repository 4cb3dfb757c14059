//! Ports, their addresses, and static neighbours.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Names, in_range, required, routes};
use crate::config::error::{Place, Report};
use crate::config::model::{Cidr, Port, StaticNeighbour, StaticRoute};
use crate::config::problem::{AddressFlaw, NameProblem, NetworkProblem, ValueProblem};
use crate::config::raw::{At, Field, RawConfig, RawNeighbour, RawPort};
use crate::config::{is_name, subject_of};
use crate::io::{PORTS_MAX, PortId};
use crate::wire::MacAddr;

/// From the least that every IPv4 host takes (RFC 791 section 3.1) to jumbo frames.
const MTU: (i128, i128) = (576, 9216);
const MTU_DEFAULT: u16 = 1500;

/// IEEE 802.1Q: 0 is no VLAN, 4095 is reserved.
const VLAN: (i128, i128) = (1, 4094);
const VLAN_TAGS_MAX: usize = 2;

/// All ports and neighbours that are sound.
pub(super) struct Network {
    pub(super) ports: Vec<At<Port>>,
    pub(super) routes: Vec<StaticRoute>,
    pub(super) neighbours: Vec<StaticNeighbour>,
    /// Whether every network is known, so that an address on none of these is on none at all.
    pub(super) is_whole: bool,
}

impl Network {
    /// Whether what is like `address` leaves by a gateway.
    pub(super) fn has_gateway(&self, address: IpAddr) -> bool {
        self.ports.iter().any(|port| match address {
            IpAddr::V4(_) => port.value.gateway.is_some(),
            IpAddr::V6(_) => port.value.gateway6.is_some(),
        })
    }

    /// The port that has an address of `network` as its own.
    pub(super) fn owner_in(&self, network: Cidr) -> Option<&Port> {
        let has = |port: &&Port| port.addresses.iter().any(|own| network.contains(own.address));
        self.ports.iter().map(|port| &port.value).find(has)
    }

    /// Whether a packet to `address` has a next hop.
    pub(super) fn is_reachable(&self, address: IpAddr) -> bool {
        let is_routed = || self.routes.iter().any(|route| route.destination.contains(address));
        self.is_connected(address) || self.has_gateway(address) || is_routed()
    }

    pub(super) fn position(&self, name: &str) -> Option<PortId> {
        let index = self.ports.iter().position(|port| port.value.name == name)?;
        u8::try_from(index).ok().map(PortId)
    }

    /// The port on whose network `address` is, the smallest if it is on several.
    pub(super) fn connected_port(&self, address: IpAddr) -> Option<PortId> {
        let of_port = |(port, id): (&At<Port>, u8)| {
            port.value.addresses.iter().map(move |own| (*own, PortId(id))).collect::<Vec<_>>()
        };
        let networks = self.ports.iter().zip(0..).flat_map(of_port);
        let found = networks.filter(|(own, _)| own.contains(address));
        // Of two alike the first, as the path has it.
        found.min_by_key(|(own, _)| std::cmp::Reverse(own.prefix_len)).map(|(_, port)| port)
    }

    pub(super) fn is_on(&self, port: PortId, address: IpAddr) -> bool {
        let port = self.ports.get(port.index());
        port.is_some_and(|port| port.value.addresses.iter().any(|own| own.contains(address)))
    }

    pub(super) fn has_ipv6(&self, port: PortId) -> bool {
        let port = self.ports.get(port.index());
        port.is_some_and(|port| port.value.addresses.iter().any(|own| own.address.is_ipv6()))
    }

    pub(super) fn is_connected(&self, address: IpAddr) -> bool {
        self.networks().any(|network| network.contains(address))
    }

    /// Whether `address` is a router: a link-local one is on no network that is told.
    fn is_gateway(&self, address: IpAddr) -> bool {
        let of_port =
            |port: &At<Port>| [port.value.gateway.map(IpAddr::V4), port.value.gateway6.map(IpAddr::V6)];
        self.ports.iter().flat_map(of_port).flatten().any(|gateway| gateway == address)
            || self.routes.iter().any(|route| route.via == address)
    }

    /// The port that has `address` as its own.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&Port> {
        let has = |port: &&Port| port.addresses.iter().any(|own| own.address == address);
        self.ports.iter().map(|port| &port.value).find(has)
    }

    fn networks(&self) -> impl Iterator<Item = Cidr> {
        self.ports.iter().flat_map(|port| port.value.addresses.iter().copied())
    }

    /// Why no host that others can reach has `address`, if none has.
    pub(super) fn flaw(&self, address: IpAddr) -> Option<AddressFlaw> {
        let link_local = || is_link_local(address).then_some(AddressFlaw::LinkLocal);
        flaw(address).or_else(link_local).or_else(|| self.flaw_in_networks(address))
    }

    pub(super) fn flaw_in_networks(&self, address: IpAddr) -> Option<AddressFlaw> {
        self.networks().find_map(|network| flaw_in(network, address))
    }
}

pub(super) fn flaw(address: IpAddr) -> Option<AddressFlaw> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [0, ..] => Some(AddressFlaw::ThisNetwork),
            [127, ..] => Some(AddressFlaw::Loopback),
            [224..=239, ..] => Some(AddressFlaw::Multicast),
            [255, 255, 255, 255] => Some(AddressFlaw::Broadcast),
            _ => None,
        },
        IpAddr::V6(address) => match () {
            () if address.is_unspecified() => Some(AddressFlaw::Unspecified),
            () if address.is_loopback() => Some(AddressFlaw::Loopback),
            () if address.is_multicast() => Some(AddressFlaw::Multicast),
            () if address.to_ipv4_mapped().is_some() => Some(AddressFlaw::V4Mapped),
            () => None,
        },
    }
}

/// Of IPv6; one of IPv4 is used as any other.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What belongs to no host of a network.
fn flaw_in(network: Cidr, address: IpAddr) -> Option<AddressFlaw> {
    match address {
        _ if !network.is_edge(address) => None,
        IpAddr::V6(_) => Some(AddressFlaw::AllRouters),
        IpAddr::V4(_) if network.is_first(address) => Some(AddressFlaw::Network),
        IpAddr::V4(_) => Some(AddressFlaw::Broadcast),
    }
}

/// Checks all ports and neighbours.
pub(super) fn check(raw: &RawConfig, report: &mut Report) -> Network {
    let mut checker = Checker {
        names: Names::new("port", raw),
        devices: HashMap::new(),
        macs: HashMap::new(),
        addresses: HashMap::new(),
    };
    if let Some(first_beyond) = raw.ports.get(PORTS_MAX) {
        let what = "ports".to_owned();
        let problem = ValueProblem::TooMany { what, count: raw.ports.len(), max: PORTS_MAX };
        report.error(first_beyond.place, problem);
    }
    let (ports, routes, neighbours) = (Vec::new(), Vec::new(), Vec::new());
    let mut network = Network { ports, routes, neighbours, is_whole: !raw.is_partial };
    for port in &raw.ports {
        let has_broken = port.gateway.is_broken() || port.gateway6.is_broken();
        network.is_whole &= port.addresses_are_whole && !has_broken;
        network.ports.extend(checker.port(port, report));
    }
    network.is_whole &= network.ports.len() == raw.ports.len();
    routes::check(&raw.routes, &mut network, &checker.names, report);
    let mut seen = HashMap::new();
    for neighbour in &raw.neighbours {
        network.neighbours.extend(check_neighbour(neighbour, &network, &mut seen, report));
    }
    network
}

struct Checker {
    names: Names,
    devices: HashMap<(String, Vec<u16>), Place>,
    /// The Ethernet address that a device is to have, and where that is said.
    macs: HashMap<String, (MacAddr, Place)>,
    addresses: HashMap<IpAddr, Place>,
}

impl Checker {
    /// A port; `None` where it is too broken to compare others with.
    fn port(&mut self, raw: &RawPort, report: &mut Report) -> Option<At<Port>> {
        let name = self.names.add(&raw.name, raw.place, report);
        let subject = subject_of("port", name.as_deref().unwrap_or_default());
        let addresses = self.port_addresses(raw, &subject, report);
        let gateway = raw.gateway.given().map(|at| {
            check_gateway(raw, "gateway", IpAddr::V4(at.value), at.place, &addresses, report);
            at.value
        });
        let gateway6 = raw.gateway6.given().map(|at| {
            check_gateway(raw, "gateway6", IpAddr::V6(at.value), at.place, &addresses, report);
            at.value
        });
        let mtu = in_range(&subject, "mtu", &raw.mtu, MTU, report).unwrap_or(MTU_DEFAULT);
        let name = name?;
        let vlan = vlan(raw, &subject, report);
        self.check_device(&name, raw, &vlan, report);
        let place = raw.name.place_or(raw.place);
        if raw.addresses.is_empty() && raw.addresses_are_whole {
            let (kind, name, remedy) = ("port", name.clone(), "give it addresses, or delete it");
            report.warn(place, NameProblem::Unused { kind, name, remedy });
        }
        let (device, mac) = (raw.device.value().cloned(), raw.mac.value().copied());
        Some(At { value: Port { name, device, vlan, addresses, gateway, gateway6, mac, mtu }, place })
    }

    fn check_device(&mut self, port: &str, raw: &RawPort, vlan: &[u16], report: &mut Report) {
        let Some(At { value: device, place }) = raw.device.given() else { return };
        if let Some(At { value: mac, place }) = raw.mac.given() {
            let (first, first_at) = *self.macs.entry(device.clone()).or_insert((*mac, *place));
            if first != *mac {
                let (port, device) = (port.to_owned(), device.clone());
                let problem = NetworkProblem::OtherMac { port, device, mac: *mac, first, first_at };
                report.error(*place, problem);
            }
        }
        if raw.vlan.is_broken() {
            return;
        }
        if let Some(first) = self.devices.insert((device.clone(), vlan.to_vec()), *place) {
            let (port, device) = (port.to_owned(), device.clone());
            report.error(*place, NetworkProblem::DuplicateDevice { port, device, first });
        }
    }

    fn port_addresses(&mut self, raw: &RawPort, subject: &str, report: &mut Report) -> Vec<Cidr> {
        let mut addresses = Vec::new();
        for At { value: cidr, place } in &raw.addresses {
            let subject = subject.to_owned();
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

/// VLAN tags, the outer first.
fn vlan(raw: &RawPort, subject: &str, report: &mut Report) -> Vec<u16> {
    let Some(At { value: tags, place }) = raw.vlan.given() else { return Vec::new() };
    if tags.len() > VLAN_TAGS_MAX {
        report.error(*place, NetworkProblem::VlanTags { subject: subject.to_owned(), count: tags.len() });
    }
    let tag = |tag: &i128| in_range(subject, "vlan", &Field::at(*tag, *place), VLAN, report);
    tags.iter().filter_map(tag).collect()
}

/// With its flaw too it is taken: that there is a gateway is all that others ask.
fn check_gateway(
    raw: &RawPort,
    key: &'static str,
    gateway: IpAddr,
    place: Place,
    addresses: &[Cidr],
    report: &mut Report,
) {
    let port = raw.name.value().filter(|name| is_name(name)).cloned().unwrap_or_default();
    let subject = subject_of("port", &port);
    if addresses.iter().any(|own| own.address == gateway) {
        let subject = format!("{key} of {subject}");
        report.error(place, NetworkProblem::Own { subject, address: gateway, port });
    } else if let Some(flaw) =
        flaw(gateway).or_else(|| addresses.iter().find_map(|own| flaw_in(*own, gateway)))
    {
        let subject = format!("{key} of {subject}");
        report.error(place, NetworkProblem::Unusable { subject, address: gateway, flaw });
    } else if is_link_local(gateway) && addresses.iter().any(|own| own.address.is_ipv6()) {
        // It is on every link. To be asked for it takes an address of ours, and any will do.
    } else if raw.addresses_are_whole && !addresses.iter().any(|own| own.contains(gateway)) {
        let (subject, wanted) = (format!("{subject} has {key}"), "on a network of the port");
        report.error(place, NetworkProblem::OffNetwork { subject, address: gateway, wanted });
    }
}

fn check_neighbour(
    raw: &RawNeighbour,
    network: &Network,
    seen: &mut HashMap<IpAddr, Place>,
    report: &mut Report,
) -> Option<StaticNeighbour> {
    let address = required("a neighbour", "address", &raw.address, raw.place, report);
    let mac = required("a neighbour", "mac", &raw.mac, raw.place, report);
    let At { value, place } = address?;
    let address = *value;
    let subject = "a neighbour".to_owned();
    if let Some(first) = seen.insert(address, *place) {
        report.error(*place, NetworkProblem::DuplicateAddress { subject, address, first });
    } else if let Some(flaw) = flaw(address).or_else(|| network.flaw_in_networks(address)) {
        report.error(*place, NetworkProblem::Unusable { subject, address, flaw });
    } else if let Some(port) = network.owner(address) {
        report.error(*place, NetworkProblem::Own { subject, address, port: port.name.clone() });
    } else if network.is_whole && !network.is_connected(address) && !network.is_gateway(address) {
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
        let network = |prefix_len| Cidr { address: [198, 51, 100, 2].into(), prefix_len };
        let at = |last| IpAddr::from([198, 51, 100, last]);
        assert_eq!(flaw_in(network(24), at(0)), Some(AddressFlaw::Network));
        assert_eq!(flaw_in(network(24), at(255)), Some(AddressFlaw::Broadcast));
        assert_eq!(flaw_in(network(30), at(3)), Some(AddressFlaw::Broadcast));
        assert_eq!(flaw_in(network(24), at(7)), None);
        assert_eq!(flaw_in(network(31), at(3)), None);
        assert_eq!(flaw_in(network(32), at(2)), None);
        assert_eq!(flaw_in(network(30), at(255)), None);
        let network = |prefix_len| Cidr { address: "2001:db8::5".parse().unwrap(), prefix_len };
        let at = |address: &str| address.parse().unwrap();
        assert_eq!(flaw_in(network(64), at("2001:db8::")), Some(AddressFlaw::AllRouters));
        assert_eq!(flaw_in(network(64), at("2001:db8::ffff:ffff:ffff:ffff")), None);
        assert_eq!(flaw_in(network(127), at("2001:db8::4")), None);
        assert_eq!(flaw_in(network(64), at("2001:db9::")), None);
        assert_eq!(flaw_in(network(64), IpAddr::from([0, 0, 0, 0])), None);
    }
}
