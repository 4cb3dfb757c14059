//! Probes: each by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Names, duration_in_range, in_range, required};
use crate::config::error::{Place, Report};
use crate::config::probe::{Probe, ProbeKind, Via};
use crate::config::problem::ValueProblem;
use crate::config::raw::{At, Field, RawConfig, RawProbe};
use crate::config::subject_of;

const PORT: (i128, i128) = (1, u16::MAX as i128);
const COUNT: (i128, i128) = (1, 100);
const RISE_DEFAULT: u32 = 1;
const FALL_DEFAULT: u32 = 2;
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// Or the interval, if that is shorter.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// All named probes.
pub(super) struct Probes {
    pub(super) names: Names,
    /// With name and place, in the order of the file; `None` is broken.
    pub(super) list: Vec<(String, Place, Option<Arc<Probe>>)>,
}

impl Probes {
    pub(super) fn find(&self, name: &str) -> Option<Arc<Probe>> {
        self.list.iter().find(|(known, ..)| known == name)?.2.clone()
    }
}

/// Checks all `[[probe]]` sections.
pub(super) fn check(raw: &RawConfig, report: &mut Report) -> Probes {
    let mut probes = Probes { names: Names::new("probe", raw), list: Vec::new() };
    for probe in &raw.probes {
        let name = probes.names.add(&probe.name, probe.place, report);
        let subject = subject_of("probe", name.as_deref().unwrap_or_default());
        let checked = check_one(probe, &subject, report);
        let place = probe.name.place_or(probe.place);
        probes.list.extend(name.map(|name| (name, place, checked)));
    }
    probes
}

/// Checks one probe, named or not; `None` where its kind is not known.
pub(super) fn check_one(raw: &RawProbe, subject: &str, report: &mut Report) -> Option<Arc<Probe>> {
    let kind = required(subject, "kind", &raw.kind, raw.place, report).map(|kind| kind.value);
    if let Some(kind) = kind {
        compare_kind(raw, kind, subject, report);
    }
    if let (Some(At { place, .. }), Some(false)) = (raw.ca_file.given(), raw.verify.value()) {
        report.error(*place, ValueProblem::UnusedAuthorities { subject: subject.to_owned() });
    }
    let port = in_range::<u16>(subject, "port", &raw.port, PORT, report);
    let rise = in_range::<u32>(subject, "rise", &raw.rise, COUNT, report);
    let fall = in_range::<u32>(subject, "fall", &raw.fall, COUNT, report);
    let (interval, timeout) = times(raw, subject, report);
    Some(Arc::new(Probe {
        kind: kind?,
        port,
        path: raw.path.value().cloned().unwrap_or_else(|| "/".to_owned()),
        host: raw.host.value().cloned(),
        status: raw.status.value().cloned().unwrap_or_default(),
        body: raw.body.value().cloned(),
        // Who names authorities wants them asked.
        verify: raw.verify.value().copied().unwrap_or(!raw.ca_file.is_absent()),
        ca_file: raw.ca_file.value().map(PathBuf::from),
        via: raw.via.value().copied().unwrap_or(Via::Host),
        interval,
        timeout,
        rise: rise.unwrap_or(RISE_DEFAULT),
        fall: fall.unwrap_or(FALL_DEFAULT),
    }))
}

/// Keys of another kind of probe.
fn compare_kind(raw: &RawProbe, kind: ProbeKind, subject: &str, report: &mut Report) {
    let place_of = |place: Option<Place>| place.unwrap_or(raw.place);
    let of_http = [
        ("path", place(&raw.path)),
        ("host", place(&raw.host)),
        ("status", place(&raw.status)),
        ("body", place(&raw.body)),
    ];
    let of_http = of_http.into_iter().filter(|_| kind == ProbeKind::Tcp);
    let of_https = [("verify", place(&raw.verify)), ("ca_file", place(&raw.ca_file))]
        .into_iter()
        .filter(|_| kind != ProbeKind::Https);
    let wrong = of_http.map(|key| (key, ProbeKind::Http)).chain(of_https.map(|key| (key, ProbeKind::Https)));
    for ((key, place), other) in wrong.filter(|((_, place), _)| place.is_some()) {
        let problem = ValueProblem::KeyOfOtherProbe { subject: subject.to_owned(), kind, key, other };
        report.error(place_of(place), problem);
    }
}

fn place<T>(field: &Field<T>) -> Option<Place> {
    field.given().map(|at| at.place)
}

/// Interval and timeout.
fn times(raw: &RawProbe, subject: &str, report: &mut Report) -> (Duration, Duration) {
    let interval = duration_in_range(subject, "interval", &raw.interval, INTERVAL, report);
    let timeout = duration_in_range(subject, "timeout", &raw.timeout, INTERVAL, report);
    let is_known = interval.is_some() || raw.interval.is_absent();
    let interval = interval.unwrap_or(INTERVAL_DEFAULT);
    match timeout {
        Some(timeout) if is_known && timeout > interval => {
            let place = raw.timeout.place_or(raw.place);
            let subject = subject.to_owned();
            report.error(place, ValueProblem::ProbeTimeout { subject, timeout, interval });
        }
        _ => {}
    }
    (interval, timeout.unwrap_or(TIMEOUT_DEFAULT.min(interval)))
}
