# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# What benches on real DPDK ports need: testpmd, hugepages, and files that do not stay. To be sourced, after common.sh,
# packages.sh and hugepages.sh.

# dpdk-testpmd is in dpdk-dev; setpriv, chrt and stdbuf are in every Debian.
packages_for_ports=(dpdk dpdk-dev)

bench_files=''

# To be trapped: what was made is undone.
ports_bench_end() {
    end_group
    give_hugepages_back
    [[ -z $bench_files ]] || rm -rf "$bench_files"
}

# `ports_bench NAME MEBIBYTES ARGUMENT...`: builds and runs one of cargo's benches, with so much in hugepages. Figures
# go to standard output, all else to standard error.
ports_bench() {
    local name=$1 mebibytes=$2
    shift 2
    {
        require_cargo
        install_packages "${packages_to_build[@]}" "${packages_for_ports[@]}"
        reserve_hugepages "$mebibytes"
    } >&2
    bench_files=$(mktemp -d)
    # A pcap of each number of flows and a log of each program are written there.
    TMPDIR=$bench_files run_in_group cargo bench --quiet --locked --manifest-path "$root/Cargo.toml" --bench "$name" -- "$@"
}
