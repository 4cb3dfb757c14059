//! What a configuration can say and the path does not do yet.

use super::error::{Place, Report};
use super::model::{Forward, Model};
use super::problem::ValueProblem;
use super::subject_of;

/// Refuses it: what would silently not be done is worse than what is not.
pub(super) fn refuse(model: &Model, report: &mut Report) {
    let mut refuse = |subject: String, what: &str, instead: &'static str| {
        let what = what.to_owned();
        report.error(Place::Whole, ValueProblem::Unsupported { subject, what, instead });
    };
    for port in model.ports.iter().filter(|port| !port.vlan.is_empty()) {
        refuse(
            subject_of("port", &port.name),
            "vlan",
            "have the switch take the tags off, and give each VLAN a device",
        );
    }
    for rule in &model.rules {
        if let Forward::FullNat(full_nat) = &rule.forward
            && (full_nat.toa || full_nat.proxy_v2)
        {
            let subject = subject_of("rule", &rule.name);
            refuse(subject, "client_address", "delete it: backends see one of the source addresses");
        }
    }
}
