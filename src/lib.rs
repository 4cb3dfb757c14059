//! guideway: a layer-4 load balancer on DPDK.
//!
//! Two one-way streets, which meet in two types:
//!
//! ```text
//! data     wire → classify → hash → look up / select → rewrite → wire         (dataplane, packet, wire)
//!                                         ▲                   │
//!                                     Snapshot            counters
//!                                         │                   ▼
//! control  flags + file → Model → compile → publish;  neighbours, reloads      (config, snapshot, control)
//! ```
//!
//! `docs/ARCHITECTURE.md` is the long form. To read the code, begin with [`dataplane::Path::process_burst`]:
//! it is a packet's whole way, one line a stage.

pub mod cli;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod doctor;
pub mod drop_reason;
pub mod import;
pub mod io;
pub mod maglev;
pub mod packet;
pub mod replay;
pub mod snapshot;
pub mod tick;
pub mod watch;
pub mod wire;

#[cfg(feature = "dpdk")]
pub mod dpdk;
