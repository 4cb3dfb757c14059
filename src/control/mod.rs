//! The management thread: everything that is not done for each packet. Neighbours, reloads, signals,
//! statistics; and the start and the stop of it all.

mod access;
mod api;
mod capture;
mod check;
mod conflicts;
#[cfg(feature = "dpdk")]
mod devices;
pub mod difference;
mod doors;
mod drain;
mod flows;
mod groups;
mod hash_key;
mod http;
#[cfg(feature = "dpdk")]
mod launch;
mod limited;
mod manager;
pub mod metrics;
#[cfg_attr(not(feature = "dpdk"), allow(dead_code, reason = "nothing runs without DPDK"))]
mod nat_ports;
mod neighbours;
mod plan;
mod probe;
mod report;
mod runtime;
mod server;
mod socket;
mod standing;
mod tally;
pub mod views;

pub use access::{Token, TokenError};
pub use api::{Context, Load, Peer, ROUTES, Refusal, Request, Route, reload};
pub use capture::{Chosen as TracedChoice, TracedPacket};
pub use check::Configuration;
pub use doors::{Doors, DoorsError};
pub use flows::FLOWS_MAX;
pub use hash_key::{KeyError, REPLAY_KEY, load_or_make as load_or_make_hash_key, stored as stored_hash_key};
#[cfg(feature = "dpdk")]
pub use launch::{LaunchError, run};
pub use manager::{Manager, ReloadError};
pub use nat_ports::stored_nat_ports;
pub use plan::{NoSuchCpu, Plan, mtu_max, plan, pool_frames};
pub use probe::{Failure, ProbeReport, Probes, Verdict};
pub use report::{counters_text, rule_names};
pub use runtime::{Override, Runtime};
pub use server::{start as start_server, start_tcp as start_tcp_server};
pub use socket::{Socket, SocketError};
pub use tally::Tally;
