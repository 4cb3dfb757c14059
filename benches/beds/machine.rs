//! The machine: its CPUs, its hugepages.

use super::{Result, Trying};

/// Which CPUs do what.
#[derive(Clone, Debug)]
pub struct Cpus {
    /// Of the programs' own threads, and of this one.
    pub management: usize,
    /// Of whoever makes traffic, and of whoever takes it back: a thread that does both in turns would let a backlog
    /// stand in the ring that comes back, for it takes no more at a time than it offers.
    pub tester: [usize; 2],
    /// Of what is measured: the first alone, or both. With two CPUs the second is the management's too.
    pub workers: [usize; 2],
}

impl Cpus {
    /// Of those that this process may use, the first for management, the last for workers.
    pub fn choose() -> Result<Cpus> {
        let cpus: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        let count = cpus.len();
        if count < 2 {
            return Err("one CPU is too few: a worker and a generator need one each".into());
        }
        let tester = [cpus[1.min(count - 2)], cpus[2.min(count - 2)]];
        Ok(Cpus { management: cpus[0], tester, workers: [cpus[count - 1], cpus[count - 2]] })
    }
}

/// Mebibytes in free hugepages of the default size.
pub fn free_hugepage_mebibytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |key: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    number("HugePages_Free:") * number("Hugepagesize:") / 1024
}

/// How urgent a thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// Never rests: it goes before everything ordinary, for `nice` is void between sessions where the kernel groups
    /// processes by session.
    Worker,
    /// Rests nearly always, and goes even before a worker.
    Control,
}

/// Makes thread `tid` so urgent, and not what it starts. False where this user may not.
pub fn prefer(tid: u32, urgency: Urgency) -> bool {
    // By turns, so that a program whose main thread waits for its worker in a loop lets the worker end.
    let (policy, priority) = if urgency == Urgency::Worker { ("--rr", "10") } else { ("--fifo", "20") };
    let mut chrt = std::process::Command::new("chrt");
    // What it starts is not urgent by that.
    chrt.args(["--reset-on-fork", policy, "--pid", priority, &tid.to_string()])
        .stderr(std::process::Stdio::null());
    chrt.status().is_ok_and(|status| status.success())
}

/// What thread `tid` of process `pid` has had of a CPU, and what it has waited for one, in nanoseconds.
pub fn cpu_times_ns(pid: u32, tid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/task/{tid}/schedstat");
    let text = std::fs::read_to_string(&path).trying(&path)?;
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next().and_then(std::result::Result::ok).ok_or(&text).trying(&path);
    Ok((next()?, next()?))
}
