#!/usr/bin/env bash
# A drain with a deadline: what ends in time ends well, what does not is reset at the deadline, at both ends and also
# where nobody says a word; new connections go elsewhere all the while; and the operator sees it count down.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

case_start 60

deadline=5

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

# `of_b1 FIELD`: of b1 in the rule `web`.
of_b1() { gw show backends --json | jq -r ".backends[] | select(.rule == \"web\" and .address == \"10.1.0.11\") | .$1"; }

# Over all rules.
flows_of_b1() { gw show backends --json | jq '[.backends[] | select(.address == "10.1.0.11") | .flows] | add'; }
has_no_flows() { [[ $(flows_of_b1) == 0 ]]; }

# Connections that b1 has, but for the ones that are over for it.
sockets_of_b1() { net b1 ss -Htan | grep -Evc '^(LISTEN|TIME-WAIT) ' || true; }

# `transfer NAME ARGUMENT...`: "EXIT_CODE MILLISECONDS", the latter from the beginning of the drain, to $run/NAME.
transfer() {
    local name=$1 status=0
    shift
    client_curl --output /dev/null "$@" 2>"$run/$name.err" || status=$?
    printf '%s %s\n' "$status" "$(($(now_ms) - $(cat "$run/began")))" >"$run/$name"
}

bed_up 3
start_servers 3
traffic_config 1 2 3 >"$config"
config_rule lines 7000/tcp web 5300 >>"$config"
gw_start
wait_for_service
head -c 1000000 /dev/urandom >"$run/www/short"
head -c 100000000 /dev/zero >"$run/www/long"
ip -n client address add 10.0.0.3/24 dev c0
# What a client has in its buffer it reads before it learns of a reset: not for many seconds.
net client sh -c 'echo 4096 65536 131072 >/proc/sys/net/ipv4/tcp_rmem'

# All that is held is held at b1.
for i in 2 3; do gw backend "web/10.1.0.1$i" weight 0 >/dev/null; done
net_background client "$python" "$here/idle.py" "$vip" 7000 20 25 >"$run/idle" 2>&1
idle=$!
net_background client "$python" "$here/idle.py" "$vip" 7000 1 25 10.0.0.3 >"$run/gone" 2>&1
gone=$!
for name in idle gone; do
    within 10 grep -q ready "$run/$name" || fail "the silent connections of $name open" "$(cat "$run/$name")"
done
now_ms >"$run/began"
transfer short --limit-rate 500k "http://$vip/short" &
transfers=("$!")
transfer download --limit-rate 1M "http://$vip/long" &
transfers+=("$!")
transfer upload --limit-rate 1M --header 'Expect:' --upload-file "$run/www/long" "http://$vip:8081/" &
transfers+=("$!")
sleep 0.5
# This client's host is gone without a word; its socket stays where nothing reaches it.
ip -n client address del 10.0.0.3/24 dev c0
for i in 2 3; do gw backend "web/10.1.0.1$i" reset >/dev/null; done

now_ms >"$run/began"
check "drain with a deadline" gw backend web/10.1.0.11 drain --deadline "${deadline}s"
held=$(flows_of_b1)
between "flows of b1" 23 1000 "$held"
gw show backends >"$run/shown"
contains "show backends counts down" "10\.1\.0\.11:80 .* drain \(operator\), [45]s left" "$run/shown"
left=$(of_b1 drain_seconds_left)
sleep 1
check "and on" awk -v before="$left" -v after="$(of_b1 drain_seconds_left)" \
    'BEGIN { exit !(after < before - 0.8 && after > 0) }'
: >"$run/requests-all"
while (($(now_ms) - $(cat "$run/began") < (deadline + 2) * 1000)); do requests 20 >>"$run/requests-all"; done
wait "${transfers[@]}"

read -r status took <"$run/short"
equal "a download that fits in ends well" 0 "$status"
between "before the deadline, ms" 500 $((deadline * 1000)) "$took"
for name in download upload; do
    read -r status took <"$run/$name"
    check "a longer $name is reset ($(cat "$run/$name.err"))" test "$status" = 56 -o "$status" = 55
    between "at the deadline, ms" $((deadline * 1000)) $((deadline * 1000 + 1000)) "$took"
done
equal "all the while no new connection went to b1, or failed" '' \
    "$(awk '!($1 ~ /^b[23]$/ && $3 == 200)' "$run/requests-all")"
check "of many ($(wc -l <"$run/requests-all"))" test "$(wc -l <"$run/requests-all")" -ge 100
equal "b1 has no connection any more, not that of the client that is gone either" 0 "$(sockets_of_b1)"
check "guideway has no flow of it any more, within 6 s" within 6 has_no_flows
wait "$idle" || true
equal "20 silent connections: all reset" "b1 held 20 reset 20 closed 0" "$(tail -n 1 "$run/idle")"
kill "$gone" 2>/dev/null || true
gw show backends >"$run/shown"
contains "show backends says that the deadline has passed" 'drain \(operator\), deadline passed' "$run/shown"
contains "the log: the beginning" 'backend web/10\.1\.0\.11: state drain, deadline in 5 s' "$run/guideway.log"
contains "the log: the deadline" "web/10\.1\.0\.11: the drain's deadline has passed: resetting 2[0-9] TCP flows" "$run/guideway.log"
check "the log: the end" within 2 grep -Fq 'web/10.1.0.11: drained, no flow is left' "$run/guideway.log"

check "up again" gw backend web/10.1.0.11 up
requests 60 >"$run/requests"
between "it takes its share again" 5 40 "$(answers_of b1)"
gw show counters --json | jq -c '.resets, .flows'
sleep 0.3
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
