//! Whom the management thread asks for Ethernet addresses, and to whom it announces its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::Manager;
use crate::config::{Forward, Rule};
use crate::control::neighbours::Ask;
use crate::dataplane::ControlFrame;
use crate::io::PortId;
use crate::wire::{MacAddr, arp, ipv6, mld, nd};

/// Announcements of our addresses at start and when they change: two, two seconds apart (RFC 5227
/// section 2.3, ANNOUNCE_NUM and ANNOUNCE_INTERVAL; within what RFC 4861 section 7.2.6 allows).
const ANNOUNCEMENTS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(2)];

/// What is told of an address of ours, and when.
pub(super) struct Announcement {
    at: Duration,
    port: PortId,
    address: IpAddr,
    /// Whether it is asked first if somebody else has it.
    is_probe: bool,
}

impl Manager {
    /// The next hops that the configuration needs and does not give; and those of backends that were
    /// removed, for their flows go on.
    pub(super) fn require_neighbours(&mut self, now: Duration) {
        let snapshot = self.publisher.latest();
        let fixed: BTreeSet<IpAddr> = self.model.neighbours.iter().map(|n| n.address).collect();
        let routers = self.model.routers().map(|(port, router, _)| (port, router));
        let outbound = snapshot.outbound.members().map(|(_, member)| member.address);
        let backends: BTreeSet<IpAddr> =
            self.compiler.backends().map(|(identity, _)| identity.address).chain(outbound).collect();
        let hops = backends.iter().filter_map(|address| snapshot.routes.neighbour_for(*address));
        let required = routers.chain(hops).filter(|(_, address)| !fixed.contains(address)).collect();
        self.neighbours.require(&required, now);
    }

    /// Every address that we answer for, at each port where neighbours can be on its network.
    pub(super) fn addresses(&self) -> BTreeSet<(PortId, IpAddr)> {
        let mut addresses = BTreeSet::new();
        for (port, id) in self.model.ports.iter().zip(0..) {
            addresses.extend(port.addresses.iter().map(|own| (PortId(id), own.address)));
            let is_on_link = |address: &IpAddr| port.addresses.iter().any(|own| own.contains(*address));
            let outbound = self.model.outbound.iter().flat_map(|rule| rule.frontends.iter().copied());
            let more = self.model.rules.iter().flat_map(announced).chain(outbound);
            addresses.extend(more.filter(is_on_link).map(|address| (PortId(id), address)));
        }
        addresses
    }

    /// Plans announcements of the addresses that were not ours `before`.
    pub(super) fn announce(&mut self, before: &BTreeSet<(PortId, IpAddr)>, now: Duration) {
        let addresses = self.addresses();
        for (port, address) in addresses.difference(before).copied() {
            let planned = |at, is_probe| Announcement { at, port, address, is_probe };
            // Whether somebody else has it counts for the own addresses of ports: a frontend may be several nodes'.
            if address.is_ipv6() && self.is_own(port, address) {
                self.announcements.push(planned(now, true));
            }
            self.announcements.extend(ANNOUNCEMENTS.iter().map(|delay| planned(now + *delay, false)));
        }
        if addresses.iter().any(|(_, address)| address.is_ipv6()) {
            self.groups.change(now);
        }
    }

    fn is_own(&self, port: PortId, address: IpAddr) -> bool {
        let port = self.model.ports.get(port.index());
        port.is_some_and(|port| port.addresses.iter().any(|own| own.address == address))
    }

    /// Has the log say who else claims an address of ours.
    pub(super) fn tell_conflict(&mut self, port: PortId, address: IpAddr, mac: MacAddr) {
        let name = self.model.ports.get(port.index()).map(|port| &port.name);
        if let Some(name) = name.filter(|_| self.is_own(port, address))
            && self.conflicts.is_news((port, address), self.now)
        {
            log::warn!(
                "port {name}: {address} is ours, and {mac} claims it too; packets for it may go astray: give one of the \
                 two another address"
            );
        }
    }

    /// Tells switches which groups our IPv6 addresses are asked for by.
    pub(super) fn send_reports(&mut self, now: Duration) {
        let mut groups = std::mem::take(&mut self.groups);
        let all = || {
            let of_v6 = |(port, address)| match address {
                IpAddr::V6(address) => Some((port, ipv6::solicited_node(address))),
                IpAddr::V4(_) => None,
            };
            self.addresses().into_iter().filter_map(of_v6).collect()
        };
        groups.advance(now, all, |(port, group)| self.send_report(port, group));
        self.groups = groups;
    }

    /// Whether there was room for the report.
    fn send_report(&self, port: PortId, group: Ipv6Addr) -> bool {
        let own =
            self.model.ports.get(port.index()).map(|port| port.addresses.as_slice()).unwrap_or_default();
        let of_link = own.iter().find_map(|own| match own.address {
            IpAddr::V6(address) => address.is_unicast_link_local().then_some(address),
            IpAddr::V4(_) => None,
        });
        let source = of_link.unwrap_or(Ipv6Addr::UNSPECIFIED);
        self.originate(port, |mac| mld::report(mac, source, group))
    }

    pub(super) fn send_announcements(&mut self, now: Duration) {
        if self.announcements.iter().all(|planned| planned.at > now) {
            return;
        }
        // What has been given up since may be another's by now.
        let ours = self.addresses();
        let mut planned = std::mem::take(&mut self.announcements);
        planned.retain(|planned| {
            let is_due = planned.at <= now;
            // What finds no room is sent with the next tick.
            ours.contains(&(planned.port, planned.address)) && !(is_due && self.send_announcement(planned))
        });
        self.announcements = planned;
    }

    pub(super) fn send_request(&self, ask: &Ask) {
        let (port, address) = ask.neighbour;
        let Some(config) = self.model.ports.get(port.index()) else { return };
        let of_family = || config.addresses.iter().filter(|own| own.address.is_ipv4() == address.is_ipv4());
        let own = of_family().find(|own| own.contains(address)).or(of_family().next()).map(|own| own.address);
        // What finds no room is asked again in a second.
        match (address, own) {
            (IpAddr::V4(address), Some(IpAddr::V4(own))) => self.send_arp(port, own, address, ask.to),
            // A port without an address asks as a probe does (RFC 5227 section 2.1).
            (IpAddr::V4(address), _) => self.send_arp(port, Ipv4Addr::UNSPECIFIED, address, ask.to),
            (IpAddr::V6(address), Some(IpAddr::V6(own))) => {
                self.originate(port, |mac| nd::solicit(mac, own, address, ask.to))
            }
            // An answer would have nowhere to go (RFC 4861 section 7.2.2).
            (IpAddr::V6(_), _) => true,
        };
    }

    /// Tells all neighbours that an address is ours, or asks them. Whether there was room for it.
    fn send_announcement(&self, planned: &Announcement) -> bool {
        let port = planned.port;
        match planned.address {
            IpAddr::V6(address) if planned.is_probe => self.originate(port, |mac| nd::probe(mac, address)),
            IpAddr::V4(address) => self.send_arp(port, address, address, None),
            IpAddr::V6(address) => self.originate(port, |mac| nd::announce(mac, address)),
        }
    }

    /// Whether there was room for the request.
    fn send_arp(&self, port: PortId, sender: Ipv4Addr, target: Ipv4Addr, to: Option<MacAddr>) -> bool {
        self.originate(port, |mac| {
            let request = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: mac,
                sender,
                target_mac: MacAddr::ZERO,
                target,
            };
            request.to_frame(to.unwrap_or(MacAddr::BROADCAST))
        })
    }

    /// Has a frame sent that `write` makes for the port's Ethernet address. Whether there was room for it.
    fn originate<const N: usize>(&self, port: PortId, write: impl FnOnce(MacAddr) -> [u8; N]) -> bool {
        let Some(link) = self.conditions.links.get(port.index()) else { return true };
        let frame = ControlFrame::new(port, &write(link.mac));
        frame.is_none_or(|frame| self.originated.push(frame).is_ok())
    }
}

/// The addresses of a rule that are ours: its frontend's, and those that full NAT translates sources to. Those of a whole
/// network are not told one by one.
fn announced(rule: &Rule) -> impl Iterator<Item = IpAddr> {
    let frontend = rule.frontend.is_one_address().then_some(rule.frontend.address);
    let sources = match &rule.forward {
        Forward::FullNat(full_nat) => full_nat.source_addresses.as_slice(),
        _ => &[],
    };
    frontend.into_iter().chain(sources.iter().flat_map(|range| range.addresses()))
}
