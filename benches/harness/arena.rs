//! Frames in one large block of memory, spaced and shaped as DPDK's default pool does it: a header of two
//! cache lines that says where the data is, headroom, data; 2368 bytes from one frame to the next.

use std::ops::Range;

use guideway::io::{BURST_MAX, Frame, PortId, Queues};

/// A slot of the arena: the object's header, two cache lines of `rte_mbuf`, and the buffer. 2368 bytes.
#[repr(C, align(64))]
#[derive(Clone)]
struct Slot {
    object: [u8; 64],
    /// What a driver fills and the path reads, at the offsets of `rte_mbuf`.
    before_offset: [u8; 16],
    data_offset: u16,
    before_len: [u8; 22],
    data_len: u16,
    rest: [u8; 86],
    buffer: [u8; 2176],
}

const _: () = assert!(size_of::<Slot>() == 2368, "as rte_pktmbuf_pool_create spaces its buffers");

/// Data begins after DPDK's 128 bytes of headroom.
const HEADROOM: u16 = 128;

/// One frame, in its slot.
pub struct ArenaFrame(&'static mut Slot);

impl ArenaFrame {
    /// Where the data is: read from the header, as of an mbuf.
    #[inline(always)]
    fn place(&self) -> Range<usize> {
        let start = usize::from(self.0.data_offset);
        start..start + usize::from(self.0.data_len)
    }

    /// Has the frame hold `bytes`, as a network card writes them.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.0.data_offset = HEADROOM;
        self.0.data_len = bytes.len() as u16;
        self.bytes_mut().copy_from_slice(bytes);
    }
}

impl Frame for ArenaFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.0.buffer[self.place()]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let place = self.place();
        &mut self.0.buffer[place]
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
        let empty = Slot {
            object: [0; 64],
            before_offset: [0; 16],
            data_offset: 0,
            before_len: [0; 22],
            data_len: 0,
            rest: [0; 86],
            buffer: [0; 2176],
        };
        let done = Vec::leak(vec![empty; frames]).iter_mut().map(ArenaFrame).collect();
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
