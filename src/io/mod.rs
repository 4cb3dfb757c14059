//! What the dataplane asks of the world of drivers: an owned frame, and the queues one worker owns.
//!
//! DPDK implements these traits behind its fence (`dpdk`); `memory` implements them on plain bytes, for
//! captures, tests and benches. The pipeline is generic over them and cannot tell which it runs on.

pub mod capture;
pub mod memory;
pub mod tagged;

/// A port of the load balancer: its position in the configuration, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u8);

impl PortId {
    /// The id as an index into per-port arrays.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The most ports one process drives. Bounds every per-port array.
pub const PORTS_MAX: usize = 16;

/// Frames taken from a queue at once: enough for the memory accesses of a stage to overlap, and no more than
/// common drivers give.
pub const BURST_MAX: usize = 64;

/// One Ethernet frame, owned by whoever holds it; dropping it gives its memory back.
pub trait Frame: Send {
    /// The frame, from the first byte of the Ethernet header, without the frame check sequence.
    fn bytes(&self) -> &[u8];
    /// The same bytes, writable.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes the frame a copy of `bytes`. False, and the frame is unchanged, where they do not fit.
    fn fill(&mut self, bytes: &[u8]) -> bool;
    /// Adds `len` bytes in front of the first, of no particular content. False, and the frame is unchanged, where there
    /// is no room: drivers leave 128 bytes.
    fn grow(&mut self, len: usize) -> bool;
    /// Takes `len` bytes off the front. False, and the frame is unchanged, where there are not so many.
    fn shrink(&mut self, len: usize) -> bool;
    /// Leaves off what lies behind the first `len` bytes.
    fn truncate(&mut self, len: usize);
    /// Adds `added` bytes in front, of no particular content, leaves off what lies behind the first `kept` of those that
    /// were there, and returns them all. `None`, and the frame is unchanged, where there is no room, or are not so many.
    #[inline]
    fn put_in_front(&mut self, added: usize, kept: usize) -> Option<&mut [u8]> {
        if kept > self.bytes().len() || !self.grow(added) {
            return None;
        }
        self.truncate(added + kept);
        Some(self.bytes_mut())
    }
    /// Asks the memory for what will be looked at first. Looks at nothing itself.
    #[inline(always)]
    fn prefetch(&self) {}
}

/// The queues one worker owns, of every port. Never blocks.
pub trait Queues {
    /// What comes out of the receive queues and goes into the transmit queues.
    type Frame: Frame;

    /// Appends the frames that wait at `port` for this worker to `burst`, at most up to a length of
    /// [`BURST_MAX`]. Returns how many more there were that could not be used, for a driver delivered
    /// them in several pieces.
    fn receive(&mut self, port: PortId, burst: &mut Vec<Self::Frame>) -> u64;

    /// Sends frames from the front of `burst`, in order. Those the queue cannot take stay in it.
    fn transmit(&mut self, port: PortId, burst: &mut Vec<Self::Frame>);

    /// Whether this worker owns a transmit queue of `port`. Where it does not, it gives its frames to a
    /// worker that does.
    fn can_transmit(&self, port: PortId) -> bool;

    /// A new frame holding a copy of `bytes`; `None` when memory has run out or `bytes` do not fit.
    fn new_frame(&mut self, bytes: &[u8]) -> Option<Self::Frame>;
}
