#!/usr/bin/env bash
# Neighbours: announced to at the start, asked for when unknown, followed when they change their Ethernet address, and
# found again when they were gone.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 150

one_answer() { client_curl --max-time 1 --fail "http://$vip:$1/who"; }

bed_up 2
bed_nginx 1
bed_nginx 2
{
    config_head
    config_pool first 1
    config_rule first 80/tcp first 80
    config_pool second 2
    config_rule second 81/tcp second 80
    config_pool late 3
    config_rule late 82/tcp late 80
} >"$config"

sniff client c0 start
sniff '' s0 inside
gw_start --stats 1
mac=$(sed -n 's/.*port outside: [^,]*, \([0-9a-f:]*\),.*/\1/p' "$run/guideway.log")
announced() { grep -q "^arp 1 $mac $1 $1\$" "$run/sniffed-start"; }
check "guideway announces its own address at the start" within 3 announced 10.0.0.1
check "and the frontend" within 3 announced "$vip"
asked() { grep -Eq "^arp 1 [0-9a-f:]* 10.1.0.1 10.1.0.13\$" "$run/sniffed-inside"; }
check "it asks for a backend that is not there" within 3 asked
sniffed_all

check "the backends that are there answer" within 5 one_answer 80
check "both of them" within 5 one_answer 81

# A host that is not there.
one_answer 82 >/dev/null 2>&1 || true
# shellcheck disable=SC2317 # `within` calls it.
is_unresolved() { (($(counter neighbour-unresolved) > 0)); }
check "packets for a backend that is not there count as neighbour-unresolved" within 5 is_unresolved
bed_backend 3
bed_nginx 3
check "it is found within 5 s of its appearance" within 5 one_answer 82

# A host that changes its address and says so, as an adapter does that is replaced, or a machine that moves.
net b1 sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify'
ip -n b1 link set eth0 address 02:00:00:00:11:11
ip -n b1 link set eth0 down
ip -n b1 link set eth0 up
ip -n b1 route replace default via 10.1.0.1
check "a backend that announces its new address is found within 3 s" within 3 one_answer 80

# One that sends something: it must ask for guideway's address first, and that shows its own.
ip -n b1 link set eth0 address 02:00:00:00:22:22
net b1 ping -q -c 1 -W 1 10.1.0.1 >/dev/null 2>&1 || true
check "a backend that speaks from a new address is found within 3 s" within 3 one_answer 80

# Deleted and made again, as a container that is started anew.
ip -n b1 link del eth0
bed_attach 1
check "a backend that was deleted and made again is found" within 45 one_answer 80

# The worst: it changes without a word. What is known is refreshed every 30 s and given up after three silences.
ip -n b2 link set eth0 address 02:00:00:00:33:33
check "a silent backend with a new address is found within 45 s" within 45 one_answer 81

# A connection outlives the change.
head -c 20000000 /dev/urandom >"$run/www/some"
wanted=$(sha256sum <"$run/www/some")
(client_curl --max-time 60 --limit-rate 5M "http://$vip/some" 2>&1 | sha256sum >"$run/got") &
download=$!
sleep 1
ip -n b1 link set eth0 address 02:00:00:00:44:44
net b1 ping -q -c 1 -W 1 10.1.0.1 >/dev/null 2>&1 || true
wait "$download" || true
equal "a download goes on across the change" "$wanted" "$(cat "$run/got")"

gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
