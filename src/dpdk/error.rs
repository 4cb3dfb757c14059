//! What can go wrong with DPDK, told to an operator: what failed, on what, and what to do.

use std::ffi::{CString, c_int};
use std::fmt;
use std::io;

/// An error number, as the kernel and DPDK give them. Positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// `ENOTSUP`: the driver has no such function.
    pub(super) const NOT_SUPPORTED: Errno = Errno(95);
    const NO_MEMORY: Errno = Errno(12);
    const NO_ROOM: Errno = Errno(105);
    const NOT_PERMITTED: Errno = Errno(1);

    /// The error number that DPDK left for this thread.
    pub(super) fn last() -> Errno {
        // SAFETY: reads a thread-local variable.
        Errno(unsafe { dpdk_sys::gw_errno() })
    }

    /// The result of a function that returns 0 or a negative error number.
    pub(super) fn check(result: c_int) -> Result<(), Errno> {
        if result < 0 { Err(Errno(-result)) } else { Ok(()) }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // DPDK's own two, rte_errno.h.
            1001 => f.write_str("not possible in a secondary process (E_RTE_SECONDARY)"),
            1002 => f.write_str("EAL has no configuration (E_RTE_NO_CONFIG)"),
            errno => write!(f, "{}", io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Why DPDK could not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// EAL was started before in this process, whether it came up or not.
    AlreadyInitialised,
    /// A string that DPDK is to see holds a NUL byte.
    NulByte(String),
    /// `rte_eal_init` failed.
    EalInit {
        /// What it gave as the reason.
        errno: Errno,
        /// The virtual devices that were asked for; one that cannot be made stops EAL.
        vdevs: Vec<String>,
    },
    /// EAL did not accept the calling thread as a worker.
    RegisterThread(Errno),
    /// EAL knows the calling thread already.
    AlreadyRegistered,
    /// The pool of frames could not be made.
    Mempool {
        /// Its name.
        name: String,
        /// How many frames it was to have.
        frames: u32,
        /// What DPDK gave as the reason.
        errno: Errno,
    },
    /// EAL runs, but has no such device.
    NoSuchDevice {
        /// The port as the configuration names it.
        port: String,
        /// Its device string.
        device: String,
    },
    /// The device is open already, as this port or another one.
    DeviceInUse {
        /// The port as the configuration names it.
        port: String,
        /// Its device string.
        device: String,
    },
    /// The MTU is outside of what the device and our buffers can take. All in bytes.
    MtuOutOfRange {
        /// The port as the configuration names it.
        port: String,
        /// The MTU asked for.
        mtu: u16,
        /// The least that works.
        min: u16,
        /// The most that works.
        max: u16,
    },
    /// The driver cannot set the MTU of the interface it stands on, and the interface has another one. In bytes.
    MtuOfInterface {
        /// The port as the configuration names it.
        port: String,
        /// The name of its driver.
        driver: String,
        /// The MTU asked for.
        mtu: u16,
        /// The MTU that the interface has.
        is: u16,
    },
    /// A step of opening the port failed.
    PortSetup {
        /// The port as the configuration names it.
        port: String,
        /// Its device string.
        device: String,
        /// The name of its driver.
        driver: String,
        /// What was tried, as in "cannot *set the MTU to 9000*".
        step: String,
        /// What the driver gave as the reason.
        errno: Errno,
    },
    /// The queues of the port belong to workers already.
    QueuesTaken {
        /// The port as the configuration names it.
        port: String,
    },
    /// Two ports with the same position in the configuration.
    PortIdTwice {
        /// The second of them, as the configuration names it.
        port: String,
    },
    /// A port made of rings could not be made.
    RingPort {
        /// Its name.
        name: String,
        /// What DPDK gave as the reason.
        errno: Errno,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::AlreadyInitialised => {
                f.write_str("DPDK's EAL was started before in this process; it can be started only once")
            }
            Error::NulByte(text) => write!(f, "{text:?} holds a NUL byte, which DPDK would take for its end"),
            Error::EalInit { errno, vdevs } => write_eal_init(f, *errno, vdevs),
            Error::RegisterThread(errno) => write!(
                f,
                "EAL does not accept another worker thread: {errno}. It has room for as many as DPDK was built \
                 with (RTE_MAX_LCORE), and for none where a secondary process may attach"
            ),
            Error::AlreadyRegistered => f.write_str("EAL knows this thread already; a thread registers once"),
            Error::Mempool { name, frames, errno } => write_mempool(f, name, *frames, *errno),
            Error::NoSuchDevice { port, device } => {
                write!(f, "port {port}: DPDK has no device `{device}`. {}", how_to_find(device))
            }
            Error::DeviceInUse { port, device } => {
                write!(
                    f,
                    "port {port}: device `{device}` is open already; give each port a device of its own"
                )
            }
            Error::MtuOutOfRange { port, mtu, min, max } => write!(
                f,
                "port {port}: an MTU of {mtu} bytes does not work; this device and our frame buffers take {min} to {max}"
            ),
            Error::MtuOfInterface { port, driver, mtu, is } => write!(
                f,
                "port {port}: its interface has an MTU of {is} bytes, and driver {driver} cannot make it {mtu}; set it on \
                 the interface (`ip link set dev … mtu {mtu}`)"
            ),
            Error::PortSetup { port, device, driver, step, errno } => {
                write!(f, "port {port}: device `{device}` (driver {driver}): cannot {step}: {errno}.")?;
                write_setup_hint(f, driver, *errno)
            }
            Error::QueuesTaken { port } => write!(f, "port {port}: its queues belong to workers already"),
            Error::PortIdTwice { port } => write!(f, "port {port}: another port has the same number"),
            Error::RingPort { name, errno } => write!(f, "cannot make a port of rings named {name}: {errno}"),
        }
    }
}

fn write_eal_init(f: &mut fmt::Formatter<'_>, errno: Errno, vdevs: &[String]) -> fmt::Result {
    write!(
        f,
        "DPDK's EAL did not start: {errno}. The lines above that begin with the name of a part of DPDK say why."
    )?;
    if vdevs.is_empty() {
        return Ok(());
    }
    f.write_str(" A virtual device that cannot be made stops it; asked for:")?;
    for vdev in vdevs {
        write!(f, " `{vdev}`")?;
    }
    let kernel_facing =
        vdevs.iter().find(|vdev| NEEDS_INTERFACE.iter().any(|driver| vdev.starts_with(driver)));
    match kernel_facing {
        Some(vdev) => write!(f, ". For `{vdev}`: {INTERFACE_HINT}"),
        None => f.write_str(". Check their names and parameters"),
    }
}

fn write_mempool(f: &mut fmt::Formatter<'_>, name: &str, frames: u32, errno: Errno) -> fmt::Result {
    write!(f, "cannot make the pool {name} of {frames} frames: {errno}.")?;
    // The second is what a pool returns when it runs out while it is filled.
    if errno == Errno::NO_MEMORY || errno == Errno::NO_ROOM {
        f.write_str(" Reserve more hugepages, or raise the -m of the EAL arguments where there are none")?;
    }
    Ok(())
}

fn write_setup_hint(f: &mut fmt::Formatter<'_>, driver: &str, errno: Errno) -> fmt::Result {
    match errno {
        Errno::NOT_SUPPORTED => f.write_str(" The driver cannot do this; leave the setting out"),
        Errno::NOT_PERMITTED => f.write_str(" The process lacks a capability, most often CAP_NET_ADMIN"),
        Errno::NO_MEMORY => {
            f.write_str(" Reserve more memory for DPDK, or ask for fewer descriptors or workers")
        }
        _ if NEEDS_INTERFACE.contains(&driver) => f.write_str(
            " The lines of the driver above may say more. It works on an interface of the kernel, for which the process \
             needs CAP_NET_RAW and CAP_NET_ADMIN",
        ),
        _ => f.write_str(" The lines of the driver above may say more"),
    }
}

/// Drivers that open an interface of the kernel.
const NEEDS_INTERFACE: &[&str] = &["net_af_packet", "eth_af_packet", "net_af_xdp", "net_tap", "net_pcap"];

const INTERFACE_HINT: &str =
    "does the interface exist (`ip link`), and has the process CAP_NET_RAW and CAP_NET_ADMIN?";

fn how_to_find(device: &str) -> &'static str {
    if super::arguments::is_pci(device) {
        "`dpdk-devbind.py --status` shows which driver it is bound to: vfio-pci, unless its DPDK driver shares the \
         device with the kernel's; and EAL must not have been told to leave it out (-b, --no-pci)"
    } else if NEEDS_INTERFACE.iter().any(|driver| device.starts_with(driver)) {
        "Does the interface exist (`ip link`), has the process CAP_NET_RAW and CAP_NET_ADMIN, and is the device among \
         the EAL arguments?"
    } else {
        "Is its driver linked, and the device among the EAL arguments? Its name ends at the first comma"
    }
}

/// `text` as DPDK wants it.
///
/// # Errors
/// [`Error::NulByte`].
pub(super) fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::NulByte(text.to_owned()))
}
