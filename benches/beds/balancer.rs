//! guideway itself, the real program, before sixteen frontends with a hundred backends each.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use super::program::Program;
use super::telemetry::Telemetry;
use super::testpmd::Eal;
use super::{Result, Trying};

const FRONTENDS: u8 = 16;
const BACKENDS: u8 = 100;

/// Its frontends, all of TCP.
pub fn frontends() -> Vec<SocketAddrV4> {
    (1..=FRONTENDS).map(|host| SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, host), 443)).collect()
}

/// A running guideway. Its port 0 is outside, its port 1 inside.
pub struct Balancer {
    pub program: Program,
    pub telemetry: Telemetry,
}

/// What it counted, at the end.
#[derive(Clone, Debug, Default)]
pub struct Totals(BTreeMap<String, u64>);

impl Totals {
    /// From the lines that begin with "frames" and "flows": words and their numbers.
    fn read(said: &str) -> Totals {
        let mut totals = BTreeMap::new();
        for line in said.lines().filter(|line| line.starts_with("frames ") || line.starts_with("flows ")) {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            for (at, word) in words.iter().enumerate() {
                if let (Some(before), Ok(number)) = (at.checked_sub(1).map(|at| words[at]), word.parse()) {
                    totals.insert(before.to_owned(), number);
                }
            }
        }
        Totals(totals)
    }

    pub fn get(&self, word: &str) -> Result<u64> {
        self.0.get(word).copied().ok_or_else(|| format!("guideway's counters do not tell what was {word}"))
    }
}

impl Balancer {
    /// Starts it with a table for `flows` flows.
    pub fn start(eal: &Eal<'_>, flows: u32, directory: &Path) -> Result<Balancer> {
        let config = directory.join(format!("{}.toml", eal.prefix));
        fs::write(&config, configuration(eal, flows, directory)).trying(config.display())?;
        let path = std::env::var_os("GUIDEWAY")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_guideway")), PathBuf::from);
        let mut args =
            vec!["run".to_owned(), "--config".to_owned(), config.display().to_string(), "--".to_owned()];
        args.extend(eal.memory_arguments());
        args.push("--telemetry".into());
        let mut program =
            Program::start("guideway", &path, &args, directory.join(format!("{}.log", eal.prefix)))?;
        program.wait_for("ready:", 1)?;
        let telemetry = Telemetry::connect(eal.prefix)?;
        program.find_workers()?;
        Ok(Balancer { program, telemetry })
    }

    /// The Ethernet address of its port outside, as its log tells.
    pub fn mac(&self) -> Result<[u8; 6]> {
        let said = self.program.said();
        let mac = |line: &str| {
            let text = line.split_once("port outside: ")?.1.split(", ").nth(1)?;
            let bytes: Vec<u8> =
                text.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
            bytes.try_into().ok()
        };
        said.lines().find_map(mac).ok_or_else(|| format!("guideway's log does not tell its address: {said}"))
    }

    /// Ends it, and returns what it counted.
    pub fn stop(self) -> Result<Totals> {
        let Balancer { program, telemetry } = self;
        drop(telemetry);
        Ok(Totals::read(&program.stop()?))
    }
}

/// The default, or twice as many as there are: a table made for just so many has no place for one in a hundred.
fn flows_per_worker(flows: u32) -> u32 {
    (2 * flows).max(1 << 20)
}

fn configuration(eal: &Eal<'_>, flows: u32, directory: &Path) -> String {
    let cpus: Vec<String> = eal.workers.iter().map(usize::to_string).collect();
    let directory = directory.display();
    let mut text = format!(
        "[dataplane]\nworkers = \"{}\"\nmanagement_cpu = {}\nflows_per_worker = {}\nframes = {}\n\
         hash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
         [control]\nsocket = \"{directory}/control.sock\"\nstate_directory = \"{directory}\"\n\
         [[port]]\nname = \"outside\"\ndevice = \"{}\"\naddresses = [\"198.51.100.2/24\"]\ngateway = \"198.51.100.1\"\n\
         [[port]]\nname = \"inside\"\ndevice = \"{}\"\naddresses = [\"10.0.0.1/16\"]\n\
         [[neighbour]]\naddress = \"198.51.100.1\"\nmac = \"02:00:c6:33:64:01\"\n",
        cpus.join(","),
        eal.management,
        flows_per_worker(flows),
        eal.frames,
        eal.devices[0],
        eal.devices[1],
    );
    for (frontend, net) in frontends().iter().zip(1u8..) {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "[[pool]]\nname = \"p{net}\"\naddresses = \"10.0.{net}.1-10.0.{net}.{BACKENDS}\"\ninstances = {BACKENDS}\n\
             [[rule]]\nname = \"r{net}\"\nfrontend = \"{frontend}/tcp\"\npool = \"p{net}\"\nbackend_port = 8443"
        );
        for backend in 1..=BACKENDS {
            let mac = format!("02:00:0a:00:{net:02x}:{backend:02x}");
            let _ = writeln!(text, "[[neighbour]]\naddress = \"10.0.{net}.{backend}\"\nmac = \"{mac}\"");
        }
    }
    text
}
