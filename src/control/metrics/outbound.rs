//! Metrics of what backends have opened themselves.

use std::fmt::Result;

use super::page::Page;
use super::sample::Sample;
use crate::control::views::{OutboundBackend, OutboundFlows, OutboundPorts};

type Labels<'a> = [(&'static str, &'a str); 4];

/// A metric's name, what it means, and where its value is.
type Metric<T> = (&'static str, &'static str, fn(&T) -> u64);

fn of<'a>(backend: &'a OutboundBackend, flows: &'a OutboundFlows) -> Labels<'a> {
    [
        ("rule", flows.rule.as_deref().unwrap_or_default()),
        ("pool", flows.pool.as_deref().unwrap_or_default()),
        ("backend", &backend.backend),
        ("protocol", &flows.protocol),
    ]
}

impl Sample {
    pub(super) fn of_outbound(&self, page: &mut Page<'_>) -> Result {
        let rows = || {
            self.outbound
                .iter()
                .flat_map(|backend| backend.protocols.iter().map(move |flows| (backend, flows)))
        };
        let gauges: [Metric<OutboundFlows>; 2] = [
            ("guideway_outbound_active_flows", "Flows that the backend has opened, now.", |flows| {
                flows.flows
            }),
            ("guideway_outbound_pending_flows", "Those of them that nobody has answered yet.", |f| f.pending),
        ];
        for (name, help, value) in gauges {
            page.gauge(name, help, rows().map(|(backend, flows)| (of(backend, flows), value(flows))))?;
        }
        let counters: [Metric<OutboundFlows>; 3] = [
            ("guideway_outbound_opened_flows", "Flows that the backend has opened.", |f| f.opened_total),
            ("guideway_outbound_answered_flows", "Those of them that were answered.", |f| f.answered_total),
            ("guideway_outbound_failed_flows", "Flows for which there was no port.", |f| f.failed_total),
        ];
        for (name, help, value) in counters {
            page.counter(name, help, rows().map(|(backend, flows)| (of(backend, flows), value(flows))))?;
        }
        let ports: [Metric<OutboundPorts>; 2] = [
            ("guideway_outbound_allocated_ports", "Ports of the frontend that the backend has.", |p| {
                p.ports_allocated
            }),
            ("guideway_outbound_used_ports", "Those of them that flows have.", |p| p.ports_used),
        ];
        for (name, help, value) in ports {
            let rows = rows().flat_map(|(backend, flows)| {
                flows.frontends.iter().map(move |ports| {
                    ((of(backend, flows), [("frontend", ports.frontend.as_str())]), value(ports))
                })
            });
            page.gauge(name, help, rows)?;
        }
        Ok(())
    }
}
