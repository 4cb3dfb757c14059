//! What the benches share: frames shaped like DPDK's, a world to balance, flows in random order, and
//! figures with their spread.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each bench uses a part of it")]

pub mod arena;
pub mod figure;
pub mod report;
pub mod rounds;
pub mod world;

/// The arguments of the command line, without what cargo says to every bench.
pub fn arguments<A: clap::Parser>() -> A {
    A::parse_from(std::env::args().filter(|argument| argument != "--bench"))
}
