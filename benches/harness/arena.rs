//! Frames in one large block of memory, spaced and shaped as DPDK's default pool does it: a header of two
//! cache lines that says where the data is, headroom, data; 2368 bytes from one frame to the next.

use std::ops::{DerefMut, Range};

use guideway::io::{BURST_MAX, Frame, PortId, Queues};
use memmap2::{Advice, MmapMut, MmapOptions};

/// 64 bytes of object header, 128 of `rte_mbuf`, 2176 of buffer.
pub const STRIDE: usize = 2368;
/// Where the fields of `rte_mbuf` lie that a driver fills and the path reads.
const DATA_OFFSET_AT: usize = 64 + 16;
const DATA_LEN_AT: usize = 64 + 40;
/// Data begins after the headers and DPDK's 128 bytes of headroom. What stands in the header here counts from
/// the slot's start, which is where an mbuf's own address takes us.
const DATA_START: u16 = 64 + 128 + 128;

/// A slot of the arena.
pub struct ArenaFrame<S = &'static mut [u8; STRIDE]>(S);

impl<S: DerefMut<Target = [u8; STRIDE]> + Send> ArenaFrame<S> {
    /// An empty frame in `slot`.
    pub fn new(slot: S) -> Self {
        Self(slot)
    }

    #[inline(always)]
    fn field(&self, at: usize) -> usize {
        usize::from(u16::from_ne_bytes([self.0[at], self.0[at + 1]]))
    }

    /// Where in the slot the data is: read from the header, as of an mbuf.
    #[inline(always)]
    fn place(&self) -> Range<usize> {
        let start = self.field(DATA_OFFSET_AT);
        start..start + self.field(DATA_LEN_AT)
    }

    #[inline(always)]
    fn set_place(&mut self, place: Range<usize>) {
        self.set(DATA_OFFSET_AT, place.start);
        self.set(DATA_LEN_AT, place.len());
    }

    #[inline(always)]
    fn set(&mut self, at: usize, value: usize) {
        [self.0[at], self.0[at + 1]] = (value as u16).to_ne_bytes();
    }

    /// Has the frame hold `bytes`, as a network card writes them.
    pub fn fill(&mut self, bytes: &[u8]) {
        let start = usize::from(DATA_START);
        self.set_place(start..start + bytes.len());
        self.bytes_mut().copy_from_slice(bytes);
    }
}

impl<S: DerefMut<Target = [u8; STRIDE]> + Send> Frame for ArenaFrame<S> {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.0[self.place()]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let place = self.place();
        &mut self.0[place]
    }

    fn fill(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.0.len() - usize::from(DATA_START);
        if fits {
            Self::fill(self, bytes);
        }
        fits
    }

    fn grow(&mut self, len: usize) -> bool {
        let place = self.place();
        let fits = place.start >= 192 + len;
        if fits {
            self.set_place(place.start - len..place.end);
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        let place = self.place();
        self.set_place(place.start..place.end.min(place.start + len));
    }

    #[inline(always)]
    fn put_in_front(&mut self, added: usize, kept: usize) -> Option<&mut [u8]> {
        let (start, len) = (self.field(DATA_OFFSET_AT), self.field(DATA_LEN_AT));
        if start < 192 + added || kept > len {
            return None;
        }
        let (start, len) = (start - added, added + kept);
        self.set(DATA_OFFSET_AT, start);
        self.set(DATA_LEN_AT, len);
        self.0.get_mut(start..start + len)
    }

    fn shrink(&mut self, len: usize) -> bool {
        let place = self.place();
        let fits = len <= place.len();
        if fits {
            self.set_place(place.start + len..place.end);
        }
        fits
    }

    #[inline(always)]
    fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            safe_arch::prefetch_t0(&self.0[64]);
            safe_arch::prefetch_t0(&self.0[usize::from(DATA_START)]);
        }
    }
}

/// A ring of frames, handed out in bursts and always in the same order, as a driver's.
pub struct ArenaQueues {
    /// The bursts that wait, and those that were handed out: a receive copies its pointers and no more.
    bursts: Vec<Vec<ArenaFrame>>,
    next: usize,
    /// The port whose receive queue this is.
    port: PortId,
    done: Vec<ArenaFrame>,
}

impl ArenaQueues {
    /// Not more than `frames`, at `port`.
    pub fn new(frames: usize, port: PortId) -> Self {
        let memory: &'static mut MmapMut = Box::leak(Box::new(memory(frames * STRIDE)));
        let done = memory.as_chunks_mut::<STRIDE>().0.iter_mut().take(frames).map(ArenaFrame).collect();
        let burst = || Vec::with_capacity(BURST_MAX);
        Self { bursts: (0..frames.div_ceil(BURST_MAX)).map(|_| burst()).collect(), next: 0, port, done }
    }

    /// The next `count` frames wait, each filled anew. Returns how many bursts they are.
    pub fn refill(&mut self, count: usize, mut fill: impl FnMut(&mut ArenaFrame)) -> usize {
        assert!(self.bursts.iter().all(Vec::is_empty), "there are frames that nobody took");
        for (i, mut frame) in self.done.drain(..count).enumerate() {
            fill(&mut frame);
            self.bursts[i / BURST_MAX].push(frame);
        }
        self.next = 0;
        count.div_ceil(BURST_MAX)
    }

    /// How many frames do not wait: those sent and those not yet filled.
    pub fn at_rest(&self) -> usize {
        self.done.len()
    }
}

/// On large pages where the system has them, as DPDK's pools are, and aligned to a page in any case: so
/// every frame begins with a cache line.
fn memory(len_bytes: usize) -> MmapMut {
    const LARGE_PAGE: usize = 2 << 20;
    let memory = MmapOptions::new().len(len_bytes.next_multiple_of(LARGE_PAGE)).map_anon().unwrap();
    // Advice only: without it the figures of large rings are a little higher.
    let _ = memory.advise(Advice::HugePage);
    memory
}

impl Queues for ArenaQueues {
    type Frame = ArenaFrame;

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<ArenaFrame>) -> u64 {
        if port == self.port
            && let Some(frames) = self.bursts.get_mut(self.next)
        {
            burst.append(frames);
            self.next += 1;
        }
        0
    }

    #[inline]
    fn transmit(&mut self, _port: PortId, burst: &mut Vec<ArenaFrame>) {
        self.done.append(burst);
    }

    fn can_transmit(&self, _port: PortId) -> bool {
        true
    }

    fn new_frame(&mut self, _bytes: &[u8]) -> Option<ArenaFrame> {
        None
    }
}
