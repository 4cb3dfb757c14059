//! Probes: checked in full, although this version does not run them, so that a file that is right today is
//! right when it does.

use std::time::Duration;

use super::{Names, duration_in_range, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::problem::{NoEffect, ValueProblem};
use crate::config::raw::{RawConfig, RawProbe};
use crate::config::subject_of;
use crate::config::text::ProbeKind;

const PORT: (i128, i128) = (1, u16::MAX as i128);
const COUNT: (i128, i128) = (1, 100);
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// All named probes.
pub(super) struct Probes {
    pub(super) names: Names,
    /// The names with their places, in the order of the file.
    pub(super) list: Vec<(String, Place)>,
}

/// Checks all `[[probe]]` sections.
pub(super) fn check(raw: &RawConfig, report: &mut Report) -> Probes {
    let mut probes = Probes { names: Names::new("probe", raw), list: Vec::new() };
    for probe in &raw.probes {
        let name = probes.names.add(&probe.name, probe.place, report);
        let subject = subject_of("probe", name.as_deref().unwrap_or_default());
        check_one(probe, &subject, report);
        let place = probe.name.place_or(probe.place);
        report.warn(place, NoEffect::Probe { subject });
        probes.list.extend(name.map(|name| (name, place)));
    }
    probes
}

/// Checks one probe, named or not.
pub(super) fn check_one(raw: &RawProbe, subject: &str, report: &mut Report) {
    let kind = required(subject, "kind", &raw.kind, raw.place, report);
    if kind.is_some_and(|kind| kind.value == ProbeKind::Tcp) && !raw.path.is_absent() {
        let place = raw.path.place_or(raw.place);
        report.error(place, ValueProblem::PathOfTcpProbe { subject: subject.to_owned() });
    }
    in_range::<u16>(subject, "port", &raw.port, PORT, report);
    in_range::<u16>(subject, "rise", &raw.rise, COUNT, report);
    in_range::<u16>(subject, "fall", &raw.fall, COUNT, report);
    let interval = duration_in_range(subject, "interval", &raw.interval, INTERVAL, report);
    let timeout = duration_in_range(subject, "timeout", &raw.timeout, INTERVAL, report);
    let is_known = |given: Option<Duration>, absent| given.is_some() || absent;
    if !is_known(interval, raw.interval.is_absent()) || !is_known(timeout, raw.timeout.is_absent()) {
        return;
    }
    let (interval, timeout) = (interval.unwrap_or(INTERVAL_DEFAULT), timeout.unwrap_or(TIMEOUT_DEFAULT));
    if timeout > interval {
        let place = raw.timeout.place_or(raw.interval.place_or(raw.place));
        report.error(place, ValueProblem::ProbeTimeout { subject: subject.to_owned(), timeout, interval });
    }
}
