//! The devices under the ports: what EAL is told of them, each opened once, and what they say of themselves.

use super::plan::QUEUE_LEN;
use super::views;
use crate::config::Model;
use crate::dpdk::{Error, eal, mempool, port};
use crate::io::tagged::Place;
use crate::wire::MacAddr;

/// All devices, open.
pub(super) struct Devices {
    opened: Vec<port::Port>,
    /// Where each port's frames are.
    places: Vec<Place>,
}

impl Devices {
    /// Opens them, with the queues of so many workers.
    pub(super) fn open(
        model: &Model,
        eal: &eal::Eal,
        pool: &mempool::Mempool,
        workers: usize,
    ) -> Result<Self, Error> {
        let open = |device: &crate::config::Device<'_>| {
            let opened = port::Port::open(
                eal,
                &port::PortConfig {
                    id: device.first,
                    name: device.ports.join(", "),
                    device: device.device.unwrap_or_default().to_owned(),
                    workers: workers as u16,
                    mtu: device.mtu,
                    mac: device.mac.map(|mac| mac.0),
                    promiscuous: false,
                    rx_desc: QUEUE_LEN,
                    tx_desc: QUEUE_LEN,
                },
                pool,
            )?;
            let spread = if keeps_flows(&opened, workers) { "by the device" } else { "in software" };
            log::info!(
                "port {}: {}, {}, {} receive and {} transmit queues, flows spread {spread}",
                opened.name(),
                opened.driver(),
                MacAddr(opened.mac()),
                opened.rx_queues(),
                opened.tx_queues()
            );
            Ok(opened)
        };
        let opened = model.devices().iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { opened, places: model.places() })
    }

    /// In the order of their first ports.
    pub(super) fn all(&self) -> &[port::Port] {
        &self.opened
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The device of each port.
    pub(super) fn by_port(&self) -> impl Iterator<Item = &port::Port> {
        self.places.iter().filter_map(|place| self.opened.iter().find(|device| device.id() == place.first))
    }

    /// What the drivers say, for each port.
    pub(super) fn link_views(&self, workers: usize) -> Vec<views::Link> {
        self.by_port().map(|port| link_view(port, workers)).collect()
    }
}

/// What EAL is told of each device.
pub(super) fn arguments(model: &Model, workers: usize) -> Vec<String> {
    let devices = model.devices();
    devices.iter().filter_map(|d| d.device.map(|device| with_parameters(device, workers, d.mtu))).collect()
}

/// af_packet gives a device one queue with slots for frames of the usual length unless told otherwise, and there is no
/// telling it later: of longer ones the end is cut off without a word.
fn with_parameters(device: &str, workers: usize, mtu: u16) -> String {
    let mut all = device.to_owned();
    if device.starts_with("net_af_packet") {
        if workers > 1 && !device.contains("qpairs=") {
            all += &format!(",qpairs={workers}");
        }
        let slot = mempool::frame_bytes(mtu);
        let is_theirs = ["framesz=", "framecnt=", "blocksz="].iter().any(|key| device.contains(key));
        if slot > mempool::FRAME_BYTES && !is_theirs {
            // Blocks are whole pages, and whole slots. Of long ones fewer, so that they fit into what may be locked without a
            // privilege: mostly 8 MiB.
            let block = u32::from(slot) * 4;
            let slots = if block > 4 * PAGE { 256 } else { 512 };
            all += &format!(",framesz={slot},blocksz={block},framecnt={slots}");
        }
    }
    all
}

const PAGE: u32 = 4096;

/// Whether each worker can take what its queues of the port give it for its own.
pub(super) fn keeps_flows(port: &port::Port, workers: usize) -> bool {
    workers == 1 || port.keeps_flows_on_one_queue() && usize::from(port.rx_queues()) >= workers
}

fn link_view(port: &port::Port, workers: usize) -> views::Link {
    let (link, stats) = (port.link(), port.stats());
    views::Link {
        driver: port.driver().to_owned(),
        mac: MacAddr(port.mac()).to_string(),
        is_up: link.up,
        speed_mbps: link.speed_mbps,
        receive_queues: port.rx_queues(),
        transmit_queues: port.tx_queues(),
        flows_spread_by: if keeps_flows(port, workers) { "device".into() } else { "software".into() },
        received: stats.ipackets,
        transmitted: stats.opackets,
        missed: stats.imissed,
        receive_errors: stats.ierrors,
        transmit_errors: stats.oerrors,
        out_of_memory: stats.rx_nombuf,
        offloads: port.offloads().into_iter().map(offload_view).collect(),
    }
}

fn offload_view(of: port::Offload) -> views::Offload {
    let (offload, because) = (of.name.into(), of.because.into());
    views::Offload { offload, is_offered: of.is_offered, is_used: of.is_used, because }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn af_packet_is_told_what_it_must_know_at_the_start() {
        let told = |device: &str, workers, mtu| with_parameters(device, workers, mtu);
        assert_eq!(told("net_af_packet0,iface=a", 1, 1500), "net_af_packet0,iface=a");
        assert_eq!(told("net_af_packet0,iface=a", 2, 1920), "net_af_packet0,iface=a,qpairs=2");
        assert_eq!(
            told("net_af_packet0,iface=a", 1, 1921),
            "net_af_packet0,iface=a,framesz=3072,blocksz=12288,framecnt=512"
        );
        assert_eq!(
            told("net_af_packet0,iface=a,qpairs=4", 2, 9000),
            "net_af_packet0,iface=a,qpairs=4,framesz=9216,blocksz=36864,framecnt=256"
        );
        let own = "net_af_packet0,iface=a,framesz=32768,blocksz=65536";
        assert_eq!(told(own, 1, 9000), own);
        assert_eq!(told("net_tap0", 2, 9000), "net_tap0");
    }
}
