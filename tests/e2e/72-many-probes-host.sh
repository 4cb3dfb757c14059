#!/usr/bin/env bash
# 5,000 endpoints, each asked every five seconds, by the machine's own network.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=many-probes.sh
. "$here/many-probes.sh"

driver=af_packet
workers=1

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

case_start 60
many_backends
give_host_a_way
check_many host
case_end
