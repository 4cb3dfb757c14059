#!/usr/bin/env bash
# A port of two interfaces by DPDK's bonding driver. That the second takes over is seen in the tests of src/dpdk: drivers
# without a card do not notice that a link goes down.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 60

# c1 and c2, in lb, lead to a bridge that the client is on.
bed_bond() {
    bed_up 2 without-ports
    ip link add outside type bridge
    ip link set outside up
    local i
    for i in 1 2; do
        ip link add "c$i" netns lb type veth peer name "p$i"
        ip link set "p$i" master outside up
        ip -n lb link set "c$i" up
    done
    ip link add ca type veth peer name c0 netns client
    ip link set ca master outside up
    bed_client
    ip link add s1 netns lb type veth peer name s0
    ip -n lb link set s1 up
    ip link set s0 master inside up
}

# What docs/CONFIG.md says of a bonded port.
bond_config() {
    local word=member
    # DPDK's word until 23.07.
    ! "$guideway" --version | grep -Eq 'DPDK:? *2([012]\.|3\.0)' || word=slave
    config_head | sed \
        -e "s/^device = \"net_af_packet0.*/device = \"net_bonding0,mode=1,$word=net_af_packet2,$word=net_af_packet3\"/" \
        -e '/^\[dataplane\]/a eal = ["--vdev=net_af_packet2,iface=c1", "--vdev=net_af_packet3,iface=c2"]'
    config_pool web 1 2
    config_rule http 80/tcp web 80
}

bed_bond
start_servers 2
bond_config >"$config"
gw_start
wait_for_service
requests 100 >"$run/requests"
equal "100 requests, each answered with 200" 100 "$(grep -c ' 200 ' "$run/requests" || true)"
check "ping of guideway's own address" net client ping -q -c 3 -i 0.2 -W 2 10.0.0.1
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
