//! The search for the highest rate that loses nothing, by bisection.

/// The burst that rates are first looked for with; DPDK's own programs use it.
pub const BURST: u32 = 128;
/// The step at which nothing is fast any more.
const STEP_MAX: u32 = 1024;

/// How much the tester is slowed down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Brake {
    /// 0: not at all, it forwards and does nothing else. From 1 on: as [`Brake::reads`] tells.
    pub step: u32,
    /// Packets of a burst: fewer are slower.
    pub burst: u32,
}

impl Brake {
    /// Reads of memory for each packet, where it does more than forward.
    pub fn reads(self) -> Option<u32> {
        self.step.checked_sub(1)
    }
}

/// A rate that was tried: in million packets a second, and whether nothing was lost.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    pub brake: Brake,
    pub mpps: f64,
    pub passed: bool,
}

/// Tries brakes by `attempt` until the highest rate that passes and the lowest that fails are closer than `resolution`
/// (a share), or nothing lies between that the tester can offer. Returns both, where there are such.
pub fn search<E>(
    resolution: f64,
    mut attempt: impl FnMut(Brake) -> Result<Tried, E>,
) -> Result<(Option<Tried>, Option<Tried>), E> {
    let mut try_step = |step| attempt(Brake { step, burst: BURST });
    let mut failed = try_step(0)?;
    if failed.passed {
        return Ok((Some(failed), None));
    }
    // Slower in ever larger steps, until it passes.
    let mut step = 1;
    let mut passed = loop {
        let tried = try_step(step)?;
        if tried.passed {
            break tried;
        }
        failed = tried;
        if step >= STEP_MAX {
            return Ok((None, Some(failed)));
        }
        step *= 2;
    };
    let close = |passed: &Tried, failed: &Tried| failed.mpps - passed.mpps <= resolution * failed.mpps;
    while passed.brake.step - failed.brake.step > 1 && !close(&passed, &failed) {
        let tried = try_step(u32::midpoint(passed.brake.step, failed.brake.step))?;
        if tried.passed { passed = tried } else { failed = tried }
    }
    // Between two steps, shorter bursts are slower than longer ones. Not so without a brake: there the two ends of a
    // ring hinder each other the more, the shorter the bursts are.
    let (mut short, mut long) = (2, BURST);
    let step = failed.brake.step;
    while step > 0 && long - short > 1 && !close(&passed, &failed) {
        let burst = u32::midpoint(short, long);
        let tried = attempt(Brake { step, burst })?;
        match tried.passed {
            true => short = burst,
            false => long = burst,
        }
        // A burst so short that it is slower than the next step tells nothing new.
        if tried.passed && tried.mpps > passed.mpps {
            passed = tried;
        } else if !tried.passed && tried.mpps < failed.mpps && tried.mpps > passed.mpps {
            failed = tried;
        }
    }
    Ok((Some(passed), Some(failed)))
}
