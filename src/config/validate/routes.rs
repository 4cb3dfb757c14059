//! Static routes: each against the ports, and against each other.

use std::collections::HashMap;
use std::net::IpAddr;

use super::network::{Network, flaw, is_link_local};
use super::{Names, required};
use crate::config::error::{Place, Report};
use crate::config::model::{Cidr, StaticRoute};
use crate::config::problem::{NetworkProblem, RouteProblem, ValueProblem};
use crate::config::raw::{At, RawRoute};
use crate::io::PortId;

/// The most static routes: the path looks through them one by one.
pub const ROUTES_MAX: usize = 64;

/// Checks all routes, and adds them to the network.
pub(super) fn check(raw: &[RawRoute], network: &mut Network, ports: &Names, report: &mut Report) {
    if let Some(first_beyond) = raw.get(ROUTES_MAX) {
        let problem = ValueProblem::TooMany { what: "routes".to_owned(), count: raw.len(), max: ROUTES_MAX };
        report.error(first_beyond.place, problem);
    }
    let mut seen = HashMap::new();
    for route in raw {
        let checked = check_one(route, network, ports, &mut seen, report);
        network.is_whole &= checked.is_some();
        network.routes.extend(checked);
    }
}

fn check_one(
    raw: &RawRoute,
    network: &Network,
    ports: &Names,
    seen: &mut HashMap<Cidr, Place>,
    report: &mut Report,
) -> Option<StaticRoute> {
    let destination = required("a route", "destination", &raw.destination, raw.place, report);
    let via = required("a route", "via", &raw.via, raw.place, report);
    let At { value: destination, place } = *destination?;
    if let Some(first) = seen.insert(destination, place) {
        report.error(place, RouteProblem::Twice { destination, first });
    } else if destination.prefix_len == 0 && network.has_gateway(destination.address) {
        report.error(place, RouteProblem::BesidesGateway { destination });
    }
    let via = via?;
    let port = router(raw, destination, via, network, ports, report)?;
    Some(StaticRoute { destination, via: via.value, port })
}

/// The port that leads to the router.
fn router(
    raw: &RawRoute,
    destination: Cidr,
    via: &At<IpAddr>,
    network: &Network,
    ports: &Names,
    report: &mut Report,
) -> Option<PortId> {
    let At { value: address, place } = *via;
    let subject = || format!("the route to {destination}");
    if destination.address.is_ipv4() != address.is_ipv4() {
        report.error(place, RouteProblem::Families { destination, via: address });
        return None;
    }
    if let Some(flaw) = flaw(address).or_else(|| network.flaw_in_networks(address)) {
        report.error(place, NetworkProblem::Unusable { subject: subject(), address, flaw });
        return None;
    }
    if let Some(port) = network.owner(address) {
        report.error(place, NetworkProblem::Own { subject: subject(), address, port: port.name.clone() });
        return None;
    }
    let named = match raw.port.given() {
        Some(name) => {
            let is_there = ports.require(name, &subject(), "add a [[port]] of that name", report);
            Some(network.position(&name.value).filter(|_| is_there)?)
        }
        None if raw.port.is_absent() => None,
        None => return None,
    };
    let found = match named {
        None => network.connected_port(address),
        Some(port) if network.is_on(port, address) => Some(port),
        Some(port) if is_link_local(address) && network.has_ipv6(port) => Some(port),
        Some(_) => None,
    };
    if found.is_none() && network.is_whole {
        let problem = match named {
            None if is_link_local(address) => RouteProblem::NoPort { destination, via: address },
            None => offside(destination, address, "on a network of any port"),
            Some(_) => offside(destination, address, "on a network of that port"),
        };
        report.error(place, problem);
    }
    found
}

fn offside(destination: Cidr, via: IpAddr, wanted: &'static str) -> RouteProblem {
    RouteProblem::OffNetwork { destination, via, wanted }
}
