//! The fence: DPDK behind safe types. The only folder where `unsafe` compiles.
//!
//! Outside of it the dataplane knows two traits ([`crate::io::Frame`] and [`crate::io::Queues`]) and cannot tell
//! DPDK from plain memory. Inside, these promises make the calls into C sound:
//!
//! - **EAL first, and longest.** [`eal::Eal`] is the proof that EAL runs. Whatever lives in its memory holds a
//!   handle, so EAL is cleaned up after the last of them.
//! - **A frame has one owner.** An [`mbuf::Mbuf`] is the only pointer to its buffer. Receiving makes it, sending
//!   gives it to the driver, dropping it gives it back to its pool. A pool that does not have all of its frames
//!   back is never freed.
//! - **A queue has one owner.** [`queue::split`] gives each queue of a port to one [`queue::WorkerQueues`], once.
//!   DPDK's queues are not safe for two threads; with one owner they need not be.
//! - **Control is one at a time.** Opening and closing ports goes through one lock, because DPDK's device lists
//!   have none that suffices. The lock is not on the path.
//!
//! A frame is always one segment: ports are opened without scattered receive and with an MTU that fits a buffer. A
//! driver that chains segments all the same has its frame dropped and counted.

#![allow(unsafe_code)]

pub mod eal;
pub mod mbuf;
pub mod mempool;
pub mod port;
pub mod queue;
pub mod ring_port;

mod arguments;
mod device;
mod error;
mod offload;
#[cfg(test)]
mod tests;

pub use error::{Errno, Error};
