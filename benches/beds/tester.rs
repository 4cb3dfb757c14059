//! `dpdk-testpmd` as a tester after RFC 2544: it offers frames at a rate that can be set, and counts what comes back.
//!
//! It forwards a capture, again and again, to the link that leads to what is tested, and from the link that comes back
//! to a null port. At its fastest it forwards and does nothing else (`io`); what slows it down is its `noisy` mode,
//! which reads memory at random so many times for each packet (some nanoseconds each), and, finer, the length of its
//! bursts.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::testpmd::{Eal, Testpmd};
use super::{Result, Trying};

/// What one trial showed, in frames.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Offered to the link, whether it took them or not.
    pub offered: u64,
    /// Of these, those that the link did not take.
    pub refused: u64,
    /// Come back.
    pub received: u64,
    pub seconds: f64,
    /// Seconds in which the one who was to take the frames waited for its CPU.
    pub waited: f64,
}

impl Trial {
    pub fn lost(&self) -> u64 {
        self.offered.saturating_sub(self.received)
    }

    /// Whether the loss may come from the machine, which had other work for the CPU meanwhile, with rings that are full
    /// within some fifty microseconds.
    pub fn is_void(&self) -> bool {
        let missed = self.offered as f64 * self.waited / self.seconds;
        self.waited > 20e-6 && (self.lost() as f64) < 2.0 * missed
    }

    pub fn offered_mpps(&self) -> f64 {
        self.offered as f64 / self.seconds / 1e6
    }
}

/// By which device what was offered comes back: positions among the tester's devices, of which the first is the
/// capture and the second the link out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Back {
    /// By the third; the fourth is a null port.
    Third,
    /// By the second itself; the third is a null port.
    Second,
    /// Not at all.
    Never,
}

impl Back {
    /// The devices that are forwarded between, in pairs: in a trial, and after it, when nothing is offered any more.
    fn pairs(self) -> (&'static [usize], &'static [usize]) {
        match self {
            Back::Third => (&[0, 1, 2, 3], &[2, 3]),
            Back::Second => (&[0, 1], &[1, 2]),
            Back::Never => (&[0, 1], &[]),
        }
    }
}

/// A running tester.
pub struct Tester {
    testpmd: Testpmd,
    pub back: Back,
    /// Its own numbers of its ports, in the order of the devices.
    ports: Vec<u16>,
    /// Whether a link that does not take a frame has lost it: so where it is a ring that the tested program empties,
    /// not so where it is a wire.
    refused_is_lost: bool,
}

/// For what is on its way when a trial ends.
const DRAIN: Duration = Duration::from_millis(200);

impl Tester {
    pub fn start(eal: &Eal<'_>, back: Back, reads: Option<u32>, directory: &Path) -> Result<Tester> {
        let mode = if reads.is_some() { "noisy" } else { "io" };
        let reads = format!("--noisy-lkup-num-reads={}", reads.unwrap_or(0));
        // Else it would throw away what waits at each start.
        let options = ["--no-flush-rx", "--noisy-lkup-memory=1", &reads];
        let mut testpmd = Testpmd::start(eal, &options, directory)?;
        testpmd.command(&format!("set fwd {mode}"))?;
        let name = |device: &String| device.split(',').next().unwrap_or_default().to_owned();
        let names: Vec<String> = eal.devices.iter().map(name).collect();
        let ports = testpmd.telemetry.find_ports(&names)?;
        testpmd.telemetry.wait_for_link(ports[1])?;
        let refused_is_lost = !guideway::dpdk::eal::is_pci(&eal.devices[1]);
        Ok(Tester { testpmd, back, ports, refused_is_lost })
    }

    /// Offers frames for `duration`, and counts them once all have had time to come back.
    pub fn trial(&mut self, burst: u32, duration: Duration) -> Result<Trial> {
        let (trial, drain) = self.back.pairs();
        self.testpmd.command(&format!("set burst {burst}"))?;
        let waited_before = self.waited()?;
        self.forward_between(trial)?;
        let start = Instant::now();
        sleep(duration);
        let text = self.testpmd.command("stop")?;
        let seconds = start.elapsed().as_secs_f64();
        let waited = self.waited()? - waited_before;
        // `noisy` throws away what the link does not take, and does not count it: so what was taken from the capture
        // counts.
        let (wanted, sent) =
            (Counts::read(&text, self.ports[0])?.received, Counts::read(&text, self.ports[1])?.transmitted);
        let refused = if self.refused_is_lost { wanted.saturating_sub(sent) } else { 0 };
        let mut received = 0;
        if let Some(&back) = drain.first() {
            received = Counts::read(&text, self.ports[back])?.received;
            self.forward_between(drain)?;
        }
        sleep(DRAIN);
        if let Some(&back) = drain.first() {
            received += Counts::read(&self.testpmd.command("stop")?, self.ports[back])?.received;
        }
        Ok(Trial { offered: sent + refused, refused, received, seconds, waited })
    }

    /// Seconds that whoever takes frames back has waited for a CPU so far.
    fn waited(&self) -> Result<f64> {
        let times = (self.back != Back::Never).then(|| self.testpmd.program.worker_times_ns()).transpose()?;
        Ok(times.map_or(0.0, |(_, waited)| waited as f64 / 1e9))
    }

    fn forward_between(&mut self, devices: &[usize]) -> Result<()> {
        let list: Vec<String> = devices.iter().map(|&device| self.ports[device].to_string()).collect();
        self.testpmd.command(&format!("set portlist {}", list.join(",")))?;
        self.testpmd.command("start").map(drop)
    }

    pub fn quit(self) -> Result<()> {
        self.testpmd.quit()
    }
}

/// What testpmd tells of a port when it stops.
struct Counts {
    received: u64,
    transmitted: u64,
}

impl Counts {
    fn read(text: &str, port: u16) -> Result<Counts> {
        let title = format!("Forward statistics for port {port} ");
        let rest = text.split_once(&title).map(|(_, rest)| rest).ok_or(text).trying("testpmd's counts")?;
        let number = |key: &str| -> Result<u64> {
            let value = rest.split_once(key).and_then(|(_, rest)| rest.split_whitespace().next());
            value.unwrap_or_default().parse().trying(key)
        };
        Ok(Counts { received: number("RX-packets:")?, transmitted: number("TX-packets:")? })
    }
}
