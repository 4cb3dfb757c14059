//! The pool that frames come from and go back to.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;

use super::eal::Eal;
use super::error::{Errno, Error, c_string};
use super::mbuf::Mbuf;
use crate::io::Frame;

/// The longest frame that the least of buffers holds, in bytes.
pub const FRAME_BYTES: u16 = 2048;

/// What drivers round the size of receive buffers down to a multiple of, at most.
const ROUNDED_TO: u16 = 1024;

/// Ethernet header, two VLAN tags and frame check sequence: drivers that see less room than this beside the MTU would
/// deliver frames in several pieces.
const AROUND_MTU: u16 = 14 + 2 * 4 + 4;

/// That, and what af_packet has in front of a frame in its rings: it takes no buffers that are smaller than a slot there.
const AROUND_MTU_IN_SLOT: u16 = 128;

/// The longest frame that the buffers of a pool must hold for IP packets of up to `mtu` bytes: a frame is in one piece.
pub fn frame_bytes(mtu: u16) -> u16 {
    let needed = mtu.saturating_add(AROUND_MTU_IN_SLOT).min(FRAME_BYTES_MAX);
    needed.next_multiple_of(ROUNDED_TO).max(FRAME_BYTES)
}

/// The longest frame any buffer holds: some drivers take no larger ones.
pub const FRAME_BYTES_MAX: u16 = 15 * ROUNDED_TO;

/// The longest MTU that fits frames of so many bytes.
pub(super) fn mtu_max(frame_bytes: u16) -> u16 {
    frame_bytes.saturating_sub(AROUND_MTU)
}

/// A pool of frames; clones are handles to the same. Any thread may use it; those that are registered with EAL
/// have a cache in it.
///
/// When the last handle goes while frames are still out, the pool and EAL stay for the rest of the process: their
/// memory is somebody's.
#[derive(Clone)]
pub struct Mempool(Arc<Inner>);

impl Mempool {
    /// Makes a pool of `frames` frames of up to `frame_bytes` bytes (see [`frame_bytes`]), of which each registered thread
    /// may keep `cache` (up to 512, and less than 2/3 of `frames`) to itself. `frames` of 2ⁿ − 1 uses memory best.
    ///
    /// # Errors
    /// [`Error::Mempool`]: no memory, a name that is taken or too long (25 bytes), a cache out of range.
    pub fn new(eal: &Eal, name: &str, frames: u32, frame_bytes: u16, cache: u32) -> Result<Mempool, Error> {
        let name_c = c_string(name)?;
        let data_room = frame_bytes.min(FRAME_BYTES_MAX) + sys::GW_HEADROOM_BYTES;
        // SAFETY: EAL runs, which `eal` proves; the name is a C string, which DPDK copies.
        let raw =
            unsafe { sys::rte_pktmbuf_pool_create(name_c.as_ptr(), frames, cache, 0, data_room, ANY_SOCKET) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::Mempool {
            name: name.to_owned(),
            frames,
            errno: Errno::last(),
        })?;
        let (name_kept, eal) = (name.to_owned(), eal.clone());
        let pool = Mempool(Arc::new(Inner { raw, name: name_kept, capacity: frames, frame_bytes, eal }));
        let stride = pool.stride_bytes();
        if stride.is_multiple_of(SAME_CACHE_SET_BYTES) {
            log::warn!(
                "pool {name}: frames lie {stride} bytes apart, a multiple of {SAME_CACHE_SET_BYTES}: their headers \
                 compete for the same places in the CPU's cache, which costs throughput"
            );
        }
        Ok(pool)
    }

    /// How many frames the pool has in all.
    pub fn capacity(&self) -> u32 {
        self.0.capacity
    }

    /// The longest frame that fits one of them, in bytes.
    pub fn frame_bytes(&self) -> u16 {
        self.0.frame_bytes
    }

    /// How many frames nobody holds. Walks the caches of all threads, and is exact only while none of them works: for
    /// leak checks and status, not for the path.
    pub fn available(&self) -> u32 {
        self.0.available()
    }

    /// A new frame that holds a copy of `bytes`; `None` when the pool is empty or `bytes` do not fit.
    #[inline]
    pub fn frame(&self, bytes: &[u8]) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as `self`; it is safe for threads that EAL does not know.
        let raw = unsafe { sys::gw_mbuf_alloc(self.raw()) };
        // SAFETY: DPDK gave us this buffer, so nobody else holds it.
        let mut frame = unsafe { Mbuf::from_raw(NonNull::new(raw)?) };
        frame.fill(bytes).then_some(frame)
    }

    /// Bytes from one frame to the next, the buffer's own header included.
    pub fn stride_bytes(&self) -> u32 {
        // SAFETY: the pool lives as long as `self`; these of its fields never change.
        unsafe { sys::gw_mempool_stride(self.raw()) }
    }

    /// The pool as DPDK knows it, valid as long as `self`.
    pub(super) fn raw(&self) -> *mut sys::rte_mempool {
        self.0.raw.as_ptr()
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool").field("name", &self.0.name).field("capacity", &self.0.capacity).finish()
    }
}

/// How much memory pools of `frames` frames of up to `frame_bytes` bytes take in all, in bytes, rounded up; `hugepages`
/// says of which pages.
///
/// DPDK lets no frame cross a page that it fits into, so each takes pages of its own where those have 4 KiB. There all
/// headers compete for the same places in the CPU's first-level cache: one more reason for hugepages.
pub fn bytes_needed(frames: u32, frame_bytes: u16, hugepages: bool) -> u64 {
    let frames = u64::from(frames);
    let stride = u64::from(frame_bytes) + BESIDE_FRAME_BYTES_MAX;
    let each = if hugepages { stride } else { stride.next_multiple_of(ORDINARY_PAGE_BYTES) };
    // The free list is a ring of pointers, a power of two of them.
    frames * each + (frames + 1).next_power_of_two() * 8
}

struct Inner {
    raw: NonNull<sys::rte_mempool>,
    name: String,
    capacity: u32,
    frame_bytes: u16,
    eal: Eal,
}

// SAFETY: a mempool belongs to no thread; DPDK frees it on any.
unsafe impl Send for Inner {}
// SAFETY: what we call on a shared pool (allocate, free, count) DPDK allows to any number of threads at once.
unsafe impl Sync for Inner {}

impl Inner {
    fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as `self`.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let out = self.capacity.saturating_sub(self.available());
        if out > 0 {
            // A warning only: some drivers (af_xdp in 22.11) keep frames when they close.
            log::warn!("pool {}: {out} frames were not given back; its memory stays taken", self.name);
            std::mem::forget(self.eal.clone());
            return;
        }
        // SAFETY: all of its frames are back and the last handle is going, so nobody can use the pool any more.
        unsafe { sys::rte_mempool_free(self.raw.as_ptr()) }
    }
}

/// `SOCKET_ID_ANY`: the memory of the calling thread's NUMA node if there is any.
const ANY_SOCKET: i32 = -1;

/// A frame's header, its headroom and what the pool puts between them, 320 bytes with DPDK 22.11 to 25.11; and a
/// little more, because frames do not cross hugepages either.
const BESIDE_FRAME_BYTES_MAX: u64 = 512;

/// Of most CPUs. Where pages are larger, several frames share one and take less.
const ORDINARY_PAGE_BYTES: u64 = 4096;

/// The reach of one way of a first-level cache with 32 sets or more of 64 bytes.
const SAME_CACHE_SET_BYTES: u32 = 2048;
