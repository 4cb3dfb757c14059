//! Backends' health in the words of Azure's health status.

use crate::config::{AdminState, ProbeKind};
use crate::control::standing::{Because, Standing};
use crate::control::{Failure, ProbeReport, Verdict};

/// Of what is not in the configuration any more, or not known yet.
pub(super) const NOT_APPLICABLE: &str = "NA";

/// What Azure's `loadBalancingRules/health` would say; `takes` is whether new flows go there.
///
/// Two of Azure's words are never ours: `Down_Platform`, for we know nothing of machines, and
/// `Down_Probe_NoHealthyBackend`, which is of load balancers behind load balancers.
pub(super) fn status(standing: Option<Standing>, takes: bool, report: Option<&ProbeReport>) -> &'static str {
    let (state, because) =
        standing.map_or((AdminState::Up, Because::Default), |standing| (standing.state, standing.because));
    let report = match (because, report) {
        (Because::Default | Because::Probe, Some(report)) => report,
        (Because::Default | Because::Probe, None) => return "Up_Platform",
        (Because::File | Because::Operator, _) if state == AdminState::Up => return "Up_Admin",
        (Because::File | Because::Operator, _) => return "Down_Admin",
    };
    match report.verdict {
        Verdict::Unknown => NOT_APPLICABLE,
        Verdict::Up if report.turning => "Up_Probe_ApproachingUnhealthyThreshold",
        Verdict::Up => "Up_Probe_Success",
        Verdict::Down if takes => "Up_Probe_AllDownIsUp",
        Verdict::Down if report.turning => "Down_Probe_ApproachingHealthyThreshold",
        Verdict::Down => failed(report),
    }
}

fn failed(report: &ProbeReport) -> &'static str {
    match (report.probe.kind, report.failure) {
        (ProbeKind::Tcp, _) => "Down_Probe_TcpProbeTimeout",
        (_, Some(Failure::Contrary)) => "Down_Probe_HttpStatusCodeError",
        (_, Some(Failure::Unreachable)) => "Down_Probe_HttpEndpointUnreachable",
        (_, Some(Failure::Silent) | None) => "Down_Probe_HttpNoResponse",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::config::{ConfigFlags, load_text};

    fn report(kind: &str, verdict: Verdict, turning: bool, failure: Option<Failure>) -> ProbeReport {
        let text = format!(
            "[[port]]\nname = \"p\"\naddresses = [\"10.0.0.1/24\"]\n\
             [[probe]]\nname = \"q\"\nkind = \"{kind}\"\n\
             [[pool]]\nname = \"web\"\nbackends = [{{ address = \"10.0.0.4\" }}]\n\
             [[rule]]\nname = \"a\"\nfrontend = \"203.0.113.1:80/tcp\"\npool = \"web\"\nprobe = \"q\"\n"
        );
        let model = load_text("test.toml", &text, &ConfigFlags::default()).unwrap().model;
        ProbeReport {
            target: ([10, 0, 0, 4], 80).into(),
            probe: model.rules[0].probe.clone().unwrap(),
            frontends: vec![model.rules[0].frontend],
            verdict,
            up: verdict != Verdict::Down,
            since: SystemTime::UNIX_EPOCH,
            age: Duration::ZERO,
            reason: None,
            latency: None,
            last_duration: None,
            last_answer: None,
            last_failure: None,
            failure,
            turning,
            good_total: 0,
            bad_total: 0,
            flaps: 0,
        }
    }

    fn word(state: AdminState, because: Because, takes: bool, report: Option<&ProbeReport>) -> &'static str {
        status(Some(Standing { state, because, since: Instant::now() }), takes, report)
    }

    #[test]
    fn what_somebody_says_has_azures_word() {
        use AdminState::{Down, Drain, Up};
        let (good, bad) =
            (report("tcp", Verdict::Up, false, None), report("tcp", Verdict::Down, false, None));
        assert_eq!(word(Up, Because::Default, true, None), "Up_Platform");
        assert_eq!(word(Up, Because::Operator, true, Some(&bad)), "Up_Admin");
        assert_eq!(word(Down, Because::File, false, Some(&good)), "Down_Admin");
        assert_eq!(word(Drain, Because::Operator, false, None), "Down_Admin");
    }

    #[test]
    fn what_a_probe_says_has_azures_word() {
        use Failure::{Contrary, Silent, Unreachable};
        use Verdict::{Down, Unknown, Up};
        for (kind, verdict, turning, failure, expected) in [
            ("tcp", Unknown, false, None, "NA"),
            ("tcp", Up, false, Some(Silent), "Up_Probe_Success"),
            ("tcp", Up, true, Some(Silent), "Up_Probe_ApproachingUnhealthyThreshold"),
            ("tcp", Down, false, Some(Unreachable), "Down_Probe_TcpProbeTimeout"),
            ("http", Down, false, Some(Contrary), "Down_Probe_HttpStatusCodeError"),
            ("http", Down, false, Some(Unreachable), "Down_Probe_HttpEndpointUnreachable"),
            ("https", Down, false, Some(Silent), "Down_Probe_HttpNoResponse"),
            ("http", Down, true, Some(Contrary), "Down_Probe_ApproachingHealthyThreshold"),
        ] {
            let (state, because) = match verdict {
                Down => (AdminState::Down, Because::Probe),
                Unknown | Up => (AdminState::Up, Because::Default),
            };
            let report = report(kind, verdict, turning, failure);
            assert_eq!(word(state, because, verdict != Down, Some(&report)), expected);
        }
        let dead = report("http", Down, false, Some(Contrary));
        assert_eq!(word(AdminState::Down, Because::Probe, true, Some(&dead)), "Up_Probe_AllDownIsUp");
    }
}
