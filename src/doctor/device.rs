//! The device of one port, and the interface of the kernel under it.

use super::{Build, Finding, Level, Machine, Wanted, cpus};
use crate::config::Port;

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

const ETHERNET_MTU: u16 = 1500;

/// Kernel drivers, and those of DPDK for the same devices.
const DRIVERS: [(&str, &str); 13] = [
    ("e1000", "net_e1000"),
    ("e1000e", "net_e1000"),
    ("ena", "net_ena"),
    ("i40e", "net_i40e"),
    ("iavf", "net_iavf"),
    ("ice", "net_ice"),
    ("igb", "net_e1000"),
    ("igc", "net_igc"),
    ("ixgbe", "net_ixgbe"),
    ("mlx4_core", "net_mlx4"),
    ("mlx5_core", "net_mlx5"),
    ("virtio-pci", "net_virtio"),
    ("vmxnet3", "net_vmxnet3"),
];

/// Kernel drivers that share a device with DPDK's.
const SHARING: [&str; 2] = ["mlx4_core", "mlx5_core"];

/// Kernel drivers that hand a device to user space.
const USER_SPACE: [&str; 3] = ["igb_uio", "uio_pci_generic", "vfio-pci"];

pub(super) fn check(machine: &Machine, build: &Build, wanted: &Wanted<'_>, port: &Port) -> Vec<Finding> {
    let Some(device) = &port.device else {
        let found = format!("port {} has no device", port.name);
        let finding = Finding::new("device", Level::Error, found, "nothing can come in or go out");
        return vec![finding.advise(format!("name one: --port {}=DEVICE", port.name))];
    };
    match pci_address(device) {
        Some(address) => pci(machine, build, wanted, port, &address),
        None => of_software(machine, build, port, device),
    }
}

/// The address of a PCI device, with its domain; `None` for a virtual one.
pub(super) fn pci_address(device: &str) -> Option<String> {
    let name = device.split(',').next()?;
    match name.matches(':').count() {
        1 => Some(format!("0000:{}", name.to_lowercase())),
        2 => Some(name.to_lowercase()),
        _ => None,
    }
}

fn kernel_driver(machine: &Machine, address: &str) -> Option<String> {
    machine.link_name(&format!("/sys/bus/pci/devices/{address}/driver"))
}

pub(super) fn needs_vfio(machine: &Machine, address: &str) -> bool {
    !matches!(
        kernel_driver(machine, address).as_deref(),
        Some("igb_uio" | "uio_pci_generic" | "mlx4_core" | "mlx5_core")
    )
}

/// Whether the memory that a device uses must stay where it is.
pub(super) fn locks_memory(device: &str) -> bool {
    pci_address(device).is_some() || device.starts_with("net_af_xdp")
}

fn pci(machine: &Machine, build: &Build, wanted: &Wanted<'_>, port: &Port, address: &str) -> Vec<Finding> {
    let place = format!("/sys/bus/pci/devices/{address}");
    if !machine.exists(&place) {
        let found = format!("port {}: there is no PCI device {address}; {}", port.name, cards(machine));
        return vec![Finding::new("device", Level::Error, found, "the port cannot be opened")];
    }
    let interfaces = machine.interfaces_of_pci(address);
    let way_out = interfaces.iter().find(|name| machine.has_default_route(name));
    let mut all = vec![binding(machine, build, port, address, way_out.is_some())];
    if let Some(name) = way_out {
        let found = format!("port {}: {address} is {name}, which has the machine's default route", port.name);
        let why = "with the card, the machine loses its way out, perhaps the one that you came by";
        all.push(Finding::new("default-route", Level::Warning, found, why).advise("use another card"));
    }
    all.extend(cpus::numa(machine, wanted, port, machine.number(&format!("{place}/numa_node"))));
    all
}

/// The network cards that are there.
fn cards(machine: &Machine) -> String {
    let mut cards = machine.list("/sys/bus/pci/devices");
    let class = |address: &String| machine.read(&format!("/sys/bus/pci/devices/{address}/class"));
    cards.retain(|address| class(address).is_some_and(|class| class.starts_with("0x02")));
    if cards.is_empty() {
        "this machine has no network card".into()
    } else {
        format!("network cards: {}", cards.join(", "))
    }
}

fn binding(machine: &Machine, build: &Build, port: &Port, address: &str, is_way_out: bool) -> Finding {
    let name = &port.name;
    let driver = kernel_driver(machine, address);
    let bound = driver.as_deref().unwrap_or_default();
    let needed = DRIVERS.iter().find(|(kernel, _)| *kernel == bound).map(|(_, dpdk)| *dpdk);
    if let Some(missing) = needed.filter(|needed| !build.has(needed)) {
        let found = format!(
            "port {name}: {address} (kernel driver {bound}) needs DPDK's {missing}, which is not built in"
        );
        let advice = "build DPDK and guideway with it, or against shared libraries: --features dpdk-shared";
        return Finding::new("device", Level::Error, found, "the port cannot be opened").advise(advice);
    }
    if SHARING.contains(&bound) || USER_SPACE.contains(&bound) {
        return Finding::ok("device", format!("port {name}: {address} is bound to {bound}"));
    }
    let is = if bound.is_empty() {
        "bound to no driver".to_owned()
    } else {
        format!("the kernel's, driver {bound}")
    };
    let finding = Finding::new(
        "device",
        Level::Error,
        format!("port {name}: {address} is {is}"),
        "DPDK gets a card only once vfio-pci has it",
    );
    let place = format!("/sys/bus/pci/devices/{address}");
    // No command that is copied may cut off who copies it.
    if is_way_out {
        return finding.advise("use another card: this one carries the machine's default route");
    }
    let unbind = (!bound.is_empty()).then(|| format!("echo {address} > {place}/driver/unbind"));
    let bind = [
        format!("echo vfio-pci > {place}/driver_override"),
        format!("echo {address} > /sys/bus/pci/drivers_probe"),
    ];
    finding.fixes(unbind).fixes(bind)
}

/// A virtual device.
fn of_software(machine: &Machine, build: &Build, port: &Port, device: &str) -> Vec<Finding> {
    let (name, parameters) = device.split_once(',').unwrap_or((device, ""));
    let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let linked = match driver {
        "eth_af_packet" => "net_af_packet",
        "eth_vhost" => "net_vhost",
        "net_bonding" => "net_bond",
        "virtio_user" | "net_virtio_user" => "net_virtio",
        other => other,
    };
    if !build.has(linked) {
        let found = format!("port {}: this program has no driver {driver}", port.name);
        let finding = Finding::new("device", Level::Error, found, "the port cannot be opened");
        let drivers: Vec<&str> =
            build.drivers.iter().copied().filter(|name| name.starts_with("net_")).collect();
        return vec![finding.advise(format!("it has {}", drivers.join(", ")))];
    }
    let mut all = capabilities(machine, build, port, linked);
    all.extend(kernel(machine, port, linked));
    if linked == "net_tap" && !machine.exists("/dev/net/tun") {
        let finding = Finding::new(
            "device",
            Level::Error,
            format!("port {}: /dev/net/tun is not there", port.name),
            "taps are made by it",
        );
        all.push(finding.fix("mkdir -p /dev/net").fix("mknod /dev/net/tun c 10 200"));
    }
    let interface = parameters.split(',').find_map(|parameter| parameter.strip_prefix("iface="));
    match interface.filter(|_| ["net_af_packet", "net_af_xdp"].contains(&linked)) {
        Some(interface) => all.extend(kernel_interface(machine, port, interface)),
        None => all.push(Finding::ok("device", format!("port {}: {driver} is built in", port.name))),
    }
    all
}

fn capabilities(machine: &Machine, build: &Build, port: &Port, driver: &str) -> Vec<Finding> {
    let needed: &[(u32, &str)] = match driver {
        "net_af_packet" => &[(CAP_NET_RAW, "cap_net_raw"), (CAP_NET_ADMIN, "cap_net_admin")],
        "net_pcap" => &[(CAP_NET_RAW, "cap_net_raw")],
        "net_tap" => &[(CAP_NET_ADMIN, "cap_net_admin")],
        "net_af_xdp" => &[
            (CAP_NET_RAW, "cap_net_raw"),
            (CAP_NET_ADMIN, "cap_net_admin"),
            (CAP_SYS_ADMIN, "cap_sys_admin"),
            (CAP_IPC_LOCK, "cap_ipc_lock"),
        ],
        _ => &[],
    };
    let lacks: Vec<&str> =
        needed.iter().filter(|(n, _)| !machine.has_capability(*n)).map(|(_, name)| *name).collect();
    if lacks.is_empty() {
        return Vec::new();
    }
    let all: Vec<&str> = needed.iter().map(|(_, name)| *name).collect();
    let found = format!("port {}: this process lacks {}", port.name, lacks.join(", ").to_uppercase());
    let why = format!("{driver} opens an interface of the kernel by it");
    let finding = Finding::new("capabilities", Level::Error, found, why);
    let finding = finding.fix(format!("setcap {}+ep {}", all.join(","), build.file));
    vec![finding.advise("or run it as root; in a unit of systemd: AmbientCapabilities=")]
}

/// af_xdp needs a kernel of 5.4 or later.
fn kernel(machine: &Machine, port: &Port, driver: &str) -> Option<Finding> {
    let release = machine.read("/proc/sys/kernel/osrelease").filter(|_| driver == "net_af_xdp")?;
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse::<u32>().unwrap_or(0));
    let version = (numbers.next()?, numbers.next()?);
    let found = format!("port {}: the kernel is {release}", port.name);
    let finding = Finding::new("kernel", Level::Error, found, "af_xdp needs 5.4 or later");
    (version < (5, 4)).then(|| finding.advise("boot a newer kernel, or use net_af_packet"))
}

/// The interface under af_packet or af_xdp.
fn kernel_interface(machine: &Machine, port: &Port, name: &str) -> Vec<Finding> {
    if !machine.interfaces().contains(name) {
        let there: Vec<String> = machine.interfaces().into_iter().collect();
        let found =
            format!("port {}: there is no interface {name}; there are {}", port.name, there.join(", "));
        return vec![Finding::new("device", Level::Error, found, "the port cannot be opened")];
    }
    let finding = |level, what: &str, why| {
        Finding::new("interface", level, format!("port {}: interface {name} {what}", port.name), why)
    };
    let mut all = Vec::new();
    let flags = machine
        .of_interface(name, "flags")
        .and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
    if flags.is_some_and(|flags| flags & 1 == 0) {
        let down = finding(Level::Warning, "is down", "nothing comes in and nothing goes out");
        all.push(down.fix(format!("ip link set dev {name} up")));
    }
    // What Ethernet has anyway, the driver sets.
    let mtu = machine.of_interface(name, "mtu").filter(|mtu| *mtu != port.mtu.to_string());
    if let Some(mtu) = mtu.filter(|_| port.mtu > ETHERNET_MTU) {
        let what = format!("has an MTU of {mtu} bytes, and the port {}", port.mtu);
        let other = finding(Level::Error, &what, "the driver cannot change it, and the port will not open");
        all.push(other.fix(format!("ip link set dev {name} mtu {}", port.mtu)));
    }
    if machine.has_default_route(name) {
        let why = "the kernel answers clients too, with resets; and clearing it would cut this machine off";
        all.push(
            finding(Level::Warning, "has the machine's default route", why).advise("use another interface"),
        );
    } else if machine.routes().iter().any(|(of, _)| of == name) {
        let has = finding(
            Level::Warning,
            "has addresses of the kernel",
            "the kernel answers clients too, with resets",
        );
        all.push(has.fix(format!("ip address flush dev {name}")));
    }
    if all.is_empty() {
        all.push(Finding::ok("interface", format!("port {}: interface {name} is there", port.name)));
    }
    all.extend(offloads(machine, port, name));
    all
}

/// What the kernel leaves to cards, and what a card has put together: guideway sees frames as they are.
fn offloads(machine: &Machine, port: &Port, name: &str) -> Option<Finding> {
    let index = |file| machine.of_interface(name, file);
    let is_pair = index("ifindex")? != index("iflink")?;
    let (found, why, advice) = if is_pair {
        (
            format!("port {}: {name} is one end of a pair (veth)", port.name),
            "the other end may leave checksums to a card that is not there: pings pass, TCP does not",
            "in the other end's namespace, for each end of clients and servers: ethtool -K PEER tx off"
                .to_owned(),
        )
    } else if machine.link(&format!("/sys/class/net/{name}")).is_some_and(|to| to.contains("/pci")) {
        (
            format!("port {}: {name} is a card under the kernel", port.name),
            "the kernel joins frames into larger ones than the port takes",
            format!("ethtool -K {name} gro off lro off"),
        )
    } else {
        return None;
    };
    Some(Finding::new("offloads", Level::Note, found, why).advise(advice))
}
