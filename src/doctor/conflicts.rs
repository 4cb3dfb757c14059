//! Who else is there, and has what guideway wants.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;

use super::machine::Process;
use super::{Finding, Level, Machine, Wanted};

/// Programs that take cards, hugepages and whole CPUs for themselves. The kernel keeps 15 bytes of a name.
const DPDK_PROGRAMS: [&str; 9] = [
    "dpdk-l3fwd",
    "dpdk-pktgen",
    "dpdk-testpmd",
    "dpvs",
    "ovs-vswitchd",
    "pktgen",
    "testpmd",
    "vpp",
    "vpp_main",
];

pub(super) fn check(machine: &Machine, wanted: Option<&Wanted<'_>>) -> Vec<Finding> {
    let mut all: Vec<Finding> = others(machine).collect();
    all.extend(irqbalance(machine));
    if let Some(wanted) = wanted {
        all.extend(socket(machine, wanted));
        all.extend(metrics(machine, wanted));
        all.extend(prefix(machine, wanted));
    }
    if all.is_empty() {
        all.push(Finding::ok("programs", "no other program is in the way"));
    }
    all
}

/// Programs of DPDK that run.
pub(super) fn dpdk_programs(machine: &Machine) -> impl Iterator<Item = Process> {
    let known =
        |process: &Process| process.name == "guideway" || DPDK_PROGRAMS.contains(&process.name.as_str());
    machine.processes().into_iter().filter(known)
}

fn others(machine: &Machine) -> impl Iterator<Item = Finding> {
    let others = dpdk_programs(machine).filter(|process| process.name != "guideway");
    others.map(|Process { id, name }| {
        let why = "it may hold the cards, hugepages or CPUs that guideway is to have";
        Finding::new("programs", Level::Warning, format!("{name} runs, process {id}"), why)
            .fix(format!("kill {id}"))
    })
}

fn irqbalance(machine: &Machine) -> Option<Finding> {
    let Process { id, .. } = machine.processes().into_iter().find(|process| process.name == "irqbalance")?;
    let why = "it puts interrupts on the workers' CPUs";
    let finding = Finding::new("irqbalance", Level::Warning, "irqbalance runs", why);
    let has_systemd = machine.exists("/run/systemd/system");
    Some(finding.fix(if has_systemd {
        "systemctl disable --now irqbalance".into()
    } else {
        format!("kill {id}")
    }))
}

/// Whether another listens at the control socket.
fn socket(machine: &Machine, wanted: &Wanted<'_>) -> Option<Finding> {
    let path = wanted.model.control.socket.display().to_string();
    UnixStream::connect(machine.path(&path)).ok()?;
    let running: Vec<u32> = dpdk_programs(machine)
        .filter(|process| process.name == "guideway")
        .map(|process| process.id)
        .collect();
    let found = format!("another guideway listens at {path}");
    let finding =
        Finding::new("control-socket", Level::Error, found, "this configuration would not start beside it");
    Some(match running[..] {
        [one] => finding.fix(format!("kill {one}")),
        _ => finding.advise("end it, or choose another socket: --control-socket"),
    })
}

/// Whether another listens where metrics are to be served.
fn metrics(machine: &Machine, wanted: &Wanted<'_>) -> Option<Finding> {
    let wanted = wanted.model.control.metrics?;
    let ports: BTreeSet<u16> = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|file| machine.read(file))
        .flat_map(|table| table.lines().skip(1).filter_map(listening).collect::<Vec<_>>())
        .collect();
    let found = format!("TCP port {} is taken, where metrics are to be served", wanted.port());
    let finding = Finding::new("metrics", Level::Warning, found, "nobody could scrape them");
    ports.contains(&wanted.port()).then(|| finding.advise("choose another: --metrics"))
}

/// The port of a line of /proc/net/tcp, of a socket that listens.
fn listening(line: &str) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (state == LISTEN).then_some(port)
}

/// Whether another DPDK program has the files of the prefix that EAL was told to use. By default it uses none.
fn prefix(machine: &Machine, wanted: &Wanted<'_>) -> Option<Finding> {
    let eal = &wanted.model.dataplane.eal;
    let at = eal.iter().position(|argument| argument.starts_with("--file-prefix"))?;
    let prefix = match eal.get(at)?.split_once('=') {
        Some((_, prefix)) => prefix,
        None => eal.get(at + 1)?,
    };
    if eal.iter().any(|argument| argument == "--in-memory" || argument == "--no-shconf") {
        return None;
    }
    let file = format!("/run/dpdk/{prefix}/config");
    let inode = machine.inode(&file)?.to_string();
    let locks = machine.read("/proc/locks")?;
    let holder = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it =
            words.iter().any(|word| word.rsplit(':').next() == Some(inode.as_str()) && word.contains(':'));
        is_it.then(|| words.get(4).copied().unwrap_or("?").to_owned())
    })?;
    let found = format!("process {holder} of DPDK has the file prefix {prefix}");
    let finding = Finding::new("file-prefix", Level::Error, found, "two cannot have the same");
    Some(finding.advise("choose another --file-prefix, or leave it out"))
}
