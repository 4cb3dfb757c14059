//! The search for the highest rate that loses nothing, by bisection.

use super::Result;
use super::tester::Brake;

/// The burst that rates are first looked for with; DPDK's own programs use it.
pub const BURST: u32 = 128;
/// Reads for each packet at which nothing is fast any more.
const READS_MAX: u32 = 1024;

/// A rate that was tried: in million packets a second, and whether nothing was lost.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    pub brake: Brake,
    pub mpps: f64,
    pub passed: bool,
}

/// Tries brakes by `attempt` until the highest rate that passes and the lowest that fails are closer than `resolution`
/// (a share), or nothing lies between. Returns both, where there are such.
pub fn search(
    resolution: f64,
    mut attempt: impl FnMut(Brake) -> Result<Tried>,
) -> Result<(Option<Tried>, Option<Tried>)> {
    let mut try_reads = |reads| attempt(Brake { reads, burst: BURST });
    let mut failed = try_reads(0)?;
    if failed.passed {
        return Ok((Some(failed), None));
    }
    // Slower in ever larger steps, until it passes.
    let mut reads = 2;
    let mut passed = loop {
        let tried = try_reads(reads)?;
        if tried.passed {
            break tried;
        }
        failed = tried;
        if reads >= READS_MAX {
            return Ok((None, Some(failed)));
        }
        reads *= 2;
    };
    let close = |passed: &Tried, failed: &Tried| failed.mpps - passed.mpps <= resolution * failed.mpps;
    while passed.brake.reads - failed.brake.reads > 1 && !close(&passed, &failed) {
        let tried = try_reads(u32::midpoint(passed.brake.reads, failed.brake.reads))?;
        if tried.passed { passed = tried } else { failed = tried }
    }
    // Between two numbers of reads, shorter bursts are slower than longer ones.
    let (mut short, mut long) = (2, BURST);
    let reads = failed.brake.reads;
    while long - short > 1 && !close(&passed, &failed) {
        let burst = u32::midpoint(short, long);
        let tried = attempt(Brake { reads, burst })?;
        match tried.passed {
            true => short = burst,
            false => long = burst,
        }
        // A burst so short that it is slower than another read for each packet tells nothing new.
        if tried.passed && tried.mpps > passed.mpps {
            passed = tried;
        } else if !tried.passed && tried.mpps < failed.mpps && tried.mpps > passed.mpps {
            failed = tried;
        }
    }
    Ok((Some(passed), Some(failed)))
}
