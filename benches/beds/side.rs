//! Programs that take turns on one machine: all but one are held, and that one is watched for a window.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Result;
use super::balancer::{Balancer, Totals};
use super::program::Program;
use super::telemetry::Telemetry;
use super::testpmd::Testpmd;

/// All are held for so long before each window.
const REST: Duration = Duration::from_millis(100);

/// A program that forwards from its port 0 to its port 1.
pub trait Forwarder {
    fn program(&self) -> &Program;
    fn telemetry(&self) -> &Telemetry;
}

impl Forwarder for Balancer {
    fn program(&self) -> &Program {
        &self.program
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

impl Forwarder for Testpmd {
    fn program(&self) -> &Program {
        &self.program
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

/// One of them, with whoever feeds it. Without a feeder it feeds itself.
pub struct Side<P> {
    pub it: P,
    pub feeder: Option<Testpmd>,
}

/// What one window showed.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Million packets a second that left.
    pub mpps: f64,
    /// What its workers had of their CPUs.
    pub share: f64,
}

impl<P: Forwarder> Side<P> {
    pub fn pause(&self) -> Result<()> {
        self.feeder.as_ref().map_or(Ok(()), |feeder| feeder.program.pause())?;
        self.it.program().pause()
    }

    pub fn resume(&self) -> Result<()> {
        self.it.program().resume()?;
        self.feeder.as_ref().map_or(Ok(()), |feeder| feeder.program.resume())
    }

    /// Lets it run, and counts for `window` once it has run for `settle`.
    pub fn window(&self, settle: Duration, window: Duration) -> Result<Window> {
        // Whoever had to wait for a second is given 50 ms of the CPU by the kernel: let that be now, for everybody, and
        // not in the window of the one who comes after another one.
        sleep(REST);
        self.resume()?;
        sleep(settle);
        let (packets, cpu, start) = self.look()?;
        sleep(window);
        let (packets_after, cpu_after, end) = self.look()?;
        self.pause()?;
        let elapsed = (end - start).as_nanos() as f64;
        Ok(Window {
            mpps: (packets_after - packets) as f64 * 1e3 / elapsed,
            share: (cpu_after - cpu) / elapsed,
        })
    }

    fn look(&self) -> Result<(u64, f64, Instant)> {
        let transmitted = self.it.telemetry().port(1)?.transmitted;
        let now = Instant::now();
        Ok((transmitted, self.it.program().worker_times_ns()?.0, now))
    }

    /// Holds the feeder, gives the program time for what is on its way, and returns how many frames the feeder's link
    /// took.
    pub fn drain(&mut self) -> Result<Option<u64>> {
        self.resume()?;
        let Some(feeder) = &mut self.feeder else { return Ok(None) };
        let fed = feeder.stop_and_count()?;
        sleep(Duration::from_millis(200));
        Ok(Some(fed))
    }
}

impl Side<Balancer> {
    /// The program first: a memif server may crash when its client goes away.
    pub fn stop(self) -> Result<Totals> {
        self.it.stop()
    }
}

impl Side<Testpmd> {
    pub fn stop(self) -> Result<()> {
        self.it.quit()
    }
}
