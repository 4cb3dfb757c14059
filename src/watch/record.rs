//! What a worker writes down of a frame.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::Frontend;
use crate::drop_reason::DropReason;
use crate::io::PortId;
use crate::wire::MacAddr;

/// A frame, as much as is kept of it, and what is said of it.
pub struct Record {
    /// What is said of it.
    pub about: About,
    bytes: Vec<u8>,
}

/// What is said of a frame.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// When, since 1970: one look at the clock a burst.
    pub at: Duration,
    /// By which port it came in or left.
    pub port: PortId,
    /// Which of the two.
    pub direction: Direction,
    /// Who worked on it.
    pub worker: u8,
    /// Whether another worker had received it, and handed it over.
    pub was_handed_over: bool,
    /// Its whole length.
    pub len: usize,
    /// What became of it.
    pub end: End,
    /// The flow it is part of, if any.
    pub flow: Option<FlowStory>,
    /// What it said when it left.
    pub rewritten: Option<Rewritten>,
}

/// Which way a frame went through a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// In.
    Received,
    /// Out.
    Sent,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It went on by this port, out of this worker's queue.
    Forwarded(PortId, u8),
    /// It became an answer, which left by this port, out of this worker's queue.
    Answered(PortId, u8),
    /// It was for the management thread.
    Controlled,
    /// Another worker has it.
    HandedOver,
    /// It was not sent on.
    Dropped(DropReason),
    /// Nobody has sent it to us: it is our own.
    Originated,
}

/// The flow that a frame is part of.
#[derive(Clone, Copy, Debug)]
pub struct FlowStory {
    /// The rule's frontend.
    pub frontend: Frontend,
    /// The backend that the worker sent it to, or that it came from.
    pub backend: Option<SocketAddr>,
    /// Whether it came from the backend. All below is for what came from the client.
    pub is_response: bool,
    /// The flow's entry in the worker's table before the burst.
    pub before: Option<Entry>,
    /// And after it.
    pub after: Option<Entry>,
    /// Whether its QUIC connection id has named the backend.
    pub by_server_id: bool,
    /// Whom the hash chooses.
    pub choice: Option<Chosen>,
    /// The neighbour that the frame is handed to.
    pub next_hop: Option<IpAddr>,
}

/// An entry of the flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where the flow goes.
    pub backend: Option<SocketAddr>,
    /// How far it has come.
    pub state: FlowState,
}

/// How far a flow has come. `docs/ARCHITECTURE.md` says what leads to each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the states of the flow table")]
pub enum FlowState {
    HalfOpen,
    Fresh,
    Established,
    Closing,
    /// Idle for longer than it may be.
    Over,
}

/// Whom the hash chooses for a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// Over the fields of the distribution.
    pub hash: u64,
    /// Of the Maglev table.
    pub slot: usize,
    /// Its slots.
    pub table_len: usize,
    /// Who sits there.
    pub backend: Option<SocketAddr>,
}

/// The addresses of a frame when it left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// The station it was sent to.
    pub to_mac: MacAddr,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// Hops left.
    pub ttl: u8,
}

impl Record {
    pub(super) fn with_room(snaplen: usize) -> Self {
        let about = About {
            at: Duration::ZERO,
            port: PortId(0),
            direction: Direction::Received,
            worker: 0,
            was_handed_over: false,
            len: 0,
            end: End::Controlled,
            flow: None,
            rewritten: None,
        };
        // Written to once, so that it is the management thread that waits for the pages. Zeros would not be written.
        let mut bytes = vec![u8::MAX; snaplen];
        bytes.clear();
        Self { about, bytes }
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// Keeps as much of `frame` as there is room for.
    pub fn keep(&mut self, frame: &[u8]) {
        self.bytes.clear();
        let len = frame.len().min(self.bytes.capacity());
        self.bytes.extend_from_slice(frame.get(..len).unwrap_or_default());
    }

    /// What is kept of the frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
