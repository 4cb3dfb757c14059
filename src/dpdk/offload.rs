//! What cards can do in the place of workers, what of it is used, and why not.

use dpdk_sys as sys;

/// One thing that a card could do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offload {
    /// Stable, for people and programs.
    pub name: &'static str,
    /// Whether the driver offers it.
    pub is_offered: bool,
    /// Whether it is in use.
    pub is_used: bool,
    /// Why, or why not.
    pub because: &'static str,
}

/// What the driver offers, as DPDK's bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    receive: u64,
    transmit: u64,
    /// What RSS can spread of what we want spread.
    pub(super) rss: u64,
}

impl Offers {
    pub(super) fn of(info: &sys::rte_eth_dev_info) -> Self {
        Self {
            receive: info.rx_offload_capa,
            transmit: info.tx_offload_capa,
            rss: info.flow_type_rss_offloads & (sys::GW_RSS_IP | sys::GW_RSS_TCP | sys::GW_RSS_UDP),
        }
    }

    /// All that a load balancer could have use for.
    pub(super) fn list(&self, uses_rss: bool) -> Vec<Offload> {
        let all = |offers: u64, bits: u64| offers & bits == bits;
        let unused = |name, is_offered, because| Offload { name, is_offered, is_used: false, because };
        let rss = match (uses_rss, self.rss != 0) {
            (true, _) => "spreads flows over the receive queues",
            (false, true) => "one receive queue, nothing to spread",
            (false, false) => "the driver does not offer it",
        };
        let checked = "headers are checked in software, the same with every driver";
        let summed = "checksums are adjusted in software by what a rewrite changes";
        vec![
            Offload { name: "rss", is_offered: self.rss != 0, is_used: uses_rss, because: rss },
            unused("receive-ipv4-checksum", all(self.receive, sys::GW_RX_IPV4_CHECKSUM), checked),
            unused(
                "receive-l4-checksum",
                all(self.receive, sys::GW_RX_L4_CHECKSUM),
                "TCP and UDP checksums are left to the receiver, who checks them anyway",
            ),
            unused("transmit-ipv4-checksum", all(self.transmit, sys::GW_TX_IPV4_CHECKSUM), summed),
            unused("transmit-l4-checksum", all(self.transmit, sys::GW_TX_L4_CHECKSUM), summed),
            unused(
                "receive-scatter",
                all(self.receive, sys::GW_RX_SCATTER),
                "a frame is in one piece, or dropped as segmented",
            ),
            unused("transmit-fast-free", all(self.transmit, sys::GW_TX_FAST_FREE), "not asked for"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(receive: u64, transmit: u64, rss: u64) -> sys::rte_eth_dev_info {
        sys::rte_eth_dev_info {
            rx_offload_capa: receive,
            tx_offload_capa: transmit,
            flow_type_rss_offloads: rss,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_offered_is_told_and_what_is_used_has_been_offered() {
        let none = Offers::of(&info(0, 0, 0));
        assert!(none.list(false).iter().all(|offload| !offload.is_offered && !offload.is_used));
        let all = Offers::of(&info(u64::MAX, u64::MAX, u64::MAX));
        assert!(all.list(true).iter().all(|offload| offload.is_offered));
        // Half of the bits is not the offload.
        let tcp_only =
            Offers::of(&info(sys::GW_RX_L4_CHECKSUM & sys::GW_RX_L4_CHECKSUM.wrapping_neg(), 0, 0));
        assert!(tcp_only.list(false).iter().all(|offload| !offload.is_offered));
        let used = |offers: Offers, rss| offers.list(rss).iter().filter(|offload| offload.is_used).count();
        assert_eq!((used(all, true), used(all, false)), (1, 0));
    }
}
