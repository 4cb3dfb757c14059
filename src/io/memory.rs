//! Frames on the heap and queues in memory: for captures, tests and benches.

use std::collections::VecDeque;

use super::{BURST_MAX, Frame, PortId, Queues};

/// A frame in a vector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeapFrame(pub Vec<u8>);

impl Frame for HeapFrame {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn fill(&mut self, bytes: &[u8]) -> bool {
        self.0.clear();
        self.0.extend_from_slice(bytes);
        true
    }

    fn grow(&mut self, len: usize) -> bool {
        self.0.splice(..0, std::iter::repeat_n(0, len));
        true
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn shrink(&mut self, len: usize) -> bool {
        let fits = len <= self.0.len();
        if fits {
            self.0.drain(..len);
        }
        fits
    }
}

/// The queues of one worker: what is put in is received, what was transmitted can be taken out.
#[derive(Default)]
pub struct MemoryQueues {
    incoming: Vec<VecDeque<HeapFrame>>,
    outgoing: Vec<Vec<HeapFrame>>,
}

impl MemoryQueues {
    /// For so many ports.
    pub fn new(ports: usize) -> Self {
        Self { incoming: vec![VecDeque::new(); ports], outgoing: vec![Vec::new(); ports] }
    }

    /// Has `frame` arrive at `port`.
    pub fn push(&mut self, port: PortId, frame: Vec<u8>) {
        if let Some(queue) = self.incoming.get_mut(port.index()) {
            queue.push_back(HeapFrame(frame));
        }
    }

    /// Takes what left by `port`, in order.
    pub fn sent(&mut self, port: PortId) -> impl Iterator<Item = Vec<u8>> {
        let frames = self.outgoing.get_mut(port.index()).map(std::mem::take).unwrap_or_default();
        frames.into_iter().map(|frame| frame.0)
    }
}

impl Queues for MemoryQueues {
    type Frame = HeapFrame;

    fn receive(&mut self, port: PortId, burst: &mut Vec<HeapFrame>) -> u64 {
        if let Some(queue) = self.incoming.get_mut(port.index()) {
            let room = BURST_MAX.saturating_sub(burst.len()).min(queue.len());
            burst.extend(queue.drain(..room));
        }
        0
    }

    fn transmit(&mut self, port: PortId, burst: &mut Vec<HeapFrame>) {
        if let Some(queue) = self.outgoing.get_mut(port.index()) {
            queue.append(burst);
        }
    }

    fn can_transmit(&self, _port: PortId) -> bool {
        true
    }

    fn new_frame(&mut self, bytes: &[u8]) -> Option<HeapFrame> {
        Some(HeapFrame(bytes.to_vec()))
    }
}
