#!/usr/bin/env bash
# Probes: a web server of three dies and comes back, under traffic.
#
# New connections avoid it within interval x fall + timeout, at an interval of 200 ms in under a second; connections that
# are open stay where they are, UDP moves away; when it is back it takes its share again. Then one that falls silent, a
# reload that must not forget, and all dead at once.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

driver=af_packet
workers=1

probe_config() {
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
TOML
    local rule
    for rule in 'web 80/tcp web 80' 'lines 7000/tcp web 5300' 'echo 5353/udp web 5300'; do
        # shellcheck disable=SC2086 # the words of a rule
        config_rule $rule
        printf 'probe = "web-ready"\n'
    done
}

kill_nginx() { kill -QUIT "$(cat "$run/nginx-b$1/pid")"; }

# `verdicts BACKEND WORD`: how often the log has said so of it.
verdicts() { grep -Ec "backend 10\.1\.0\.$((10 + $1)):80 is $2" "$run/guideway.log" || true; }

# `told_within MS WHAT BACKEND WORD NUMBER BEGAN`
told_within() {
    local took
    # shellcheck disable=SC2317 # `within` calls it.
    is_told() { (($(verdicts "$1" "$2") >= $3)); }
    within 5 is_told "$3" "$4" "$5" || true
    took=$(($(now_ms) - $6))
    if (($(verdicts "$3" "$4") >= $5 && took <= $1)); then
        ok "$2 ($took ms)"
    else
        fail "$2" "not told within $1 ms but after $took ms: $(grep probe "$run/guideway.log" | tail -n 3)"
    fi
}

check_death() {
    local began
    began=$(now_ms)
    kill_nginx 2
    told_within 1000 "a death is noticed in under 1 s" 2 down 1 "$began"
    contains "the log says of which rules, and why" \
        'probe of rules web, lines, echo: backend 10.1.0.12:80 is down: connection refused' "$run/guideway.log"
    sleep 0.2
    requests 300 >"$run/requests"
    equal "new connections avoid it: 300 requests, each answered with 200" 300 \
        "$(awk 'NF == 4 && $3 == 200' "$run/requests" | wc -l)"
    equal "none of them by the dead one" 0 "$(answers_of b2)"
    net client wrk --threads 1 --connections 40 --duration 2s --timeout 5s --header 'Connection: close' \
        "http://$vip:80/who" >"$run/wrk" 2>&1 || true
    check_wrk "40 connections at once around the dead one, no error" "$run/wrk"
}

check_return() {
    local i began
    began=$(now_ms)
    bed_nginx 2
    told_within 1000 "it is back: noticed in under 1 s" 2 'up again' 1 "$began"
    sleep 0.2
    requests 300 >"$run/requests"
    # 100 of 300 on average; 60 and 140 are nearly five standard deviations off.
    for i in 1 2 3; do between "b$i takes its share again" 60 140 "$(answers_of "b$i")"; done
}

check_held() {
    touch "$run/stop"
    wait "$hold" || true
    wait "$udp_hold" || true
    wait "$wrk" || true
    equal "60 open connections, to all three: none broken, none moved" \
        "held 60 broken 0 moved 0" "$(awk '/^held/ { print $1, $2, $5, $6, $7, $8 }' "$run/hold")"
    sed 's/^/      /' "$run/hold.err"
    local began left moved
    read -r _ began _ left _ moved < <(tail -n 1 "$run/udp-hold")
    between "UDP clients that the dead one served" 1 60 "${began:-0}"
    equal "all of them moved to others" "${began:-0}" "${left:-none}"
    equal "UDP clients of the others stayed" 0 "${moved:-none}"
    local timeouts
    timeouts=$(awk '/Socket errors/ { print $NF }' "$run/wrk-held")
    equal "wrk, kept alive across the death, waited in vain for no answer" 0 "${timeouts:-0}"
    check "and got answers all the while" test "$(awk '/requests in/ { print $1 }' "$run/wrk-held")" -gt 1000
}

check_silence() {
    local began before
    began=$(now_ms)
    ip -n b3 link set eth0 down
    told_within 1300 "one that falls silent is noticed" 3 down 1 "$began"
    probe_config >"$config"
    printf '\n[[neighbour]]\naddress = "10.1.0.99"\nmac = "02:00:00:00:00:99"\n' >>"$config"
    before=$(verdicts 3 down)
    gw_reload
    requests 100 >"$run/requests"
    equal "a reload does not forget: 100 requests, each answered with 200" 100 \
        "$(awk 'NF == 4 && $3 == 200' "$run/requests" | wc -l)"
    equal "and nothing is told anew" "$before" "$(verdicts 3 down)"
    began=$(now_ms)
    ip -n b3 link set eth0 up
    ip -n b3 route replace default via 10.1.0.1
    told_within 4000 "it is heard again" 3 'up again' 1 "$began"
}

check_all_dead() {
    local i began
    began=$(now_ms)
    for i in 1 2 3; do kill_nginx "$i"; done
    told_within 1500 "all dead: noticed" 1 down 1 "$began"
    check "and of all of them" within 5 grep -q 'rule web: no backend is healthy' "$run/guideway.log"
    sleep 0.2
    client_curl --max-time 0.5 "http://$vip/who" >"$run/none" 2>&1 || true
    check "a new connection gets no answer" grep -q 'timed out' "$run/none"
    bed_nginx 1
    check "one is back, and serves all" within 5 five_answers
}

case_start 120
bed_up 3
bed_host
start_servers 3
probe_config >"$config"
check "check prints the probe" grep -q 'probe: http to port 80, /who as status 200, every 200ms, timeout 200ms, rise 1, fall 2' \
    <("$guideway" check --config "$config")
gw_start
wait_for_service
net_background client "$python" "$here/hold.py" "$vip" 7000 60 "$run/stop" >"$run/hold" 2>"$run/hold.err"
hold=$!
net_background client "$python" "$here/udp_hold.py" "$vip" 5353 60 "$run/stop" b2 >"$run/udp-hold" 2>&1
udp_hold=$!
within 20 grep -q ready "$run/hold" || fail "60 connections open" "$(cat "$run/hold" "$run/hold.err")"
within 20 grep -q ready "$run/udp-hold" || fail "60 UDP clients are answered" "$(cat "$run/udp-hold")"
net client wrk --threads 1 --connections 30 --duration 8s --timeout 5s "http://$vip:80/who" >"$run/wrk-held" 2>&1 &
wrk=$!
sleep 0.5
check_death
check_return
check_held
check_silence
check_all_dead
sleep 0.3
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
between "flows that found no backend were counted" 1 1000000 "$(counter no-backend-available)"
case_end
