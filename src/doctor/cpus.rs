//! The workers' CPUs: whether they are theirs alone, and near their cards.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::{cpu_list, cpu_text};
use super::{Finding, Level, Machine, Wanted};
use crate::config::{Idle, Port};

const CPUS: &str = "/sys/devices/system/cpu";

pub(super) fn check(machine: &Machine, wanted: Option<&Wanted<'_>>) -> Vec<Finding> {
    let allowed = machine.allowed_cpus();
    let Some(wanted) = wanted else {
        let mut all = vec![number(&allowed)];
        all.extend(governors(machine, &allowed.iter().copied().collect::<Vec<_>>()));
        return all;
    };
    let plan = match &wanted.plan {
        Ok(plan) => plan,
        Err(error) => {
            let finding = Finding::new("cpus", Level::Error, error.clone(), "a worker has nowhere to run");
            return vec![finding.advise("name others: --workers, --management-cpu")];
        }
    };
    let mut all = Vec::new();
    let workers = cpu_text(&plan.workers);
    if plan.workers.contains(&plan.management) {
        let found = format!("the management thread shares CPU {} with a worker", plan.management);
        let why = "each waits for the other: packets for milliseconds, commands and probes for seconds";
        let finding = Finding::new("cpus", level(wanted, allowed.len() > 1), found, why);
        all.push(
            finding.advise("give guideway two CPUs or more, and --management-cpu one that no worker has"),
        );
    } else {
        all.push(Finding::ok("cpus", format!("management on CPU {}, workers on {workers}", plan.management)));
    }
    all.extend(siblings(machine, wanted, &plan.workers));
    all.extend(isolation(machine, wanted, &plan.workers));
    all.extend(governors(machine, &plan.workers));
    all
}

/// A warning where workers are meant to run at their best, and where something can be done; a note for those that sleep.
fn level(wanted: &Wanted<'_>, is_choice: bool) -> Level {
    if wanted.model.dataplane.idle == Idle::Sleep || !is_choice { Level::Note } else { Level::Warning }
}

fn number(allowed: &BTreeSet<usize>) -> Finding {
    if allowed.len() > 1 {
        return Finding::ok("cpus", format!("this process may use CPUs {}", cpu_text(allowed)));
    }
    let found = format!("this process may use {} CPU", allowed.len());
    Finding::new("cpus", Level::Warning, found, "a worker needs one, and the management thread another")
}

/// Two workers on one core's hyperthreads.
fn siblings(machine: &Machine, wanted: &Wanted<'_>, workers: &[usize]) -> Option<Finding> {
    let mut cores: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for cpu in workers {
        let core = machine.read(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"));
        cores.entry(core.unwrap_or_else(|| cpu.to_string())).or_default().push(*cpu);
    }
    let shared: Vec<String> = cores.values().filter(|workers| workers.len() > 1).map(cpu_text_of).collect();
    if shared.is_empty() {
        return None;
    }
    let firsts = cores.values().filter_map(|workers| workers.first()).collect::<BTreeSet<_>>();
    let found = format!("workers on hyperthreads of one core: CPUs {}", shared.join("; "));
    let why = "two of them do little more than one";
    let finding = Finding::new("hyperthreads", level(wanted, true), found, why);
    Some(finding.advise(format!("one a core: --workers {}", cpu_text(firsts))))
}

fn cpu_text_of(cpus: &Vec<usize>) -> String {
    cpu_text(cpus)
}

fn isolation(machine: &Machine, wanted: &Wanted<'_>, workers: &[usize]) -> Option<Finding> {
    let isolated = cpu_list(&machine.read(&format!("{CPUS}/isolated"))?);
    let others: Vec<usize> = workers.iter().copied().filter(|cpu| !isolated.contains(cpu)).collect();
    if others.is_empty() {
        return Some(Finding::ok("isolation", "the workers' CPUs are kept from other programs"));
    }
    let found = format!("other programs may run on the workers' CPUs {}", cpu_text(&others));
    let why = "each time one does, packets wait, and queues may run over";
    let finding = Finding::new("isolation", level(wanted, true), found, why);
    let list = cpu_text(workers);
    Some(finding.kernel_arguments(machine, &format!("isolcpus={list} nohz_full={list} rcu_nocbs={list}")))
}

fn governors(machine: &Machine, cpus: &[usize]) -> Option<Finding> {
    let file = |cpu: &usize| format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor");
    let slow: Vec<(usize, String)> = cpus
        .iter()
        .filter_map(|cpu| Some((*cpu, machine.read(&file(cpu))?)))
        .filter(|(_, governor)| governor != "performance")
        .collect();
    let (_, governor) = slow.first()?;
    let list: Vec<usize> = slow.iter().map(|(cpu, _)| *cpu).collect();
    let found = format!("CPUs {} have the governor {governor}", cpu_text(&list));
    let why = "a CPU that slows down between packets is slow when they come";
    let finding = Finding::new("governor", Level::Warning, found, why);
    Some(finding.fixes(list.iter().map(|cpu| format!("echo performance > {}", file(cpu)))))
}

/// The NUMA node of a CPU.
pub(super) fn node_of(machine: &Machine, cpu: usize) -> Option<usize> {
    let names = machine.list(&format!("{CPUS}/cpu{cpu}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok())
}

/// Workers on another node than a port's card. A node of -1 is none, and no number.
pub(super) fn numa(
    machine: &Machine,
    wanted: &Wanted<'_>,
    port: &Port,
    node: Option<u64>,
) -> Option<Finding> {
    let node = node? as usize;
    let far: Vec<usize> =
        wanted.workers().iter().copied().filter(|cpu| node_of(machine, *cpu) != Some(node)).collect();
    if far.is_empty() {
        return Some(Finding::ok(
            "numa",
            format!("port {}: its workers are on its NUMA node, {node}", port.name),
        ));
    }
    let found = format!(
        "port {}: its card is on NUMA node {node}, and workers on CPUs {} are not",
        port.name,
        cpu_text(&far)
    );
    let why = "each packet crosses the link between the nodes, at a third of the speed or so";
    let near = machine.read(&format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    let finding = Finding::new("numa", Level::Warning, found, why);
    Some(finding.advise(format!("choose workers among CPUs {near}: --workers")))
}
