//! What the benches share: frames shaped like DPDK's, a world to balance, flows in random order, and
//! figures with their spread.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each bench uses a part of it")]

pub mod arena;
pub mod figure;
pub mod flood;
pub mod pair;
pub mod report;
pub mod rounds;
pub mod traffic;
pub mod walker;
pub mod world;

/// The arguments of the command line, without what cargo says to every bench.
pub fn arguments<A: clap::Parser>() -> A {
    A::parse_from(std::env::args().filter(|argument| argument != "--bench"))
}

/// Keeps this thread on the last CPU: the first has the machine's own work. Returns all that this process may use.
pub fn settle_on_last_cpu() -> Vec<core_affinity::CoreId> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(last) = cpus.last() {
        assert!(core_affinity::set_for_current(*last), "cannot pin a thread to CPU {}", last.id);
    }
    cpus
}
