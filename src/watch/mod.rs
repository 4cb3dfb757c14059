//! Watches: what an operator wants to see of the packets while they pass. The management thread makes one and publishes
//! it with a snapshot; workers fill its records; the management thread reads them.
//!
//! All memory a watch needs is made with it. A worker takes an empty record, fills it, and puts it into a bounded queue;
//! where there is none left it counts a lost one and goes on.

mod filter;
mod record;

pub use filter::{DropSet, Ends, Filter, packet_in};
pub use record::{About, Chosen, Direction, End, Entry, FlowState, FlowStory, Record, Rewritten};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::io::{PORTS_MAX, PortId};

/// Watches at once.
pub const WATCHES_MAX: usize = 4;

/// Bytes of the frames that one watch can hold at once, and a little more for what is said of each.
pub const BYTES_MAX: usize = 8 << 20;

/// Bytes kept of each frame, at most: more than any driver delivers in one piece.
pub const SNAPLEN_MAX: usize = 9728;

/// Records at once, whatever little each keeps of a frame.
const RECORDS_MAX: usize = 8192;

/// One watch. Shared by the workers, who write, and the management thread, who reads.
pub struct Watch {
    /// Which frames are wanted.
    pub filter: Filter,
    wants_sent: bool,
    empty: ArrayQueue<Box<Record>>,
    filled: ArrayQueue<Box<Record>>,
    /// Records for which there was no room, by port.
    lost: [AtomicU64; PORTS_MAX],
    has_ended: AtomicBool,
}

impl Watch {
    /// A watch that keeps `snaplen` bytes of each frame that passes `filter`, and of what was sent on account of it if
    /// `wants_sent`.
    pub fn new(filter: Filter, snaplen: usize, wants_sent: bool) -> Self {
        let snaplen = snaplen.clamp(1, SNAPLEN_MAX);
        let len = (BYTES_MAX / (snaplen + size_of::<Record>())).clamp(1, RECORDS_MAX);
        let empty = ArrayQueue::new(len);
        // There is room for all of them.
        (0..len).for_each(|_| drop(empty.push(Box::new(Record::with_room(snaplen)))));
        Self {
            // What is dropped is not sent.
            wants_sent: wants_sent && filter.drops.is_none(),
            filter,
            empty,
            filled: ArrayQueue::new(len),
            lost: std::array::from_fn(|_| AtomicU64::new(0)),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Whether frames that leave are wanted as well.
    pub fn wants_sent(&self) -> bool {
        self.wants_sent
    }

    /// An empty record, if there is one left.
    pub fn take(&self) -> Option<Box<Record>> {
        self.empty.pop()
    }

    /// Gives a record back, to be filled anew.
    pub fn give_back(&self, record: Box<Record>) {
        // There are as many places as records.
        drop(self.empty.push(record));
    }

    /// Hands a filled record to the reader.
    pub fn hand_in(&self, record: Box<Record>) {
        drop(self.filled.push(record));
    }

    /// Counts a record for which there was no room.
    pub fn lose(&self, port: PortId) {
        if let Some(lost) = self.lost.get(port.index()) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next filled record. To be given back.
    pub fn next(&self) -> Option<Box<Record>> {
        self.filled.pop()
    }

    /// How many records of a port were lost.
    pub fn lost(&self, port: PortId) -> u64 {
        self.lost.get(port.index()).map_or(0, |lost| lost.load(Ordering::Relaxed))
    }

    /// From now on nothing is wanted any more.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_whatever_the_snaplen() {
        for snaplen in [0, 1, 64, 2048, SNAPLEN_MAX, usize::MAX] {
            let watch = Watch::new(Filter::default(), snaplen, true);
            let records: Vec<_> = std::iter::from_fn(|| watch.take()).collect();
            let bytes: usize = records.iter().map(|record| record.room() + size_of::<Record>()).sum();
            assert!(bytes <= BYTES_MAX && (64..=RECORDS_MAX).contains(&records.len()), "{snaplen}: {bytes}");
            records.into_iter().for_each(|record| watch.hand_in(record));
            assert!(watch.take().is_none() && watch.next().is_some());
        }
    }

    /// Pages of memory that this thread has waited for so far.
    fn page_faults() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The eighth after the name, which may have spaces in it.
        text.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn whoever_fills_records_does_not_wait_for_memory() {
        page_faults();
        // The largest first: what one has freed is no new memory to the next.
        for snaplen in [SNAPLEN_MAX, 2048, 64] {
            let frame = vec![7; snaplen];
            let watch = Watch::new(Filter::default(), snaplen, true);
            let before = page_faults();
            while let Some(mut record) = watch.take() {
                record.keep(&frame);
                watch.hand_in(record);
            }
            let faults = page_faults() - before;
            assert!(faults < 20, "snaplen {snaplen}: {faults} faults");
        }
    }
}
