//! A port made of rings of our own: what is pushed arrives, what is sent can be popped. For tests and benches, which
//! so decide on each frame and its queue, without a NIC or privileges.

use std::sync::Arc;

use dpdk_sys as sys;

use super::eal::Eal;
use super::error::{Errno, Error, c_string};
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use super::port::{Port, PortConfig};
use crate::io::{Frame, PortId};

use std::ptr::NonNull;

/// The far end of a port made of rings. Any thread may use it.
#[derive(Debug)]
pub struct RingPort {
    rings: Arc<Rings>,
    pool: Mempool,
}

impl RingPort {
    /// Makes a port with `queues` pairs of queues, each of room for `depth` − 1 frames (`depth` is a power of two),
    /// and opens it. `name` is unique in the process.
    ///
    /// # Errors
    /// [`Error::RingPort`] where DPDK refuses a name or a depth or has no memory; and those of [`Port::open`].
    pub fn open(
        eal: &Eal,
        id: PortId,
        name: &str,
        queues: u16,
        depth: u32,
        pool: &Mempool,
    ) -> Result<(Port, RingPort), Error> {
        let rings = Arc::new(Rings::new(eal, name, queues, depth, pool)?);
        let config = PortConfig {
            id,
            name: name.to_owned(),
            device: rings.device.clone(),
            workers: queues,
            mtu: 1500,
            mac: None,
            promiscuous: true,
            rx_desc: 64,
            tx_desc: 64,
        };
        let port = Port::open_backed(eal, &config, pool, Some(Arc::clone(&rings) as _))?;
        Ok((port, RingPort { rings, pool: pool.clone() }))
    }

    /// Puts a copy of `bytes` into receive queue `queue`. False where there is no such queue, no room in it, no frame
    /// left in the pool, or `bytes` do not fit one.
    pub fn push(&self, queue: u16, bytes: &[u8]) -> bool {
        self.pool.frame(bytes).is_some_and(|frame| self.push_frame(queue, frame).is_ok())
    }

    /// Puts `frame` into receive queue `queue`, without a copy.
    ///
    /// # Errors
    /// The frame, where there is no such queue or no room in it.
    pub fn push_frame(&self, queue: u16, frame: Mbuf) -> Result<(), Mbuf> {
        match self.rings.receive.get(usize::from(queue)) {
            Some(ring) => ring.push(frame),
            None => Err(frame),
        }
    }

    /// The bytes of the oldest frame sent to transmit queue `queue`.
    pub fn pop(&self, queue: u16) -> Option<Vec<u8>> {
        self.pop_frame(queue).map(|frame| frame.bytes().to_vec())
    }

    /// The oldest frame sent to transmit queue `queue`, without a copy.
    pub fn pop_frame(&self, queue: u16) -> Option<Mbuf> {
        self.rings.transmit.get(usize::from(queue))?.pop()
    }
}

/// All rings of a port, and the device on them. Goes after the device is closed.
#[derive(Debug)]
struct Rings {
    eal: Eal,
    /// As DPDK calls the device.
    device: String,
    receive: Vec<Ring>,
    transmit: Vec<Ring>,
}

impl Rings {
    fn new(eal: &Eal, name: &str, queues: u16, depth: u32, pool: &Mempool) -> Result<Rings, Error> {
        let make = |direction: &str| -> Result<Vec<Ring>, Error> {
            (0..queues)
                .map(|queue| Ring::new(&format!("{name}_{direction}{queue}"), depth, eal, pool))
                .collect()
        };
        let (receive, transmit) = (make("rx")?, make("tx")?);
        let pointers = |rings: &[Ring]| rings.iter().map(|ring| ring.raw.as_ptr()).collect::<Vec<_>>();
        let (rx, tx) = (pointers(&receive), pointers(&transmit));
        let count = u32::from(queues);
        let name_c = c_string(name)?;
        let _control = eal.control();
        // SAFETY: EAL runs; both arrays hold `count` rings, which outlive the device: `Rings` is its backing.
        let result =
            unsafe { sys::rte_eth_from_rings(name_c.as_ptr(), rx.as_ptr(), count, tx.as_ptr(), count, 0) };
        if result < 0 {
            return Err(Error::RingPort { name: name.to_owned(), errno: Errno::last() });
        }
        // The prefix is the driver's, rte_eth_ring.c.
        Ok(Rings { eal: eal.clone(), device: format!("net_ring_{name}"), receive, transmit })
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        let _control = self.eal.control();
        // The port may never have been opened; either way the name becomes free.
        if let Ok(name) = c_string(&self.device) {
            // SAFETY: EAL runs; an open port would hold these rings.
            unsafe { sys::rte_vdev_uninit(name.as_ptr()) };
        }
    }
}

/// One ring of frames. Any number of threads may push and pop.
#[derive(Debug)]
struct Ring {
    raw: NonNull<sys::rte_ring>,
    _eal: Eal,
    /// The frames in the ring came from it.
    _pool: Mempool,
}

// SAFETY: a ring belongs to no thread.
unsafe impl Send for Ring {}
// SAFETY: it is made for several producers and several consumers.
unsafe impl Sync for Ring {}

impl Ring {
    fn new(name: &str, depth: u32, eal: &Eal, pool: &Mempool) -> Result<Ring, Error> {
        let name_c = c_string(name)?;
        // SAFETY: EAL runs, which `eal` proves; DPDK copies the name. No flags: several producers and consumers.
        let raw = unsafe { sys::rte_ring_create(name_c.as_ptr(), depth, ANY_SOCKET, 0) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| Error::RingPort { name: name.to_owned(), errno: Errno::last() })?;
        Ok(Ring { raw, _eal: eal.clone(), _pool: pool.clone() })
    }

    fn push(&self, frame: Mbuf) -> Result<(), Mbuf> {
        let raw = frame.into_raw();
        // SAFETY: the ring lives as long as `self`, and the frame is ours to give.
        let result = unsafe { sys::gw_ring_push(self.raw.as_ptr(), raw.as_ptr()) };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the ring did not take it, so it is ours still.
        Err(unsafe { Mbuf::from_raw(raw) })
    }

    fn pop(&self) -> Option<Mbuf> {
        // SAFETY: the ring lives as long as `self`.
        let raw = unsafe { sys::gw_ring_pop(self.raw.as_ptr()) };
        // SAFETY: only whole frames with one owner go into the ring, and this one has just left it.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        // SAFETY: the device is closed, so nothing uses the ring any more.
        unsafe { sys::rte_ring_free(self.raw.as_ptr()) }
    }
}

const ANY_SOCKET: i32 = -1;
