//! Memory: hugepages for frames and flow tables, what may be locked, and what may be swapped out.

use super::{Finding, Level, Machine, Wanted};

const MEBIBYTE: u64 = 1 << 20;
/// Flow tables lie on pages of this size, in KiB.
const TABLE_PAGE_KB: u64 = 2048;
const CAP_IPC_LOCK: u32 = 14;

pub(super) fn check(machine: &Machine, wanted: Option<&Wanted<'_>>) -> Vec<Finding> {
    let mut all = vec![hugepages(machine, wanted)];
    all.extend(left_behind(machine));
    all.extend(locked(machine, wanted));
    all.extend(transparent(machine));
    all.extend(swap(machine));
    all
}

/// Hugepages of one size on one NUMA node.
#[derive(Clone, Debug)]
struct Pages {
    directory: String,
    node: usize,
    size_kb: u64,
    reserved: u64,
    free: u64,
}

impl Pages {
    fn free_bytes(&self) -> u64 {
        self.free.saturating_mul(self.size_kb * 1024)
    }
}

fn pages(machine: &Machine) -> Vec<Pages> {
    let mut all = Vec::new();
    for node in nodes(machine) {
        let directory = format!("/sys/devices/system/node/node{node}/hugepages");
        for name in machine.list(&directory) {
            let size = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB"));
            let Some(size_kb) = size.and_then(|size| size.parse().ok()) else { continue };
            let directory = format!("{directory}/{name}");
            let count = |file| machine.number(&format!("{directory}/{file}")).unwrap_or(0);
            let (reserved, free) = (count("nr_hugepages"), count("free_hugepages"));
            all.push(Pages { directory, node, size_kb, reserved, free });
        }
    }
    all
}

pub(super) fn nodes(machine: &Machine) -> Vec<usize> {
    let names = machine.list("/sys/devices/system/node");
    names.iter().filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect()
}

/// What a configuration takes, in bytes.
struct Need {
    /// Frames, and what DPDK needs besides.
    dpdk: u64,
    /// Flow tables of all workers.
    tables: u64,
}

/// Without a configuration: what a load balancer of two ports and one worker takes by default.
const USUAL: Need = Need { dpdk: 100 * MEBIBYTE, tables: 28 * MEBIBYTE };

fn need(wanted: &Wanted<'_>) -> Need {
    use crate::dataplane::FlowTable;
    let workers = wanted.workers().len().max(1);
    let with_wide = wanted.model.rules.iter().any(crate::config::Rule::has_wide_flows);
    let table = FlowTable::hugepage_bytes(wanted.model.dataplane.flows_per_worker, with_wide) as u64;
    #[cfg(feature = "dpdk")]
    let dpdk = {
        use crate::control::{mtu_max, pool_frames};
        crate::dpdk::eal::hugepage_bytes_needed(pool_frames(wanted.model, workers), mtu_max(wanted.model))
    };
    // Such a program has no frames.
    #[cfg(not(feature = "dpdk"))]
    let dpdk = 0;
    Need { dpdk, tables: table * workers as u64 }
}

fn hugepages(machine: &Machine, wanted: Option<&Wanted<'_>>) -> Finding {
    let pages = pages(machine);
    let need = wanted.map_or(USUAL, need);
    let small: u64 = pages.iter().filter(|p| p.size_kb == TABLE_PAGE_KB).map(Pages::free_bytes).sum();
    let large: u64 = pages.iter().filter(|p| p.size_kb > TABLE_PAGE_KB).map(Pages::free_bytes).sum();
    // DPDK takes the largest that suffice.
    let needed = need.tables + if large >= need.dpdk { 0 } else { need.dpdk };
    let told: Vec<String> = pages.iter().filter(|p| p.reserved > 0).map(told).collect();
    let told = if told.is_empty() { "none are reserved".to_owned() } else { told.join("; ") };
    let mib = needed.div_ceil(MEBIBYTE);
    if small >= needed {
        return Finding::ok("hugepages", format!("{told}; {mib} MiB needed"));
    }
    let whose =
        if wanted.is_some() { "this configuration takes" } else { "two ports and a worker take some" };
    let found = format!("hugepages: {told}; {whose} {mib} MiB");
    let why = "packet memory or flow tables will lie on ordinary pages, several times slower to reach at high rates";
    let finding = Finding::new("hugepages", Level::Warning, found, why);
    let node = node_of_workers(machine, wanted);
    let here = pages.iter().find(|p| p.size_kb == TABLE_PAGE_KB && p.node == node);
    let Some(here) = here else {
        return finding
            .advise("this kernel has no hugepages of 2 MiB; build it with CONFIG_HUGETLBFS, or do without");
    };
    let more = (needed - small).div_ceil(TABLE_PAGE_KB * 1024);
    finding.fix(format!("echo {} > {}/nr_hugepages", here.reserved + more, here.directory))
}

fn told(pages: &Pages) -> String {
    let Pages { node, size_kb, reserved, free, .. } = pages;
    format!("node {node} has {reserved} of {} MiB, {free} free", size_kb / 1024)
}

/// The first worker's NUMA node.
fn node_of_workers(machine: &Machine, wanted: Option<&Wanted<'_>>) -> usize {
    let first = wanted.and_then(|wanted| wanted.workers().first());
    first.and_then(|cpu| super::cpus::node_of(machine, *cpu)).unwrap_or(0)
}

/// Files that a killed DPDK program has left, each with its page.
fn left_behind(machine: &Machine) -> Option<Finding> {
    if super::conflicts::dpdk_programs(machine).next().is_some() {
        return None;
    }
    let mounts = machine.read("/proc/self/mounts")?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "hugetlbfs").then(|| place.to_owned())
    });
    let of_maps = |place: &String| machine.list(place).iter().filter(|name| name.contains("map_")).count();
    let (place, files) =
        mounted.map(|place| (of_maps(&place), place)).map(|(n, place)| (place, n)).find(|(_, n)| *n > 0)?;
    let found = format!("{files} files of DPDK lie in {place}, and no program of DPDK runs");
    let why = "each holds a hugepage that nobody else gets";
    Some(Finding::new("hugepage-files", Level::Warning, found, why).fix(format!("rm -f {place}/*map_*")))
}

fn locked(machine: &Machine, wanted: Option<&Wanted<'_>>) -> Option<Finding> {
    let limits = machine.read("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" || machine.has_capability(CAP_IPC_LOCK) {
        let who = if soft == "unlimited" { "without limit" } else { "by a process with CAP_IPC_LOCK" };
        return Some(Finding::ok("memlock", format!("memory may be locked {who}")));
    }
    let bytes: u64 = soft.parse().ok()?;
    let devices = wanted.map_or(&[][..], |wanted| &wanted.model.ports);
    let locks = |port: &crate::config::Port| port.device.as_deref().is_some_and(super::device::locks_memory);
    let found = format!("{} KiB of memory may be locked, without CAP_IPC_LOCK", bytes / 1024);
    if !devices.iter().any(locks) {
        let why = "enough for the ports of this configuration, too little for PCI devices and af_xdp";
        return Some(Finding::new("memlock", Level::Note, found, why));
    }
    let why = "cards read and write locked memory: ports will not open, or lose frames";
    let finding = Finding::new("memlock", Level::Error, found, why);
    Some(finding.fix("ulimit -l unlimited").advise("in a unit of systemd: LimitMEMLOCK=infinity"))
}

fn transparent(machine: &Machine) -> Option<Finding> {
    let file = "/sys/kernel/mm/transparent_hugepage/enabled";
    if !machine.read(file)?.contains("[never]") {
        return None;
    }
    let why = "flow tables that find no hugepages ask for transparent ones";
    let finding = Finding::new("transparent-hugepages", Level::Warning, "transparent hugepages are off", why);
    Some(finding.fix(format!("echo madvise > {file}")))
}

fn swap(machine: &Machine) -> Option<Finding> {
    let table = machine.read("/proc/swaps")?;
    let first = table.lines().nth(1)?.split_whitespace().next()?;
    let why = "a worker that touches a page on disk stands still for milliseconds";
    Some(
        Finding::new("swap", Level::Warning, format!("memory may be swapped out to {first}"), why)
            .fix("swapoff -a"),
    )
}
