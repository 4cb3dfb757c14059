//! What the benches share: frames shaped like DPDK's, a world to balance, flows in random order, and
//! figures with their spread.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each bench uses a part of it")]

pub mod arena;
pub mod figure;
pub mod world;
