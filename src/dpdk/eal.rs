//! EAL, DPDK's environment: started once for a process, and by nobody else than [`Eal::init`].

use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use super::arguments::{
    Arguments, Memory, arguments, free_hugepage_bytes, hugepage_bytes_needed, is_pci,
};
use super::error::{Errno, Error, c_string};

/// The proof that EAL runs. Clones are handles to the same; EAL is cleaned up when the last one goes, and pools,
/// ports, queues and registrations each hold one.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Inner>);

impl Eal {
    /// Starts EAL with `args`, the program's name first (see [`arguments`]).
    ///
    /// The calling thread keeps its CPU affinity, and becomes EAL's main lcore. EAL's own threads run on the CPU that
    /// `-l` names first. EAL logs to stderr.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialised`] at the second call, whatever came of the first; [`Error::NulByte`];
    /// [`Error::EalInit`].
    pub fn init(args: &[String]) -> Result<Eal, Error> {
        let args_c = args.iter().map(|arg| c_string(arg)).collect::<Result<Vec<CString>, Error>>()?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyInitialised);
        }
        // Never freed: EAL reorders and keeps these pointers, and a process does this once.
        let mut argv: Vec<*mut c_char> = args_c.into_iter().map(CString::into_raw).collect();
        let argc = c_int::try_from(argv.len()).unwrap_or(c_int::MAX);
        argv.push(std::ptr::null_mut());
        let cpu = main_cpu(args).unwrap_or(-1);
        // SAFETY: `argv` holds `argc` C strings that live on, and a null pointer after them, as `main` gets them;
        // STARTED makes this the only call.
        let parsed = unsafe { dpdk_sys::gw_eal_init(argc, argv.as_mut_ptr(), cpu) };
        if parsed < 0 {
            return Err(Error::EalInit { errno: Errno::last(), vdevs: vdevs(args) });
        }
        Ok(Eal(Arc::new(Inner { control: Mutex::new(Control::default()) })))
    }

    /// Makes the calling thread known to EAL until the registration is dropped. Frames are allocated and freed many
    /// times faster on a thread EAL knows, because it has a cache in each pool.
    ///
    /// # Errors
    /// [`Error::AlreadyRegistered`], on EAL's main thread too; [`Error::RegisterThread`] where EAL has no room left.
    pub fn register_worker(&self) -> Result<Registration, Error> {
        // SAFETY: reads a thread-local variable.
        let lcore = unsafe { dpdk_sys::gw_lcore_id() };
        if lcore != LCORE_ID_ANY {
            return Err(Error::AlreadyRegistered);
        }
        // SAFETY: EAL runs, which `self` proves, and does not know this thread yet.
        let result = unsafe { dpdk_sys::rte_thread_register() };
        if result < 0 {
            return Err(Error::RegisterThread(Errno::last()));
        }
        Ok(Registration { _eal: self.clone(), _this_thread: PhantomData })
    }

    /// The lock that whoever opens or closes a device holds.
    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        // A panic elsewhere does not harm the set of open devices.
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker thread that EAL knows. Stays on its thread.
#[derive(Debug)]
pub struct Registration {
    _eal: Eal,
    _this_thread: PhantomData<*const ()>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: this is the thread that registered, because `Registration` is not `Send`; EAL runs.
        unsafe { dpdk_sys::rte_thread_unregister() }
    }
}

/// What opening and closing devices changes.
#[derive(Default, Debug)]
pub(super) struct Control {
    /// DPDK's numbers of the devices that are open.
    pub(super) open: BTreeSet<u16>,
}

#[derive(Debug)]
struct Inner {
    control: Mutex<Control>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: EAL runs, and nothing made of it is left, because each such thing holds an `Eal`.
        let result = unsafe { dpdk_sys::rte_eal_cleanup() };
        if let Err(errno) = Errno::check(result) {
            log::warn!("DPDK's EAL did not clean up: {errno}");
        }
    }
}

/// Whether EAL was started in this process. It cannot be started again, not even after a failure.
static STARTED: AtomicBool = AtomicBool::new(false);

/// `LCORE_ID_ANY` of rte_lcore.h: a thread that EAL does not know.
const LCORE_ID_ANY: u32 = u32::MAX;

/// The first CPU of the last `-l`, where lcores are CPUs of the same number.
fn main_cpu(args: &[String]) -> Option<c_int> {
    let position = args.iter().rposition(|arg| arg.starts_with("-l"))?;
    let attached = args[position].strip_prefix("-l")?;
    let list = if attached.is_empty() { args.get(position + 1)?.as_str() } else { attached };
    let digits = list.split(|c: char| !c.is_ascii_digit()).next()?;
    if list.contains(['@', '(']) { None } else { digits.parse().ok() }
}

/// The virtual devices that `args` ask for.
fn vdevs(args: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.strip_prefix("--vdev") {
            Some("") => found.extend(rest.next().cloned()),
            Some(value) => found.extend(value.strip_prefix('=').map(str::to_owned)),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_main_cpu_is_the_first_of_the_last_list() {
        let cases = [
            ("lb -l 3", Some(3)),
            ("lb -l2,5", Some(2)),
            ("lb -l 1 -l 4-7", Some(4)),
            ("lb --lcores=0@2", None),
        ];
        for (args, cpu) in cases {
            assert_eq!(main_cpu(&strings(args)), cpu, "{args}");
        }
        assert_eq!(main_cpu(&strings("lb -l 0@2")), None);
        assert_eq!(main_cpu(&strings("lb -l")), None);
    }

    #[test]
    fn virtual_devices_are_found_in_both_spellings() {
        let args = strings("lb --vdev=net_tap0,iface=a -a 3b:00.0 --vdev net_null1");
        assert_eq!(vdevs(&args), ["net_tap0,iface=a", "net_null1"]);
    }

    #[test]
    fn a_failed_start_names_the_devices_and_what_to_check() {
        let text =
            Error::EalInit { errno: Errno(95), vdevs: vec!["net_af_packet0,iface=none".into()] }.to_string();
        assert!(text.contains("net_af_packet0,iface=none"), "{text}");
        assert!(text.contains("ip link") && text.contains("CAP_NET_RAW"), "{text}");
    }
}
