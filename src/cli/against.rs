//! `guideway check --against`: what a configuration would change, told.

use std::path::Path;

use clap::Parser;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Target;
use super::{Cli, Command, Failure};
use crate::config::{ConfigFlags, Model, SOCKET_DEFAULT, to_text_with};
use crate::control::difference::{Change, Difference, Overridden, RuleDifference, Side, difference};
use crate::control::{Configuration, stored_nat_ports};

/// A difference for people.
#[derive(Default)]
pub(super) struct Told {
    pub(super) text: String,
    /// Why the running program would not take the configuration.
    pub(super) refused: Option<String>,
}

/// `new` against what `path` says, by itself.
pub(super) fn file(new: &Model, path: &Path) -> Result<Told, Failure> {
    let flags = ConfigFlags { config: Some(path.to_owned()), ..ConfigFlags::default() };
    let old = super::load(&flags)?;
    let (mut old, mut new) = (old, new.clone());
    old.keep_nat_ports(&stored_nat_ports(&old.control.state_directory));
    new.keep_nat_ports(&old.nat_ports());
    let (old, new) = (&old, &new);
    let (key, old_key) = (super::key_to_look_with(new).0, super::key_to_look_with(old).0);
    let told = difference(Side { model: old, key: old_key }, Side { model: new, key });
    let key_line = "~ the hash key is another: nearly all new flows move\n";
    let text = if key == old_key { String::new() } else { key_line.to_owned() };
    Ok(Told { text: text + &rules(&told.rules) + &outbound(&told), refused: None })
}

/// What `flags` say, and what that would change of what runs.
pub(super) fn running(flags: &ConfigFlags) -> Result<(Model, Told), Failure> {
    let target = Target::at(socket(flags));
    let running: Configuration = ask(&target, &Method::GET, "/v1/configuration", "")?;
    let new = super::load(&as_reloaded(flags, &running))?;
    let text = to_text_with(&new, new.dataplane.hash_key);
    let body = json!({ "configuration": text }).to_string();
    let told: Difference = ask(&target, &Method::POST, "/v1/check", &body)?;
    let mut text = rules(&told.rules) + &outbound(&told);
    text.extend(told.next_start.iter().map(|what| {
        let moves = if what == "hash_key" { ", and moves nearly all new flows" } else { "" };
        format!("~ {what} differs: that takes effect with the next start{moves}\n")
    }));
    text.extend(told.overrides.iter().map(overridden));
    Ok((new, Told { text, refused: told.refused }))
}

fn ask<T: DeserializeOwned>(target: &Target, method: &Method, path: &str, body: &str) -> Result<T, Failure> {
    let answer: Value = target.ask(method, path, body)?;
    serde_json::from_value(answer)
        .map_err(|error| Failure::Runtime(format!("the running guideway is of another version: {error}")))
}

/// Where the running program listens: as the flag says, or else the file.
fn socket(flags: &ConfigFlags) -> std::path::PathBuf {
    // What is wrong with the file is told later.
    let of_file = || Some(crate::config::load(flags).ok()?.model.control.socket);
    flags.control_socket.as_ref().map(Into::into).or_else(of_file).unwrap_or_else(|| SOCKET_DEFAULT.into())
}

/// `flags`, with those of the running program's start where there are none but the file's name.
fn as_reloaded(flags: &ConfigFlags, running: &Configuration) -> ConfigFlags {
    let file = ConfigFlags {
        config: flags.config.clone(),
        control_socket: flags.control_socket.clone(),
        ..ConfigFlags::default()
    };
    let started = std::iter::once("guideway".to_owned()).chain(running.arguments.iter().cloned());
    match Cli::try_parse_from(started) {
        Ok(Cli { command: Command::Run(started), .. }) if *flags == file => {
            let theirs = started.config.config.map(|path| Path::new(&running.directory).join(path));
            ConfigFlags { config: file.config.or(theirs), ..started.config }
        }
        _ => flags.clone(),
    }
}

fn outbound(told: &Difference) -> String {
    told.outbound.iter().map(|line| format!("~ {line}\n")).collect()
}

fn rules(rules: &[RuleDifference]) -> String {
    if rules.is_empty() { "no rule changes\n".into() } else { rules.iter().map(rule).collect() }
}

fn rule(rule: &RuleDifference) -> String {
    let RuleDifference { rule, frontend, change, changes, moved, moved_beyond, flows } = rule;
    match change {
        Change::Added => format!("+ rule {rule}: {frontend} is new\n"),
        Change::Removed if *flows > 0 => {
            format!("- rule {rule}: {frontend} is removed; its {flows} flows end\n")
        }
        Change::Removed => format!("- rule {rule}: {frontend} is removed; its flows end\n"),
        Change::Changed => {
            let changes = if changes.is_empty() { "unchanged".to_owned() } else { changes.join(", ") };
            format!(
                "~ rule {rule}: {changes}; {:.3} % of new flows move, {:.3} % more than must\n",
                moved.unwrap_or(0.0) * 100.0,
                moved_beyond.unwrap_or(0.0) * 100.0
            )
        }
    }
}

fn overridden(said: &Overridden) -> String {
    let Overridden { pool, address, state, weight, applies } = said;
    let state = state.as_ref().map(|state| format!("state {state}"));
    let weight = weight.map(|weight| format!("weight {weight}"));
    let what: Vec<String> = state.into_iter().chain(weight).collect();
    let stays = if *applies { "stays in force over it" } else { "goes with the backend" };
    format!("= backend {pool}/{address}: what the operator says, {}, {stays}\n", what.join(" and "))
}
