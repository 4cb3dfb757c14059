#!/usr/bin/env bash
# VLANs: a client in one and servers in another behind one interface, through a switch; tags within tags; jumbo frames.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 120

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

# t1, in lb, leads to the switch; behind it are the client (by ca) and the bridge of the servers (by sa).
bed_trunk() {
    bed_up 2 without-ports
    ip link add t1 netns lb type veth peer name t0
    ip link add ca type veth peer name c0 netns client
    ip link add sa type veth peer name s0
    bed_client
    ip link set s0 master inside up
    ip -n lb link set t1 up
    for name in t0 ca sa; do ip link set "$name" up; done
}

bed_mtu() {
    ip link set t0 mtu "$2"
    ip -n lb link set t1 mtu "$2"
    for name in ca sa s0 b1 b2 inside; do ip link set "$name" mtu "$1"; done
    ip -n client link set c0 mtu "$1"
    for name in b1 b2; do ip -n "$name" link set eth0 mtu "$1"; done
}

# `switch OUTSIDE INSIDE`: their VLANs.
switch() {
    if [[ -n ${switch_pid:-} ]]; then
        kill "$switch_pid"
        wait "$switch_pid" 2>/dev/null || true
    fi
    "$python" "$here/switch.py" t0 "ca=$1" "sa=$2" >"$run/switch" &
    switch_pid=$!
    within 5 grep -q ready "$run/switch" || fail "the switch starts" "not ready"
}

# `vlan_config OUTSIDE INSIDE MTU`
vlan_config() {
    config_head | sed -e 's/^device = .*/device = "net_af_packet0,iface=t1"/' \
        -e "/^name = \"outside\"/a vlan = [$1]\nmtu = $3" -e "/^name = \"inside\"/a vlan = [$2]\nmtu = $3"
    config_pool web 1 2
    config_rule http 80/tcp web 80
}

check_service() {
    local what=$1
    wait_for_service
    requests 200 >"$run/requests"
    equal "$what: 200 requests, each answered with 200" 200 "$(grep -c ' 200 ' "$run/requests" || true)"
    equal "$what: by both servers, which saw the client's own address" "b1 b2" \
        "$(awk 'index($2, "10.0.0.2:") == 1 { print $1 }' "$run/requests" | sort -u | tr '\n' ' ' | sed 's/ $//')"
    equal "$what: 3 MB are whole" "$wanted" "$(client_curl "http://$vip/blob" | sha256sum)"
}

# Of VLAN 300, which nobody is in, and of none.
send_strays() {
    "$python" - <<'PYTHON'
import socket
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("t0", 0))
to, ip = b"\xff" * 6 + b"\x02\0\0\0\0\x09", b"\x08\0" + b"\x45" + b"\0" * 45
for _ in range(5):
    raw.send(to + b"\x81\0\x01\x2c" + ip)
for _ in range(7):
    raw.send(to + ip)
PYTHON
}

bed_trunk
start_servers 2
head -c 3000000 /dev/urandom >"$run/www/blob"
wanted=$(sha256sum <"$run/www/blob")

switch 100 200
vlan_config 100 200 1500 >"$config"
gw_start
check_service "one tag"
check "ping of guideway's own address, outside" net client ping -q -c 3 -i 0.2 -W 2 10.0.0.1
check "ping of guideway's own address, inside" net b1 ping -q -c 3 -i 0.2 -W 2 10.1.0.1
check "ping of the frontend, full frames" net client ping -q -c 3 -i 0.2 -W 2 -M "do" -s 1472 "$vip"
equal "both ports have the one Ethernet address" 1 "$(gw show ports --json | jq -r '.ports[].mac' | sort -u | wc -l)"
equal "and their VLANs" '100 200' "$(gw show ports --json | jq -r '[.ports[].vlan[]] | join(" ")')"
gw show ports >"$run/ports"
contains "which the table tells" '^inside +200 +net_af_packet ' "$run/ports"
"$guideway" capture --count 200 --duration 10s -w "$run/vlan.pcapng" --control-socket "$run/control.sock" 2>"$run/capture.err" &
capture_pid=$!
within 5 grep -q 'capturing to' "$run/capture.err" || fail "a capture starts" "$(cat "$run/capture.err")"
sleep 0.3
send_strays
requests 60 >/dev/null
wait "$capture_pid" || fail "the capture ends" "$(cat "$run/capture.err")"
tshark -r "$run/vlan.pcapng" -T fields -e frame.interface_name -e vlan.id -e frame.comment 2>/dev/null |
    awk -F'\t' '{ print $1, $2, ($3 ~ /dropped: vlan/) ? $3 : "" }' | sed 's/,.*//; s/ *$//' | sort | uniq -c >"$run/tags"
contains "a capture has the tags of the wire, outside" '^ *[0-9]+ outside 100$' "$run/tags"
contains "and inside" '^ *[0-9]+ inside 200$' "$run/tags"
contains "and frames of a VLAN that nobody is in" '^ *5 outside 300 dropped: vlan-tagged$' "$run/tags"
equal "and no frames of other VLANs" 4 "$(grep -c . "$run/tags")"
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
equal "frames of VLAN 300 are counted" 5 "$(counter vlan-tagged)"
equal "and those without a tag" 7 "$(counter vlan-missing)"

# Of an interface of the kernel, the MTU leaves room for one tag and not for two.
switch 100,7 200
vlan_config '100, 7' 200 1500 >"$config"
(exec nsenter --net=/run/netns/lb -- "$guideway" run --config "$config" >"$run/guideway.out" 2>"$run/guideway.log") &&
    fail "two tags need 8 bytes more of the interface" "it starts"
contains "two tags need 8 bytes more of the interface" 'an MTU of 1500 bytes.*1508' "$run/guideway.log"
bed_mtu 1500 1508
gw_start
check_service "two tags outside"
gw_stop
check_counters_add_up

switch 100 200
bed_mtu 9000 9000
vlan_config 100 200 9000 >"$config"
gw_start
check_service "jumbo"
check "a ping of 9,000 bytes" net client ping -q -c 3 -i 0.2 -W 2 -M "do" -s 8972 "$vip"
between "segments of TCP are as long as fits" 8000 9000 "$(net client "$python" -c "
import socket
s = socket.create_connection(('$vip', 80))
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))")"
gw_stop
check_counters_add_up
kill "$switch_pid"
case_end
