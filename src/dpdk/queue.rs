//! The queues one worker owns: the way in and the way out of the dataplane.

use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;

use super::device::OpenPort;
use super::error::Error;
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use super::port::Port;
use crate::io::{BURST_MAX, PortId, Queues};

/// Gives the queues of `ports` to `workers` workers, one element each: receive queue *q* to worker *q* modulo
/// `workers`, transmit queue *q* to worker *q*. New frames come from `pool`.
///
/// Each port can be split once. The port stays open until its workers' queues are gone too.
///
/// # Errors
/// [`Error::QueuesTaken`], [`Error::PortIdTwice`]; then no port has been split that was not before.
pub fn split(ports: &[Port], workers: u16, pool: &Mempool) -> Result<Vec<WorkerQueues>, Error> {
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].iter().any(|before| before.id() == port.id()) {
            return Err(Error::PortIdTwice { port: port.name().to_owned() });
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if !port.take_queues() {
            ports[..index].iter().for_each(Port::give_queues_back);
            return Err(Error::QueuesTaken { port: port.name().to_owned() });
        }
    }
    Ok((0..workers).map(|worker| WorkerQueues::new(ports, worker, workers, pool)).collect())
}

/// The queues one worker owns, of every port. Made by [`split`].
#[derive(Debug)]
pub struct WorkerQueues {
    /// By [`PortId`].
    ports: Vec<Option<PortQueues>>,
    pool: Mempool,
}

impl WorkerQueues {
    fn new(ports: &[Port], worker: u16, workers: u16, pool: &Mempool) -> WorkerQueues {
        let len = ports.iter().map(|port| port.id().index() + 1).max().unwrap_or(0);
        let mut queues: Vec<Option<PortQueues>> = Vec::new();
        queues.resize_with(len, || None);
        for port in ports {
            queues[port.id().index()] = Some(PortQueues {
                dpdk_id: port.dpdk_id(),
                receive: (0..port.rx_queues()).filter(|queue| queue % workers == worker).collect(),
                next: 0,
                transmit: (worker < port.tx_queues()).then_some(worker),
                _open: port.open_port(),
            });
        }
        WorkerQueues { ports: queues, pool: pool.clone() }
    }

    #[inline]
    fn port(&mut self, port: PortId) -> Option<&mut PortQueues> {
        self.ports.get_mut(port.index())?.as_mut()
    }
}

impl Queues for WorkerQueues {
    type Frame = Mbuf;

    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Vec<Mbuf>) -> u64 {
        let first = burst.len();
        let Some(queues) = self.port(port) else { return 0 };
        queues.receive(burst);
        if burst[first..].iter().all(Mbuf::is_whole) { 0 } else { drop_segmented(burst, first) }
    }

    #[inline]
    fn transmit(&mut self, port: PortId, burst: &mut Vec<Mbuf>) {
        if let Some(queues) = self.port(port) {
            queues.transmit(burst);
        }
    }

    #[inline]
    fn can_transmit(&self, port: PortId) -> bool {
        self.ports.get(port.index()).and_then(Option::as_ref).is_some_and(|queues| queues.transmit.is_some())
    }

    #[inline]
    fn new_frame(&mut self, bytes: &[u8]) -> Option<Mbuf> {
        self.pool.frame(bytes)
    }
}

/// Drops those of `burst` from `first` on that are not whole, and says how many. Not on the path of any driver that
/// keeps to the port's configuration.
#[cold]
fn drop_segmented(burst: &mut Vec<Mbuf>, first: usize) -> u64 {
    let len = burst.len();
    let mut index = 0;
    burst.retain(|frame| {
        index += 1;
        index <= first || frame.is_whole()
    });
    (len - burst.len()) as u64
}

/// One worker's queues of one port. No two of them name the same queue, which is what makes polling sound.
#[derive(Debug)]
struct PortQueues {
    dpdk_id: u16,
    receive: Vec<u16>,
    /// The position in `receive` to poll first, so that no queue waits for another one for ever.
    next: usize,
    transmit: Option<u16>,
    /// Keeps the port open.
    _open: Arc<OpenPort>,
}

impl PortQueues {
    /// Fills `burst` up to [`BURST_MAX`], polling each queue once at most.
    #[inline]
    fn receive(&mut self, burst: &mut Vec<Mbuf>) {
        for _ in 0..self.receive.len() {
            let room = BURST_MAX.saturating_sub(burst.len());
            if room == 0 {
                return;
            }
            let queue = self.receive[self.next];
            self.next = if self.next + 1 == self.receive.len() { 0 } else { self.next + 1 };
            self.receive_from(queue, burst, room);
        }
    }

    /// Appends up to `room` frames of `queue`. `room` is [`BURST_MAX`] at most.
    #[inline]
    fn receive_from(&mut self, queue: u16, burst: &mut Vec<Mbuf>, room: usize) {
        burst.reserve(room); // does nothing for bursts that are made with a capacity of BURST_MAX
        let spare = burst.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: `spare` has room for `room` pointers, and `Mbuf` is `repr(transparent)` over one; the port is open
        // and started, and this worker is the one to poll `queue`.
        let received = unsafe { sys::gw_rx_burst(self.dpdk_id, queue, spare, room as u16) };
        let len = burst.len() + usize::from(received);
        // SAFETY: the driver has written `received` pointers to mbufs that are ours now; they are not null.
        unsafe { burst.set_len(len) }
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Vec<Mbuf>) {
        let Some(queue) = self.transmit else { return };
        let frames: *mut *mut sys::gw_mbuf = burst.as_mut_ptr().cast();
        let len = u16::try_from(burst.len()).unwrap_or(u16::MAX);
        // SAFETY: `frames` points to at least `len` mbufs that are ours; the port is open and started, and this
        // worker is the one to use `queue`.
        let sent = unsafe { sys::gw_tx_burst(self.dpdk_id, queue, frames, len) };
        // The driver owns these; forgetting them is what keeps us from freeing them twice.
        burst.drain(..usize::from(sent)).for_each(std::mem::forget);
    }
}

// The bursts' pointer casts stand on this; `NonNull` has no other layout than a pointer.
const _: () = assert!(size_of::<Mbuf>() == size_of::<NonNull<sys::gw_mbuf>>());
const _: () = assert!(BURST_MAX <= u16::MAX as usize);
