//! Azure's own files, in; guideway's configuration, out.
//!
//! ```text
//! .csdef, .cscfg ── xml ── classic ──┐
//!                                    ├─► Plan ── render ──► text ── config::load_text ──► the proof
//! template ── arm ───────────────────┘      ▲
//! addresses file ── addresses ──────────────┘
//! ```
//!
//! Nothing is dropped in silence: what has a counterpart is in the plan, and all else is a finding with its place. What
//! each thing becomes, and why, is in `docs/AZURE.md`.

mod addresses;
mod arm;
mod classic;
mod plan;
mod render;
mod report;
mod source;
mod xml;

pub use report::{Finding, Findings, Place, Weight};
pub use source::{BYTES_MAX, Source};

use addresses::Addresses;
use plan::Plan;

/// What an import gave.
#[derive(Debug)]
pub struct Imported {
    /// The configuration; `None` where there are errors.
    pub text: Option<String>,
    /// What has no counterpart, and what is wrong.
    pub findings: Findings,
}

/// Imports a classic cloud service: a service definition and its configuration.
pub fn classic(definition: &Source, configuration: &Source, addresses: Option<&Source>) -> Imported {
    let mut findings = Findings::default();
    let mut addresses = Addresses::read(addresses, &mut findings);
    let plan = classic::plan(definition, configuration, &mut addresses, &mut findings);
    finish(plan, addresses, findings)
}

/// Imports a template of Azure Resource Manager, or an exported load balancer.
pub fn arm(
    template: &Source,
    parameters: Option<&Source>,
    addresses: Option<&Source>,
    options: ArmOptions,
) -> Imported {
    let mut findings = Findings::default();
    let mut addresses = Addresses::read(addresses, &mut findings);
    let plan = arm::plan(template, parameters, options, &mut addresses, &mut findings);
    finish(plan, addresses, findings)
}

/// Where Azure's own sources disagree.
#[derive(Clone, Copy, Default, Debug)]
pub struct ArmOptions {
    /// Whether `numberOfProbes` is the threshold where there is no `probeThreshold`, as it was documented. Azure takes 1.
    pub number_of_probes: bool,
}

fn finish(mut plan: Plan, mut addresses: Addresses, mut findings: Findings) -> Imported {
    addresses.report_several(&mut findings);
    plan.check_own_addresses(&mut findings);
    if !findings.reach(Weight::Error) {
        addresses.report_unused(&mut findings);
    }
    plan.settings = std::mem::take(&mut addresses.settings);
    plan.check_counts(&mut findings);
    let text = render::render(&plan, &mut findings);
    findings.sort();
    Imported { text: text.filter(|_| !findings.reach(Weight::Error)), findings }
}
