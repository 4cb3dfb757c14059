//! The configuration's tests: text and flags in, the model or the exact findings out.

mod acls;
mod documents;
mod emitted;
mod findings;
mod flags;
mod hostile;
mod links;
mod nat_rules;
mod quic;
mod ways;

use std::net::Ipv4Addr;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: ConfigFlags,
}

fn flags(words: &[&str]) -> ConfigFlags {
    Cli::try_parse_from(std::iter::once("guideway").chain(words.iter().copied())).unwrap().flags
}

fn load(text: &str, words: &[&str]) -> Result<Loaded, Findings> {
    parse_text("g.toml", text, &flags(words))
}

#[test]
fn what_the_path_does_not_do_yet_is_refused() {
    let text = SOUND.replace("203.0.113.10:443", "[2001:db8::/95]:443") + "forward = \"full-nat\"\n";
    let words: [&str; 0] = [];
    let refused = load_text("g.toml", &text, &flags(&words)).unwrap_err().to_string();
    assert!(parse_text("g.toml", &text, &flags(&words)).is_ok());
    assert_eq!(
        refused.lines().collect::<Vec<_>>(),
        [
            "g.toml: rule web has a network wider than /96 as its frontend, with full-nat, which this version does not support; name \
             the networks that it has of /96 or less, or use a way that leaves addresses as they are",
        ]
    );
}

/// The findings that stop `text` and `words`, a line each.
fn errors(text: &str, words: &[&str]) -> Vec<String> {
    match load(text, words) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.to_string().lines().map(str::to_owned).collect(),
    }
}

fn warnings(text: &str, words: &[&str]) -> Vec<String> {
    load(text, words).unwrap().warnings.iter().map(ToString::to_string).collect()
}

/// Ports and a rule without fault, in eight lines, for tests to add to.
const SOUND: &str = "\
port = [{ name = \"inside\", device = \"net_tap0\", addresses = [\"10.0.0.1/24\"] }]
[[pool]]
name = \"web\"
backends = [{ address = \"10.0.0.4\" }, { address = \"10.0.0.5\" }]
[[rule]]
name = \"web\"
frontend = \"203.0.113.10:443/tcp\"
pool = \"web\"
";
