//! Tells the program which DPDK it is built with: `GUIDEWAY_DPDK_VERSION`, or "none"; and which of its drivers are linked:
//! `GUIDEWAY_DPDK_DRIVERS`, none where they are found at the start.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by the build script of `dpdk-sys`, so absent without the feature `dpdk`.
    let version = std::env::var("DEP_DPDK_VERSION").unwrap_or_else(|_| "none".to_owned());
    println!("cargo::rustc-env=GUIDEWAY_DPDK_VERSION={version}");
    let drivers = std::env::var("DEP_DPDK_DRIVERS").unwrap_or_default();
    println!("cargo::rustc-env=GUIDEWAY_DPDK_DRIVERS={drivers}");
}
