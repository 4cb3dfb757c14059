#!/usr/bin/env bash
# Operators at work under traffic: drain, down, up, weights, a reload and looks at it all, through the control socket.
# Nothing that is established may break, and new flows go where they were told to.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

case_start 120

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

# `shown BACKEND FIELD`: of the rule `web`, from the JSON.
shown() { gw show backends --json | jq -r ".backends[] | select(.rule == \"web\" and .address == \"10.1.0.1$1\") | .$2"; }

# `spread WHAT LEAST1 MOST1 LEAST2 MOST2 LEAST3 MOST3`: of 300 new connections.
spread() {
    local what=$1 i
    shift
    requests 300 >"$run/requests"
    equal "$what: 300 requests, each answered with 200" 300 "$(awk 'NF == 4 && $3 == 200' "$run/requests" | wc -l)"
    for i in 1 2 3; do
        between "$what: requests to b$i" "$1" "$2" "$(answers_of "b$i")"
        shift 2
    done
}

bed_up 3
start_servers 3
traffic_config 1 2 3 >"$config"
config_rule lines 7000/tcp web 5300 >>"$config"
gw_start
wait_for_service
equal "the socket is for owner and group" 660 "$(stat -c %a "$run/control.sock")"

net_background client "$python" "$here/hold.py" "$vip" 7000 50 "$run/stop" >"$run/hold" 2>"$run/hold.err"
hold=$!
within 20 grep -q ready "$run/hold" || fail "50 connections open" "$(cat "$run/hold" "$run/hold.err")"
net client wrk --threads 1 --connections 40 --duration 15s --timeout 15s "http://$vip:80/who" >"$run/wrk" 2>&1 &
wrk=$!

spread "at the start" 60 140 60 140 60 140
check "drain" gw backend web/10.1.0.11 drain
spread "b1 drained" 0 0 100 200 100 200
equal "show says drain" drain "$(shown 1 state)"
equal "show says who" operator "$(shown 1 because)"
check "its flows go on" test "$(shown 1 flows)" -gt 0
check "down" gw backend web/10.1.0.12 down
spread "b1 drained, b2 down" 0 0 0 0 300 300
check "reload" gw reload
spread "after a reload, still" 0 0 0 0 300 300
check "up again" gw backend web/10.1.0.11 up
check "reset" gw backend web/10.1.0.12 reset
check "weight" gw backend web/10.1.0.13 weight 4
spread "weights 1, 1, 4" 20 85 20 85 145 255

for what in status rules backends counters neighbours ports; do
    check "show $what" gw show "$what"
    gw show "$what" >"$run/shown-$what"
done
contains "show status: the worker's load" '^0 +[0-9.]+ % +[0-9.]+ ' "$run/shown-status"
contains "show backends: the weight" '10\.1\.0\.13:80 .* 4 \(operator\)' "$run/shown-backends"
contains "show neighbours: a backend's address" '10\.1\.0\.11 +[0-9a-f]{2}:.* required' "$run/shown-neighbours"
contains "show ports: the driver" 'outside +net_af_packet' "$run/shown-ports"
contains "the log says who changed what" 'backend web/10\.1\.0\.11: state drain.* by uid [0-9]+' "$run/guideway.log"

status=0
nsenter --net=/run/netns/lb -- timeout --signal KILL 15 "$guideway" run --config "$config" >"$run/second" 2>&1 || status=$?
equal "a second guideway on the same socket is refused" 1 "$status"
contains "and says why" 'another guideway listens there' "$run/second"

cp "$config" "$config.good"
config_rule broken 90/tcp nowhere 80 >>"$config"
if gw reload >"$run/refused" 2>&1; then fail "a broken file is refused" "it was taken"; else ok "a broken file is refused"; fi
contains "with the reason" nowhere "$run/refused"

# As fast as they come, from two operators at once.
before=$(gw show status --json | jq .generation)
many_changes() {
    local i
    for ((i = 0; i < 100; i++)); do gw backend "web/10.1.0.1$1" weight "$((i % 2 + 2))" >/dev/null || return; done
}
many_changes 1 &
one=$!
check "100 changes by one operator" many_changes 2
# Not by `check`, whose subshell is not its parent.
status=0
wait "$one" || status=$?
equal "100 changes by another, at the same time" 0 "$status"
equal "as many generations" 200 "$(($(gw show status --json | jq .generation) - before))"
equal "no snapshot stays behind" 1 "$(gw show status --json | jq .snapshots)"

refused() {
    local i
    for ((i = 0; i < 150; i++)); do ! gw reload >/dev/null 2>&1 || return; done
}
check "150 more reloads of it are refused" refused
equal "100 of them are in the log" 100 "$(grep -c ' not reloaded; ' "$run/guideway.log")"
contains "and why there are no more" 'too many lines like the last: no more of them for [0-9]+ s' "$run/guideway.log"
cp "$config.good" "$config"
check "a good reload is taken after them" gw reload
contains "and is in the log" ' reloaded: 4 rules' "$run/guideway.log"

touch "$run/stop"
wait "$hold" || true
wait "$wrk" || true
check_wrk "wrk's 40 kept-alive connections saw no error" "$run/wrk"
equal "50 connections that were open all the while: none broken, none moved" \
    "held 50 broken 0 moved 0" "$(awk '/^held/ { print $1, $2, $5, $6, $7, $8 }' "$run/hold")"
sleep 0.5
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check "the socket is gone" test ! -e "$run/control.sock"
check_counters_add_up
case_end
