//! Made-up machines, as trees of the kernel's files, and what is found on them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;
use crate::config::{ConfigFlags, load_text};

/// Capabilities of root.
const ALL: &str = "000001ffffffffff";
const NONE: &str = "0000000000000000";

/// A machine on which nothing is amiss: two nodes, four CPUs, hugepages, a card at vfio-pci.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        let flags = "flags : fpu avx avx2 bmi1 bmi2 f16c fma movbe abm";
        tree.file("/proc/cpuinfo", &format!("vendor_id : GenuineIntel\n{flags}\n"));
        tree.status(ALL, "0-3");
        tree.file("/proc/self/limits", "Max locked memory  8388608  8388608  bytes\n");
        tree.file("/proc/self/mounts", "none /dev/hugepages hugetlbfs rw 0 0\n");
        tree.file(
            "/proc/self/net/dev",
            "Inter-| Receive\n face |bytes\n    lo: 1 2\n  eth0: 1 2\n  eth1: 1 2\n",
        );
        tree.file("/proc/self/net/route", "Iface\tDestination\neth0\t00000000\neth0\t000200C0\n");
        tree.file("/proc/self/net/tcp", "  sl  local_address\n");
        tree.file("/proc/swaps", "Filename Type\n");
        tree.file("/proc/sys/kernel/osrelease", "6.1.0-9-amd64\n");
        tree.file("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet\"\n");
        tree.file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        tree.file("/sys/devices/system/cpu/isolated", "2-3\n");
        for node in 0..2 {
            tree.pages(node, 2048, 512);
            tree.pages(node, 1_048_576, 0);
            tree.file(&format!("/sys/devices/system/node/node{node}/cpulist"), ["0-1", "2-3"][node]);
        }
        for cpu in 0..4 {
            let place = format!("/sys/devices/system/cpu/cpu{cpu}");
            tree.file(&format!("{place}/cpufreq/scaling_governor"), "performance\n");
            tree.file(&format!("{place}/topology/thread_siblings_list"), &format!("{cpu}\n"));
            tree.file(&format!("{place}/node{}/x", cpu / 2), "");
        }
        tree.file("/sys/kernel/iommu_groups/0/type", "DMA\n");
        tree.file("/sys/bus/pci/drivers/vfio-pci/bind", "");
        tree.card("0000:3b:00.0", "vfio-pci", 1);
        tree.interface("lo", "../../devices/virtual/net/lo", 1, 1);
        tree.interface("eth0", "../../devices/pci0000:00/0000:00:03.0/net/eth0", 2, 2);
        tree.interface("eth1", "../../devices/virtual/net/eth1", 3, 9);
        tree
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    fn status(&self, capabilities: &str, cpus: &str) {
        let text =
            format!("Name:\tguideway\nPid:\t77\nCapEff:\t{capabilities}\nCpus_allowed_list:\t{cpus}\n");
        self.file("/proc/self/status", &text);
    }

    fn pages(&self, node: usize, size_kb: u64, reserved: u64) {
        let place = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{size_kb}kB");
        self.file(&format!("{place}/nr_hugepages"), &format!("{reserved}\n"));
        self.file(&format!("{place}/free_hugepages"), &format!("{reserved}\n"));
    }

    fn card(&self, address: &str, driver: &str, node: i32) {
        let place = format!("/sys/bus/pci/devices/{address}");
        self.file(&format!("{place}/class"), "0x020000\n");
        self.file(&format!("{place}/numa_node"), &format!("{node}\n"));
        let link = self.0.path().join(place.trim_start_matches('/')).join("driver");
        let _ = fs::remove_file(&link);
        symlink(format!("../../../bus/pci/drivers/{driver}"), link).unwrap();
    }

    /// An interface, as a link to where its files are.
    fn interface(&self, name: &str, leads_to: &str, index: u32, peer: u32) {
        let place = format!("/sys/class/net/{leads_to}");
        for (file, text) in [
            ("flags", "0x1003".to_owned()),
            ("mtu", "1500".into()),
            ("ifindex", index.to_string()),
            ("iflink", peer.to_string()),
        ] {
            self.file(&format!("{}/{file}", place.replace("/sys/class/net/../..", "/sys")), &text);
        }
        fs::create_dir_all(self.0.path().join("sys/class/net")).unwrap();
        symlink(leads_to, self.0.path().join("sys/class/net").join(name)).unwrap();
    }

    fn process(&self, id: u32, name: &str) {
        self.file(&format!("/proc/{id}/comm"), &format!("{name}\n"));
    }

    fn examine(&self, configuration: &str) -> Vec<Finding> {
        let machine = Machine::new(self.0.path());
        let model = load_text("gw.toml", configuration, &ConfigFlags::default()).unwrap().model;
        let wanted = Wanted::new(&model, &machine);
        examine(&machine, &build(), Some(&wanted))
    }
}

fn build() -> Build {
    let drivers = vec!["net_af_packet", "net_af_xdp", "net_ixgbe", "net_tap"];
    Build { dpdk: Some("22.11.11"), drivers, for_v3: true, file: "/usr/bin/guideway".into() }
}

/// This machine's own metrics are none of a made-up one's business.
const CONTROL: &str = "[control]\nmetrics = \"off\"\n";

fn config(device: &str, dataplane: &str) -> String {
    format!(
        "{CONTROL}[dataplane]\nflows_per_worker = 1024\nframes = 4095\nmanagement_cpu = 0\n{dataplane}\n\
         [[port]]\nname = \"outside\"\ndevice = \"{device}\"\naddresses = [\"10.0.0.1/24\"]\n"
    )
}

const CARD: &str = "0000:3b:00.0";
const WORKERS: &str = "workers = \"2,3\"";

/// The findings of one kind: level, what was found, and the commands.
fn of<'f>(findings: &'f [Finding], check: &str) -> Vec<&'f Finding> {
    findings.iter().filter(|finding| finding.check == check).collect()
}

/// That nothing is wrong, for a start.
#[test]
fn a_machine_without_fault_has_none() {
    let tree = Tree::new();
    for device in [CARD, "3b:00.0,a=b"] {
        let findings = tree.examine(&config(device, WORKERS));
        let bad: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        for check in
            ["dpdk", "cpu", "device", "numa", "iommu", "vfio", "hugepages", "memlock", "cpus", "isolation"]
        {
            assert_eq!(of(&findings, check).len(), 1, "{check}");
        }
    }
}

type Spoil = fn(&Tree);

/// What is spoilt about the good machine, with which configuration, and the finding that it gives: check, level, a part of
/// what was found, the commands.
struct Case(Spoil, &'static str, &'static str, &'static str, Level, &'static str, &'static [&'static str]);

const NO_PAGES: Spoil = |tree| (0..2).for_each(|node| tree.pages(node, 2048, 0));
const VETH: &str = "net_af_packet0,iface=eth1";

/// Without DPDK there are no frames to be held.
const NO_PAGES_CURE: &str = if cfg!(feature = "dpdk") {
    "echo 32 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
} else {
    "echo 2 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
};

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case(|t| t.file("/proc/cpuinfo", "flags : avx bmi1\n"), CARD, WORKERS, "cpu", Level::Error, "lacks avx2", &[]),
    Case(NO_PAGES, CARD, WORKERS, "hugepages", Level::Warning, "none are reserved; this configuration takes",
        &[NO_PAGES_CURE]),
    Case(|t| t.file("/dev/hugepages/rtemap_0", ""), CARD, WORKERS, "hugepage-files", Level::Warning, "1 files", &["rm -f /dev/hugepages/*map_*"]),
    Case(|t| t.status(NONE, "0-3"), CARD, WORKERS, "memlock", Level::Error, "8192 KiB", &["ulimit -l unlimited"]),
    Case(|t| t.status(NONE, "0-3"), VETH, WORKERS, "memlock", Level::Note, "8192 KiB", &[]),
    Case(|t| t.file("/proc/swaps", "Filename Type\n/dev/sda2 partition\n"), CARD, WORKERS, "swap", Level::Warning, "/dev/sda2", &["swapoff -a"]),
    Case(|t| t.file("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"), CARD, WORKERS, "transparent-hugepages",
        Level::Warning, "off", &["echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"]),
    Case(|t| t.remove("/sys/kernel/iommu_groups"), CARD, WORKERS, "iommu", Level::Error, "no IOMMU",
        &["sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on iommu=pt /' /etc/default/grub", "update-grub"]),
    Case(|t| { t.remove("/sys/kernel/iommu_groups"); t.remove("/etc/default/grub"); }, VETH, WORKERS, "iommu", Level::Note, "no IOMMU", &[]),
    Case(|t| { t.remove("/sys/bus/pci/drivers/vfio-pci"); t.file("/lib/modules/6.1.0-9-amd64/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko: x"); },
        CARD, WORKERS, "vfio", Level::Error, "not loaded", &["modprobe vfio-pci"]),
    Case(|t| t.remove("/sys/bus/pci/drivers/vfio-pci"), CARD, WORKERS, "vfio", Level::Error, "neither built in nor as a module", &[]),
    Case(|_| (), "0000:3b:00.1", WORKERS, "device", Level::Error, "no PCI device 0000:3b:00.1; network cards: 0000:3b:00.0", &[]),
    Case(|t| t.card(CARD, "ixgbe", 1), CARD, WORKERS, "device", Level::Error, "driver ixgbe", &[
        "echo 0000:3b:00.0 > /sys/bus/pci/devices/0000:3b:00.0/driver/unbind",
        "echo vfio-pci > /sys/bus/pci/devices/0000:3b:00.0/driver_override",
        "echo 0000:3b:00.0 > /sys/bus/pci/drivers_probe"]),
    Case(|t| t.card(CARD, "mlx5_core", 1), CARD, WORKERS, "device", Level::Error, "net_mlx5, which is not built in", &[]),
    Case(|t| t.card("0000:00:03.0", "ixgbe", -1), "0000:00:03.0", WORKERS, "device", Level::Error, "driver ixgbe", &[]),
    Case(|t| t.card("0000:00:03.0", "vfio-pci", -1), "0000:00:03.0", WORKERS, "default-route", Level::Warning, "is eth0", &[]),
    Case(|t| t.card(CARD, "vfio-pci", 0), CARD, WORKERS, "numa", Level::Warning, "node 0, and workers on CPUs 2,3 are not", &[]),
    Case(|_| (), "net_nosuch0", WORKERS, "device", Level::Error, "no driver net_nosuch", &[]),
    Case(|_| (), "net_af_packet0,iface=eth7", WORKERS, "device", Level::Error, "no interface eth7; there are eth0, eth1, lo", &[]),
    Case(|t| t.file("/sys/devices/virtual/net/eth1/flags", "0x1002"), VETH, WORKERS, "interface", Level::Warning, "is down", &["ip link set dev eth1 up"]),
    Case(|t| t.file("/proc/self/net/route", "Iface\neth1\t0000000A\n"), VETH, WORKERS, "interface", Level::Warning, "has addresses", &["ip address flush dev eth1"]),
    Case(|_| (), "net_af_packet0,iface=eth0", WORKERS, "interface", Level::Warning, "default route", &[]),
    Case(|_| (), VETH, WORKERS, "offloads", Level::Note, "veth", &[]),
    Case(|t| t.status(NONE, "0-3"), VETH, WORKERS, "capabilities", Level::Error, "lacks CAP_NET_RAW, CAP_NET_ADMIN",
        &["setcap cap_net_raw,cap_net_admin+ep /usr/bin/guideway"]),
    Case(|_| (), "net_tap0", WORKERS, "device", Level::Error, "/dev/net/tun", &["mkdir -p /dev/net", "mknod /dev/net/tun c 10 200"]),
    Case(|t| t.file("/proc/sys/kernel/osrelease", "4.19.0"), "net_af_xdp0,iface=eth1", WORKERS, "kernel", Level::Error, "4.19.0", &[]),
    Case(|t| t.status(ALL, "0-2"), CARD, WORKERS, "cpus", Level::Error, "CPU 3 is not among", &[]),
    Case(|_| (), CARD, "workers = \"0\"", "cpus", Level::Warning, "shares CPU 0", &[]),
    Case(|_| (), CARD, "workers = \"1,3\"", "isolation", Level::Warning, "CPUs 1",
        &["sed -i 's/^GRUB_CMDLINE_LINUX=\"/&isolcpus=1,3 nohz_full=1,3 rcu_nocbs=1,3 /' /etc/default/grub", "update-grub"]),
    Case(|_| (), CARD, "workers = \"1,3\"\nidle = \"sleep\"", "isolation", Level::Note, "CPUs 1", &["sed -i 's/^GRUB_CMDLINE_LINUX=\"/&isolcpus=1,3 nohz_full=1,3 rcu_nocbs=1,3 /' /etc/default/grub", "update-grub"]),
    Case(|t| [2, 3].iter().for_each(|cpu| t.file(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), "2-3")),
        CARD, WORKERS, "hyperthreads", Level::Warning, "CPUs 2,3", &[]),
    Case(|t| t.file("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave"), CARD, WORKERS, "governor", Level::Warning, "CPUs 3 have",
        &["echo performance > /sys/devices/system/cpu/cpu3/cpufreq/scaling_governor"]),
    Case(|t| t.process(5, "vpp_main"), CARD, WORKERS, "programs", Level::Warning, "vpp_main runs, process 5", &["kill 5"]),
    Case(|t| t.process(6, "irqbalance"), CARD, WORKERS, "irqbalance", Level::Warning, "irqbalance runs", &["kill 6"]),
    Case(|t| { t.process(6, "irqbalance"); t.file("/run/systemd/system/x", ""); }, CARD, WORKERS, "irqbalance", Level::Warning, "",
        &["systemctl disable --now irqbalance"]),
];

/// Several ports of one device are looked at once, and what they want of it together.
#[test]
fn a_device_is_looked_at_once_for_all_its_ports() {
    let tree = Tree::new();
    let second = "[[port]]\nname = \"inside\"\ndevice = \"net_af_packet0,iface=eth1\"\nvlan = [200, 7]\n\
                  addresses = [\"10.1.0.1/24\"]\n";
    let findings = tree.examine(&(config("net_af_packet0,iface=eth1", WORKERS) + second));
    let found: Vec<&str> = of(&findings, "interface").iter().map(|finding| finding.found.as_str()).collect();
    assert_eq!(found, ["port outside, inside: interface eth1 has an MTU of 1500 bytes, and the port 1508"]);
}

#[test]
fn what_is_spoilt_is_found_with_the_commands_that_mend_it() {
    for Case(spoil, device, dataplane, check, level, found, commands) in CASES {
        let tree = Tree::new();
        spoil(&tree);
        let findings = tree.examine(&config(device, dataplane));
        let about = of(&findings, check);
        let worst = about.first().unwrap_or_else(|| panic!("nothing about {check} {found}: {findings:#?}"));
        assert_eq!(worst.level, *level, "{check}: {worst:#?}");
        assert!(worst.found.contains(found), "{check}: {worst:#?}\nlacks: {found}");
        assert_eq!(worst.commands, *commands, "{check}: {found}");
        let has_remedy = !worst.commands.is_empty() || worst.advice.is_some();
        let tells_what_there_is = worst.found.contains("there are") || worst.found.contains("network cards");
        assert!(has_remedy || tells_what_there_is || worst.level == Level::Note, "no remedy: {worst:#?}");
        assert!(!worst.why.is_empty(), "{worst:#?}");
    }
}

#[test]
fn the_worst_comes_first_and_what_needs_a_boot_says_so() {
    let tree = Tree::new();
    NO_PAGES(&tree);
    tree.remove("/sys/kernel/iommu_groups");
    let findings = tree.examine(&config(CARD, WORKERS));
    assert!(findings.is_sorted_by_key(|finding| finding.level));
    assert_eq!((findings[0].check, findings[0].effect), ("iommu", Some(Effect::Reboot)));
    assert_eq!(of(&findings, "hugepages")[0].effect, Some(Effect::Now));
}

#[test]
fn without_a_configuration_the_machine_is_judged_alone() {
    let tree = Tree::new();
    NO_PAGES(&tree);
    tree.remove("/sys/kernel/iommu_groups");
    tree.remove("/sys/bus/pci/drivers/vfio-pci");
    let findings = examine(&Machine::new(tree.0.path()), &build(), None);
    let level = |check| of(&findings, check)[0].level;
    assert_eq!(
        [level("iommu"), level("vfio"), level("hugepages")],
        [Level::Note, Level::Note, Level::Warning]
    );
    let bare = Build { dpdk: None, ..build() };
    assert_eq!(examine(&Machine::new(tree.0.path()), &bare, None)[0].check, "dpdk");
}

#[test]
fn large_pages_serve_for_frames_and_not_for_flow_tables() {
    let tree = Tree::new();
    NO_PAGES(&tree);
    tree.pages(0, 1_048_576, 1);
    let findings = tree.examine(&config(CARD, WORKERS));
    // One page of 2 MiB for each of the two workers' tables.
    let place = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
    assert_eq!(of(&findings, "hugepages")[0].commands, [format!("echo 2 > {place}")]);
}

#[test]
fn one_who_listens_at_the_sockets_is_found() {
    let tree = Tree::new();
    fs::create_dir_all(tree.0.path().join("run")).unwrap();
    let socket = UnixListener::bind(tree.0.path().join("run/gw.sock")).unwrap();
    tree.process(8, "guideway");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = |more: &str| {
        let control = format!("[control]\nsocket = \"/run/gw.sock\"\n{more}\n");
        config(CARD, WORKERS).replace(CONTROL, &control)
    };
    let address = taken.local_addr().unwrap();
    let remote = format!("metrics = \"off\"\nlisten = \"{address}\"\ntoken_file = \"/etc/token\"");
    let findings = tree.examine(&text(&format!("metrics = \"{address}\"")));
    let level = |findings: &[Finding], topic| of(findings, topic).first().map(|finding| finding.level);
    assert_eq!(of(&findings, "control-socket")[0].commands, ["kill 8"]);
    assert_eq!(level(&findings, "control-socket"), Some(Level::Error));
    assert_eq!(level(&findings, "metrics"), Some(Level::Error));
    let findings = tree.examine(&text(&remote));
    assert_eq!(level(&findings, "control-api"), Some(Level::Error));
    assert_eq!(level(&findings, "metrics"), None);
    drop(socket);
    drop(taken);
    // Left by a dead process; and an address that nobody has any more.
    let findings = tree.examine(&text(&remote));
    let all = ["control-socket", "control-api", "metrics"];
    assert!(all.iter().all(|topic| level(&findings, topic).is_none()), "{findings:#?}");
}

#[test]
fn a_file_prefix_that_another_has_is_found() {
    use std::os::unix::fs::MetadataExt;
    let tree = Tree::new();
    tree.file("/run/dpdk/gw/config", "");
    let inode = fs::metadata(tree.0.path().join("run/dpdk/gw/config")).unwrap().ino();
    tree.file("/proc/locks", &format!("1: POSIX ADVISORY WRITE 4242 00:19:{inode} 0 EOF\n"));
    let level = |eal: &str| {
        let findings = tree.examine(&config(CARD, &format!("{WORKERS}\neal = [{eal}]")));
        of(&findings, "file-prefix")
            .first()
            .map(|finding| (finding.level, finding.found.contains("process 4242")))
    };
    assert_eq!(level("\"--file-prefix=gw\""), Some((Level::Error, true)));
    assert_eq!(level("\"--file-prefix\", \"gw\""), Some((Level::Error, true)));
    assert_eq!(level("\"--file-prefix=other\""), None);
    assert_eq!(level("\"--file-prefix=gw\", \"--in-memory\""), None);
    assert_eq!(level(""), None);
}

/// Interfaces of another network namespace are in /sys where it was mounted there.
#[test]
fn files_of_another_network_namespace_are_not_taken_for_this_ones() {
    let tree = Tree::new();
    tree.file("/sys/devices/virtual/net/eth1/flags", "0x1002");
    tree.remove("/sys/class/net/lo");
    let findings = tree.examine(&config(VETH, WORKERS));
    assert_eq!(of(&findings, "interface")[0].level, Level::Ok);
}

#[test]
fn nothing_there_is_no_crash() {
    let empty = tempfile::tempdir().unwrap();
    let machine = Machine::new(empty.path());
    assert!(!examine(&machine, &build(), None).is_empty());
    let model = load_text("", &config(VETH, WORKERS), &ConfigFlags::default()).unwrap().model;
    assert!(!examine(&machine, &build(), Some(&Wanted::new(&model, &machine))).is_empty());
}
