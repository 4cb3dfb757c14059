//! One frame in DPDK's memory.

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys as sys;

use crate::io::Frame;

/// One Ethernet frame in one buffer of a pool; dropping it gives the buffer back.
///
/// As large as a pointer and laid out like one, so that a `Vec<Mbuf>` is the array that DPDK's bursts want.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::gw_mbuf>);

// SAFETY: the buffer is in shared memory and has this one owner; DPDK frees it on any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// # Safety
    /// `raw` is a live mbuf of one reference, whose data lies in its own buffer, and no one else holds it.
    #[inline]
    pub(super) unsafe fn from_raw(raw: NonNull<sys::gw_mbuf>) -> Mbuf {
        Mbuf(raw)
    }

    /// The buffer, which is the caller's now.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<sys::gw_mbuf> {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }

    /// Whether [`Frame::bytes`] is all there is.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.header().nb_segs == 1
    }

    #[inline]
    fn header(&self) -> &sys::gw_mbuf {
        // SAFETY: `self` owns a live mbuf, which begins with these fields (asserted in shim.c), aligned to 64 bytes.
        unsafe { self.0.as_ref() }
    }

    /// Has the data begin and end elsewhere in the buffer. The caller has seen to it that it stays within.
    #[inline]
    fn place(&mut self, offset: u16, len: u16) {
        // SAFETY: `self` owns the mbuf alone, so that nobody else reads or writes its header.
        let header = unsafe { self.0.as_mut() };
        header.data_off = offset;
        header.data_len = len;
        header.pkt_len = u32::from(len);
    }

    #[inline]
    fn data(&self) -> *mut u8 {
        let header = self.header();
        header.buf_addr.cast::<u8>().wrapping_add(usize::from(header.data_off))
    }
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: DPDK keeps data_off + data_len within the buffer, and so do all who `place` it; the buffer lives as long
        // as its owner `self`, through which alone it can be written.
        unsafe { slice::from_raw_parts(self.data(), usize::from(self.header().data_len)) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.data(), usize::from(self.header().data_len)) }
    }

    #[inline]
    fn fill(&mut self, bytes: &[u8]) -> bool {
        let header = self.header();
        let room = header.buf_len.saturating_sub(header.data_off);
        let Ok(len) = u16::try_from(bytes.len()) else { return false };
        if len > room {
            return false;
        }
        self.place(header.data_off, len);
        self.bytes_mut().copy_from_slice(bytes);
        true
    }

    #[inline]
    fn grow(&mut self, len: usize) -> bool {
        let header = self.header();
        let (offset, old) = (header.data_off, header.data_len);
        let Some((len, offset)) =
            u16::try_from(len).ok().and_then(|len| Some((old.checked_add(len)?, offset.checked_sub(len)?)))
        else {
            return false;
        };
        self.place(offset, len);
        true
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        let header = self.header();
        let (offset, old) = (header.data_off, header.data_len);
        self.place(offset, len.min(old.into()) as u16);
    }

    #[inline]
    fn put_in_front(&mut self, added: usize, kept: usize) -> Option<&mut [u8]> {
        let header = self.header();
        let (added, kept) = (u16::try_from(added).ok()?, u16::try_from(kept).ok()?);
        let offset = header.data_off.checked_sub(added)?;
        let len = added.checked_add(kept).filter(|_| kept <= header.data_len)?;
        self.place(offset, len);
        Some(self.bytes_mut())
    }

    #[inline]
    fn shrink(&mut self, len: usize) -> bool {
        let header = self.header();
        let (offset, old) = (header.data_off, header.data_len);
        let Some((len, offset)) =
            u16::try_from(len).ok().and_then(|len| Some((old.checked_sub(len)?, offset.checked_add(len)?)))
        else {
            return false;
        };
        self.place(offset, len);
        true
    }

    /// The header, and where the data of a received frame begins in a pool of ours: the drivers fill buffers
    /// from the end of the headroom on.
    #[inline(always)]
    fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            const DATA_AT: usize = (sys::GW_MBUF_BYTES + sys::GW_HEADROOM_BYTES) as usize;
            let header = self.0.as_ptr().cast::<i8>().cast_const();
            // SAFETY: a prefetch of any address is allowed; it changes nothing but what is in the caches.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(header) };
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(header.wrapping_add(DATA_AT)) };
        }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `self` owns the mbuf and is going; its pool is there as long as frames of it are out.
        unsafe { sys::gw_mbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf").field("bytes", &self.bytes().len()).finish()
    }
}
