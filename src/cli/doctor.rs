//! `guideway doctor`.

use std::collections::BTreeMap;

use serde_json::json;

use super::Failure;
use crate::config::ConfigFlags;
use crate::doctor::{Build, Effect, Finding, Level, Machine, Wanted, examine};

/// Looks at this machine before `run`: what is missing or in the way, and the commands that mend it. Changes nothing,
/// and needs no rights; as root it sees more. With a configuration it also judges the devices, CPUs and memory that
/// this asks for. Exit code 0: nothing stands in the way; 1: guideway cannot run so; 2: bad usage or configuration.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFlags,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// As after `run`: arguments for EAL.
    #[arg(last = true, value_name = "EAL ARGS")]
    eal: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let machine = Machine::new("/");
    let model = if args.config == ConfigFlags::default() {
        None
    } else {
        let mut model = super::load(&args.config)?;
        model.dataplane.eal.extend(args.eal.iter().cloned());
        Some(model)
    };
    let wanted = model.as_ref().map(|model| Wanted::new(model, &machine));
    let findings = examine(&machine, &Build::this(), wanted.as_ref());
    let text = if args.json { as_json(&findings) } else { as_text(&findings, wanted.is_some()) };
    super::print(&text)?;
    if findings.iter().any(|finding| finding.level == Level::Error) { Err(Failure::Told) } else { Ok(()) }
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

fn as_json(findings: &[Finding]) -> String {
    let counts: BTreeMap<&str, usize> =
        [("errors", Level::Error), ("warnings", Level::Warning), ("notes", Level::Note), ("ok", Level::Ok)]
            .map(|(name, level)| (name, count(findings, level)))
            .into();
    let can_run = count(findings, Level::Error) == 0;
    format!("{:#}\n", json!({ "findings": findings, "counts": counts, "can_run": can_run }))
}

/// The worst first, and a line at the end that says it all.
fn as_text(findings: &[Finding], has_configuration: bool) -> String {
    let mut text = String::new();
    for finding in findings.iter().filter(|finding| finding.level != Level::Ok) {
        text += &one(finding);
    }
    for finding in findings.iter().filter(|finding| finding.level == Level::Ok) {
        text += &format!("ok       {}\n", finding.found);
    }
    let (errors, warnings) = (count(findings, Level::Error), count(findings, Level::Warning));
    let number = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let of_what = if has_configuration {
        "this configuration"
    } else {
        "guideway, as far as is known without a configuration,"
    };
    let verdict = if errors == 0 { "can run here" } else { "cannot run here" };
    text + &format!("\n{}, {}: {of_what} {verdict}\n", number(errors, "error"), number(warnings, "warning"))
}

fn one(finding: &Finding) -> String {
    let Finding { level, found, why, advice, commands, effect, .. } = finding;
    let label = match level {
        Level::Error => "ERROR",
        Level::Warning => "warning",
        Level::Note => "note",
        Level::Ok => "ok",
    };
    let mut text = format!("{label:<8} {found}\n         why: {why}\n");
    if !commands.is_empty() {
        let when = if *effect == Some(Effect::Reboot) { ", then reboot" } else { "" };
        text += &format!("         fix, as root{when}:\n");
        text.extend(commands.iter().map(|command| format!("           {command}\n")));
    }
    if let Some(advice) = advice {
        let lead = if commands.is_empty() { "fix" } else { "or" };
        text += &format!("         {lead}: {advice}\n");
    }
    text + "\n"
}
