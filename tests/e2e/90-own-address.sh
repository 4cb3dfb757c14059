#!/usr/bin/env bash
# An instance with a public address of its own, in IPv4 and IPv6: pings of all sizes and connections both ways, a
# protocol without ports, and errors, between real kernels.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

workers=${GUIDEWAY_WORKERS:-2}
case_start 120

own=10.0.0.120
own6=2001:db8:0::120

own_config() {
    config_head | sed '/^addresses/s|"10\.\([01]\)\.0\.1/24"|"10.\1.0.1/24", "2001:db8:\1::1/64"|'
    config_pool web 1 2
    config_rule http 80/tcp web 80
    cat <<TOML

[[nat_rule]]
name = "own4"
frontend = "$own:0/any"
backend = "10.1.0.13"
$1

[[nat_rule]]
name = "own6"
frontend = "[$own6]:0/any"
backend = "2001:db8:1::13"
$1

[[acl]]
name = "nobody"
rules = ["deny 0.0.0.0/0", "deny ::/0"]
TOML
}

if [[ ! -e /proc/net/if_inet6 ]]; then
    skip "$case_name" "the kernel has no IPv6"
    case_end
fi
bed_up 3
bed_ipv6 3
start_servers 3
net_background client "$python" "$here/servers.py" client >>"$run/servers.log" 2>&1
within 10 net client curl --silent --max-time 1 --noproxy '*' http://127.0.0.1:8000/ || fail "the client serves" "nothing"
own_config '' >"$config"
gw_start
wait_for_service

# `ping_from NAMESPACE ADDRESS SIZE`
ping_from() { net "$1" ping -q -c 2 -i 0.2 -W 2 -s "$3" "$2"; }
get() { net "$1" curl -sg --noproxy '*' --max-time 3 "$2"; }

for size in 0 56 1400 4000; do
    # net_af_packet has the kernel put parts of IPv4 together.
    if ((size < 1500)); then
        check "a ping of the own address, IPv4, $size bytes" within 5 ping_from client "$own" "$size"
        check "the instance pings the outside, IPv4, $size bytes" ping_from b3 10.0.0.2 "$size"
    fi
    check "a ping of the own address, IPv6, $size bytes" within 5 ping_from client "$own6" "$size"
    check "the instance pings the outside, IPv6, $size bytes" ping_from b3 2001:db8:0::2 "$size"
done
equal "the own address serves by all ports" b3 "$(get client "http://$own:8000/")"
equal "in IPv6 too" b3 "$(get client "http://[$own6]:8000/")"
equal "the instance gets to servers outside" client "$(get b3 http://10.0.0.2:8000/)"
equal "in IPv6 too" client "$(get b3 'http://[2001:db8:0::2]:8000/')"

# `seen TARGET`: whom a server at TARGET sees when the instance talks to it.
seen() { net b3 timeout 1 bash -c "exec 3<>/dev/udp/$1/5300; printf x >&3; cat <&3" || true; }
contains "its own address is seen outside" "$own" <(seen 10.0.0.2)

refused() { net client "$python" "$here/trace.py" udp "$1" 33434 2 2>&1 | paste -sd ';'; }
equal "a refusal bears the own address, IPv4" "1 10.0.0.1 exceeded;2 $own refused" "$(refused "$own")"
equal "a refusal bears the own address, IPv6" "1 2001:db8::1 exceeded;2 2001:db8::120 refused" "$(refused "$own6")"
equal "the instance's trace shows guideway and the far end" "1 10.1.0.1 exceeded;2 10.0.0.2 refused" \
    "$(net b3 "$python" "$here/trace.py" udp 10.0.0.2 33434 2 2>&1 | paste -sd ';')"

# `gets NAMESPACE FROM TARGET`: what NAMESPACE gets, by a protocol that is none of the kernel's, from FROM, sent to TARGET.
gets() {
    local proto=253 listener
    # shellcheck disable=SC2016
    local receive='import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[1]))
s.settimeout(5)
print("ready", flush=True)
data, source = s.recvfrom(2000)
print("got", data[20:].decode(), "from", source[0])'
    net_background "$1" "$python" -c "$receive" "$proto" >"$run/got" 2>&1
    listener=$!
    within 5 grep -q ready "$run/got"
    net "$2" "$python" -c 'import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[1])).sendto(b"bytes", (sys.argv[2], 0))' "$proto" "$3"
    wait "$listener" || true
    tail -n 1 "$run/got"
}
equal "a protocol without ports gets to the instance" "got bytes from 10.0.0.2" "$(gets b3 client "$own")"
equal "and from there to the outside, from its own address" "got bytes from $own" "$(gets client b3 10.0.0.2)"

own_config 'icmp_echo = false' >"$config"
gw_reload
check "without icmp_echo it does not answer" bash -c "! nsenter --net=/run/netns/client ping -q -c 1 -W 1 $own >/dev/null"
check "and pings all the same" ping_from b3 10.0.0.2 56
own_config 'acl = "nobody"' >"$config"
gw_reload
check "whom the list denies nothing answers" bash -c "! nsenter --net=/run/netns/client ping -q -c 1 -W 1 $own6 >/dev/null"
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check "the drops have names" test "$(counter echo-off)" -ge 1 -a "$(counter acl-denied)" -ge 1
check_counters_add_up
case_end
