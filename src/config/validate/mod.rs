//! From what was said to what was meant. Each part is checked by itself, then against the others.
//!
//! A part that is broken has been reported; what depends on it is then passed over in silence.

mod acls;
mod control;
mod forward;
mod frontends;
mod nat_rules;
mod network;
mod outbound;
mod own_addresses;
mod pools;
mod probes;
mod quic;
mod routes;
mod rules;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Findings, Place, Report};
use super::model::{DataplaneSettings, Idle, Model};
use super::problem::{NameProblem, NetworkProblem, RuleProblem, ValueProblem};
use super::raw::{At, Field, RawConfig, RawDataplane};
use super::section::{example, nearest};
use super::text::CPU_MAX;
use super::{is_name, subject_of};

pub use acls::ACL_RULES_MAX;
pub use control::{METRICS_DEFAULT, SOCKET_DEFAULT};
pub use forward::SOURCE_ADDRESSES_MAX;
pub use nat_rules::NAT_PORTS_MAX;
pub use outbound::{OUTBOUND_BACKENDS_MAX, OUTBOUND_FRONTENDS_MAX};
pub use pools::BACKENDS_PER_POOL_MAX;
pub use routes::ROUTES_MAX;
pub use rules::{RULE_BACKENDS_MAX, RULES_MAX};

/// Bounds of `flows_per_worker`: 27 KiB to 7 GiB of table, at 27 bytes a flow.
const FLOWS_PER_WORKER: (i128, i128) = (1 << 10, 1 << 28);
const FLOWS_PER_WORKER_DEFAULT: usize = 1 << 20;

/// Bounds of `frames`: 10 MiB to 40 GiB of packet memory. Fewer would not fill the queues of one port.
const FRAMES: (i128, i128) = ((1 << 12) - 1, (1 << 24) - 1);

/// The model of `raw`. To be used only where `report` has no errors in the end.
pub(crate) fn model(raw: &RawConfig, report: &mut Report) -> Model {
    let dataplane = dataplane(&raw.dataplane, report);
    let control = control::check(&raw.control, report);
    let network = network::check(raw, report);
    let pools = pools::check(raw, &network, report);
    let probes = probes::check(raw, report);
    let acls = acls::check(raw, report);
    let (rules, nat_rules) = rules::check(raw, &network, &pools, &probes, &acls, report);
    let outbound = outbound::check(raw, &network, &pools, &rules, &nat_rules, report);
    Model {
        dataplane,
        control,
        ports: network.ports.into_iter().map(|port| port.value).collect(),
        routes: network.routes,
        neighbours: network.neighbours,
        pools: pools.list.into_iter().map(|pool| pool.pool).collect(),
        acls: acls.list.into_iter().map(|(_, acl)| acl).collect(),
        nat_rules,
        rules,
        outbound,
    }
}

/// Whether `model` has ports, and each a device: what `run` needs, and nobody else.
///
/// # Errors
///
/// Each port that cannot be opened.
pub fn require_devices(model: &Model) -> Result<(), Findings> {
    let mut report = Report::default();
    if model.ports.is_empty() {
        report.error(Place::Whole, NetworkProblem::NoPorts);
    }
    for port in model.ports.iter().filter(|port| port.device.is_none()) {
        report.error(Place::Whole, NetworkProblem::NoDevice { port: port.name.clone() });
    }
    report.finish("").map(|_| ())
}

fn dataplane(raw: &RawDataplane, report: &mut Report) -> DataplaneSettings {
    let subject = "[dataplane]";
    let management_cpu =
        in_range(subject, "management_cpu", &raw.management_cpu, (0, CPU_MAX as i128), report);
    if let (Some(At { value: workers, .. }), Some(cpu)) = (raw.workers.given(), management_cpu)
        && workers.contains(&cpu)
    {
        let place = raw.management_cpu.place_or(Place::Whole);
        report.warn(place, RuleProblem::ManagementCpuIsWorker { cpu });
    }
    let flows = in_range(subject, "flows_per_worker", &raw.flows_per_worker, FLOWS_PER_WORKER, report);
    DataplaneSettings {
        workers: raw.workers.value().cloned(),
        management_cpu,
        flows_per_worker: flows.unwrap_or(FLOWS_PER_WORKER_DEFAULT),
        frames: in_range(subject, "frames", &raw.frames, FRAMES, report),
        idle: raw.idle.value().copied().unwrap_or(Idle::Spin),
        hash_key: raw.hash_key.value().copied(),
        eal: raw.eal.clone(),
    }
}

/// The number in `field`, if it lies within `range`, both ends included.
fn in_range<T: TryFrom<i128>>(
    subject: &str,
    key: &'static str,
    field: &Field<i128>,
    (low, high): (i128, i128),
    report: &mut Report,
) -> Option<T> {
    let At { value, place } = field.given()?;
    if (low..=high).contains(value) {
        return T::try_from(*value).ok();
    }
    report.error(*place, out_of_range(subject, key, value, &low, &high));
    None
}

/// The same of a duration.
fn duration_in_range(
    subject: &str,
    key: &'static str,
    field: &Field<Duration>,
    (low, high): (Duration, Duration),
    report: &mut Report,
) -> Option<Duration> {
    let At { value, place } = field.given()?;
    if (low..=high).contains(value) {
        return Some(*value);
    }
    let [value, low, high] = [*value, low, high].map(humantime::format_duration);
    report.error(*place, out_of_range(subject, key, &value, &low, &high));
    None
}

fn out_of_range(
    subject: &str,
    key: &'static str,
    value: &dyn Display,
    low: &dyn Display,
    high: &dyn Display,
) -> ValueProblem {
    let [value, low, high] = [value, low, high].map(ToString::to_string);
    ValueProblem::OutOfRange { subject: subject.to_owned(), key, value, low, high }
}

/// The value of a key that must be there.
fn required<'f, T>(
    subject: &str,
    key: &'static str,
    field: &'f Field<T>,
    section: Place,
    report: &mut Report,
) -> Option<&'f At<T>> {
    if field.is_absent() {
        let subject = subject.to_owned();
        report.error(section, ValueProblem::MissingKey { subject, key, example: example(key) });
    }
    field.given()
}

/// The names of one kind of things.
struct Names {
    kind: &'static str,
    seen: HashMap<String, Place>,
    /// Whether every one of them is known, so that a name which is not here is nowhere.
    are_whole: bool,
}

impl Names {
    fn new(kind: &'static str, raw: &RawConfig) -> Self {
        Self { kind, seen: HashMap::new(), are_whole: !raw.is_partial }
    }

    /// Takes the name of one more; `None` where it has none that can be used.
    fn add(&mut self, field: &Field<String>, section: Place, report: &mut Report) -> Option<String> {
        let kind = self.kind;
        let Some(At { value: name, place }) = required(&subject_of(kind, ""), "name", field, section, report)
        else {
            self.are_whole = false;
            return None;
        };
        let name = name.clone();
        if !is_name(&name) {
            self.are_whole = false;
            report.error(*place, NameProblem::Bad { kind, name });
            return None;
        }
        if let Some(first) = self.seen.get(&name).copied() {
            report.error(*place, NameProblem::Taken { kind, name, first });
            return None;
        }
        self.seen.insert(name.clone(), *place);
        Some(name)
    }

    /// Whether `wanted` is there; reported where it surely is not.
    fn require(&self, wanted: &At<String>, user: &str, remedy: &'static str, report: &mut Report) -> bool {
        let is_there = self.seen.contains_key(&wanted.value);
        if !is_there && self.are_whole {
            let (user, name) = (user.to_owned(), wanted.value.clone());
            // By name, so that ties between names do not depend on the map's order.
            let mut known: Vec<&str> = self.seen.keys().map(String::as_str).collect();
            known.sort_unstable();
            let near = nearest(&name, known.into_iter()).map(str::to_owned);
            report.error(wanted.place, NameProblem::NotDefined { user, kind: self.kind, name, near, remedy });
        }
        is_there
    }
}

/// A checked pool and where it came from.
struct PlacedPool {
    place: Place,
    pool: Arc<super::model::Pool>,
    /// Whether all of it was sound.
    is_whole: bool,
}
