#!/usr/bin/env bash
# Who is there: pings of frontends of all sizes, by health, and traces through guideway by UDP and TCP, in IPv4 and IPv6.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 120

vip6=2001:db8:0::100

ping_config() {
    config_head | sed '/^addresses/s|"10\.\([01]\)\.0\.1/24"|"10.\1.0.1/24", "2001:db8:\1::1/64"|'
    local state=${1:-auto} family frontend address
    for family in 4 6; do
        frontend=$vip address=10.1.0.11
        ((family == 4)) || frontend="[$vip6]" address=2001:db8:1::11
        cat <<TOML

[[pool]]
name = "servers$family"
backends = [{ address = "$address", state = "$state" }]

[[rule]]
name = "web$family"
frontend = "$frontend:80/tcp"
pool = "servers$family"

[[rule]]
name = "echo$family"
frontend = "$frontend:5300/udp"
pool = "servers$family"

[[rule]]
name = "nobody$family"
frontend = "$frontend:33434/udp"
pool = "servers$family"
TOML
    done
}

pings() { net client ping "-$1" -q -c 2 -i 0.2 -W 2 -s "$3" "$2"; }
trace() { net client "$python" "$here/trace.py" "$@" 2>&1 | paste -sd ';'; }

if [[ ! -e /proc/net/if_inet6 ]]; then
    skip "$case_name" "the kernel has no IPv6"
    case_end
fi
bed_up 1
bed_ipv6 1
start_servers 1
ping_config >"$config"
gw_start
# shellcheck disable=SC2317 # `within` calls it.
is_there() { net client curl -sgo "$run/null" --noproxy '*' --max-time 1 "http://[$vip6]/who" && answers; }
check "the service answers" within 15 is_there
# Longer ones of IPv4 are in 81-fragments.sh, as net_af_packet has the kernel put them together.
for size in 0 1 8 56 57 512 1400 1472; do
    check "ping of the frontend, IPv4, $size bytes" pings 4 "$vip" "$size"
done
for size in 0 1 8 56 57 512 1400 1452 1453 8000; do
    check "ping of the frontend, IPv6, $size bytes" pings 6 "$vip6" "$size"
done
for family in 4 6; do
    if ((family == 4)); then us=10.0.0.1 front=$vip; else us=2001:db8::1 front=$(printf '%s' 2001:db8::100); fi
    equal "a trace by TCP, IPv$family, shows us and the frontend" "1 $us exceeded;2 $front connected" \
        "$(trace tcp "$front" 80 2)"
    equal "a trace by UDP, IPv$family, shows us and the frontend" "1 $us exceeded;2 $front answered" \
        "$(trace udp "$front" 5300 2)"
    equal "a trace by UDP, IPv$family, to a port where nobody listens: the backend's refusal bears the frontend's name" \
        "1 $us exceeded;2 $front refused" "$(trace udp "$front" 33434 2)"
done
ping_config down >"$config"
gw_reload
for family in 4 6; do
    front=$vip
    ((family == 4)) || front=$vip6
    net client ping "-$family" -c 2 -i 0.2 -W 2 "$front" >"$run/ping" 2>&1 || true
    contains "all down: ping of the frontend, IPv$family, says unreachable" \
        'From (10\.0\.0\.1|2001:db8::1)[ :].*([Hh]ost [Uu]nreachable|Address unreachable)' "$run/ping"
done
sleep 0.3
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
