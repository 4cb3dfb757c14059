//! What PCI devices need of the kernel: an IOMMU, and vfio-pci.

use super::{Finding, Level, Machine, Wanted, device};

pub(super) fn check(machine: &Machine, wanted: Option<&Wanted<'_>>) -> Vec<Finding> {
    let ports = wanted.map_or(&[][..], |wanted| &wanted.model.ports);
    let addresses: Vec<String> =
        ports.iter().filter_map(|port| device::pci_address(port.device.as_deref()?)).collect();
    // Those that their DPDK driver shares with the kernel's, or that another driver of user space has, need neither.
    let needs = addresses.iter().any(|address| device::needs_vfio(machine, address));
    vec![iommu(machine, needs), vfio(machine, needs)]
}

/// `Error` where it is needed; it is told all the same where it is not.
fn level(needs: bool) -> Level {
    if needs { Level::Error } else { Level::Note }
}

fn why(needs: bool) -> &'static str {
    if needs {
        "a port is a PCI device, which guideway gets by it"
    } else {
        "only ports that are PCI devices need it"
    }
}

fn iommu(machine: &Machine, needs: bool) -> Finding {
    let groups = machine.list("/sys/kernel/iommu_groups").len();
    if groups > 0 {
        return Finding::ok("iommu", format!("the IOMMU is on, with {groups} groups"));
    }
    let unsafe_mode = machine.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
    if unsafe_mode.is_some_and(|value| value == "Y") {
        let found = "no IOMMU is on, and vfio goes without";
        return Finding::new("iommu", Level::Note, found, "a device can read and write all of the memory");
    }
    let finding = Finding::new("iommu", level(needs), "no IOMMU is on", why(needs));
    let is_intel = machine.read("/proc/cpuinfo").is_some_and(|text| text.contains("GenuineIntel"));
    let arguments = if is_intel { "intel_iommu=on iommu=pt" } else { "iommu=pt" };
    let finding = finding.kernel_arguments(machine, arguments);
    let other = "and turn it on in the firmware (VT-d, AMD-Vi); a virtual machine may have none, and then \
                 vfio's enable_unsafe_noiommu_mode";
    let advice = finding.advice.as_ref().map_or(other.to_owned(), |advice| format!("{advice}; {other}"));
    finding.advise(advice)
}

fn vfio(machine: &Machine, needs: bool) -> Finding {
    if machine.exists("/sys/bus/pci/drivers/vfio-pci") {
        return Finding::ok("vfio", "the driver vfio-pci is loaded");
    }
    let release = machine.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = format!("/lib/modules/{release}");
    let has = |file: &str| {
        machine.read(&format!("{modules}/{file}")).is_some_and(|list| list.contains("/vfio-pci.ko"))
    };
    let finding = |found: &str| Finding::new("vfio", level(needs), found, why(needs));
    if has("modules.dep") {
        return finding("the driver vfio-pci is not loaded").fix("modprobe vfio-pci");
    }
    let found = format!("this kernel, {release}, has no driver vfio-pci, neither built in nor as a module");
    finding(&found).advise("boot a kernel that has it, as those of the distributions do")
}
