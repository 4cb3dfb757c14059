//! The machine, as the kernel's files tell of it. They lie below a root that tests put elsewhere.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files below a root. What cannot be read for want of rights is remembered.
pub struct Machine {
    root: PathBuf,
    unseen: RefCell<BTreeSet<String>>,
}

/// A running program.
pub(super) struct Process {
    pub(super) id: u32,
    /// As the kernel has it: 15 bytes at most.
    pub(super) name: String,
}

/// The most bytes that are read of a file: `/proc/cpuinfo` of a large machine has more, and repeats itself.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Machine {
    /// With its files below `root`, `/` in life.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), unseen: RefCell::default() }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without blanks around it; `None` where there is none.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        use std::io::Read;
        let mut text = Vec::new();
        let read =
            fs::File::open(self.path(path)).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
        match read {
            Ok(_) => Some(String::from_utf8_lossy(&text).trim().to_owned()),
            Err(error) => self.missed(path, &error),
        }
    }

    fn missed<T>(&self, path: &str, error: &std::io::Error) -> Option<T> {
        if error.kind() == ErrorKind::PermissionDenied {
            self.unseen.borrow_mut().insert(path.to_owned());
        }
        None
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    /// The names in a directory, in order; none where there is no such directory.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) => return self.missed(path, &error).unwrap_or_default(),
        };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Where a symbolic link leads.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        Some(fs::read_link(self.path(path)).ok()?.to_string_lossy().into_owned())
    }

    /// The last part of where a symbolic link leads.
    pub(super) fn link_name(&self, path: &str) -> Option<String> {
        Some(Path::new(&self.link(path)?).file_name()?.to_string_lossy().into_owned())
    }

    pub(super) fn inode(&self, path: &str) -> Option<u64> {
        Some(fs::metadata(self.path(path)).ok()?.ino())
    }

    pub(super) fn unseen(&self) -> Vec<String> {
        self.unseen.borrow().iter().cloned().collect()
    }

    /// The CPUs that this process may use.
    pub(super) fn allowed_cpus(&self) -> BTreeSet<usize> {
        self.of_status("Cpus_allowed_list").map(|list| cpu_list(&list)).unwrap_or_default()
    }

    /// A line of this process's status, without its name.
    pub(super) fn of_status(&self, name: &str) -> Option<String> {
        let status = self.read("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    pub(super) fn has_capability(&self, number: u32) -> bool {
        let set = self.of_status("CapEff").and_then(|set| u64::from_str_radix(&set, 16).ok());
        set.is_some_and(|set| set >> number & 1 == 1)
    }

    /// The interfaces of this network namespace.
    pub(super) fn interfaces(&self) -> BTreeSet<String> {
        let table = self.read("/proc/self/net/dev").unwrap_or_default();
        let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
        table.lines().skip(2).filter_map(name).collect()
    }

    /// A file of an interface in /sys; `None` also where /sys shows another network namespace.
    pub(super) fn of_interface(&self, name: &str, file: &str) -> Option<String> {
        let shown: BTreeSet<String> = self.list("/sys/class/net").into_iter().collect();
        if !self.interfaces().is_subset(&shown) {
            return None;
        }
        self.read(&format!("/sys/class/net/{name}/{file}"))
    }

    /// Interfaces with routes, and whether one of these is the default route.
    pub(super) fn routes(&self) -> Vec<(String, bool)> {
        let table = self.read("/proc/self/net/route").unwrap_or_default();
        let route = |line: &str| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            Some((name, words.next()? == "00000000"))
        };
        table.lines().skip(1).filter_map(route).collect()
    }

    pub(super) fn has_default_route(&self, interface: &str) -> bool {
        self.routes().iter().any(|(name, is_default)| name == interface && *is_default)
    }

    /// The interfaces of the kernel that a PCI device carries.
    pub(super) fn interfaces_of_pci(&self, address: &str) -> Vec<String> {
        let part = format!("/{address}/");
        let mut names = self.list("/sys/class/net");
        names
            .retain(|name| self.link(&format!("/sys/class/net/{name}")).is_some_and(|to| to.contains(&part)));
        names
    }

    /// Every program that runs, but this one.
    pub(super) fn processes(&self) -> Vec<Process> {
        let own = self.of_status("Pid").and_then(|id| id.parse::<u32>().ok());
        let ids = self.list("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
        let others = ids.filter(|id| Some(*id) != own);
        others.filter_map(|id| Some(Process { id, name: self.read(&format!("/proc/{id}/comm"))? })).collect()
    }
}

/// `0-3,8` as the kernel writes it.
pub(super) fn cpu_list(text: &str) -> BTreeSet<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?.min(4096))
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The same the other way round.
pub(super) fn cpu_text<'a>(cpus: impl IntoIterator<Item = &'a usize>) -> String {
    cpus.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
