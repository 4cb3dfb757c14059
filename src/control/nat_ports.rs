//! Which port of a NAT rule's range each backend has, kept over restarts: a file beside the hash key's.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::manager::Manager;
use crate::config::{NAT_PORTS_MAX, NatPorts};

const FILE_NAME: &str = "nat_ports";

/// No line is longer: a name, an address, a port.
const LINE_BYTES_MAX: u64 = 128;

/// The ports kept in `directory`; of what is no sound line nothing.
pub fn stored_nat_ports(directory: &Path) -> NatPorts {
    use std::io::Read;
    let Ok(file) = fs::File::open(directory.join(FILE_NAME)) else { return NatPorts::new() };
    let mut text = String::new();
    // A file that is not ours may be of any length.
    match file.take(NAT_PORTS_MAX as u64 * LINE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => text.lines().filter_map(parse).collect(),
        Err(_) => NatPorts::new(),
    }
}

fn parse(line: &str) -> Option<((String, IpAddr), u16)> {
    let mut words = line.split_whitespace();
    let (name, address, port) = (words.next()?, words.next()?, words.next()?);
    Some(((name.to_owned(), address.parse().ok()?), port.parse().ok()?))
}

/// Whole or not at all.
fn keep(directory: &Path, ports: &NatPorts) -> std::io::Result<()> {
    let path = directory.join(FILE_NAME);
    if ports.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    fs::create_dir_all(directory)?;
    let new = directory.join(format!("{FILE_NAME}.{}", std::process::id()));
    let mut file = fs::File::create(&new)?;
    let text: String =
        ports.iter().map(|((name, address), port)| format!("{name} {address} {port}\n")).collect();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Keeps what is in force.
pub(super) struct NatPortsFile {
    directory: PathBuf,
    kept: NatPorts,
    /// [`Manager::changes`] when that was looked at.
    changes: Option<u64>,
}

impl NatPortsFile {
    /// In `directory`, which has `kept` already.
    pub(super) fn new(directory: PathBuf, kept: NatPorts) -> Self {
        Self { directory, kept, changes: None }
    }

    /// After whatever may have changed the configuration.
    pub(super) fn follow(&mut self, manager: &Manager) {
        if self.changes.replace(manager.changes()) == Some(manager.changes()) {
            return;
        }
        let ports = manager.model().nat_ports();
        if ports == self.kept {
            return;
        }
        match keep(&self.directory, &ports) {
            Ok(()) => self.kept = ports,
            // Tried again with the next change.
            Err(error) => log::warn!(
                "{}: {error}; the ports of NAT rules are given out anew at the next start, in the order of their pools. Make \
                 the directory writable, name another with --state-directory, or give the rules ports = [...]",
                self.directory.join(FILE_NAME).display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_kept_whole_and_nothing_is_made_of_what_is_no_line() {
        let directory = std::env::temp_dir().join(format!("guideway-nat-ports-{}", std::process::id()));
        assert_eq!(stored_nat_ports(&directory), NatPorts::new());
        let ports = NatPorts::from([
            (("ssh".to_owned(), [10, 0, 0, 4].into()), 2300),
            (("ssh".to_owned(), "2001:db8::4".parse().unwrap()), 2301),
        ]);
        keep(&directory, &ports).unwrap();
        assert_eq!(stored_nat_ports(&directory), ports);
        fs::write(
            directory.join(FILE_NAME),
            "ssh 10.0.0.4\nx y z\n\nssh 10.0.0.4 2300 more\nssh 10.0.0.5 70000\n",
        )
        .unwrap();
        assert_eq!(
            stored_nat_ports(&directory),
            NatPorts::from([(("ssh".to_owned(), [10, 0, 0, 4].into()), 2300)])
        );
        keep(&directory, &NatPorts::new()).unwrap();
        assert!(!directory.join(FILE_NAME).exists());
        keep(&directory, &NatPorts::new()).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }
}
