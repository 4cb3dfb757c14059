//! Frames in one large block of memory, spaced and shaped as DPDK's default pool does it: a header of two
//! cache lines that says where the data is, headroom, data; 2368 bytes from one frame to the next.

use std::ops::Range;

use guideway::io::{BURST_MAX, Frame, PortId, Queues};

/// 64 bytes of object header, 128 of `rte_mbuf`, 2176 of buffer.
pub const STRIDE: usize = 2368;
/// Where the fields of `rte_mbuf` lie that a driver fills and the path reads.
const DATA_OFFSET_AT: usize = 64 + 16;
const DATA_LEN_AT: usize = 64 + 40;
/// The headers end here.
const BUFFER_AT: usize = 64 + 128;
/// Data begins after DPDK's 128 bytes of headroom.
const DATA_OFFSET: u16 = 128;

/// A slot of the arena.
pub struct ArenaFrame(&'static mut [u8; STRIDE]);

impl ArenaFrame {
    #[inline(always)]
    fn field(&self, at: usize) -> usize {
        usize::from(u16::from_ne_bytes([self.0[at], self.0[at + 1]]))
    }

    /// Where the data is: read from the header, as of an mbuf.
    #[inline(always)]
    fn place(&self) -> Range<usize> {
        let start = BUFFER_AT + self.field(DATA_OFFSET_AT);
        start..start + self.field(DATA_LEN_AT)
    }

    /// Has the frame hold `bytes`, as a network card writes them.
    pub fn fill(&mut self, bytes: &[u8]) {
        let start = BUFFER_AT + usize::from(DATA_OFFSET);
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        self.0[DATA_OFFSET_AT..DATA_OFFSET_AT + 2].copy_from_slice(&DATA_OFFSET.to_ne_bytes());
        self.0[DATA_LEN_AT..DATA_LEN_AT + 2].copy_from_slice(&(bytes.len() as u16).to_ne_bytes());
    }
}

impl Frame for ArenaFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.0[self.place()]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let place = self.place();
        &mut self.0[place]
    }
}

/// A ring of frames, in bursts, as a driver hands them out.
pub struct ArenaQueues {
    waiting: Vec<Vec<ArenaFrame>>,
    /// The port whose receive queue this is.
    port: PortId,
    done: Vec<ArenaFrame>,
}

impl ArenaQueues {
    pub fn new(frames: usize, port: PortId) -> Self {
        let memory: &'static mut [u8] = Vec::leak(vec![0; frames * STRIDE]);
        let done = memory.as_chunks_mut::<STRIDE>().0.iter_mut().map(ArenaFrame).collect();
        Self { waiting: Vec::with_capacity(frames / BURST_MAX + 1), port, done }
    }

    /// All frames wait again, each filled anew.
    pub fn refill(&mut self, fill: impl FnMut(&mut ArenaFrame)) {
        self.done.iter_mut().for_each(fill);
        self.waiting.clear();
        while !self.done.is_empty() {
            self.waiting.push(self.done.split_off(self.done.len().saturating_sub(BURST_MAX)));
        }
    }

    pub fn sent(&self) -> &[ArenaFrame] {
        &self.done
    }
}

impl Queues for ArenaQueues {
    type Frame = ArenaFrame;

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<ArenaFrame>) -> u64 {
        if port == self.port
            && let Some(mut frames) = self.waiting.pop()
        {
            burst.append(&mut frames);
            // Kept, for to free it would be counted as the path's work.
            std::mem::forget(frames);
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
