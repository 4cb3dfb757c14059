//! Metrics of workers, and of what they dropped.

use std::fmt::Result;

use super::page::Page;
use super::sample::Sample;
use crate::dataplane::WorkerTotals;

impl Sample {
    pub(super) fn of_workers(&self, page: &mut Page<'_>) -> Result {
        let names: Vec<String> = (0..self.workers.len()).map(|worker| worker.to_string()).collect();
        let mut count = |name: &str, help: &str, of: fn(&WorkerTotals) -> u64| {
            let rows = names.iter().zip(&self.workers).map(|(name, w)| ([("worker", name.as_str())], of(w)));
            page.counter(name, help, rows)
        };
        count("guideway_worker_polls", "Times the worker asked its receive queues.", |w| w.polls)?;
        count("guideway_worker_busy_polls", "Polls that found frames.", |w| w.busy_polls)?;
        count("guideway_worker_bursts", "Bursts of frames worked on.", |w| w.bursts)?;
        count("guideway_worker_received_frames", "Frames taken from ports.", |w| w.received)?;
        count("guideway_worker_transmitted_frames", "Frames forwarded out of ports.", |w| w.transmitted)?;
        count("guideway_worker_answered_frames", "Frames turned into answers.", |w| w.answered)?;
        count("guideway_worker_controlled_frames", "ARP frames for the management thread.", |w| {
            w.controlled
        })?;
        count("guideway_worker_dropped_frames", "Frames dropped, for any reason.", |w| w.dropped())?;
        count("guideway_worker_handed_over_frames", "Frames given to other workers.", |w| w.handed_over)?;
        count("guideway_worker_taken_over_frames", "Frames got from other workers.", |w| w.taken_over)?;
        count("guideway_worker_originated_frames", "Frames of the management thread's sent.", |w| {
            w.originated
        })?;
        count("guideway_worker_created_flows", "Entries made in the flow table.", |w| w.flows_created)?;
        count("guideway_worker_expired_flows", "Entries forgotten after their timeout.", |w| {
            w.flows_expired
        })?;
        count("guideway_worker_reclaimed_flows", "Entries that gave way in a full table.", |w| {
            w.flows_reclaimed
        })?;
        count(
            "guideway_worker_reset_flows",
            "Flows forgotten after resets, past a drain's deadline.",
            |w| w.flows_reset,
        )?;
        count("guideway_worker_unanswered_flows", "Flows past a drain's deadline forgotten unheard.", |w| {
            w.flows_unanswered
        })?;
        count("guideway_worker_reset_asks", "Segments that asked ends for numbers to reset them by.", |w| {
            w.reset_asks
        })?;
        count("guideway_worker_untracked_packets", "Packets forwarded without an entry.", |w| w.untracked)?;
        self.of_messages(page, &names)?;
        page.gauge(
            "guideway_worker_held_frames",
            "Fragments that wait for the first of their datagram.",
            names.iter().zip(&self.workers).map(|(name, w)| ([("worker", name.as_str())], w.held)),
        )?;
        let flows = names.iter().zip(&self.flows_by_worker);
        page.gauge(
            "guideway_flow_table_flows",
            "Flows in the worker's table.",
            flows.map(|(name, flows)| ([("worker", name.as_str())], *flows)),
        )?;
        page.gauge(
            "guideway_flow_table_capacity_flows",
            "Flows that the worker's table has room for.",
            names.iter().map(|name| ([("worker", name.as_str())], self.flows_per_worker)),
        )
    }

    /// What workers have sent of their own accord.
    fn of_messages(&self, page: &mut Page<'_>, names: &[String]) -> Result {
        let resets = names.iter().zip(&self.workers).flat_map(|(name, w)| {
            [("client", w.resets_to_client), ("backend", w.resets_to_backend)]
                .map(|(to, count)| ([("worker", name.as_str()), ("to", to)], count))
        });
        page.counter("guideway_worker_resets", "TCP resets for flows past a drain's deadline.", resets)?;
        let messages = names.iter().zip(&self.workers).flat_map(|(name, w)| {
            [
                ("echo-reply", w.echo_replies),
                ("unreachable", w.unreachable_sent),
                ("too-big", w.too_big_sent),
                ("time-exceeded", w.time_exceeded_sent),
                ("error-to-client", w.errors_to_client),
                ("error-to-backend", w.errors_to_backend),
            ]
            .map(|(kind, count)| ([("worker", name.as_str()), ("kind", kind)], count))
        });
        page.counter("guideway_worker_icmp_messages", "ICMP messages sent, made or passed on.", messages)?;
        let quic = names.iter().zip(&self.workers).flat_map(|(name, w)| {
            [
                ("by-id", w.quic_by_id),
                ("moved", w.quic_moved),
                ("unknown", w.quic_unknown),
                ("down", w.quic_down),
                ("unroutable", w.quic_unroutable),
            ]
            .map(|(kind, count)| ([("worker", name.as_str()), ("kind", kind)], count))
        });
        page.counter("guideway_worker_quic_packets", "Packets whose QUIC connection ids were asked.", quic)?;
        let parts = names.iter().zip(&self.workers).flat_map(|(name, w)| {
            [("cut", w.packets_cut), ("made", w.parts_made)]
                .map(|(kind, count)| ([("worker", name.as_str()), ("kind", kind)], count))
        });
        page.counter("guideway_worker_parts", "Packets cut up, and the parts made of them.", parts)?;
        let told = names.iter().zip(&self.workers).flat_map(|(name, w)| {
            [("toa", w.toa_sent), ("toa-no-room", w.toa_no_room), ("proxy-v2", w.proxy_headers_sent)]
                .map(|(how, count)| ([("worker", name.as_str()), ("how", how)], count))
        });
        page.counter(
            "guideway_worker_client_addresses",
            "Segments that told a backend its client's address, and those that had no room for it.",
            told,
        )?;
        page.counter(
            "guideway_dropped_frames",
            "Frames dropped by all workers, by reason.",
            self.drops.iter().map(|drop| ([("reason", drop.reason.as_str())], drop.frames)),
        )
    }
}
