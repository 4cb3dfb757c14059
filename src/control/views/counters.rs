//! Counters, as the control API tells them.

use serde::{Deserialize, Serialize};

use super::{Drop, Frames, frames};
use crate::control::manager::Manager;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counters {
    pub frames: Frames,
    pub flows: FlowCounters,
    pub resets: Resets,
    pub icmp: Icmp,
    pub parts: Parts,
    pub quic: Quic,
    pub client_address: ClientAddress,
    pub drops: Vec<Drop>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowCounters {
    pub created: u64,
    pub expired: u64,
    pub reclaimed: u64,
    pub untracked: u64,
    pub handed_over: u64,
    pub reset: u64,
    pub unanswered: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resets {
    pub to_clients: u64,
    pub to_backends: u64,
    pub asked: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Icmp {
    pub echo_replies: u64,
    pub unreachable_sent: u64,
    pub too_big_sent: u64,
    pub time_exceeded_sent: u64,
    pub errors_to_clients: u64,
    pub errors_to_backends: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientAddress {
    pub toa_sent: u64,
    pub toa_no_room: u64,
    pub proxy_headers_sent: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parts {
    pub packets_cut: u64,
    pub made: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quic {
    pub by_id: u64,
    pub moved: u64,
    pub unknown: u64,
    pub down: u64,
    pub unroutable: u64,
}

pub(in crate::control) fn counters(manager: &Manager) -> Counters {
    let totals = manager.totals();
    Counters {
        frames: frames(&totals),
        flows: FlowCounters {
            created: totals.flows_created,
            expired: totals.flows_expired,
            reclaimed: totals.flows_reclaimed,
            untracked: totals.untracked,
            handed_over: totals.handed_over,
            reset: totals.flows_reset,
            unanswered: totals.flows_unanswered,
        },
        resets: Resets {
            to_clients: totals.resets_to_client,
            to_backends: totals.resets_to_backend,
            asked: totals.reset_asks,
        },
        icmp: Icmp {
            echo_replies: totals.echo_replies,
            unreachable_sent: totals.unreachable_sent,
            too_big_sent: totals.too_big_sent,
            time_exceeded_sent: totals.time_exceeded_sent,
            errors_to_clients: totals.errors_to_client,
            errors_to_backends: totals.errors_to_backend,
        },
        parts: Parts { packets_cut: totals.packets_cut, made: totals.parts_made },
        quic: Quic {
            by_id: totals.quic_by_id,
            moved: totals.quic_moved,
            unknown: totals.quic_unknown,
            down: totals.quic_down,
            unroutable: totals.quic_unroutable,
        },
        client_address: ClientAddress {
            toa_sent: totals.toa_sent,
            toa_no_room: totals.toa_no_room,
            proxy_headers_sent: totals.proxy_headers_sent,
        },
        drops: totals
            .drops
            .iter()
            .map(|(reason, frames)| Drop {
                reason: reason.label().into(),
                frames: *frames,
                meaning: reason.meaning().into(),
            })
            .collect(),
    }
}
