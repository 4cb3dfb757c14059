//! Who else is there, and has what guideway wants.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use super::machine::Process;
use super::{Finding, Level, Machine, Wanted};
use crate::config::{ControlSettings, METRICS_DEFAULT, Metrics};

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
        all.extend(listeners(wanted));
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

/// Whether the TCP addresses that are to be listened at can be had: tried, and let go of at once.
fn listeners(wanted: &Wanted<'_>) -> Vec<Finding> {
    let ControlSettings { metrics, remote, .. } = &wanted.model.control;
    let metrics = match metrics {
        Metrics::Default => Some((METRICS_DEFAULT, Level::Warning)),
        Metrics::At(address) => Some((*address, Level::Error)),
        Metrics::Off => None,
    };
    let metrics = metrics.map(|(address, level)| ("metrics", address, level, "--metrics"));
    let api = remote.as_ref().map(|api| ("control-api", api.address, Level::Error, "--control-listen"));
    let taken = |(topic, address, level, flag): (&'static str, SocketAddr, Level, &str)| {
        let error = TcpListener::bind(address).err()?;
        let why = match level {
            Level::Error => "this configuration would not start",
            _ => "guideway would warn and run without, and nobody could scrape it",
        };
        let found = format!("nothing can listen at {address}: {error}");
        Some(Finding::new(topic, level, found, why).advise(format!("choose another place: {flag} ADDR:PORT")))
    };
    metrics.into_iter().chain(api).filter_map(taken).collect()
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
