//! A port: one Ethernet device of DPDK, configured and started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use super::device::{Backing, OpenPort};
use super::eal::Eal;
use super::error::Error;
use super::mempool::Mempool;
pub use super::offload::Offload;
use crate::io::PortId;

/// What a port is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// Its position in the configuration.
    pub id: PortId,
    /// Its name in the configuration, for messages.
    pub name: String,
    /// The device: a PCI address, or a virtual device; what follows a comma is for EAL and ignored here.
    pub device: String,
    /// How many workers poll it.
    pub workers: u16,
    /// The longest IP packet, in bytes, at most what the pool's frames hold.
    pub mtu: u16,
    /// Its MAC address, where it is not to keep its own.
    pub mac: Option<[u8; 6]>,
    /// Whether to receive frames for other MAC addresses too.
    pub promiscuous: bool,
    /// Descriptors of each receive queue; adjusted to what the driver can do.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue; adjusted likewise.
    pub tx_desc: u16,
}

/// What the port has seen since it was opened, as its driver counts it: frames, not bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PortStats {
    /// Received by us.
    pub ipackets: u64,
    /// Sent.
    pub opackets: u64,
    /// Lost because our receive queues were full.
    pub imissed: u64,
    /// Received with errors.
    pub ierrors: u64,
    /// Not sent because of errors.
    pub oerrors: u64,
    /// Lost because the pool of frames was empty.
    pub rx_nombuf: u64,
}

/// The state of the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// In Mbit/s, where the driver knows it.
    pub speed_mbps: Option<u32>,
}

/// An open port. Stopped and closed when it and the queues that were [`split`](super::queue::split) from it are
/// gone; a device that was closed cannot be opened again in this process.
#[derive(Debug)]
pub struct Port {
    open: Arc<OpenPort>,
    queues_taken: AtomicBool,
}

impl Port {
    /// Opens the device with one pair of queues for each worker (fewer where it has fewer), and starts it. Frames
    /// are received into `pool`.
    ///
    /// Where the driver cannot set the MTU or promiscuous mode, that is logged as a warning.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`], [`Error::DeviceInUse`], [`Error::MtuOutOfRange`]; [`Error::PortSetup`] for whatever
    /// the driver refuses. Except after the first two the device is closed.
    pub fn open(eal: &Eal, config: &PortConfig, pool: &Mempool) -> Result<Port, Error> {
        Port::open_backed(eal, config, pool, None)
    }

    /// As [`Port::open`], for a device that stands on something of ours, which is dropped after it is closed.
    pub(super) fn open_backed(
        eal: &Eal,
        config: &PortConfig,
        pool: &Mempool,
        backing: Option<Backing>,
    ) -> Result<Port, Error> {
        let mut open = OpenPort::claim(eal, config, pool, backing)?;
        open.configure(config)?;
        Ok(Port { open: Arc::new(open), queues_taken: AtomicBool::new(false) })
    }

    /// Its position in the configuration.
    pub fn id(&self) -> PortId {
        self.open.id
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.open.name
    }

    /// The name of its driver, as in "net_ixgbe".
    pub fn driver(&self) -> &str {
        &self.open.driver
    }

    /// Its MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.open.mac()
    }

    /// How many receive queues it has.
    pub fn rx_queues(&self) -> u16 {
        self.open.rx_queues
    }

    /// How many transmit queues it has.
    pub fn tx_queues(&self) -> u16 {
        self.open.tx_queues
    }

    /// Whether all frames of one flow and direction arrive in the same queue, under overload too. Only then may a
    /// worker take a flow for its own.
    pub fn keeps_flows_on_one_queue(&self) -> bool {
        // Of the virtual devices, af_packet rolls over to another queue when one is full, and tap's kernel side moves
        // flows; the others put frames where their peer does.
        self.open.rx_queues == 1 || (self.open.on_pci && self.open.rss)
    }

    /// What the card could do for the workers, and what of it is used.
    pub fn offloads(&self) -> Vec<Offload> {
        self.open.offers.list(self.open.rss)
    }

    /// The state of the link now. Does not wait for it.
    pub fn link(&self) -> Link {
        let mut link = sys::gw_link::default();
        // SAFETY: the port is open, and `link` is ours to write.
        let result = unsafe { sys::gw_link_get(self.open.dpdk_id, &mut link) };
        let speed_known = link.speed_mbps != 0 && link.speed_mbps != u32::MAX;
        Link { up: result == 0 && link.up, speed_mbps: speed_known.then_some(link.speed_mbps) }
    }

    /// The driver's counters; all 0 where it has none.
    pub fn stats(&self) -> PortStats {
        let mut raw = sys::rte_eth_stats::default();
        // SAFETY: the port is open, and `raw` is ours to write.
        let result = unsafe { sys::rte_eth_stats_get(self.open.dpdk_id, &mut raw) };
        if result != 0 {
            return PortStats::default();
        }
        PortStats {
            ipackets: raw.ipackets,
            opackets: raw.opackets,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
        }
    }

    pub(super) fn dpdk_id(&self) -> u16 {
        self.open.dpdk_id
    }

    pub(super) fn open_port(&self) -> Arc<OpenPort> {
        Arc::clone(&self.open)
    }

    /// True for the one caller that may hand out the queues.
    pub(super) fn take_queues(&self) -> bool {
        !self.queues_taken.swap(true, Ordering::SeqCst)
    }

    /// Undoes [`Port::take_queues`], for a caller who has handed out none.
    pub(super) fn give_queues_back(&self) {
        self.queues_taken.store(false, Ordering::SeqCst);
    }
}
