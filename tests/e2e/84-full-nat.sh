#!/usr/bin/env bash
# Full NAT through real kernels: nginx learns its client's address by the PROXY protocol, from both families, whole files
# pass over a lossy link, kernels mind the option that tells the address not at all, and errors find their way back.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 120

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

vip6=2001:db8:0::100
# `who NUMBER URL`: on a new connection each. Brackets of an address are none of curl's patterns.
plain() { printf '%s' "$1" | sed 's/[][]/\\&/g'; }
who() { net client curl -s --noproxy '*' --max-time 10 -H 'Connection: close' -w ' %{http_code} %{local_port}\n' "$(plain "$2")/who?[1-$1]"; }

full_nat_config() {
    config_head | sed '/^addresses/s|"10\.\([01]\)\.0\.1/24"|"10.\1.0.1/24", "2001:db8:\1::1/64"|'
    config_pool four 1 2
    cat <<TOML

[[pool]]
name = "six"
backends = [{ address = "2001:db8:1::11" }]
TOML
    local name frontend pool port told
    while read -r name frontend pool port told; do
        printf '\n[[rule]]\nname = "%s"\nfrontend = "%s"\npool = "%s"\nbackend_port = %s\nforward = "full-nat"\n' \
            "$name" "$frontend" "$pool" "$port"
        [[ -z $told ]] || printf 'client_address = ["%s"]\n' "$told"
    done <<RULES
proxy4 $vip:80/tcp four 81 proxy-v2
proxy64 [$vip6]:80/tcp four 81 proxy-v2
proxy46 $vip:82/tcp six 81 proxy-v2
toa $vip:83/tcp four 80 toa
closed [$vip6]:5999/udp four 5999
RULES
}

if [[ ! -e /proc/net/if_inet6 ]]; then
    skip "$case_name" "the kernel has no IPv6"
    case_end
fi
bed_up 2
bed_ipv6 2
start_servers 2
full_nat_config >"$config"
gw_start
# shellcheck disable=SC2317 # `within` calls it.
are_there() { [[ $(who 1 "http://$vip") == *' 200 '* && $(who 1 "http://[$vip6]") == *' 200 '* && $(who 1 "http://$vip:82") == *' 200 '* ]]; }
check "the services answer" within 15 are_there

# "BACKEND CLIENT:PORT FRONTENDPORT SOURCE STATUS LOCALPORT"
for case in "10.0.0.2 http://$vip 80 10.1.0.1" "2001:db8::2 http://[$vip6] 80 10.1.0.1" "10.0.0.2 http://$vip:82 82 2001:db8:1::1"; do
    read -r address url port source <<<"$case"
    equal "100 requests to $url: the server knows the client's address and port, and sees guideway's" 100 \
        "$(who 100 "$url" | awk -v a="$address" -v p="$port" -v s="$source" '$2 == a ":" $6 && $3 == p && $4 == s && $5 == 200' | wc -l)"
done
equal "100 requests with the TCP option" 100 "$(who 100 "http://$vip:83" | grep -c ' 200 ' || true)"

head -c 5000000 /dev/urandom >"$run/www/blob"
wanted=$(sha256sum <"$run/www/blob")
whole() { equal "5 MB are whole, $1$2" "$wanted" "$(net client curl -sg --noproxy '*' --max-time 40 "$1/blob" | sha256sum)"; }
# A request whose head fills segments: what comes first has no room for the header.
long_heads() {
    local head
    head=$(head -c 6000 /dev/zero | tr '\0' a)
    equal "10 requests with long heads, $1$2" 10 \
        "$(net client curl -s --noproxy '*' --max-time 40 -H "Connection: close" -H "X-Long: $head" -w ' %{http_code}\n' -o /dev/null "$(plain "$1")/who?[1-10]" | grep -c 200 || true)"
}
for url in "http://$vip" "http://[$vip6]" "http://$vip:82"; do
    whole "$url" ""
    long_heads "$url" ""
done
# One frame of thirty is lost, both ways and on both sides.
# `lose NAMESPACE INTERFACE`
lose() {
    net "$1" tc qdisc add dev "$2" clsact &&
        net "$1" tc filter add dev "$2" egress matchall action gact pass random netrand drop 30
}
if lose client c0 2>/dev/null && lose b1 eth0 2>/dev/null; then
    for url in "http://$vip" "http://[$vip6]" "http://$vip:82"; do
        whole "$url" ", over lossy links"
        long_heads "$url" ", over lossy links"
        equal "30 requests over lossy links, $url" 30 "$(who 30 "$url" | grep -c ' 200 ' || true)"
    done
    net client tc qdisc del dev c0 clsact
    net b1 tc qdisc del dev eth0 clsact
else
    skip "lossy links" "the kernel has no such action"
fi

cat >"$run/refused.py" <<'PYTHON'
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((sys.argv[1], 5999))
try:
    s.send(b"is anybody there?")
    s.recv(10)
    print("answered")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("silence")
PYTHON
equal "a server of IPv4 without the port: its client of IPv6 is told so" refused "$(net client "$python" "$run/refused.py" "$vip6")"

equal "flows are listed with the source that backends see" 10.1.0.1 \
    "$(gw show flows --rule proxy4 --json | jq -r '.flows[0].source' | sed 's/:.*//')"
check "headers of the PROXY protocol are counted" test "$(gw show counters --json | jq .client_address.proxy_headers_sent)" -gt 300
check "TCP options are counted" test "$(gw show counters --json | jq .client_address.toa_sent)" -ge 200
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
