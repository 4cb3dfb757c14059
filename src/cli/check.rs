//! `guideway check`.

use std::path::PathBuf;

use super::{Failure, against, explain};
use crate::config::{self, ConfigFlags, Model};
use crate::snapshot::Snapshot;

/// Exit code 0 when the configuration is sound, 2 when it is not.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFlags,

    /// Show what would change against this configuration, and which share of new flows would move. RUNNING is what
    /// the running guideway has now, flags and operators' changes included, asked for at the control socket. The file
    /// is taken as its reload would take it, with the flags of its start laid over; without --config it is the file of
    /// its start. With flags of your own, what is compared is what would start with these.
    #[arg(long, value_name = "RUNNING|FILE")]
    against: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let running = args.against.as_ref().filter(|path| path.as_os_str() == "RUNNING" && !path.exists());
    let (model, difference) = match (running, &args.against) {
        (Some(_), _) => against::running(&args.config)?,
        (None, Some(path)) => {
            let model = super::load_to_look(&args.config)?;
            let difference = against::file(&model, path)?;
            (model, difference)
        }
        (None, None) => (super::load_to_look(&args.config)?, against::Told::default()),
    };
    let (key, _) = super::key_to_look_with(&model);
    let mut text = describe(&model, &explain::snapshot(&model, key)?);
    text += &difference.text;
    match crate::config::require_devices(&model) {
        Ok(()) => text += "sound\n",
        Err(findings) => {
            text += &format!("sound, but cannot run yet:\n{}\n", findings.to_string().trim_end());
        }
    }
    super::print(&text)?;
    difference.refused.map_or(Ok(()), |why| Err(Failure::Usage(format!("a reload would be refused: {why}"))))
}

fn describe(model: &Model, world: &Snapshot) -> String {
    let mut text = String::new();
    for port in &model.ports {
        let device = port.device.as_deref().unwrap_or("no device");
        let addresses: String = port.addresses.iter().map(|address| format!(", {address}")).collect();
        let gateway = port.gateway.map(|gateway| format!(", gateway {gateway}")).unwrap_or_default();
        text += &format!("port {}: {device}{addresses}{gateway}, mtu {}\n", port.name, port.mtu);
    }
    for rule in model.rules.iter().filter(|rule| !rule.is_nat_rule) {
        text += &format!(
            "rule {}: {} to pool {} {}, {}, idle timeout {}\n",
            rule.name,
            rule.frontend,
            rule.pool.name,
            destination(rule),
            rule.distribution,
            humantime::format_duration(rule.idle_timeout)
        );
        if let Some(acl) = &rule.acl {
            text += &acl_line(acl);
        }
        if let Some(probe) = &rule.probe {
            text += &format!("  probe: {probe}\n");
        }
        let shares = world.shares(rule.frontend);
        for backend in &rule.pool.backends {
            let share = shares.get(&backend.address).copied().unwrap_or(0.0) * 100.0;
            let config::Backend { address, weight, state, .. } = backend;
            text += &format!("  {address:<15} weight {weight:>3}, {state:<5} {share:>7.3} % of new flows\n");
        }
    }
    model.nat_rules.iter().for_each(|rule| text += &nat_rule(rule));
    for rule in &model.outbound {
        let frontends: Vec<String> = rule.frontends.iter().map(ToString::to_string).collect();
        text += &format!(
            "outbound rule {}: pool {} by {}, {}, {} ports for each of {} backends, idle timeout {}\n",
            rule.name,
            rule.pool.name,
            frontends.join(", "),
            rule.protocol,
            rule.ports(),
            rule.pool.backends.len(),
            humantime::format_duration(rule.idle_timeout)
        );
    }
    text
}

fn acl_line(acl: &config::Acl) -> String {
    let others = if acl.permits_others() { "permitted" } else { "denied" };
    format!("  acl {}: {} rules, others {others}\n", acl.name, acl.rules.len())
}

/// Each port with the backend that it leads to.
fn nat_rule(rule: &config::NatRule) -> String {
    let to = rule.pool().map_or_else(String::new, |pool| format!(" to each backend of pool {}", pool.name));
    let timeout = humantime::format_duration(rule.idle_timeout);
    let mut text =
        format!("NAT rule {}: {}{to}, {}, idle timeout {timeout}\n", rule.name, rule.frontend, rule.forward);
    if let Some(acl) = &rule.acl {
        text += &acl_line(acl);
    }
    for (frontend, address) in rule.mapping() {
        text += &format!("  {frontend} to {}\n", rule.backend_of(frontend, address));
    }
    text
}

/// The port on the backends, and how packets get there where that is not by NAT.
fn destination(rule: &config::Rule) -> String {
    let port = match rule.backend_port {
        0 => "on the same port".to_owned(),
        port => format!("port {port}"),
    };
    match &rule.forward {
        config::Forward::Nat => port,
        forward => format!("{port}, {forward}"),
    }
}
