#!/usr/bin/env bash
# Long datagrams through real kernels: cut up on their way to a backend and on their way back. And long pings.
#
# By the tap driver, as net_af_packet has the kernel put them together first.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

driver=tap
workers=1
case_start 90

pings() { net client ping "-$1" -q -c 3 -i 0.2 -W 2 -s "$3" "$2"; }
long_datagrams() { net client "$python" "$here/udp_long.py" "$@" 2>&1; }
vip6=2001:db8::100

need_tun
bed_up 3 without-ports
start_servers 3
{
    config_head | sed '/^addresses/s|"10\.\([01]\)\.0\.1/24"|"10.\1.0.1/24", "2001:db8:\1::1/64"|'
    config_pool web 1 2 3
    config_rule web 80/tcp web 80
    config_rule echo 5353/udp web 5300
    cat <<TOML

[[pool]]
name = "six"
backends = [{ address = "2001:db8:1::11" }, { address = "2001:db8:1::12" }, { address = "2001:db8:1::13" }]

[[rule]]
name = "echo6"
frontend = "[$vip6]:5353/udp"
pool = "six"
backend_port = 5300
TOML
} >"$config"
gw_start
[[ ! -e /proc/net/if_inet6 ]] || bed_ipv6 3
wait_for_service
equal "21 long datagrams come back as they were" "sent 21 answered 21 wrong_sender 0" "$(long_datagrams "$vip" 5353)"
equal "and those whose last part comes first" "sent 21 answered 21 wrong_sender 0" "$(long_datagrams "$vip" 5353 reversed)"
for size in 1473 8000 65507; do
    check "ping of the frontend, IPv4, $size bytes" pings 4 "$vip" "$size"
done
check "ping of the own address, IPv4, 8000 bytes" pings 4 10.0.0.1 8000
if [[ -e /proc/net/if_inet6 ]]; then
    # shellcheck disable=SC2317 # `within` calls it.
    answers6() { [[ $(long_datagrams "$vip6" 5353) == *'answered 21 '* ]]; }
    check "long datagrams of IPv6 come back" within 20 answers6
    equal "each as it was" "sent 21 answered 21 wrong_sender 0" "$(long_datagrams "$vip6" 5353)"
    for size in 1453 8000 65000; do
        check "ping of the frontend, IPv6, $size bytes" pings 6 "$vip6" "$size"
    done
    check "ping of the own address, IPv6, 8000 bytes" pings 6 2001:db8::1 8000
else
    skip "long datagrams of IPv6" "the kernel has no IPv6"
fi
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
