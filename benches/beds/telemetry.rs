//! Counters of a running DPDK program, by DPDK's telemetry socket: the same for every program.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::{Result, Trying};

/// A connection.
pub struct Telemetry {
    connection: OwnedFd,
    /// Which DPDK makes for the program, and leaves behind.
    directory: PathBuf,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // What is left there is a few empty files.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What a port has seen.
#[derive(Clone, Copy, Default, Debug)]
pub struct PortCounters {
    pub received: u64,
    pub transmitted: u64,
    /// Frames that the driver had no place for.
    pub refused: u64,
}

impl Telemetry {
    /// Connects to the program that runs with `--file-prefix=prefix`.
    pub fn connect(prefix: &str) -> Result<Telemetry> {
        let directory = runtime_directory().join("dpdk").join(prefix);
        let path = directory.join("dpdk_telemetry.v2");
        let start = Instant::now();
        let address = UnixAddr::new(&path).trying(path.display())?;
        let connection =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).trying("a socket")?;
        setsockopt(&connection, sockopt::ReceiveTimeout, &TimeVal::new(10, 0)).trying("a timeout")?;
        while let Err(error) = connect(connection.as_raw_fd(), &address) {
            if start.elapsed() > Duration::from_secs(5) {
                return Err(format!("{}: {error}", path.display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let telemetry = Telemetry { connection, directory };
        telemetry.receive()?; // it says its version first
        Ok(telemetry)
    }

    fn receive(&self) -> Result<String> {
        let mut buffer = vec![0; 1 << 16];
        let len = recv(self.connection.as_raw_fd(), &mut buffer, MsgFlags::empty()).trying("telemetry")?;
        buffer.truncate(len);
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }

    fn ask(&self, question: &str) -> Result<serde_json::Value> {
        send(self.connection.as_raw_fd(), question.as_bytes(), MsgFlags::empty()).trying("telemetry")?;
        let text = self.receive()?;
        serde_json::from_str(&text).trying(&text)
    }

    /// The program's numbers of the devices with these names.
    pub fn find_ports(&self, names: &[String]) -> Result<Vec<u16>> {
        let list = self.ask("/ethdev/list")?;
        let ports: Vec<u16> = serde_json::from_value(list["/ethdev/list"].clone()).trying("/ethdev/list")?;
        let mut named = Vec::new();
        for port in ports {
            let info = self.ask(&format!("/ethdev/info,{port}"))?;
            named.push((info["/ethdev/info"]["name"].as_str().unwrap_or_default().to_owned(), port));
        }
        let find = |name: &String| {
            let found = named
                .iter()
                .find(|(other, _)| other.trim_start_matches("0000:") == name.trim_start_matches("0000:"));
            found.map(|(_, port)| *port).ok_or_else(|| format!("no port is named {name}, among {named:?}"))
        };
        names.iter().map(find).collect()
    }

    /// Waits until the link of port number `port` is up.
    pub fn wait_for_link(&self, port: u16) -> Result<()> {
        let start = Instant::now();
        while self.ask(&format!("/ethdev/link_status,{port}"))?["/ethdev/link_status"]["status"] != "UP" {
            if start.elapsed() > Duration::from_secs(10) {
                return Err(format!("the link of port {port} does not come up"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The counters of port number `port`, in the order of the program's arguments.
    pub fn port(&self, port: u16) -> Result<PortCounters> {
        let answer = self.ask(&format!("/ethdev/stats,{port}"))?;
        let number = |key: &str| {
            answer["/ethdev/stats"][key].as_u64().ok_or_else(|| format!("no {key} in telemetry's {answer}"))
        };
        Ok(PortCounters {
            received: number("ipackets")?,
            transmitted: number("opackets")?,
            refused: number("oerrors")?,
        })
    }
}

/// Where DPDK keeps what belongs to running programs.
fn runtime_directory() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/run");
    }
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}
