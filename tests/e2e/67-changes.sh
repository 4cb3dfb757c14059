#!/usr/bin/env bash
# A thousand changes in a minute, from two operators at once, under traffic: weights, states, and reloads now and then.
# No connection may break, each change is one generation and one line of the log, memory stays what it was, and what
# either operator says at once is in force at once.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

case_start 150

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }
api() { curl --silent --show-error --fail --unix-socket "$run/control.sock" "$@"; }
generation_of() { sed 's/.*generation //'; }
resident_kb() { awk '/^VmRSS:/ { print $2 }' "/proc/$gw_pid/status"; }
status_of() { gw show status --json | jq -r ".$1"; }

# The changes of each operator, the reloads among them, and how far apart they are, so that they fill most of a minute.
changes=500
reload_every=25
spacing_us=70000

# `operator BACKEND`: changes one backend, each time to something else; prints the generation of each change.
operator() {
    local i began said due states=(drain up down auto)
    began=${EPOCHREALTIME/[.,]/}
    for ((i = 1; i <= changes; i++)); do
        if ((i % reload_every == 0)); then
            said=$(gw reload)
        elif ((i % 5 == 0)); then
            said=$(gw backend "web/10.1.0.1$1" "${states[i / 5 % 4]}")
        else
            said=$(gw backend "web/10.1.0.1$1" weight "$((i % 7 + 1))")
        fi
        generation_of <<<"$said"
        due=$((began + i * spacing_us - ${EPOCHREALTIME/[.,]/}))
        ((due <= 0)) || sleep "$(printf '0.%06d' "$due")"
    done
}

# `pair STATE WEIGHT`: both in one request, over and over, of a backend that another operator changes as well.
pair() {
    local i
    for ((i = 0; i < 150; i++)); do
        api --data "{\"state\": \"$1\", \"weight\": $2}" http://guideway/v1/backends/web/10.1.0.13 >/dev/null
    done
}

bed_up 3
start_servers 3
traffic_config 1 2 3 >"$config"
config_rule lines 7000/tcp web 5300 >>"$config"
gw_start --idle-timeout web=90s
wait_for_service

# What a reload would do, with the flags of the start laid over the file.
check_running() { gw check --against RUNNING "$@" >"$run/difference" 2>&1; }
check "check --against RUNNING, for the file of the start" check_running
contains "nothing would change" '^no rule changes' "$run/difference"
sed 's/10.1.0.13"/10.1.0.13", weight = 2/' "$config" >"$run/other.toml"
check "and for another file" check_running --config "$run/other.toml"
contains "one weight, and a quarter of new flows" '^~ rule web: 10.1.0.13 weight 2, auto; (1[5-9]|2[0-9])[.0-9]* % of new flows' "$run/difference"
check "the timeout of the flag stays" grep -q 'rule web: .*idle timeout 1m 30s' "$run/difference"
equal "three rules would change, and nothing else" 4 "$(grep -c '^[-+~=] ' "$run/difference")"

net_background client "$python" "$here/hold.py" "$vip" 7000 100 "$run/stop" >"$run/hold" 2>"$run/hold.err"
hold=$!
within 20 grep -q ready "$run/hold" || fail "100 connections open" "$(cat "$run/hold" "$run/hold.err")"
net client wrk --threads 1 --connections 40 --duration 45s --timeout 15s "http://$vip:80/who" >"$run/wrk" 2>&1 &
wrk=$!

# Each operator warms what it uses before memory is looked at.
check "a few changes first" gw backend web/10.1.0.11 weight 9
check "by the other" gw backend web/10.1.0.12 weight 9
check "and a reload" gw reload
sleep 1
before=$(status_of generation) rss_before=$(resident_kb) began=$(now_ms)

operator 1 >"$run/generations-1" &
one=$!
operator 2 >"$run/generations-2"
wait "$one"
took=$(($(now_ms) - began)) after=$(status_of generation) rss_after=$(resident_kb)

between "$((2 * changes)) changes by two operators, in ms" 1 60000 "$took"
equal "each has a generation of its own" "$((2 * changes))" "$(sort -u "$run/generations-1" "$run/generations-2" | wc -l)"
equal "and there are no others" "$((2 * changes))" "$((after - before))"
for i in 1 2; do check "generations of operator $i ascend" sort -nc "$run/generations-$i"; done
equal "each change has its line in the log" "$((2 * changes))" "$(awk -v least="$before" '
    match($0, /(;|,) generation [0-9]+/) && / by uid / { split(substr($0, RSTART + 13), n, /[^0-9]/); if (n[1] > least) lines++ }
    END { print lines + 0 }' "$run/guideway.log")"
between "memory has not grown, in KiB" -100000 4096 "$((rss_after - rss_before))"
reached() { test "$(status_of generation_reached)" = "$(status_of generation)"; }
check "all workers have reached the last" within 5 reached
equal "no snapshot stays behind" 1 "$(status_of snapshots)"

# Whoever looks sees what one of the two has said, never a part of each.
printf '' >"$run/pairs"
pair up 3 &
one=$!
pair drain 7 &
two=$!
while kill -0 "$one" 2>/dev/null || kill -0 "$two" 2>/dev/null; do
    api http://guideway/v1/backends | jq -r '.backends[] | select(.rule == "web" and .address == "10.1.0.13") |
        "\(.state) \(.weight)"' >>"$run/pairs"
done
wait "$one" "$two"
equal "two who change the same backend: state and weight are always of one of them" "drain 7,up 3" \
    "$(sort -u "$run/pairs" | grep -v '^up 1$' | paste -sd ,)"
equal "and so they are in the log" "state drain, weight 7,state up, weight 3" \
    "$(grep -o '10.1.0.13: state [a-z]*, weight [0-9]*' "$run/guideway.log" | cut -d ' ' -f 2- | sort -u | paste -sd ,)"

wait "$wrk" || true
touch "$run/stop"
wait "$hold" || true
check_wrk "wrk's 40 kept-alive connections saw no error" "$run/wrk"
equal "100 connections that were open all the while: none broken, none moved" \
    "held 100 broken 0 moved 0" "$(awk '/^held/ { print $1, $2, $5, $6, $7, $8 }' "$run/hold")"
sleep 0.5
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
