//! Composes the argument vector of EAL. Pure: what the machine has comes in as values.
//!
//! Who knows EAL can say everything in his own arguments: they come last, and what they decide we leave out.

use std::fs;
use std::path::Path;

use super::mempool;

/// What backs DPDK's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Reserved hugepages. Nothing is left behind in a file system, and none need be mounted.
    Hugepages,
    /// Ordinary pages. Always there; slower, because of the TLB.
    Ordinary {
        /// How much EAL reserves at start: without hugepages its memory cannot grow.
        mebibytes: u64,
    },
}

impl Memory {
    /// Hugepages where enough of them are free for pools of `frames` frames in all, for IP packets of up to `mtu` bytes;
    /// ordinary pages otherwise.
    pub fn choose(frames: u32, mtu: u16, free_hugepage_bytes: u64) -> Memory {
        if free_hugepage_bytes >= hugepage_bytes_needed(frames, mtu) {
            return Memory::Hugepages;
        }
        let needed = mempool::bytes_needed(frames, mempool::frame_bytes(mtu), false) + EAL_AND_DRIVER_BYTES;
        Memory::Ordinary { mebibytes: needed.div_ceil(MEBIBYTE) }
    }
}

/// The bytes in hugepages that pools of `frames` frames in all take, for IP packets of up to `mtu` bytes, and EAL and the
/// drivers with them.
pub fn hugepage_bytes_needed(frames: u32, mtu: u16) -> u64 {
    mempool::bytes_needed(frames, mempool::frame_bytes(mtu), true) + EAL_AND_DRIVER_BYTES
}

/// What the arguments are made of.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    /// The name of the program, for EAL's messages.
    pub program: &'a str,
    /// The device of each port: a PCI address (with parameters after a comma), or a virtual device and its
    /// parameters.
    pub devices: &'a [&'a str],
    /// The CPU of the management thread. EAL's own threads run there too.
    pub management_cpu: usize,
    /// What backs the memory.
    pub memory: Memory,
    /// The user's own arguments for EAL.
    pub user: &'a [String],
}

/// The argument vector for [`Eal::init`](super::eal::Eal::init), the program's name included.
///
/// What the user's arguments decide (memory, lcores, the devices to probe), ours leave to them.
pub fn arguments(with: &Arguments<'_>) -> Vec<String> {
    let user = User(with.user);
    let mut all = vec![with.program.to_owned()];
    if !user.has_any(&["-l", "--lcores", "-c", "--coremask"]) {
        all.extend(["-l".to_owned(), with.management_cpu.to_string()]);
    }
    all.extend(memory_arguments(with, user));
    all.extend(device_arguments(with.devices, user));
    if !user.has_any(&["--no-telemetry", "--telemetry"]) {
        all.push("--no-telemetry".into());
    }
    // EAL tells what it probes at "info"; an operator needs what goes wrong. A later one of the user's wins.
    all.push("--log-level=*:notice".into());
    all.extend_from_slice(with.user);
    all
}

fn memory_arguments(with: &Arguments<'_>, user: User<'_>) -> Vec<String> {
    if user.has_any(BACKINGS) {
        return Vec::new();
    }
    let mut ours = Vec::new();
    match with.memory {
        Memory::Hugepages => {
            ours.push("--in-memory".to_owned());
            // vhost shares the memory with the other side as files, of which it takes only a few.
            let shares =
                with.devices.iter().any(|device| SHARING_DRIVERS.iter().any(|name| device.starts_with(name)));
            if shares && !user.has("--single-file-segments") {
                ours.push("--single-file-segments".to_owned());
            }
        }
        // EAL takes --single-file-segments for a wish for hugepages.
        Memory::Ordinary { .. } if user.has("--single-file-segments") => {}
        Memory::Ordinary { mebibytes } => {
            ours.push("--no-huge".to_owned());
            if !user.has("-m") {
                ours.extend(["-m".to_owned(), mebibytes.to_string()]);
            }
            // Who names a prefix wants to be found by it.
            if !user.has_any(&["--no-shconf", "--file-prefix"]) {
                ours.push("--no-shconf".to_owned());
            }
        }
    }
    ours
}

fn device_arguments(devices: &[&str], user: User<'_>) -> Vec<String> {
    let mut ours = Vec::new();
    if !devices.iter().any(|device| is_pci(device))
        && !user.has_any(&["--no-pci", "-a", "--allow", "-b", "--block"])
    {
        ours.push("--no-pci".to_owned());
    }
    for device in devices {
        if is_pci(device) {
            ours.extend(["-a".to_owned(), (*device).to_owned()]);
        } else {
            ours.push(format!("--vdev={device}"));
        }
    }
    ours
}

/// Whether a device string is a PCI address (`3b:00.0` or `0000:3b:00.0`), with or without parameters.
pub fn is_pci(device: &str) -> bool {
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let address = device_name(device);
    let mut parts = address.rsplit(':');
    let (Some(function), Some(bus), domain, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let function_ok =
        function.split_once('.').is_some_and(|(device, function)| hex(device, 2) && hex(function, 1));
    function_ok && hex(bus, 2) && domain.is_none_or(|domain| hex(domain, 4))
}

/// The device string without its parameters.
pub(super) fn device_name(device: &str) -> &str {
    device.split_once(',').map_or(device, |(name, _)| name)
}

/// The bytes in hugepages that are reserved and free, of all sizes. 0 where the kernel does not say.
pub fn free_hugepage_bytes() -> u64 {
    free_hugepage_bytes_in(Path::new("/sys/kernel/mm/hugepages"))
}

fn free_hugepage_bytes_in(directory: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(directory) else { return 0 };
    let free_bytes = |size: fs::DirEntry| -> Option<u64> {
        let name = size.file_name();
        let kibibytes: u64 = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages: u64 = fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        pages.checked_mul(kibibytes * 1024)
    };
    sizes.flatten().filter_map(free_bytes).sum()
}

/// The user's own arguments.
#[derive(Clone, Copy)]
struct User<'a>(&'a [String]);

impl User<'_> {
    /// Whether `option` is among them: as `-m 64` or `-m64`, as `--lcores 1` or `--lcores=1`.
    fn has(self, option: &str) -> bool {
        self.0.iter().any(|argument| match argument.strip_prefix(option) {
            Some(rest) if option.starts_with("--") => rest.is_empty() || rest.starts_with('='),
            Some(_) => true,
            None => false,
        })
    }

    fn has_any(self, options: &[&str]) -> bool {
        options.iter().any(|option| self.has(option))
    }
}

/// Options that choose what backs the memory, and exclude one another.
const BACKINGS: &[&str] = &[
    "--huge-dir",
    "--huge-unlink",
    "--in-memory",
    "--legacy-mem",
    "--match-allocations",
    "--no-huge",
    "--socket-limit",
    "--socket-mem",
];

const SHARING_DRIVERS: &[&str] = &["net_vhost", "eth_vhost", "net_virtio_user", "virtio_user"];

const MEBIBYTE: u64 = 1 << 20;

/// EAL's own 10 MiB, and descriptor rings: 16 ports with 16 queues of 1024 descriptors of 128 bytes take 32 MiB.
const EAL_AND_DRIVER_BYTES: u64 = 48 * MEBIBYTE;

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(devices: &[&str], memory: Memory, user: &[&str]) -> String {
        let user: Vec<String> = user.iter().map(|&argument| argument.to_owned()).collect();
        arguments(&Arguments { program: "guideway", devices, management_cpu: 3, memory, user: &user })
            .join(" ")
    }

    const PLAIN: Memory = Memory::Ordinary { mebibytes: 96 };
    const TAIL: &str = "--no-telemetry --log-level=*:notice";

    #[test]
    fn virtual_devices_on_ordinary_pages() {
        assert_eq!(
            compose(&["net_af_packet0,iface=eth0"], PLAIN, &[]),
            format!(
                "guideway -l 3 --no-huge -m 96 --no-shconf --no-pci --vdev=net_af_packet0,iface=eth0 {TAIL}"
            )
        );
    }

    #[test]
    fn a_pci_device_on_hugepages() {
        assert_eq!(
            compose(&["0000:3b:00.0", "net_tap0"], Memory::Hugepages, &[]),
            format!("guideway -l 3 --in-memory -a 0000:3b:00.0 --vdev=net_tap0 {TAIL}")
        );
    }

    #[test]
    fn vhost_shares_its_hugepages_as_few_files() {
        assert_eq!(
            compose(&["net_vhost0,iface=v.sock"], Memory::Hugepages, &[]),
            format!(
                "guideway -l 3 --in-memory --single-file-segments --no-pci --vdev=net_vhost0,iface=v.sock {TAIL}"
            )
        );
        assert!(!compose(&["net_vhost0,iface=v.sock"], PLAIN, &[]).contains("--single-file-segments"));
    }

    #[test]
    fn what_the_user_decides_is_left_out() {
        let cases: &[(Memory, &[&str], &str)] = &[
            (PLAIN, &["-m", "64"], "guideway -l 3 --no-huge --no-shconf --no-pci"),
            (PLAIN, &["-m64"], "guideway -l 3 --no-huge --no-shconf --no-pci"),
            (PLAIN, &["--huge-dir=/mnt/h"], "guideway -l 3 --no-pci"),
            (PLAIN, &["--in-memory"], "guideway -l 3 --no-pci"),
            (PLAIN, &["--single-file-segments"], "guideway -l 3 --no-pci"),
            (PLAIN, &["--file-prefix", "a"], "guideway -l 3 --no-huge -m 96 --no-pci"),
            (Memory::Hugepages, &["--socket-mem", "64"], "guideway -l 3 --no-pci"),
            (Memory::Hugepages, &["--no-huge"], "guideway -l 3 --no-pci"),
            (Memory::Hugepages, &["-m", "64"], "guideway -l 3 --in-memory --no-pci"),
            (Memory::Hugepages, &["--single-file-segments"], "guideway -l 3 --in-memory --no-pci"),
            (Memory::Hugepages, &["--lcores=0@1"], "guideway --in-memory --no-pci"),
            (Memory::Hugepages, &["-l", "0"], "guideway --in-memory --no-pci"),
            (Memory::Hugepages, &["-c1"], "guideway --in-memory --no-pci"),
            (Memory::Hugepages, &["-a", "3b:00.0"], "guideway -l 3 --in-memory"),
            (Memory::Hugepages, &["--log-level=lib.eal:debug"], "guideway -l 3 --in-memory --no-pci"),
        ];
        for (memory, user, ours) in cases {
            assert_eq!(compose(&[], *memory, user), format!("{ours} {TAIL} {}", user.join(" ")), "{user:?}");
        }
        assert!(!compose(&[], PLAIN, &["--telemetry"]).contains("--no-telemetry"));
    }

    #[test]
    fn an_option_is_not_taken_for_one_that_begins_like_it() {
        let all = compose(&[], PLAIN, &["--main-lcore=0", "--no-hpet", "--in-memory-of-something"]);
        assert!(all.starts_with("guideway -l 3 --no-huge -m 96"), "{all}");
    }

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        for device in ["0000:3b:00.0", "3b:00.1", "0000:3B:1f.7,rx_ring=1"] {
            assert!(is_pci(device), "{device}");
        }
        for device in
            ["net_tap0", "net_pcap0,rx_pcap=a:b.0", "0000:3b:00", "3b:0.0", "1:0000:3b:00.0", "", "::."]
        {
            assert!(!is_pci(device), "{device}");
        }
    }

    #[test]
    fn hugepages_are_chosen_where_enough_are_free() {
        let needed = mempool::bytes_needed(8191, 2048, true) + EAL_AND_DRIVER_BYTES;
        assert_eq!(Memory::choose(8191, 1500, needed), Memory::Hugepages);
        // 8191 pages of 4 KiB and a ring of 64 KiB, rounded up, and 48 MiB.
        assert_eq!(Memory::choose(8191, 1500, needed - 1), Memory::Ordinary { mebibytes: 32 + 1 + 48 });
        // Jumbo frames take three pages each.
        assert_eq!(Memory::choose(8191, 9000, needed), Memory::Ordinary { mebibytes: 96 + 1 + 48 });
    }

    #[test]
    fn free_hugepages_of_all_sizes_are_added_up() {
        let root = std::env::temp_dir().join(format!("guideway-hugepages-{}", std::process::id()));
        for (size, free) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "1\n"), ("other", "9\n")] {
            fs::create_dir_all(root.join(size)).unwrap();
            fs::write(root.join(size).join("free_hugepages"), free).unwrap();
        }
        assert_eq!(free_hugepage_bytes_in(&root), 3 * 2 * MEBIBYTE + 1024 * MEBIBYTE);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(free_hugepage_bytes_in(&root), 0);
    }
}
