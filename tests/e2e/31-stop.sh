#!/usr/bin/env bash
# SIGTERM and SIGINT end guideway within two seconds, with exit code 0 and its counters, busy or not, and leave nothing:
# no process, no hugepage, no file.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 90

hugepages() { cat /sys/kernel/mm/hugepages/*/{nr,free}_hugepages 2>/dev/null | tr '\n' ' '; }
left_files() {
    # EAL makes its directory in any case; what counts is what is in it.
    find /dev/hugepages /dev/shm /run/dpdk /var/run/dpdk /tmp/dpdk ! -type d \
        \( -name 'rtemap_*' -o -path '*/dpdk/*' \) 2>/dev/null || true
}

# `stops SIGNAL WHEN`
stops() {
    gw_stop "$1"
    equal "$2: exit code 0 after $1" 0 "$gw_status"
    between "$2: it takes at most 2000 ms" 0 2000 "$gw_took"
    contains "$2: it prints its counters" '^frames +received [0-9]+' "$run/guideway.out"
    contains "$2: it says so" 'stopping' "$run/guideway.log"
}

bed_up 1
bed_nginx 1
{
    config_head
    config_pool web 1
    config_rule web 80/tcp web 80
} >"$config"
pages=$(hugepages) files=$(left_files)

for signal in TERM INT; do
    gw_start
    stops "$signal" "idle"

    gw_start
    wait_for_service
    net client wrk --threads 1 --connections 50 --duration 4s --timeout 1s "http://$vip:80/who" >/dev/null 2>&1 &
    load=$!
    sleep 1
    stops "$signal" "under load"
    check_counters_add_up
    wait "$load" || true

    sed 's/^idle = .*/idle = "spin"/' "$config" >"$config.spin"
    cp "$config" "$config.sleep"
    cp "$config.spin" "$config"
    gw_start
    stops "$signal" "spinning"
    cp "$config.sleep" "$config"
done

began=$(now_ms)
gw_start --stats 1
sleep 2.5
stops TERM "with --stats"
between "with --stats 1: a table each second and one at the end" 3 $((($(now_ms) - began) / 1000 + 1)) \
    "$(grep -c ^frames "$run/guideway.out")"

# During the start: DPDK takes some tenths of a second, and no handler is there yet for the first of them.
(exec nsenter --net=/run/netns/lb -- "$guideway" run --config "$config" >"$run/guideway.out" 2>"$run/guideway.log") &
gw_pid=$!
sleep 0.1
kill -TERM "$gw_pid"
check "SIGTERM while it starts ends it within 2 s" within 2 gw_is_gone
wait "$gw_pid" || true

equal "no hugepage is taken or reserved" "$pages" "$(hugepages)"
equal "no file of DPDK's is left" "$files" "$(left_files)"
check "the interfaces are there still" ip -n lb link show c1
case_end
