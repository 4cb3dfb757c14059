#!/usr/bin/env bash
# Long datagrams through real kernels: cut up on their way to a backend and on their way back.
#
# By the tap driver, as net_af_packet has the kernel put them together first.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

driver=tap
workers=1
case_start 90

long_datagrams() { net client "$python" "$here/udp_long.py" "$vip" 5353 "$@" 2>&1; }

need_tun
bed_up 3 without-ports
start_servers 3
{
    config_head
    config_pool web 1 2 3
    config_rule web 80/tcp web 80
    config_rule echo 5353/udp web 5300
} >"$config"
gw_start
wait_for_service
equal "21 long datagrams come back as they were" "sent 21 answered 21 wrong_sender 0" "$(long_datagrams)"
equal "and those whose last part comes first" "sent 21 answered 21 wrong_sender 0" "$(long_datagrams reversed)"
sleep 0.5
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
equal "no fragment waits" 0 "$(counter held)"
# 21 datagrams twice, each in two parts at least, both ways.
between "frames were forwarded" 500 100000 "$(counter transmitted)"
for reason in fragment-timed-out fragment-table-full fragment-overlap fragment-duplicate; do
    equal "no drop: $reason" 0 "$(counter "$reason")"
done
case_end
