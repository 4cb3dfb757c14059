//! `guideway check`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{Failure, explain};
use crate::config::{ConfigFlags, Endpoint, HashKey, Model, Rule};
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

#[allow(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let model = super::load(&args.config)?;
    let (key, _) = super::key_to_look_with(&model);
    let world = explain::snapshot(&model, key)?;
    print_model(&model, &world);
    if let Some(path) = &args.against {
        let flags = ConfigFlags { config: Some(path.clone()), ..ConfigFlags::default() };
        let other = super::load(&flags)?;
        print_difference(&other, &model, key)?;
    }
    match crate::config::require_devices(&model) {
        Ok(()) => println!("sound"),
        Err(findings) => println!("sound, but cannot run yet:\n{}", findings.to_string().trim_end()),
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the result of the command")]
fn print_model(model: &Model, world: &Snapshot) {
    for port in &model.ports {
        let addresses: Vec<String> = port.addresses.iter().map(ToString::to_string).collect();
        let device = port.device.as_deref().unwrap_or("no device");
        let gateway = port.gateway.map(|gateway| format!(", gateway {gateway}")).unwrap_or_default();
        println!("port {}: {device}, {}{gateway}, mtu {}", port.name, addresses.join(" "), port.mtu);
    }
    for rule in &model.rules {
        let timeout = humantime::format_duration(rule.idle_timeout);
        println!(
            "rule {}: {} to pool {} port {}, {}, idle timeout {timeout}",
            rule.name, rule.frontend, rule.pool.name, rule.backend_port, rule.distribution
        );
        let shares = shares(world, rule);
        for backend in &rule.pool.backends {
            let share = shares.get(&backend.address).copied().unwrap_or(0.0) * 100.0;
            let (address, weight, state) = (backend.address, backend.weight, backend.state);
            println!("  {address:<15} weight {weight:>3}, {state:<5} {share:>7.3} % of new flows");
        }
    }
}

/// Which share of new flows each address gets.
fn shares(world: &Snapshot, rule: &Rule) -> BTreeMap<Ipv4Addr, f64> {
    let Endpoint { address, port, protocol } = rule.frontend;
    let id = world.frontend_at(crate::packet::EndpointKey::new(address, port, protocol));
    let Some(frontend) = id.and_then(|id| world.frontend(id)) else { return BTreeMap::new() };
    let shares = explain::shares(frontend).into_iter();
    shares.filter_map(|(id, share)| Some((world.backend(id)?.address, share))).collect()
}

/// Hashes tried for each rule: moves of a thousandth of a per cent show.
const SAMPLES: u64 = 1 << 20;

#[allow(clippy::print_stdout, reason = "the result of the command")]
fn print_difference(old: &Model, new: &Model, key: HashKey) -> Result<(), Failure> {
    let (old_world, new_world) = (explain::snapshot(old, key)?, explain::snapshot(new, key)?);
    let by_frontend = |model: &Model| -> BTreeMap<Endpoint, Rule> {
        model.rules.iter().map(|rule| (rule.frontend, rule.clone())).collect()
    };
    let (old_rules, new_rules) = (by_frontend(old), by_frontend(new));
    for (frontend, rule) in &old_rules {
        if !new_rules.contains_key(frontend) {
            println!("- rule {}: {frontend} is removed; its flows end", rule.name);
        }
    }
    for (frontend, rule) in &new_rules {
        let Some(before) = old_rules.get(frontend) else {
            println!("+ rule {}: {frontend} is new", rule.name);
            continue;
        };
        let moved = moved(&old_world, before, &new_world, rule);
        let changed = changed_backends(before, rule);
        if moved.all > 0.0 || !changed.is_empty() {
            println!(
                "~ rule {}: {}; {:.3} % of new flows move, {:.3} % more than must",
                rule.name,
                if changed.is_empty() { "backends unchanged".to_owned() } else { changed.join(", ") },
                moved.all * 100.0,
                moved.beyond * 100.0
            );
        }
    }
    if old_rules == new_rules {
        println!("no rule changes");
    }
    Ok(())
}

/// What differs between the backends of two versions of a rule.
fn changed_backends(before: &Rule, after: &Rule) -> Vec<String> {
    let by_address = |rule: &Rule| -> BTreeMap<Ipv4Addr, crate::config::Backend> {
        rule.pool.backends.iter().map(|backend| (backend.address, *backend)).collect()
    };
    let (old, new) = (by_address(before), by_address(after));
    let gone = old.keys().filter(|a| !new.contains_key(a)).map(|address| format!("-{address}"));
    let come = new.keys().filter(|a| !old.contains_key(a)).map(|address| format!("+{address}"));
    let changed = new.iter().filter(|(a, b)| old.get(a).is_some_and(|before| before != *b));
    let changed = changed.map(|(address, b)| format!("{address} weight {}, {}", b.weight, b.state));
    let port = (before.backend_port != after.backend_port)
        .then(|| format!("backend port {} instead of {}", after.backend_port, before.backend_port));
    gone.chain(come).chain(changed).chain(port).collect()
}

/// Shares of new flows.
struct Moved {
    /// Those that go to another backend than before.
    all: f64,
    /// Those of them that even a perfect hash need not have moved.
    beyond: f64,
}

fn moved(old_world: &Snapshot, before: &Rule, new_world: &Snapshot, after: &Rule) -> Moved {
    let selector = |world: &Snapshot, rule: &Rule, hash: u64| {
        let Endpoint { address, port, protocol } = rule.frontend;
        let id = world.frontend_at(crate::packet::EndpointKey::new(address, port, protocol))?;
        let selector = &world.frontend(id)?.selector;
        let position = *selector.table().get(crate::maglev::slot(hash, selector.table().len()))?;
        Some(world.backend(*selector.backends().get(usize::from(position))?)?.address)
    };
    let goes_elsewhere = |sample: &u64| {
        let hash = *sample << 12;
        selector(old_world, before, hash) != selector(new_world, after, hash)
    };
    // Another distribution is another hash: a flow keeps its backend by chance alone.
    let (old, new) = (shares(old_world, before), shares(new_world, after));
    if before.distribution != after.distribution {
        let by_chance: f64 = old.iter().map(|(a, share)| share * new.get(a).copied().unwrap_or(0.0)).sum();
        return Moved { all: 1.0 - by_chance, beyond: 0.0 };
    }
    let all = (0..SAMPLES).filter(goes_elsewhere).count() as f64 / SAMPLES as f64;
    let lost = |(a, share): (&Ipv4Addr, &f64)| (share - new.get(a).copied().unwrap_or(0.0)).max(0.0);
    let must: f64 = old.iter().map(lost).sum();
    Moved { all, beyond: (all - must).max(0.0) }
}
