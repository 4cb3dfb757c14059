//! Finds the installed DPDK, makes the bindings, compiles the shim and says what to link.
//!
//! Everything is asked of `pkg-config libdpdk`, and its answers are used raw: `-include rte_config.h` and
//! `-march=…` are part of DPDK's interface, and helpers that parse the flags drop them.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The oldest DPDK whose interface we use, as (year, month).
const OLDEST: (u32, u32) = (22, 11);

/// What we call. Everything else of DPDK stays out of the bindings.
const FUNCTIONS: &[&str] = &[
    "gw_.*",
    "rte_bus_name",
    "rte_dev_bus",
    "rte_eal_cleanup",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_from_rings",
    "rte_eth_macaddr_get",
    "rte_eth_allmulticast_enable",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_promiscuous_get",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_mempool_avail_count",
    "rte_mempool_free",
    "rte_pktmbuf_pool_create",
    "rte_ring_create",
    "rte_ring_free",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_vdev_uninit",
];

/// Types that no function above names by itself.
const TYPES: &[&str] = &["gw_.*", "rte_eth_rx_mq_mode"];

/// Types that we only hold pointers to.
const OPAQUE: &[&str] = &["rte_mempool", "rte_ring", "rte_device", "rte_bus", "rte_mbuf"];

/// Linked whole, because they register themselves in constructors that nothing refers to.
const WHOLE: &[&str] =
    &["eal", "log", "telemetry", "ring", "mempool", "mbuf", "ethdev", "bus_vdev", "mempool_ring"];

/// The drivers, linked whole likewise. A user would miss these, so we say so when DPDK comes without one.
const DRIVERS: &[&str] = &[
    "bus_pci",
    "net_af_packet",
    "net_af_xdp",
    "net_e1000",
    "net_ena",
    "net_i40e",
    "net_iavf",
    "net_ice",
    "net_ixgbe",
    "net_memif",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_tap",
    "net_vhost",
    "net_virtio",
    "net_vmxnet3",
];

/// Drivers few would miss, and those that some versions have as a part of another: igc is in e1000 since 25.11.
const DRIVERS_IF_ANY: &[&str] = &["common_iavf", "net_bond", "net_igc"];

/// What the names of drivers begin with; the other libraries of DPDK are linked where something needs them.
const DRIVER_KINDS: &[&str] = &[
    "baseband_",
    "bus_",
    "common_",
    "compress_",
    "crypto_",
    "dma_",
    "event_",
    "gpu_",
    "mempool_",
    "ml_",
    "net_",
    "power_",
    "raw_",
    "regex_",
    "vdpa_",
];

/// The system's libraries that the above can need. Those that this DPDK was built with are linked.
const SYSTEM: &[&str] =
    &["archive", "atomic", "bpf", "bsd", "dl", "elf", "m", "numa", "pcap", "pthread", "rt", "xdp", "z"];

fn main() -> ExitCode {
    for name in ["src/shim.h", "src/shim.c", "build.rs"] {
        println!("cargo::rerun-if-changed={name}");
    }
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let version = pkg_config(&["--modversion"])?;
    if release(&version) < Some(OLDEST) {
        return Err(format!(
            "DPDK {version} is too old: guideway needs {}.{} or newer. {HOW_TO_GET_DPDK}",
            OLDEST.0, OLDEST.1
        ));
    }
    println!("cargo::metadata=version={version}");

    let flags = words(&pkg_config(&["--cflags"])?);
    compile_shim(&flags)?;
    make_bindings(&flags)?;
    if env::var_os("CARGO_FEATURE_SHARED").is_some() { link_shared() } else { link_static() }
}

const HOW_TO_GET_DPDK: &str = "Install DPDK's development files (`apt-get install libdpdk-dev` on Debian 12), or build \
     without DPDK: `cargo build --no-default-features`";

fn pkg_config(arguments: &[&str]) -> Result<String, String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(&program).args(arguments).arg("libdpdk").output().map_err(|error| {
        format!("cannot run `{program}` ({error}), which finds DPDK. Install it (package pkg-config). {HOW_TO_GET_DPDK}")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().next().unwrap_or("nothing").trim_end_matches('.');
    Err(format!("DPDK was not found: `{program} libdpdk` says: {reason}. {HOW_TO_GET_DPDK}"))
}

/// "22.11.11" and "25.11.0-rc1" as (22, 11) and (25, 11).
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let year = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    Some((year, month))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn out_dir() -> Result<PathBuf, String> {
    env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or_else(|| "OUT_DIR is not set; run this through cargo".into())
}

fn compile_shim(flags: &[String]) -> Result<(), String> {
    let mut shim = cc::Build::new();
    for flag in flags {
        shim.flag(flag);
    }
    // Optimised in every profile: the bursts are inlined into the shim. No warnings: they are of DPDK's headers.
    shim.file("src/shim.c").opt_level(3).warnings(false).flag("-w");
    shim.try_compile("gw_shim")
        .map_err(|error| format!("src/shim.c does not compile against this DPDK: {error}"))
}

fn make_bindings(flags: &[String]) -> Result<(), String> {
    let mut builder = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .allowlist_var("GW_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .derive_debug(false)
        .generate_comments(false);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    // bindgen panics where it finds no libclang, at a length that hides the one line that helps.
    std::panic::set_hook(Box::new(|_| ()));
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || builder.generate()));
    drop(std::panic::take_hook());
    let bindings =
        made.map_err(|_| format!("libclang, which reads DPDK's headers, was not found. {HOW_TO_GET_CLANG}"))?;
    let bindings = bindings.map_err(|error| {
        format!(
            "libclang cannot read DPDK's headers; the lines above say why. {HOW_TO_GET_CLANG} ({})",
            first_line(&error)
        )
    })?;
    let path = out_dir()?.join("bindings.rs");
    bindings.write_to_file(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

const HOW_TO_GET_CLANG: &str = "Install it with its own headers (`apt-get install libclang-dev` on Debian 12; \
     LIBCLANG_PATH names a directory that holds it), or build without DPDK: `cargo build --no-default-features`";

fn first_line(error: &bindgen::BindgenError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn link_static() -> Result<(), String> {
    let directory = PathBuf::from(pkg_config(&["--variable=libdir"])?);
    let listed = words(&pkg_config(&["--libs", "--static"])?);
    println!("cargo::rustc-link-search=native={}", directory.display());

    // Whole archives first and the rest in pkg-config's order, which is users before the used: linkers that
    // read archives once, from left to right, need it so.
    let mut linked = BTreeSet::new();
    for name in WHOLE.iter().chain(DRIVERS).chain(DRIVERS_IF_ANY) {
        if has_archive(&directory, name) {
            println!("cargo::rustc-link-lib=static:-bundle,+whole-archive=rte_{name}");
            linked.insert((*name).to_owned());
        } else if *name == "eal" {
            return Err(format!(
                "{} holds no librte_eal.a: this DPDK was installed without static libraries. Install them, or build \
                 against the shared ones: `cargo build --features dpdk-shared`",
                directory.display()
            ));
        } else if DRIVERS.contains(name) {
            println!(
                "cargo::warning=this DPDK comes without the driver {name}; ports that need it will not open"
            );
        }
    }
    println!("cargo::metadata=drivers={}", drivers(&linked));
    for name in listed.iter().filter_map(|flag| dpdk_library(flag)) {
        let is_driver = DRIVER_KINDS.iter().any(|kind| name.starts_with(kind));
        if !is_driver && has_archive(&directory, name) && linked.insert(name.to_owned()) {
            println!("cargo::rustc-link-lib=static:-bundle=rte_{name}");
        }
    }
    for name in SYSTEM {
        if listed.iter().any(|flag| flag.strip_prefix("-l") == Some(name)) {
            println!("cargo::rustc-link-lib=dylib={name}");
        }
    }
    Ok(())
}

/// Those of the linked libraries that are drivers of network devices.
fn drivers(linked: &BTreeSet<String>) -> String {
    let names: Vec<&str> =
        linked.iter().map(String::as_str).filter(|name| name.starts_with("net_")).collect();
    names.join(" ")
}

fn has_archive(directory: &Path, name: &str) -> bool {
    directory.join(format!("librte_{name}.a")).is_file()
}

/// "-lrte_eal" and "-l:librte_eal.a" as "eal".
fn dpdk_library(flag: &str) -> Option<&str> {
    let name = flag.strip_prefix("-l")?;
    match name.strip_prefix(":librte_") {
        Some(file) => file.strip_suffix(".a"),
        None => name.strip_prefix("rte_"),
    }
}

fn link_shared() -> Result<(), String> {
    let directory = pkg_config(&["--variable=libdir"])?;
    println!("cargo::rustc-link-search=native={directory}");
    // These two count as drivers, so pkg-config does not list them; we call into them.
    for name in ["rte_net_ring", "rte_bus_vdev"] {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    for flag in words(&pkg_config(&["--libs"])?) {
        if let Some(name) = flag.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={name}");
        } else if let Some(path) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={path}");
        }
    }
    Ok(())
}
