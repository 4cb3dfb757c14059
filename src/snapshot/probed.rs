//! Whom probes ask out of our ports.

use super::{Routes, WideMap, wide_endpoint};
use crate::config::{self, Model};
use crate::wire::Protocol;

/// Endpoints that probes ask out of our ports, and the port where each answers.
pub(super) fn probed(model: &Model, routes: &Routes) -> WideMap {
    let by_port = model.rules.iter().filter_map(|rule| {
        let probe = rule.probe.as_ref().filter(|probe| probe.via == config::Via::Port)?;
        Some((rule, probe.port.unwrap_or(rule.backend_port)))
    });
    let endpoints = by_port.flat_map(|(rule, port)| {
        rule.pool.backends.iter().filter_map(move |backend| {
            let (leads_there, _) = routes.neighbour_for(backend.address)?;
            let key = wide_endpoint(backend.address, port, Protocol::Tcp.number());
            Some((key, u64::from(leads_there.0)))
        })
    });
    WideMap::of(endpoints)
}
