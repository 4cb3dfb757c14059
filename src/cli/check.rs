//! `guideway check`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{Failure, explain};
use crate::config::{self, ConfigFlags, Endpoint, Model, Rule};
use crate::maglev;
use crate::packet::EndpointKey;
use crate::snapshot::Snapshot;

/// Exit code 0 when the configuration is sound, 2 when it is not.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFlags,

    /// Show what would change against this configuration, and which share of new flows would move.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let model = super::load(&args.config)?;
    let (key, _) = super::key_to_look_with(&model);
    let world = explain::snapshot(&model, key)?;
    let mut text = describe(&model, &world);
    if let Some(path) = &args.against {
        if path.as_os_str() == "RUNNING" && !path.exists() {
            let message = "--against RUNNING: this version cannot ask what runs; \
                           name the file that the running instance was started with";
            return Err(Failure::Usage(message.into()));
        }
        let flags = ConfigFlags { config: Some(path.clone()), ..ConfigFlags::default() };
        let other = super::load(&flags)?;
        let (other_key, _) = super::key_to_look_with(&other);
        let other_world = explain::snapshot(&other, other_key)?;
        text += &difference((&other, &other_world), (&model, &world), key == other_key);
    }
    match crate::config::require_devices(&model) {
        Ok(()) => text += "sound\n",
        Err(findings) => {
            text += &format!("sound, but cannot run yet:\n{}\n", findings.to_string().trim_end());
        }
    }
    super::print(&text)
}

fn describe(model: &Model, world: &Snapshot) -> String {
    let mut text = String::new();
    for port in &model.ports {
        let device = port.device.as_deref().unwrap_or("no device");
        let addresses: String = port.addresses.iter().map(|address| format!(", {address}")).collect();
        let gateway = port.gateway.map(|gateway| format!(", gateway {gateway}")).unwrap_or_default();
        text += &format!("port {}: {device}{addresses}{gateway}, mtu {}\n", port.name, port.mtu);
    }
    for rule in &model.rules {
        text += &format!(
            "rule {}: {} to pool {} port {}, {}, idle timeout {}\n",
            rule.name,
            rule.frontend,
            rule.pool.name,
            rule.backend_port,
            rule.distribution,
            humantime::format_duration(rule.idle_timeout)
        );
        if let Some(probe) = &rule.probe {
            text += &format!("  probe: {probe}\n");
        }
        let shares = world.shares(rule.frontend);
        for backend in &rule.pool.backends {
            let share = shares.get(&backend.address).copied().unwrap_or(0.0) * 100.0;
            let config::Backend { address, weight, state } = backend;
            text += &format!("  {address:<15} weight {weight:>3}, {state:<5} {share:>7.3} % of new flows\n");
        }
    }
    text
}

/// Hashes tried for each rule: moves of a thousandth of a per cent show.
const SAMPLES: u64 = 1 << 20;

/// What changes for clients from one configuration to another, each with its snapshot.
fn difference(old: (&Model, &Snapshot), new: (&Model, &Snapshot), same_key: bool) -> String {
    let mut text = String::new();
    if !same_key {
        text += "~ the hash key is another: nearly all new flows move\n";
    }
    let by_frontend = |model: &Model| -> BTreeMap<Endpoint, Rule> {
        model.rules.iter().map(|rule| (rule.frontend, rule.clone())).collect()
    };
    let (old_rules, new_rules) = (by_frontend(old.0), by_frontend(new.0));
    for (frontend, rule) in old_rules.iter().filter(|(frontend, _)| !new_rules.contains_key(frontend)) {
        text += &format!("- rule {}: {frontend} is removed; its flows end\n", rule.name);
    }
    for (frontend, rule) in &new_rules {
        match old_rules.get(frontend) {
            None => text += &format!("+ rule {}: {frontend} is new\n", rule.name),
            Some(before) => text += &rule_difference((before, old.1), (rule, new.1), same_key),
        }
    }
    if text.is_empty() { "no rule changes\n".into() } else { text }
}

fn rule_difference(old: (&Rule, &Snapshot), new: (&Rule, &Snapshot), same_key: bool) -> String {
    let moved = moved(old, new, same_key);
    let changes = changes(old.0, new.0);
    if moved.all == 0.0 && changes.is_empty() {
        return String::new();
    }
    let changes = if changes.is_empty() { "unchanged".to_owned() } else { changes.join(", ") };
    format!(
        "~ rule {}: {changes}; {:.3} % of new flows move, {:.3} % more than must\n",
        new.0.name,
        moved.all * 100.0,
        moved.beyond * 100.0
    )
}

/// What differs between two versions of a rule.
fn changes(before: &Rule, after: &Rule) -> Vec<String> {
    let by_address = |rule: &Rule| -> BTreeMap<Ipv4Addr, config::Backend> {
        rule.pool.backends.iter().map(|backend| (backend.address, *backend)).collect()
    };
    let (old, new) = (by_address(before), by_address(after));
    let gone = old.keys().filter(|a| !new.contains_key(a)).map(|address| format!("-{address}"));
    let come = new.keys().filter(|a| !old.contains_key(a)).map(|address| format!("+{address}"));
    let changed = new.iter().filter(|(a, b)| old.get(a).is_some_and(|before| before != *b));
    let changed = changed.map(|(address, b)| format!("{address} weight {}, {}", b.weight, b.state));
    let port = (before.backend_port != after.backend_port)
        .then(|| format!("backend port {} instead of {}", after.backend_port, before.backend_port));
    let timeout = (before.idle_timeout != after.idle_timeout)
        .then(|| format!("idle timeout {}", humantime::format_duration(after.idle_timeout)));
    let probe = (before.probe != after.probe).then(|| match &after.probe {
        Some(probe) => format!("probe {probe}"),
        None => "no probe".to_owned(),
    });
    let distribution =
        (before.distribution != after.distribution).then(|| format!("distribution {}", after.distribution));
    gone.chain(come).chain(changed).chain(port).chain(timeout).chain(distribution).chain(probe).collect()
}

/// Shares of new flows.
struct Moved {
    /// Those that go to another backend than before.
    all: f64,
    /// Those of them that even a perfect hash need not have moved.
    beyond: f64,
}

fn moved(old: (&Rule, &Snapshot), new: (&Rule, &Snapshot), same_key: bool) -> Moved {
    let (old_shares, new_shares) = (old.1.shares(old.0.frontend), new.1.shares(new.0.frontend));
    let new_share = |address: &Ipv4Addr| new_shares.get(address).copied().unwrap_or(0.0);
    // A perfect hash moves what a backend loses, and what had no backend and now has.
    let lost: f64 = old_shares.iter().map(|(a, share)| (share - new_share(a)).max(0.0)).sum();
    let served = |shares: &BTreeMap<Ipv4Addr, f64>| shares.values().sum::<f64>();
    let must = lost + (served(&new_shares) - served(&old_shares)).max(0.0);
    if !same_key || old.0.distribution != new.0.distribution {
        // Another hash: a flow keeps its backend by chance alone.
        let by_chance: f64 = old_shares.iter().map(|(a, share)| share * new_share(a)).sum();
        let all = served(&old_shares).max(served(&new_shares)) - by_chance;
        return Moved { all, beyond: (all - must).max(0.0) };
    }
    let chosen = |(rule, world): (&Rule, &Snapshot), hash: u64| {
        let Endpoint { address, port, protocol } = rule.frontend;
        let id = world.frontend_at(EndpointKey::new(address, port, protocol))?;
        let selector = &world.frontend(id)?.selector;
        let position = *selector.table().get(maglev::slot(hash, selector.table().len()))?;
        Some(world.backend(*selector.backends().get(usize::from(position))?)?.address)
    };
    let goes_elsewhere = |sample: &u64| chosen(old, sample << 12) != chosen(new, sample << 12);
    let all = (0..SAMPLES).filter(goes_elsewhere).count() as f64 / SAMPLES as f64;
    Moved { all, beyond: (all - must).max(0.0) }
}
