#!/usr/bin/env bash
# What `show` and `top` tell, against what clients and servers say: held connections one by one with their backends, flows
# while wrk loads the machine, and rates beside wrk's own.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

case_start 90

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

# Holds ten connections to the line servers; prints "CLIENT_PORT BACKEND" of each, as the server says it, then waits.
hold_ten() {
    cat >"$run/hold_ten.py" <<'PYTHON'
import socket, sys, time
held = []
for _ in range(10):
    tcp = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
    tcp.sendall(b"who\n")
    name = tcp.makefile("rb").readline().split()[0].decode()
    print(tcp.getsockname()[1], f"10.1.0.1{name[1:]}:5300", flush=True)
    held.append(tcp)
print("ready", flush=True)
time.sleep(60)
PYTHON
    net_background client "$python" "$run/hold_ten.py" "$vip" 7000 >"$run/held" 2>&1
    within 10 grep -q ready "$run/held" || fail "ten connections open" "$(cat "$run/held")"
}

bed_up 3
start_servers 3
traffic_config 1 2 3 >"$config"
config_rule lines 7000/tcp web 5300 >>"$config"
gw_start
wait_for_service
hold_ten

client_address=$(net client ip -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
gw show flows --client "$client_address" --rule lines --json >"$run/flows.json"
equal "show flows lists the held connections, each with the backend that answered" \
    "$(grep -v ready "$run/held" | sort)" \
    "$(jq -r '.flows[] | "\(.client | split(":")[1]) \(.backend)"' "$run/flows.json" | sort)"
equal "ten of them" 10 "$(jq '.flows | length' "$run/flows.json")"
equal "all established" established "$(jq -r '[.flows[].state] | unique | join(" ")' "$run/flows.json")"
read -r one backend < <(head -n 1 "$run/held")
equal "one of them, by its port" "$backend" \
    "$(gw show flows --client "$client_address:$one" --json | jq -r '.flows[].backend')"
equal "those of one backend" "$(grep -c "$backend" "$run/held")" \
    "$(gw show flows --rule lines --backend "$backend" --json | jq '.flows | length')"
check "a reload" gw reload
gw show status >"$run/status"
contains "status tells of it" '^reloaded .* by uid .*: done' "$run/status"
gw show ports >"$run/ports"
contains "ports tell what the card could do" 'transmit-l4-checksum .*checksums are adjusted in software' "$run/ports"

net client wrk --threads 1 --connections 40 --duration 8s --timeout 8s --header 'Connection: close' \
    "http://$vip:80/who" >"$run/wrk" 2>&1 &
wrk=$!
sleep 2
began=$(now_ms)
gw show flows --rule lines --json >"$run/few.json"
between "show flows under load, in ms" 0 3000 "$(($(now_ms) - began))"
equal "the ten are found among the others, none left out" "10 null" \
    "$(jq -r '"\(.flows | length) \(.cut_by)"' "$run/few.json")"
between "flows looked at for that" 100 65536 "$(jq .looked_at "$run/few.json")"
equal "a limit is kept, and told" "5 limit" \
    "$(gw show flows --limit 5 --json | jq -r '"\(.flows | length) \(.cut_by)"')"
gw top --once --interval 2s >"$run/top"
wait "$wrk" || true
# Each of wrk's requests is a flow of its own: rule web's new flows a second.
rate=$(awk '$1 == "web" { value = $(NF - 1); if (value == "k") value = $(NF - 2) * 1000; print int(value); exit }' "$run/top")
wanted=$(awk '/^Requests\/sec/ { print int($2) }' "$run/wrk")
between "new flows a second, as top says, beside $wanted requests as wrk says" \
    "$((wanted / 2))" "$((wanted * 2))" "${rate:-0}"
sed 's/^/      /' "$run/top"

# A real terminal: it shows rates, quits by key, and ends in order by a signal.
(sleep 2.5; printf q) | timeout 10 script -qec "env TERM=xterm stty rows 30 cols 120 && TERM=xterm $guideway top --control-socket $run/control.sock" \
    "$run/screen" >/dev/null 2>&1 || fail "top ends by q" "$(tail -c 300 "$run/screen")"
contains "top on a terminal shows the rules" 'packets/s in' "$run/screen"
gw_stop
check_counters_add_up
case_end
