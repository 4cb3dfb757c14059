//! `guideway import`.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum, ValueHint};

use super::Failure;
use crate::import::{self, ArmOptions, Findings, Imported, Source, Weight};

/// From Azure's own files to guideway's: the configuration goes to standard output, and what has no counterpart to
/// standard error, with its file, line and column.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    /// A classic cloud service: its definition and its configuration.
    AzureClassic(Classic),
    /// A template of Azure Resource Manager, or a load balancer exported as JSON.
    AzureArm(Arm),
}

#[derive(clap::Args)]
struct Common {
    /// What Azure's files do not say, as TOML: [frontends] and [pools], [members] and [local_ports], and guideway's own
    /// [[port]], [[route]], [[neighbour]], [dataplane] and [control], which go on as they are. See docs/AZURE.md.
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    addresses: Option<PathBuf>,

    /// End with code 2 and without a configuration where something has no counterpart. `traffic` lets pass what has no
    /// bearing on traffic: sizes of machines, tags, certificates.
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    strict: Option<Strict>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Strict {
    All,
    Traffic,
}

#[derive(clap::Args)]
struct Classic {
    /// The service definition.
    #[arg(long, value_name = "FILE.csdef", value_hint = ValueHint::FilePath)]
    definition: PathBuf,

    /// The service configuration.
    #[arg(long, value_name = "FILE.cscfg", value_hint = ValueHint::FilePath)]
    service_configuration: PathBuf,

    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Arm {
    /// The template.
    #[arg(value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    template: PathBuf,

    /// The values of its parameters.
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    parameters: Option<PathBuf>,

    /// Take numberOfProbes for a probe's threshold where there is no probeThreshold, as Azure's pages said once; Azure takes 1.
    #[arg(long)]
    number_of_probes: bool,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let read = |path: &Path| Source::read(path).map_err(Failure::Usage);
    let read_if = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let (imported, strict) = match &args.from {
        From::AzureClassic(Classic { definition, service_configuration, common }) => {
            let addresses = read_if(&common.addresses)?;
            let imported =
                import::classic(&read(definition)?, &read(service_configuration)?, addresses.as_ref());
            (imported, common.strict)
        }
        From::AzureArm(Arm { template, parameters, number_of_probes, common }) => {
            let (parameters, addresses) = (read_if(parameters)?, read_if(&common.addresses)?);
            let options = ArmOptions { number_of_probes: *number_of_probes };
            (import::arm(&read(template)?, parameters.as_ref(), addresses.as_ref(), options), common.strict)
        }
    };
    finish(&imported, strict)
}

fn finish(imported: &Imported, strict: Option<Strict>) -> Result<(), Failure> {
    let Imported { text, findings } = imported;
    let limit = match strict {
        None => Weight::Error,
        Some(Strict::Traffic) => Weight::Loss,
        Some(Strict::All) => Weight::Note,
    };
    report(findings);
    match text {
        Some(text) if !findings.reach(limit) => super::print(text),
        Some(_) => Err(Failure::Usage(
            "guideway: --strict: the above has no counterpart; nothing was written".to_owned(),
        )),
        None => Err(Failure::Usage("guideway: nothing was written; mend the errors above".to_owned())),
    }
}

#[allow(clippy::print_stderr, reason = "findings go to standard error")]
fn report(findings: &Findings) {
    findings.list.iter().for_each(|finding| eprintln!("{finding}"));
    if findings.omitted > 0 {
        eprintln!("and {} more", findings.omitted);
    }
}
