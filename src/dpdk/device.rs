//! The device under a port: found, configured, started, and closed when the last who uses it goes.

use std::ffi::CStr;
use std::sync::Arc;

use dpdk_sys as sys;

use super::arguments::{device_name, is_pci};
use super::eal::Eal;
use super::error::{Errno, Error, c_string};
use super::mempool::{Mempool, mtu_max};
use super::offload::Offers;
use super::port::PortConfig;
use crate::io::PortId;

/// What a device of our own making stands on.
pub(super) type Backing = Arc<dyn Send + Sync>;

/// The device while it is open. Shared by the port and its workers' queues.
pub(super) struct OpenPort {
    eal: Eal,
    pub(super) id: PortId,
    pub(super) name: String,
    device: String,
    pub(super) dpdk_id: u16,
    pub(super) driver: String,
    pub(super) on_pci: bool,
    pub(super) rss: bool,
    /// What the driver could do, as DPDK's bits: on receipt, on transmission, and for RSS.
    pub(super) offers: Offers,
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
    /// Buffers of it are in the receive queues, so it goes after the device is closed: fields drop after `drop`.
    pool: Mempool,
    _backing: Option<Backing>,
}

impl OpenPort {
    /// Finds the device and makes it ours; dropping what this returns closes the device.
    pub(super) fn claim(
        eal: &Eal,
        config: &PortConfig,
        pool: &Mempool,
        backing: Option<Backing>,
    ) -> Result<OpenPort, Error> {
        let mut control = eal.control();
        let no_such_device =
            || Error::NoSuchDevice { port: config.name.clone(), device: config.device.clone() };
        let dpdk_id = find(&config.device)?.ok_or_else(no_such_device)?;
        let info = device_info(dpdk_id).map_err(|_| no_such_device())?;
        if !control.open.insert(dpdk_id) {
            return Err(Error::DeviceInUse { port: config.name.clone(), device: config.device.clone() });
        }
        Ok(OpenPort {
            eal: eal.clone(),
            id: config.id,
            name: config.name.clone(),
            device: config.device.clone(),
            dpdk_id,
            driver: driver_name(&info),
            on_pci: is_on_pci(&info),
            rss: false,
            offers: Offers::of(&info),
            rx_queues: 0,
            tx_queues: 0,
            pool: pool.clone(),
            _backing: backing,
        })
    }

    /// Everything from a found device to a started one, in the order that DPDK asks for.
    pub(super) fn configure(&mut self, config: &PortConfig) -> Result<(), Error> {
        let eal = self.eal.clone();
        let _control = eal.control();
        let info = device_info(self.dpdk_id).map_err(|errno| self.failed("ask for its limits", errno))?;
        let fits = mtu_max(self.pool.frame_bytes());
        let limit = mtu_limit(&info).min(fits);
        let max = if self.states_no_mtu(&info) { fits } else { limit };
        if !(info.min_mtu..=max).contains(&config.mtu) {
            return Err(Error::MtuOutOfRange {
                port: self.name.clone(),
                mtu: config.mtu,
                min: info.min_mtu,
                max,
            });
        }
        (self.rx_queues, self.tx_queues) =
            queue_counts(&self.driver, config.workers, info.max_rx_queues, info.max_tx_queues);
        self.configure_device(config.mtu.min(limit))?;
        self.set_mtu(config.mtu, limit, info.if_index)?;
        self.set_up_queues(config.rx_desc, config.tx_desc)?;
        self.set_mac(config.mac)?;
        // SAFETY: the device is ours, configured, with all of its queues set up.
        let started = unsafe { sys::rte_eth_dev_start(self.dpdk_id) };
        Errno::check(started).map_err(|errno| self.failed("start", errno))?;
        self.take_all_groups();
        self.set_promiscuous(config.promiscuous)
    }

    fn configure_device(&mut self, mtu: u16) -> Result<(), Error> {
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(mtu);
        let offered = self.offers.rss;
        if self.rx_queues > 1 && offered != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = offered;
            self.rss = true;
        }
        // SAFETY: the device is ours and not started; DPDK copies `conf`.
        let result =
            unsafe { sys::rte_eth_dev_configure(self.dpdk_id, self.rx_queues, self.tx_queues, &conf) };
        Errno::check(result).map_err(|errno| {
            let (rx, tx) = (self.rx_queues, self.tx_queues);
            self.failed(&format!("configure {rx} receive and {tx} transmit queues"), errno)
        })
    }

    /// Whether its driver leaves the MTU to whatever it stands on: it states no limit but ethdev's default. Not so
    /// tap, whose interface is made with the device, so that nobody can set it before.
    fn states_no_mtu(&self, info: &sys::rte_eth_dev_info) -> bool {
        !self.on_pci && info.max_mtu == u16::MAX && self.driver != "net_tap"
    }

    fn set_mtu(&self, mtu: u16, limit: u16, if_index: u32) -> Result<(), Error> {
        // Of the kernel's interface under a virtual device. What it has already, its driver need not be able to set.
        let of_interface = if self.on_pci { None } else { interface_mtu(if_index) };
        if of_interface == Some(mtu) {
            return Ok(());
        }
        match of_interface {
            Some(is) if mtu > limit => {
                return Err(Error::MtuOfInterface {
                    port: self.name.clone(),
                    driver: self.driver.clone(),
                    mtu,
                    is,
                });
            }
            None if mtu > limit => return self.trust_mtu(mtu),
            _ => {}
        }
        // SAFETY: the device is ours and configured.
        let result = unsafe { sys::rte_eth_dev_set_mtu(self.dpdk_id, mtu) };
        match Errno::check(result) {
            Err(Errno::NOT_SUPPORTED) => self.trust_mtu(mtu),
            other => other.map_err(|errno| self.failed(&format!("set the MTU to {mtu}"), errno)),
        }
    }

    fn trust_mtu(&self, mtu: u16) -> Result<(), Error> {
        if mtu != ETHERNET_MTU {
            log::warn!(
                "port {}: driver {} cannot set an MTU; {mtu} is taken on trust",
                self.name,
                self.driver
            );
        }
        Ok(())
    }

    fn set_up_queues(&self, rx_desc: u16, tx_desc: u16) -> Result<(), Error> {
        let (mut rx_len, mut tx_len) = (rx_desc, tx_desc);
        // SAFETY: the device is ours; both numbers are ours to write.
        let result = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.dpdk_id, &mut rx_len, &mut tx_len) };
        Errno::check(result)
            .map_err(|errno| self.failed("find a number of descriptors that it takes", errno))?;
        // SAFETY: the device is ours.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.dpdk_id) };
        let socket = socket as u32; // −1 is SOCKET_ID_ANY in both types
        let defaults = std::ptr::null();
        for queue in 0..self.rx_queues {
            let (port, pool) = (self.dpdk_id, self.pool.raw());
            // SAFETY: the device is ours and not started; the pool lives until it is closed; null asks for defaults.
            let result = unsafe { sys::rte_eth_rx_queue_setup(port, queue, rx_len, socket, defaults, pool) };
            Errno::check(result)
                .map_err(|errno| self.failed(&format!("set up receive queue {queue}"), errno))?;
        }
        let defaults = std::ptr::null();
        for queue in 0..self.tx_queues {
            // SAFETY: as above.
            let result =
                unsafe { sys::rte_eth_tx_queue_setup(self.dpdk_id, queue, tx_len, socket, defaults) };
            Errno::check(result)
                .map_err(|errno| self.failed(&format!("set up transmit queue {queue}"), errno))?;
        }
        Ok(())
    }

    fn set_mac(&self, mac: Option<[u8; 6]>) -> Result<(), Error> {
        let Some(mac) = mac.filter(|&mac| mac != self.mac()) else { return Ok(()) };
        let mut raw = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: the device is ours; DPDK copies the address.
        let result = unsafe { sys::rte_eth_dev_default_mac_addr_set(self.dpdk_id, &mut raw) };
        Errno::check(result).map_err(|errno| self.failed("set its MAC address", errno))
    }

    /// Neighbours ask for each other's IPv6 addresses by frames to groups (RFC 2464 section 7). What a driver has against
    /// it need not stop a program that may have no such addresses.
    fn take_all_groups(&self) {
        // SAFETY: the device is ours.
        let result = unsafe { sys::rte_eth_allmulticast_enable(self.dpdk_id) };
        if let Err(errno) = Errno::check(result) {
            log::debug!(
                "port {}: driver {} cannot take frames to all groups: {errno}",
                self.name,
                self.driver
            );
        }
    }

    fn set_promiscuous(&self, wanted: bool) -> Result<(), Error> {
        // SAFETY: the device is ours.
        let is = unsafe { sys::rte_eth_promiscuous_get(self.dpdk_id) } == 1;
        let result = match (wanted, is) {
            // SAFETY: the device is ours.
            (true, false) => unsafe { sys::rte_eth_promiscuous_enable(self.dpdk_id) },
            // SAFETY: the device is ours.
            (false, true) => unsafe { sys::rte_eth_promiscuous_disable(self.dpdk_id) },
            _ => return Ok(()),
        };
        match Errno::check(result) {
            Err(Errno::NOT_SUPPORTED) => {
                log::warn!("port {}: driver {} cannot change promiscuous mode", self.name, self.driver);
                Ok(())
            }
            other => other.map_err(|errno| self.failed("change promiscuous mode", errno)),
        }
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        let mut raw = sys::rte_ether_addr::default();
        // SAFETY: the device is ours, and `raw` ours to write. It fails only where there is no such device.
        unsafe { sys::rte_eth_macaddr_get(self.dpdk_id, &mut raw) };
        raw.addr_bytes
    }

    fn failed(&self, step: &str, errno: Errno) -> Error {
        Error::PortSetup {
            port: self.name.clone(),
            device: self.device.clone(),
            driver: self.driver.clone(),
            step: step.to_owned(),
            errno,
        }
    }
}

impl std::fmt::Debug for OpenPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenPort")
            .field("name", &self.name)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let mut control = self.eal.control();
        // SAFETY: the device is ours, and no worker is left to poll it.
        let stopped = unsafe { sys::rte_eth_dev_stop(self.dpdk_id) };
        if let Err(errno) = Errno::check(stopped) {
            log::warn!("port {}: it did not stop: {errno}", self.name);
        }
        // SAFETY: as above, and it is stopped.
        let closed = unsafe { sys::rte_eth_dev_close(self.dpdk_id) };
        if let Err(errno) = Errno::check(closed) {
            log::warn!("port {}: it did not close: {errno}", self.name);
        }
        control.open.remove(&self.dpdk_id);
    }
}

/// DPDK's number of a device, by the name it has there.
fn find(device: &str) -> Result<Option<u16>, Error> {
    let name = device_name(device);
    let name = match is_pci(name) {
        // As EAL writes PCI addresses.
        true if name.matches(':').count() == 1 => format!("0000:{}", name.to_ascii_lowercase()),
        true => name.to_ascii_lowercase(),
        false => name.to_owned(),
    };
    let name = c_string(&name)?;
    let mut id = 0;
    // SAFETY: EAL runs, for whoever holds an `Eal`; the name is a C string, and `id` ours to write.
    let result = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
    Ok((result == 0).then_some(id))
}

fn device_info(dpdk_id: u16) -> Result<sys::rte_eth_dev_info, Errno> {
    let mut info = sys::rte_eth_dev_info::default();
    // SAFETY: EAL runs, and `info` is ours to write; DPDK checks the number.
    let result = unsafe { sys::rte_eth_dev_info_get(dpdk_id, &mut info) };
    Errno::check(result).map(|()| info)
}

fn driver_name(info: &sys::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: DPDK points this to a string of the driver, which stays loaded.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

fn is_on_pci(info: &sys::rte_eth_dev_info) -> bool {
    if info.device.is_null() {
        return false;
    }
    // SAFETY: DPDK points this to the device, which is there as long as the port.
    let bus = unsafe { sys::rte_dev_bus(info.device) };
    if bus.is_null() {
        return false;
    }
    // SAFETY: each bus of EAL is a static object.
    let name = unsafe { sys::rte_bus_name(bus) };
    // SAFETY: and so is its name.
    !name.is_null() && unsafe { CStr::from_ptr(name) } == c"pci"
}

/// The most that ethdev lets us set, by the rule of its `eth_dev_validate_mtu`.
fn mtu_limit(info: &sys::rte_eth_dev_info) -> u16 {
    let states_overhead = info.max_mtu != u16::MAX && info.max_rx_pktlen > u32::from(info.max_mtu);
    let overhead = if states_overhead { info.max_rx_pktlen - u32::from(info.max_mtu) } else { 14 + 4 };
    let fits = info.max_rx_pktlen.saturating_sub(overhead);
    info.max_mtu.min(u16::try_from(fits).unwrap_or(u16::MAX))
}

/// The MTU of an interface of the kernel; `None` where there is none.
fn interface_mtu(if_index: u32) -> Option<u16> {
    // SAFETY: takes and returns plain numbers.
    let mtu = unsafe { sys::gw_interface_mtu(if_index) };
    // The loopback interface has more than fits.
    (mtu >= 0).then(|| u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// How many receive and transmit queues to open for `workers` workers.
fn queue_counts(driver: &str, workers: u16, rx_max: u16, tx_max: u16) -> (u16, u16) {
    if ALL_QUEUES_CARRY_TRAFFIC.contains(&driver) {
        return (rx_max, tx_max);
    }
    (workers.min(rx_max), workers.min(tx_max))
}

/// Drivers whose queues exist as their parameters say, opened or not: frames go to all of them, so a queue that
/// nobody polls swallows its flows.
const ALL_QUEUES_CARRY_TRAFFIC: &[&str] =
    &["net_af_packet", "net_af_xdp", "net_pcap", "net_ring", "net_vhost"];

/// What a device has whose MTU was never set.
const ETHERNET_MTU: u16 = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_for_each_worker_as_far_as_they_go() {
        assert_eq!(queue_counts("net_ixgbe", 4, 128, 2), (4, 2));
        assert_eq!(queue_counts("net_tap", 4, 16, 16), (4, 4));
    }

    #[test]
    fn the_mtu_limit_is_ethdevs() {
        let info =
            |max_mtu, max_rx_pktlen| sys::rte_eth_dev_info { max_mtu, max_rx_pktlen, ..Default::default() };
        assert_eq!(mtu_limit(&info(u16::MAX, 1518)), 1500, "af_packet, memif");
        assert_eq!(mtu_limit(&info(9702, 9728)), 9702, "ixgbe");
        assert_eq!(mtu_limit(&info(u16::MAX, u32::MAX)), u16::MAX, "null");
    }

    #[test]
    fn all_queues_are_opened_where_all_carry_traffic() {
        assert_eq!(queue_counts("net_af_packet", 2, 4, 4), (4, 4));
    }
}
