//! Metrics of ports.

use std::fmt::Result;

use super::page::Page;
use super::sample::Sample;
use crate::control::views::Link;

impl Sample {
    pub(super) fn of_ports(&self, page: &mut Page<'_>) -> Result {
        page.info(
            "guideway_port",
            "A port, its device, driver and Ethernet address.",
            self.ports.iter().map(|port| {
                [
                    ("port", port.port.as_str()),
                    ("device", port.device.as_deref().unwrap_or_default()),
                    ("driver", &port.link.driver),
                    ("mac", &port.link.mac),
                ]
            }),
        )?;
        let mut count = |name: &str, help: &str, of: fn(&Link) -> u64| {
            let rows = self.ports.iter().map(|port| ([("port", port.port.as_str())], of(&port.link)));
            page.counter(name, help, rows)
        };
        count("guideway_port_received_frames", "Frames received, as the driver counts.", |l| l.received)?;
        count("guideway_port_transmitted_frames", "Frames sent, as the driver counts.", |l| l.transmitted)?;
        count("guideway_port_missed_frames", "Frames lost because receive queues were full.", |l| l.missed)?;
        count("guideway_port_receive_errors", "Frames received with errors.", |l| l.receive_errors)?;
        count("guideway_port_transmit_errors", "Frames not sent because of errors.", |l| l.transmit_errors)?;
        count("guideway_port_no_memory_frames", "Frames lost because the pool of frames was empty.", |l| {
            l.out_of_memory
        })?;
        page.gauge(
            "guideway_port_up",
            "Whether the link is up.",
            self.ports.iter().map(|port| ([("port", port.port.as_str())], u64::from(port.link.is_up))),
        )?;
        page.gauge(
            "guideway_port_speed_bytes",
            "Speed of the link in bytes a second, where the driver knows it.",
            self.ports.iter().filter_map(|port| {
                // A megabit is 125,000 bytes.
                Some(([("port", port.port.as_str())], u64::from(port.link.speed_mbps?) * 125_000))
            }),
        )?;
        page.gauge(
            "guideway_port_offload_used",
            "Whether guideway uses what the card offers; absent where it does not offer it.",
            self.ports.iter().flat_map(|port| {
                port.link.offloads.iter().filter(|offload| offload.is_offered).map(|offload| {
                    let labels = [("port", port.port.as_str()), ("offload", &offload.offload)];
                    (labels, u64::from(offload.is_used))
                })
            }),
        )
    }
}
