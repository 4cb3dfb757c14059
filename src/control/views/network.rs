//! Ports and neighbours, as the control API tells them.

use serde::{Deserialize, Serialize};

use crate::control::manager::Manager;
use crate::io::PortId;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neighbours {
    pub neighbours: Vec<Neighbour>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neighbour {
    pub port: Option<String>,
    pub address: String,
    pub mac: Option<String>,
    pub kind: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ports {
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Port {
    pub port: String,
    pub device: Option<String>,
    pub addresses: Vec<String>,
    pub gateway: Option<String>,
    pub gateway6: Option<String>,
    pub vlan: Vec<u16>,
    pub mtu: u16,
    #[serde(flatten)]
    pub link: Link,
}

/// What the driver says of a port.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Link {
    pub driver: String,
    pub mac: String,
    pub is_up: bool,
    pub speed_mbps: Option<u32>,
    pub receive_queues: u16,
    pub transmit_queues: u16,
    pub flows_spread_by: String,
    pub received: u64,
    pub transmitted: u64,
    pub missed: u64,
    pub receive_errors: u64,
    pub transmit_errors: u64,
    pub out_of_memory: u64,
    pub offloads: Vec<Offload>,
}

/// Something that a port's card could do in the place of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offload {
    pub offload: String,
    pub is_offered: bool,
    pub is_used: bool,
    pub because: String,
}

pub(in crate::control) fn neighbours(manager: &Manager) -> Neighbours {
    let model = manager.model();
    let snapshot = manager.snapshot();
    let port_of = |address| {
        let on_link = snapshot.routes.neighbour_for(address).filter(|(_, neighbour)| *neighbour == address);
        let router = || model.routers().find(|(_, router, _)| *router == address);
        on_link.map(|(port, _)| port).or_else(|| router().map(|(port, ..)| port))
    };
    let name_of = |port: PortId| model.ports.get(port.index()).map(|port| port.name.clone());
    let fixed = model.neighbours.iter().map(|neighbour| Neighbour {
        port: port_of(neighbour.address).and_then(name_of),
        address: neighbour.address.to_string(),
        mac: Some(neighbour.mac.to_string()),
        kind: "static".into(),
    });
    let others = manager.neighbours().into_iter().map(|((port, address), mac, is_required)| Neighbour {
        port: name_of(port),
        address: address.to_string(),
        mac: mac.map(|mac| mac.to_string()),
        kind: if is_required { "required".into() } else { "learnt".into() },
    });
    Neighbours { neighbours: fixed.chain(others).collect() }
}

pub(in crate::control) fn ports(manager: &Manager, links: Vec<Link>) -> Ports {
    let ports = manager.model().ports.iter().zip(links).map(|(port, link)| Port {
        port: port.name.clone(),
        device: port.device.clone(),
        addresses: port.addresses.iter().map(ToString::to_string).collect(),
        gateway: port.gateway.map(|gateway| gateway.to_string()),
        gateway6: port.gateway6.map(|gateway| gateway.to_string()),
        vlan: port.vlan.clone(),
        mtu: port.mtu,
        link,
    });
    Ports { ports: ports.collect() }
}
