//! Who runs on which CPU, and how much packet memory that takes: worked out before anything is started.

use std::fmt;

use crate::config::Model;
use crate::dataplane::HELD_MAX;

/// Frames in a receive or transmit queue: what common drivers offer, and a few tenths of a millisecond
/// at ten million frames a second.
pub(super) const QUEUE_LEN: u16 = 1024;

/// Frames a worker's cache of the pool holds: the most DPDK allows (RTE_MEMPOOL_CACHE_MAX_SIZE).
pub(super) const POOL_CACHE: u32 = 512;

/// The most workers one process can have: `WorkerId` and the bits that choose an owner allow for it.
const WORKERS_MAX: usize = 64;

/// Which CPUs do what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The management thread's.
    pub management: usize,
    /// One worker on each.
    pub workers: Vec<usize>,
}

/// A CPU that is asked for and not to be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoSuchCpu {
    absent: usize,
    allowed: Vec<usize>,
}

impl fmt::Display for NoSuchCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} is not among those this process may use: {:?}", self.absent, self.allowed)
    }
}

/// Who runs where, of the CPUs that are `allowed`, in their order.
///
/// # Errors
/// When `model` asks for another.
pub fn plan(model: &Model, allowed: &[usize]) -> Result<Plan, NoSuchCpu> {
    let first = allowed.first().copied().unwrap_or(0);
    let configured = model.dataplane.workers.clone();
    let management = model.dataplane.management_cpu.unwrap_or_else(|| {
        let taken = configured.clone().unwrap_or_default();
        allowed.iter().copied().find(|cpu| !taken.contains(cpu)).unwrap_or(first)
    });
    let workers = configured.unwrap_or_else(|| {
        let others: Vec<usize> = allowed.iter().copied().filter(|cpu| *cpu != management).collect();
        if others.is_empty() { vec![management] } else { others }
    });
    if let Some(absent) = workers.iter().chain([&management]).find(|cpu| !allowed.contains(cpu)) {
        return Err(NoSuchCpu { absent: *absent, allowed: allowed.to_vec() });
    }
    Ok(Plan { management, workers: workers.into_iter().take(WORKERS_MAX).collect() })
}

/// The MTU of the device with the largest: what frames must hold.
pub fn mtu_max(model: &Model) -> u16 {
    model.devices().iter().map(|device| device.mtu).max().unwrap_or(0)
}

/// What is configured, or enough for all queues to be full, each worker's cache too, and as many again on their way; and
/// for the fragments that wait.
pub fn pool_frames(model: &Model, workers: usize) -> u32 {
    if let Some(frames) = model.dataplane.frames {
        return frames;
    }
    let queues = (model.devices().len() * workers.max(4)) as u32;
    let wanted = queues * u32::from(QUEUE_LEN) * 2 + workers as u32 * (POOL_CACHE * 2 + HELD_MAX as u32);
    // One less than a power of two uses the pool's ring to the full.
    wanted.next_power_of_two() - 1
}
