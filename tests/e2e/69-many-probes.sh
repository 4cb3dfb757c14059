#!/usr/bin/env bash
# 5,000 endpoints, each asked every second, by the host's network and out of guideway's port.
#
# Prints what docs/PROBES.md tells: questions a second and how even they are, what the management thread needs for them,
# how fast the control socket answers meanwhile, and when a death among so many is noticed. The limits are loose: this is
# to see a storm or a standstill, not a slow machine.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

driver=af_packet
workers=1
endpoints=5000

# `many_config KIND VIA`
many_config() {
    config_head | sed 's|10\.1\.0\.1/24|10.1.0.1/16|'
    cat <<TOML

[[pool]]
name = "many"
addresses = "10.1.16.1-10.1.47.254"
instances = $endpoints

[[probe]]
name = "p"
kind = "$1"
via = "$2"
interval = "1s"
timeout = "1s"
TOML
    [[ $1 == tcp ]] || printf 'path = "/who"\n'
    config_rule web 80/tcp many 80
    printf 'probe = "p"\n'
}

# For probes by the host's network: a link of the kernel's own to the inside, and the one host as its gateway, for kernels
# keep no 5,000 neighbours.
give_host_a_way() {
    ip link add h1 netns lb type veth peer name h0
    ip link set h0 master inside up
    bed_address lb h1 10.1.0.2/24
    ip -n lb route add 10.1.0.0/16 via 10.1.0.11 dev h1
    # The kernel would answer for this address on guideway's ports as well.
    ip -n lb link set s1 arp off
    ip -n lb link set c1 arp off
}

# Connections that the backends have taken so far.
# shellcheck disable=SC2016 # what awk reads
taken() { net b1 awk '$1 == "Tcp:" && $7 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp; }

# Milliseconds of CPU that the main thread has had.
cpu_ms() { awk '{ print int($1 / 1000000) }' "/proc/$1/task/$1/schedstat"; }

# Connections in each tenth of a second, for 10 s: "least most".
evenness() {
    local last now i
    last=$(taken)
    for ((i = 0; i < 100; i++)); do
        sleep 0.095
        now=$(taken)
        echo $((now - last))
        last=$now
    done | sort -n | sed -n '1p; $p' | paste -sd ' '
}

is_down() { grep -q "10.1.20.7:80 is down" "$run/guideway.log"; }

# `show_status NUMBER`: so many answers of the control socket, in ms, in ascending order.
show_status() {
    local i
    for ((i = 0; i < $1; i++)); do
        curl --silent --output /dev/null --unix-socket "$run/control.sock" --write-out '%{time_total}\n' http://x/v1/status
    done | awk '{ print int($1 * 1000 + 0.5) }' | sort -n
}

# `check_many KIND VIA`
check_many() {
    local what="$1 by $2" cpu before began least most share
    many_config "$1" "$2" >"$config"
    gw_start
    sleep 6
    before=$(taken) cpu=$(cpu_ms "$gw_pid") began=$(now_ms)
    read -r least most < <(evenness)
    share=$((($(cpu_ms "$gw_pid") - cpu) * 100 / ($(now_ms) - began)))
    between "$what: questions a second" 4000 5300 "$((($(taken) - before) * 1000 / ($(now_ms) - began)))"
    between "$what: in the emptiest tenth of a second" 50 530 "$least"
    between "$what: and in the fullest" 400 1500 "$most"
    between "$what: percent of a CPU on the management thread" 1 95 "$share"
    show_status 100 >"$run/status"
    between "$what: ms for the control socket to answer, in the middle" 0 100 "$(sed -n 50p "$run/status")"
    between "$what: and at worst of 100" 0 500 "$(tail -n 1 "$run/status")"
    equal "$what: nobody is down who is not" 0 "$(grep -c ' is down' "$run/guideway.log" || true)"
    net b1 ip route add blackhole 10.1.20.7/32 table local
    began=$(now_ms)
    within 8 is_down || true
    between "$what: ms until one that falls silent is noticed; interval x fall + timeout are 3000" 500 3600 \
        "$(($(now_ms) - began))"
    net b1 ip route del blackhole 10.1.20.7/32 table local
    check "$what: no word of being late" test "$(grep -c 'probes are late' "$run/guideway.log")" = 0
    gw_stop
    equal "it ends with exit code 0" 0 "$gw_status"
}

case_start 180
bed_up 1
# One host has all addresses.
ip -n b1 address flush dev eth0
bed_address b1 eth0 10.1.0.11/16
net b1 ip route add local 10.1.16.0/20 dev lo
net b1 ip route add local 10.1.32.0/20 dev lo
bed_nginx 1
check_many tcp port
check_many http port
give_host_a_way
check_many tcp host
check_many http host
case_end
