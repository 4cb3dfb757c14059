//! Preflight: what of this machine keeps guideway from running, or from running well, and the commands that mend it.
//! Reads files of the kernel and changes nothing.
//!
//! ```text
//! program   what was built, and for which CPUs         memory      hugepages, locked memory, swap
//! device    each port's device and interface           cpus        workers' CPUs, governors, isolation
//! vfio      IOMMU and vfio-pci, for PCI devices         conflicts   who else is there
//! ```
//! `docs/DOCTOR.md` tells what each finding means.

mod conflicts;
mod cpus;
mod device;
mod machine;
mod memory;
mod program;
#[cfg(test)]
mod tests;
mod vfio;

use serde::Serialize;

use crate::config::{Model, Port};
use crate::control::{Plan, plan};

pub use machine::Machine;
pub use program::{Build, lacks_cpu_feature};

/// How bad a finding is, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// guideway cannot run so.
    Error,
    /// It runs, but slower or otherwise than one would want.
    Warning,
    /// Good to know, and nothing to be done.
    Note,
    /// As it should be.
    Ok,
}

/// When a fix has its effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// With the commands.
    Now,
    /// With the next boot.
    Reboot,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, as in "hugepages".
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// Why it matters; empty where all is well.
    pub why: String,
    /// What to do where no command does it.
    pub advice: Option<String>,
    /// What root runs to mend it, in this order.
    pub commands: Vec<String>,
    /// When these have their effect; `None` where there are none.
    pub effect: Option<Effect>,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>, why: impl Into<String>) -> Self {
        let (found, why) = (found.into(), why.into());
        Self { check, level, found, why, advice: None, commands: Vec::new(), effect: None }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found, "")
    }

    fn fix(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self.effect = self.effect.or(Some(Effect::Now));
        self
    }

    fn fixes(self, commands: impl IntoIterator<Item = String>) -> Self {
        commands.into_iter().fold(self, Finding::fix)
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Mended by further arguments of the kernel.
    fn kernel_arguments(mut self, machine: &Machine, arguments: &str) -> Self {
        if machine.read("/etc/default/grub").is_some_and(|grub| grub.contains("GRUB_CMDLINE_LINUX=\"")) {
            let edit = format!("s/^GRUB_CMDLINE_LINUX=\"/&{arguments} /");
            self.commands = vec![format!("sed -i '{edit}' /etc/default/grub"), "update-grub".into()];
            self.effect = Some(Effect::Reboot);
            return self;
        }
        self.advise(format!("boot the kernel with: {arguments}"))
    }
}

/// What a configuration asks of the machine.
pub struct Wanted<'a> {
    /// The configuration, EAL's arguments in it.
    pub model: &'a Model,
    /// Who runs where; an error's text where that cannot be.
    pub plan: Result<Plan, String>,
}

impl<'a> Wanted<'a> {
    /// What `model` asks of `machine`.
    pub fn new(model: &'a Model, machine: &Machine) -> Self {
        let allowed: Vec<usize> = machine.allowed_cpus().into_iter().collect();
        Self { model, plan: plan(model, &allowed).map_err(|error| error.to_string()) }
    }

    fn workers(&self) -> &[usize] {
        self.plan.as_ref().map_or(&[], |plan| &plan.workers)
    }
}

/// Looks at everything, and tells the worst first.
pub fn examine(machine: &Machine, build: &Build, wanted: Option<&Wanted<'_>>) -> Vec<Finding> {
    let mut all = program::check(machine, build);
    // Before the devices: a card can only be bound to a driver that is there.
    all.extend(vfio::check(machine, wanted));
    if let Some(wanted) = wanted {
        for device in wanted.model.devices() {
            let Some(port) = wanted.model.ports.get(device.first.index()) else { continue };
            let as_one = Port { name: device.ports.join(", "), mtu: device.mtu, ..port.clone() };
            all.extend(device::check(machine, build, wanted, &as_one));
        }
    }
    all.extend(memory::check(machine, wanted));
    all.extend(cpus::check(machine, wanted));
    all.extend(conflicts::check(machine, wanted));
    all.extend(unseen(machine));
    all.sort_by_key(|finding| finding.level);
    all
}

/// What could not be read, for want of rights.
fn unseen(machine: &Machine) -> Option<Finding> {
    let paths = machine.unseen();
    let first = paths.first()?;
    let more = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
    let finding = Finding::new(
        "unseen",
        Level::Note,
        format!("not readable: {first}{more}"),
        "some checks saw less than all",
    );
    Some(finding.advise("run doctor as root to see it all"))
}
