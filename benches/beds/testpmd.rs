//! `dpdk-testpmd`, as generator and as the one to compare with.

use std::path::Path;

use super::program::Program;
use super::telemetry::Telemetry;
use super::{Result, Trying};

/// What DPDK programs have in common.
#[derive(Clone, Debug)]
pub struct Eal<'a> {
    /// Names its sockets.
    pub prefix: &'a str,
    pub management: usize,
    /// One thread that forwards on each.
    pub workers: &'a [usize],
    /// Of each port; guideway opens as many as it has workers.
    pub queues: usize,
    pub hugepages: bool,
    /// Frames of packet memory, in all.
    pub frames: u32,
    /// Ports, numbered in this order.
    pub devices: &'a [String],
}

impl Eal<'_> {
    /// What chooses memory, for testpmd and guideway alike.
    pub fn memory_arguments(&self) -> Vec<String> {
        let text = if self.hugepages {
            // vhost shares memory with its peer as files, and takes only a few.
            let shares =
                self.devices.iter().any(|device| device.contains("vhost") || device.contains("virtio"));
            if shares { "--in-memory --single-file-segments" } else { "--in-memory" }.to_owned()
        } else {
            // A frame takes a page; the rest is for drivers.
            format!("--no-huge -m {}", u64::from(self.frames) * 4096 / (1 << 20) + 128)
        };
        let prefix = format!("--file-prefix={}", self.prefix);
        text.split_whitespace().map(str::to_owned).chain([prefix]).collect()
    }
}

/// Mebibytes in hugepages that a program with so many frames takes.
pub fn mebibytes(frames: u32) -> u64 {
    u64::from(frames) * 2560 / (1 << 20) + 64
}

/// A running testpmd, at its prompt.
pub struct Testpmd {
    pub program: Program,
    pub telemetry: Telemetry,
    commands: usize,
}

const PROMPT: &str = "testpmd> ";

impl Testpmd {
    pub fn start(eal: &Eal<'_>, more: &[&str], directory: &Path) -> Result<Testpmd> {
        let mut lcores = format!("--lcores=0@{}", eal.management);
        let mut args = eal.memory_arguments();
        for (number, cpu) in eal.workers.iter().enumerate() {
            lcores += &format!(",{}@{cpu}", number + 1);
        }
        args.push(lcores);
        let on_pci = eal.devices.iter().any(|device| guideway::dpdk::eal::is_pci(device));
        args.extend((!on_pci).then(|| "--no-pci".to_owned()));
        args.extend(eal.devices.iter().map(|device| match guideway::dpdk::eal::is_pci(device) {
            true => format!("--allow={device}"),
            false => format!("--vdev={device}"),
        }));
        args.extend(["--", "-i", "--no-mlockall"].map(str::to_owned));
        args.push(format!("--total-num-mbufs={}", eal.frames));
        args.push(format!("--nb-cores={}", eal.workers.len()));
        args.extend(["rxq", "txq"].map(|option| format!("--{option}={}", eal.queues)));
        args.extend(more.iter().map(|&arg| arg.to_owned()));

        let log = directory.join(format!("{}.log", eal.prefix));
        let path = find()?;
        let mut program = Program::start("dpdk-testpmd", &path, &args, log)?;
        program.wait_for(PROMPT, 1)?;
        let telemetry = Telemetry::connect(eal.prefix)?;
        program.find_workers()?;
        Ok(Testpmd { program, telemetry, commands: 1 })
    }

    /// Types a command, waits until it is done, and returns what testpmd says to it.
    pub fn command(&mut self, line: &str) -> Result<String> {
        let before = self.program.said().len();
        self.program.say(line)?;
        self.commands += 1;
        self.program.wait_for(PROMPT, self.commands)?;
        Ok(self.program.said()[before..].to_owned())
    }

    /// Ends it.
    pub fn quit(mut self) -> Result<()> {
        self.program.resume()?;
        self.program.say("quit")?;
        self.program.ended().map(drop)
    }

    /// Forwards no more, and returns how many frames its port 1 took.
    pub fn stop_and_count(&mut self) -> Result<u64> {
        self.command("stop")?;
        Ok(self.telemetry.port(1)?.transmitted)
    }

    /// Forwards in `mode` from now on.
    pub fn forward(&mut self, mode: &str) -> Result<()> {
        self.command("stop")?;
        self.command(&format!("set fwd {mode}"))?;
        self.command("start").map(drop)
    }
}

fn find() -> Result<std::path::PathBuf> {
    let name = std::env::var_os("TESTPMD").unwrap_or_else(|| "dpdk-testpmd".into());
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories)
        .map(|directory| directory.join(&name))
        .find(|path| path.is_file())
        .ok_or("not found; apt-get install dpdk-dev")
        .trying(name.display())
}
