//! The devices under the ports: several ports may share one.

use super::{Model, Port};
use crate::io::PortId;
use crate::io::tagged::Place;
use crate::wire::MacAddr;
use crate::wire::vlan::{TAG_LEN, TAGS_MAX};

/// A device, as its ports want it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device<'a> {
    /// The first of its ports.
    pub first: PortId,
    /// What opens it; `None` where nothing is opened.
    pub device: Option<&'a str>,
    /// The names of its ports, the first one's first.
    pub ports: Vec<&'a str>,
    /// The Ethernet address to use instead of its own, which all its ports have.
    pub mac: Option<MacAddr>,
    /// The largest of its ports' MTUs. Devices and the kernel allow for one tag; two of them count like payload.
    pub mtu: u16,
}

impl Model {
    /// All devices, in the order of their first ports. A port without one stands for itself.
    pub fn devices(&self) -> Vec<Device<'_>> {
        let mut all: Vec<Device<'_>> = Vec::new();
        for (port, id) in self.ports.iter().zip(0..) {
            let device = port.device.as_deref();
            let tags = if port.vlan.len() > 1 { TAGS_MAX * TAG_LEN } else { 0 };
            let mtu = port.mtu + tags as u16;
            let same = all.iter_mut().find(|other| device.is_some() && other.device == device);
            match same {
                Some(other) => {
                    other.ports.push(&port.name);
                    other.mac = other.mac.or(port.mac);
                    other.mtu = other.mtu.max(mtu);
                }
                None => {
                    let (first, ports) = (PortId(id), vec![port.name.as_str()]);
                    all.push(Device { first, device, ports, mac: port.mac, mtu });
                }
            }
        }
        all
    }

    /// Where each port's frames are.
    pub fn places(&self) -> Vec<Place> {
        let place = |(port, id): (&Port, u8)| {
            let same = |other: &Port| port.device.is_some() && other.device == port.device;
            let first = self.ports.iter().position(same).map_or(id, |first| first as u8);
            Place { first: PortId(first), vlan: port.vlan.clone() }
        };
        self.ports.iter().zip(0..).map(place).collect()
    }
}
