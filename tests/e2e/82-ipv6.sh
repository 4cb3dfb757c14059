#!/usr/bin/env bash
# IPv6 through real kernels: neighbours find each other, pings, HTTP to nginx by NAT, and from IPv6 to IPv4 by full NAT.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 90

vip6=2001:db8:0::100
requests6() { net client curl -s --noproxy '*' --max-time 5 -H 'Connection: close' -w ' %{http_code} %{local_port}\n' "http://\\[$vip6\\]:$1/who?[1-$2]"; }

ipv6_config() {
    config_head | sed '/^addresses/s|"10\.\([01]\)\.0\.1/24"|"10.\1.0.1/24", "2001:db8:\1::1/64"|'
    cat <<TOML

[[pool]]
name = "six"
backends = [{ address = "2001:db8:1::11" }, { address = "2001:db8:1::12" }]

[[rule]]
name = "web"
frontend = "[$vip6]:80/tcp"
pool = "six"

[[rule]]
name = "mixed"
frontend = "[$vip6]:8080/tcp"
pool = "four"
backend_port = 80
forward = "full-nat"
TOML
    config_pool four 1 2
}

if [[ ! -e /proc/net/if_inet6 ]]; then
    skip "$case_name" "the kernel has no IPv6"
    case_end
fi
bed_up 2
bed_ipv6 2
start_servers 2
ipv6_config >"$config"
gw_start
# shellcheck disable=SC2317 # `within` calls it.
is_there() { [[ $(requests6 80 1) == *' 200 '* ]]; }
check "the service answers" within 15 is_there
check "ping of guideway's own address, outside" net client ping -6 -q -c 3 -i 0.2 -W 2 2001:db8:0::1
check "ping of guideway's own address, inside" net b1 ping -6 -q -c 3 -i 0.2 -W 2 2001:db8:1::1
check "ping of the frontend, full frames" net client ping -6 -q -c 3 -i 0.2 -W 2 -s 1452 "$vip6"
requests6 80 200 >"$run/requests"
equal "200 requests, each answered with 200" 200 "$(grep -c ' 200 ' "$run/requests" || true)"
equal "by both servers, which saw the client's own address and port" 2 \
    "$(awk '{ split($2, at, ":"); port = at[length(at)]; if (index($2, "2001:db8::2:") == 1 && port == $4) print $1 }' "$run/requests" | sort -u | wc -l)"
requests6 8080 200 >"$run/mixed"
equal "200 requests from IPv6 to servers of IPv4" 200 "$(grep -c ' 200 ' "$run/mixed" || true)"
equal "which saw guideway's address" 200 "$(awk 'index($2, "10.1.0.1:") == 1' "$run/mixed" | wc -l)"
head -c 3000000 /dev/urandom >"$run/www/blob"
wanted=$(sha256sum <"$run/www/blob")
for port in 80 8080; do
    equal "3 MB are whole, port $port" "$wanted" \
        "$(net client curl -sg --noproxy '*' --max-time 20 "http://[$vip6]:$port/blob" | sha256sum)"
done
sleep 0.5
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
