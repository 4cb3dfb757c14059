//! Programs that run beside this one: started, held, asked and stopped.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::machine::{self, Urgency};
use super::{Result, Trying};

/// A running program. Killed when dropped, or when this process ends in whatever way.
pub struct Program {
    child: Child,
    name: String,
    log: PathBuf,
    workers: Vec<u32>,
}

impl Program {
    /// Starts `path`; what it says goes to `log`.
    pub fn start(name: &str, path: &Path, args: &[String], log: PathBuf) -> Result<Program> {
        let file = File::create(&log).trying(log.display())?;
        let both = file.try_clone().trying(log.display())?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "stdbuf", "--output=L"])
            .arg(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(both)
            .spawn()
            .trying(format_args!("{name}: {}", path.display()))?;
        Ok(Program { child, name: name.into(), log, workers: Vec::new() })
    }

    /// All it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has said `text`, `times` times.
    pub fn wait_for(&mut self, text: &str, times: usize) -> Result<()> {
        let start = Instant::now();
        while self.said().matches(text).count() < times {
            if let Some(status) = self.child.try_wait().trying(&self.name)? {
                return Err(format!("{} ended with {status}: {}", self.name, self.last_words()));
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{} does not say \"{text}\": {}", self.name, self.last_words()));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(6)..].join("\n    ")
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let Some(stdin) = &mut self.child.stdin else { return Err(format!("{} does not listen", self.name)) };
        writeln!(stdin, "{line}").trying(&self.name)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).trying(&self.name)
    }

    /// Holds all of its threads.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Finds its worker threads, and has the kernel prefer its threads to all else.
    pub fn find_workers(&mut self) -> Result<()> {
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(&tasks).trying(&tasks)?.flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let is_worker = name.contains("worker");
            // The main thread may wait for others in a loop, which those must be able to end.
            let busy = is_worker || tid == self.child.id();
            let urgency = if busy { Urgency::Worker } else { Urgency::Control };
            if !machine::prefer(tid, urgency) {
                warn_once("this user may not have programs preferred (chrt): figures will wander");
            }
            self.workers.extend(is_worker.then_some(tid));
        }
        if self.workers.is_empty() {
            return Err(format!("{} has no worker threads: {}", self.name, self.last_words()));
        }
        Ok(())
    }

    /// Nanoseconds that each worker had of its CPU, on average, and that the worst off has waited for it.
    pub fn worker_times_ns(&self) -> Result<(f64, u64)> {
        let times = self.workers.iter().map(|tid| machine::cpu_times_ns(self.child.id(), *tid));
        let times: Vec<(u64, u64)> = times.collect::<Result<_>>()?;
        let ran: u64 = times.iter().map(|(ran, _)| ran).sum();
        let waited = times.iter().map(|(_, waited)| *waited).max();
        Ok((ran as f64 / times.len() as f64, waited.unwrap_or(0)))
    }

    /// Ends it, and returns all it has said.
    pub fn stop(self) -> Result<String> {
        self.resume()?;
        self.signal(Signal::SIGTERM)?;
        self.ended()
    }

    /// Waits for its end, and returns all it has said.
    pub fn ended(mut self) -> Result<String> {
        let start = Instant::now();
        while self.child.try_wait().trying(&self.name)?.is_none() {
            if start.elapsed() > Duration::from_secs(10) {
                return Err(format!("{} does not end: {}", self.name, self.last_words()));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(self.said())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says `what` on standard error, the first time only.
pub fn warn_once(what: &str) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| eprintln!("warning: {what}"));
}
