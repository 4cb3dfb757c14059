#!/usr/bin/env bash
# A web server of three is killed under load, and so are all of them.
#
# How long new connections still go to the dead one is measured at a client; connections kept to the others notice
# nothing. Back, it takes its share again. One that is stopped is as dead. With all dead, no_healthy_backends decides,
# both ways.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

driver=af_packet
workers=1

# interval x fall + timeout, and what a busy machine adds to it.
bound=$((200 * 2 + 200 + 150))

kill_config() {
    config_head
    config_pool web 1 2 3
    cat <<'TOML'

[[probe]]
name = "web-ready"
kind = "http"
port = 80
path = "/who"
interval = "200ms"
timeout = "200ms"
fall = 2
via = "port"
TOML
    local rule
    for rule in 'web 80/tcp web 80' 'any 8081/tcp web 8000' 'echo 5353/udp web 5300'; do
        # shellcheck disable=SC2086 # the words of a rule
        config_rule $rule
        printf 'probe = "web-ready"\n'
        [[ $rule != any* ]] || printf 'no_healthy_backends = "all"\n'
    done
}

# No farewell: its worker too.
kill_nginx() {
    local master
    master=$(cat "$run/nginx-b$1/pid")
    # shellcheck disable=SC2046 # one word a worker
    kill -KILL "$master" $(cat "/proc/$master/task/$master/children")
}

is_logged() { grep -q "$1" "$run/guideway.log"; }

times_logged() { grep -c "$1" "$run/guideway.log" || true; }

# The value after a word of what dial.py said.
dialled() { awk -v what="$1" '{ for (i = 1; i < NF; i++) if ($i == what) print $(i + 1) }' "$run/dial"; }

check_kill() {
    local dial new kept began dead broken
    net_background client "$python" "$here/dial.py" "$vip" 80 60 "$run/stop" >"$run/dial" 2>"$run/dial.err"
    dial=$!
    within 10 grep -q ready "$run/dial" || fail "60 connections open" "$(cat "$run/dial.err")"
    net client wrk --threads 1 --connections 20 --duration 3s --timeout 5s --header 'Connection: close' \
        "http://$vip:80/who" >"$run/wrk-new" 2>&1 &
    new=$!
    net client wrk --threads 1 --connections 20 --duration 3s --timeout 5s "http://$vip:80/who" >"$run/wrk-kept" 2>&1 &
    kept=$!
    sleep 1
    began=$(now_ms)
    kill_nginx 2
    within 5 is_logged '10.1.0.12:80 is down' || true
    between "ms from the kill to the log's word of it" 1 1000 "$(($(now_ms) - began))"
    wait "$new" "$kept" || true
    touch "$run/stop"
    wait "$dial" || true
    between "of new connections some found it dead" 1 1000000 "$(dialled failed)"
    between "ms from the kill to the last that did; interval x fall + timeout are 600" 0 "$bound" \
        "$(($(dialled last) - began))"
    equal "connections kept to the others noticed nothing" "0 0" \
        "$(awk '$1 == "kept" && $2 != "b2" { print $5 }' "$run/dial" | paste -sd ' ')"
    read -r dead broken < <(awk '$1 == "kept" && $2 == "b2" { print $3, $5 }' "$run/dial") || true
    between "connections were kept to the dead one" 1 60 "${dead:-0}"
    equal "and each of them broke" "$dead" "$broken"
    for new in new kept; do
        equal "wrk, $new connections: nothing was waited for in vain" 0 \
            "$(awk '/Socket errors/ { print $NF }' "$run/wrk-$new" | grep . || echo 0)"
    done
}

check_return() {
    local i
    bed_nginx 2
    within 5 is_logged '10.1.0.12:80 is up again' || fail "it is up again" "$(tail -n 3 "$run/guideway.log")"
    sleep 0.2
    requests 300 >"$run/requests"
    # 100 of 300 on average; 60 and 140 are nearly five standard deviations off.
    for i in 1 2 3; do between "b$i takes its share again" 60 140 "$(answers_of "b$i")"; done
}

# It takes connections, for that is the kernel's work, and says nothing.
check_stopped() {
    local master workers_of
    master=$(cat "$run/nginx-b3/pid")
    workers_of=$(cat "/proc/$master/task/$master/children")
    # shellcheck disable=SC2086 # one word a worker
    kill -STOP $workers_of
    check "one that is stopped: noticed in 1 s" within 1 is_logged '10.1.0.13:80 is down: no answer in 200ms'
    sleep 0.1
    requests 100 >"$run/requests"
    equal "new connections avoid it: 100 requests, each answered with 200" "100 0" \
        "$(awk 'NF == 4 && $3 == 200' "$run/requests" | wc -l) $(answers_of b3)"
    # shellcheck disable=SC2086 # one word a worker
    kill -CONT $workers_of
    check "it goes on: up again within 1 s" within 1 is_logged '10.1.0.13:80 is up again'
}

check_all_dead() {
    local i
    for i in 1 2 3; do kill_nginx "$i"; done
    check "all dead: the log says so of a rule that drops" \
        within 2 is_logged 'rule web: no backend is healthy; new flows are dropped'
    check "and of one that does not" within 2 is_logged 'rule any: no backend is healthy; new flows go to all of them'
    sleep 0.2
    client_curl --max-time 0.5 "http://$vip/who" >"$run/none" 2>&1 || true
    check "drop: a new connection gets no answer" grep -q 'timed out' "$run/none"
    check "drop: a datagram neither" grep -q 'answered 0 ' \
        <(net client "$python" "$here/udp_client.py" "$vip" 5353 5 1 2>&1)
    client_curl --header 'Connection: close' "http://$vip:8081/?[1-60]" >"$run/all" 2>&1 || true
    equal "all: new connections go to all three" "b1 b2 b3" "$(grep -o 'b[123]' "$run/all" | sort -u | paste -sd ' ')"
    bed_nginx 1
    check "one is back: the log says so" within 2 is_logged 'rule web: a backend is healthy again, after'
    check "and it serves all" within 5 five_answers
    equal "all of that was said once" "1 1 1" "$(times_logged 'rule web: no') $(times_logged 'rule any: no') $(
        times_logged 'rule web: a backend is healthy again'
    )"
}

case_start 90
bed_up 3
start_servers 3
kill_config >"$config"
gw_start
wait_for_service
check_kill
check_return
check_stopped
check_all_dead
sleep 0.3
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
between "flows that found no backend were counted" 1 1000000 "$(counter no-backend-available)"
case_end
