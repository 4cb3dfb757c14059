#!/usr/bin/env bash
# Ways to forward, with real servers behind them: DSR and VXLAN to Linux, hairpin, and an idle connection that is reset.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 90

# Backend 1 answers clients by a way of its own, in the frontend's name.
give_backend_a_way_back() {
    ip link add d1 netns b1 type veth peer name d0 netns client
    ip -n client link set d0 up
    ip -n b1 link set d1 up
    bed_whole_frames b1 d1
    bed_whole_frames client d0
    ip -n client address add 10.2.0.2/24 dev d0
    ip -n b1 address add 10.2.0.1/24 dev d1
    ip -n b1 route add 10.0.0.2/32 via 10.2.0.2
    local name
    for name in b1 client; do
        # shellcheck disable=SC2016 # the other shell expands it
        net "$name" sh -c 'for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done'
    done
    # Nobody may ask who has the frontend's address and hear it from here.
    net b1 sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce'
    ip -n b1 address add "$vip/32" dev lo
}

# What docs/FORWARDING.md says of VXLAN.
give_backend_a_tunnel() {
    ip -n b1 link add vx0 address 02:00:0a:01:00:0b type vxlan id 1 dstport 4789 local 10.1.0.11 dev eth0 nolearning
    ip -n b1 link set vx0 up
    net b1 sh -c 'echo 0 >/proc/sys/net/ipv4/conf/vx0/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter'
}

who() { net client curl -s --noproxy '*' --max-time 5 "http://$vip:$1/who"; }

modes_config() {
    config_head
    config_pool one 1
    config_pool web 2 3
    config_rule direct 80/tcp one 80
    printf 'forward = "dsr"\n'
    config_rule hairpin 82/tcp web 80
    printf 'hairpin = true\n'
    config_rule idle 5300/tcp web 5300
    printf 'idle_timeout = "2s"\ntcp_reset = true\n'
}

bed_up 3
start_servers 3
give_backend_a_way_back
modes_config >"$config"
gw_start
# shellcheck disable=SC2317 # `within` calls it.
answers() { [[ $(who "$1") == b1* ]]; }
check "DSR: the backend answers the client" within 15 answers 80
equal "and sees its own address" 10.0.0.2 "$(who 80 | sed 's/^b1 //; s/:.*//')"
sed -i 's/forward = "dsr"/forward = "vxlan"/' "$config"
give_backend_a_tunnel
gw_reload
check "VXLAN: the backend answers the client" within 15 answers 80
for i in 2 3; do
    equal "hairpin: 10 requests of b$i to its own frontend" 10 \
        "$(net "b$i" curl -s --noproxy '*' --max-time 5 -w '\n' "http://$vip:82/who?[1-10]" | grep -c '^b' || true)"
done
equal "others are seen by their own address" 10.0.0.2 "$(who 82 >/dev/null; net client curl -s --noproxy '*' "http://$vip:82/who" | sed 's/^b[0-9] //; s/:.*//')"
cat >"$run/idle.py" <<'PYTHON'
import socket, sys, time
s = socket.create_connection((sys.argv[1], 5300), timeout=10)
s.sendall(b"hello\n")
s.recv(100)
began = time.monotonic()
try:
    said = "closed" if s.recv(100) == b"" else "data"
except ConnectionResetError:
    said = "reset"
took = time.monotonic() - began
print(said if 1 <= took <= 4 else f"{said} after {took:.1f} s")
PYTHON
equal "a connection that is idle for too long is reset at the client" reset \
    "$(net client "$python" "$run/idle.py" "$vip")"
# shellcheck disable=SC2317 # `within` calls it.
none_left() { [[ -z $(for i in 2 3; do net "b$i" ss -Htn state established '( sport = :5300 )'; done) ]]; }
check "and at the backend" within 3 none_left
# Without resets a flow ends in silence: its next segment chooses by the table, as a new flow's would.
sed -i '/^tcp_reset/d' "$config"
gw_reload
cat >"$run/silent.py" <<'PYTHON'
import socket, sys, time
s = socket.create_connection((sys.argv[1], 5300), timeout=10)
for pause in 0, 5:
    time.sleep(pause)
    s.sendall(b"hello\n")
    s.recv(100)
print("alive")
PYTHON
net_background client "$python" "$run/silent.py" "$vip" >"$run/silent" 2>&1
silent=$!
established() {
    "$guideway" show flows --rule idle --state established --json --control-socket "$run/control.sock" | jq '.flows | length'
}
# shellcheck disable=SC2317 # `within` calls it.
has_flows() { [[ $(established) == "$1" ]]; }
check "a flow is there while it is used" within 2 has_flows 1
check "and 2 s later no more" within 3 has_flows 0
wait "$silent" || true
equal "neither end was told, and the connection goes on" alive "$(cat "$run/silent")"
sleep 0.3
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
