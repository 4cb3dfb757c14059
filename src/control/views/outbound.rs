//! What backends have opened themselves, as the control API tells it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{OutboundProtocol, OutboundRule};
use crate::control::manager::Manager;
use crate::dataplane::{OUTBOUND_KINDS, OutboundBackend as Told, OutboundPorts as Ports};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outbound {
    pub backends: Vec<OutboundBackend>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutboundBackend {
    pub backend: String,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_back: u64,
    pub bytes_back: u64,
    pub protocols: Vec<OutboundFlows>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutboundFlows {
    pub protocol: String,
    pub rule: Option<String>,
    pub pool: Option<String>,
    pub flows: u64,
    pub pending: u64,
    pub opened_total: u64,
    pub answered_total: u64,
    pub failed_total: u64,
    pub frontends: Vec<OutboundPorts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutboundPorts {
    pub frontend: String,
    pub ports_allocated: u64,
    pub ports_on_demand: u64,
    pub ports_used: u64,
}

pub(in crate::control) fn outbound(manager: &Manager) -> Outbound {
    let rules = &manager.model().outbound;
    let mut by_backend: BTreeMap<IpAddr, Vec<&OutboundRule>> = BTreeMap::new();
    for rule in rules {
        for backend in &rule.pool.backends {
            by_backend.entry(backend.address).or_default().push(rule);
        }
    }
    let view = |told: &Told| {
        let rules = by_backend.get(&told.address).map(Vec::as_slice).unwrap_or_default();
        backend(told, rules)
    };
    Outbound { backends: manager.outbound().iter().map(view).collect() }
}

fn backend(told: &Told, rules: &[&OutboundRule]) -> OutboundBackend {
    let of_kind = |index: usize| {
        let protocol = OUTBOUND_KINDS.get(index)?;
        let rule = rules.iter().find(|rule| takes(rule.protocol, protocol));
        let flows = told.flows.get(index)?;
        let port = |(address, ports): (&IpAddr, &[Ports; 3])| {
            let ports = ports.get(index).filter(|ports| ports.allocated > 0)?;
            Some(OutboundPorts {
                frontend: address.to_string(),
                ports_allocated: ports.allocated,
                ports_on_demand: ports.on_demand,
                ports_used: ports.used,
            })
        };
        let frontends: Vec<OutboundPorts> = told.ports.iter().filter_map(port).collect();
        // Of what no rule has any more, only what there still is.
        (rule.is_some() || !frontends.is_empty()).then(|| OutboundFlows {
            protocol: (*protocol).to_owned(),
            rule: rule.map(|rule| rule.name.clone()),
            pool: rule.map(|rule| rule.pool.name.clone()),
            flows: flows.flows,
            pending: flows.pending,
            opened_total: flows.opened,
            answered_total: flows.answered,
            failed_total: flows.failed,
            frontends,
        })
    };
    OutboundBackend {
        backend: told.address.to_string(),
        packets_out: told.out.0,
        bytes_out: told.out.1,
        packets_back: told.back.0,
        bytes_back: told.back.1,
        protocols: (0..OUTBOUND_KINDS.len()).filter_map(of_kind).collect(),
    }
}

fn takes(protocol: OutboundProtocol, kind: &str) -> bool {
    match protocol {
        OutboundProtocol::Any => true,
        OutboundProtocol::Tcp => kind == "tcp",
        OutboundProtocol::Udp => kind == "udp",
    }
}
