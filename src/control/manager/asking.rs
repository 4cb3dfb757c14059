//! Whom the management thread asks for Ethernet addresses, and to whom it announces its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::Manager;
use crate::control::neighbours::Ask;
use crate::dataplane::ControlFrame;
use crate::io::PortId;
use crate::wire::{MacAddr, arp};

/// Announcements of our addresses at start and when they change: two, two seconds apart (RFC 5227
/// section 2.3, ANNOUNCE_NUM and ANNOUNCE_INTERVAL).
const ANNOUNCEMENTS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(2)];

impl Manager {
    /// The next hops that the configuration needs and does not give; and those of backends that were
    /// removed, for their flows go on.
    pub(super) fn require_neighbours(&mut self, now: Duration) {
        let snapshot = self.publisher.latest();
        let fixed: BTreeSet<IpAddr> = self.model.neighbours.iter().map(|n| n.address).collect();
        let ports = self.model.ports.iter().zip(0..);
        let gateways = ports.filter_map(|(p, id)| Some((PortId(id), IpAddr::V4(p.gateway?))));
        let backends: BTreeSet<IpAddr> =
            self.compiler.backends().map(|(identity, _)| identity.address).collect();
        let hops = backends.iter().filter_map(|address| snapshot.routes.neighbour_for(*address));
        let required = gateways.chain(hops).filter(|(_, address)| !fixed.contains(address)).collect();
        self.neighbours.require(&required, now);
    }

    /// Every address that we answer for, at each port where neighbours can be on its network.
    pub(super) fn addresses(&self) -> BTreeSet<(PortId, IpAddr)> {
        let mut addresses = BTreeSet::new();
        for (port, id) in self.model.ports.iter().zip(0..) {
            addresses.extend(port.addresses.iter().map(|own| (PortId(id), own.address)));
            let frontends = self.model.rules.iter().map(|rule| rule.frontend.address);
            let on_link = frontends.filter(|f| port.addresses.iter().any(|own| own.contains(*f)));
            addresses.extend(on_link.map(|frontend| (PortId(id), frontend)));
        }
        addresses
    }

    /// Plans announcements of the addresses that were not ours `before`.
    pub(super) fn announce(&mut self, before: &BTreeSet<(PortId, IpAddr)>, now: Duration) {
        for (port, address) in self.addresses().difference(before) {
            self.announcements.extend(ANNOUNCEMENTS.iter().map(|delay| (now + *delay, *port, *address)));
        }
    }

    pub(super) fn send_announcements(&mut self, now: Duration) {
        if self.announcements.iter().all(|(at, ..)| *at > now) {
            return;
        }
        // What has been given up since may be another's by now.
        let ours = self.addresses();
        let mut planned = std::mem::take(&mut self.announcements);
        planned.retain(|(at, port, address)| {
            let is_due = *at <= now;
            // What finds no room is sent with the next tick.
            ours.contains(&(*port, *address)) && !(is_due && self.send(*port, *address, *address, None))
        });
        self.announcements = planned;
    }

    pub(super) fn send_request(&self, ask: &Ask) {
        let (port, address) = ask.neighbour;
        let Some(config) = self.model.ports.get(port.index()) else { return };
        let of_family = || config.addresses.iter().filter(|own| own.address.is_ipv4() == address.is_ipv4());
        let own = of_family().find(|own| own.contains(address)).or(of_family().next());
        // A port without an address asks as a probe does (RFC 5227 section 2.1).
        let sender = own.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |own| own.address);
        // What finds no room is asked again in a second.
        self.send(port, sender, address, ask.to);
    }

    /// Whether there was room for the request.
    fn send(&self, port: PortId, sender: IpAddr, target: IpAddr, to: Option<MacAddr>) -> bool {
        let Some(link) = self.conditions.links.get(port.index()) else { return true };
        let (IpAddr::V4(sender), IpAddr::V4(target)) = (sender, target) else { return true };
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: link.mac,
            sender,
            target_mac: MacAddr::ZERO,
            target,
        };
        let frame = ControlFrame::new(port, &request.to_frame(to.unwrap_or(MacAddr::BROADCAST)));
        frame.is_none_or(|frame| self.originated.push(frame).is_ok())
    }
}
