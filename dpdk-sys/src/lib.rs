//! Raw bindings to the part of DPDK that guideway uses, made at build time from the installed headers.
//!
//! Two kinds of names live here. `rte_*` are DPDK's own functions and structures, each named in the
//! allow-list of `build.rs`. `gw_*` come from `shim.h`: what DPDK defines inline (the bursts), what is
//! thread-local (`rte_errno`), and what is declared differently in different versions (`struct rte_mbuf`,
//! which is [`gw_mbuf`] here). The shim costs one call a burst.
//!
//! Nothing here is safe to call by itself; the one user is the folder `src/dpdk` of guideway, which says why
//! each call is right.
//!
//! **Versions.** DPDK 22.11 to 25.11, without edits. The build script passes the version on to dependents as
//! `DEP_DPDK_VERSION`.
//!
//! **Linking.** Statically by default, with the drivers that `build.rs` lists: no driver directory to
//! find at run time, and faster bursts. With the feature `shared` against the shared libraries, whose drivers EAL
//! loads from DPDK's driver directory or by `-d`.

#![allow(missing_docs)] // the documentation of these names is DPDK's
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)] // C's names
#![allow(dead_code, unnecessary_transmutes)]
#![allow(clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
