//! Beds for whole programs on real DPDK ports: captures to send, programs to run, and how to read their counters.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each bench uses a part of it")]

pub mod balancer;
pub mod capture;
pub mod machine;
pub mod program;
pub mod search;
pub mod side;
pub mod telemetry;
pub mod tester;
pub mod testpmd;

/// What went wrong, for people.
pub type Result<T> = std::result::Result<T, String>;

/// Says what was tried where that failed.
pub trait Trying<T> {
    fn trying(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Trying<T> for std::result::Result<T, E> {
    fn trying(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}
