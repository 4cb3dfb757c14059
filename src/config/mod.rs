//! Configuration: a file, flags, or both, checked until nothing in it can surprise whoever runs it.
//!
//! ```text
//! file ── file, sections ──┐
//!                          ├─► RawConfig ── validate ──► Model
//! flags ─ flags, overlay ──┘
//! ```
//!
//! `RawConfig` is what was said, each value with its line or flag. `Model` is what was meant; it cannot be
//! wrong, and only `validate` makes one. All errors are reported at once, each with its place and a way to
//! mend it; nothing is reported that merely follows from another error. What a key or flag means is in
//! `docs/CONFIG.md`.

mod emit;
mod error;
mod file;
mod flags;
mod model;
mod overlay;
mod probe;
mod problem;
mod raw;
mod section;
mod sections;
#[cfg(test)]
mod tests;
mod text;
mod unready;
mod validate;

pub use emit::{to_text, to_text_with};
pub use error::{FINDINGS_MAX, Finding, Findings, Place};
pub use file::FILE_BYTES_MAX;
pub use flags::ConfigFlags;
pub use model::*;
pub use probe::*;
pub use problem::{
    AddressFlaw, ControlProblem, FileProblem, FlagProblem, ForwardProblem, NameProblem, NatProblem,
    NetworkProblem, NoEffect, OutboundProblem, PoolProblem, Problem, QuicProblem, RouteProblem, RuleProblem,
    ValueProblem,
};
pub use text::{BadText, CPU_MAX, RANGE_LEN_MAX, SOCKET_PATH_BYTES_MAX};
pub use unready::SOURCES_MAX;
pub use validate::{
    ACL_RULES_MAX, BACKENDS_PER_POOL_MAX, METRICS_DEFAULT, NAT_PORTS_MAX, OUTBOUND_BACKENDS_MAX,
    OUTBOUND_FRONTENDS_MAX, ROUTES_MAX, RULE_BACKENDS_MAX, RULES_MAX, SOCKET_DEFAULT, SOURCE_ADDRESSES_MAX,
    require_devices,
};

use error::Report;

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is to run.
    pub model: Model,
    /// What is odd about it, by line.
    pub warnings: Vec<Finding>,
}

/// Reads the file that `flags` name, if they name one, and lays the flags over it.
///
/// Ports may be missing, or be without devices; who opens ports asks [`require_devices`] next.
///
/// # Errors
///
/// Everything that is wrong with the file and the flags.
pub fn load(flags: &ConfigFlags) -> Result<Loaded, Findings> {
    let Some(path) = &flags.config else { return load_text("", "", flags) };
    let name = path.display().to_string();
    let mut report = Report::default();
    match file::read(path, &mut report) {
        Some(text) => load_text(&name, &text, flags),
        None => {
            // The flags are judged all the same, but not for what the file may hold.
            let raw = raw::RawConfig { is_partial: true, ..Default::default() };
            finish(&name, raw, flags, report, unready::refuse)
        }
    }
}

/// The same with the file's text in hand; `name` is what findings call it.
///
/// # Errors
///
/// Everything that is wrong with the text and the flags.
pub fn load_text(name: &str, text: &str, flags: &ConfigFlags) -> Result<Loaded, Findings> {
    let mut report = Report::default();
    let raw = sections::read(text, &mut report);
    finish(name, raw, flags, report, unready::refuse)
}

/// The same, with what the path cannot do yet.
#[cfg(test)]
fn parse_text(name: &str, text: &str, flags: &ConfigFlags) -> Result<Loaded, Findings> {
    let mut report = Report::default();
    let raw = sections::read(text, &mut report);
    finish(name, raw, flags, report, |_, _| {})
}

fn finish(
    name: &str,
    mut raw: raw::RawConfig,
    flags: &ConfigFlags,
    mut report: Report,
    refuse: fn(&Model, &mut Report),
) -> Result<Loaded, Findings> {
    overlay::apply(flags, &mut raw, &mut report);
    let model = validate::model(&raw, &mut report);
    refuse(&model, &mut report);
    let warnings = report.finish(name)?;
    Ok(Loaded { model, warnings })
}

/// The longest name, in bytes: as DNS labels, RFC 1035 section 2.3.4.
pub const NAME_LEN_MAX: usize = 63;

/// Whether `text` can name a port, pool, probe or rule. Names become parts of commands and metrics.
fn is_name(text: &str) -> bool {
    let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(is_sane)
}

/// How findings call the `kind` of this name: "port outside", or "a port" where the name is no name.
fn subject_of(kind: &str, name: &str) -> String {
    if is_name(name) {
        format!("{kind} {name}")
    } else {
        format!("{} {kind}", if kind.starts_with('o') { "an" } else { "a" })
    }
}
