#!/usr/bin/env bash
# Backends open connections through guideway: two thousand at once from three of them to one server and one port; a pool that
# grows meanwhile; ports that run out; and what UDP clients find out of the way out.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

workers=${GUIDEWAY_WORKERS:-2}
case_start 150

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

# `outbound_config BACKENDS LINE...`: the lines are the outbound rule's.
outbound_config() {
    local count=$1
    shift
    config_head
    # shellcheck disable=SC2046 # numbers
    config_pool web $(seq "$count")
    config_rule http 80/tcp web 80
    printf '\n[[outbound_rule]]\nname = "egress"\npool = "web"\nfrontends = ["10.0.0.100"]\n'
    printf '%s\n' "$@"
}

# `sum FIELD [PROTOCOL]`: of all backends.
sum() { gw show outbound --json | jq "[.backends[].protocols[] | select(.protocol == \"${2:-tcp}\") | .$1] | add // 0"; }

# `clients NUMBER BACKEND...`: each opens so many, and waits for lines at $run/tell-BACKEND.
clients() {
    local number=$1 backend
    shift
    for backend in "$@"; do
        rm -f "$run/tell-$backend" "$run/said-$backend"
        mkfifo "$run/tell-$backend"
        (exec nsenter --net="/run/netns/b$backend" -- "$python" "$here/outbound.py" connect 10.0.0.2 "$number" \
            <"$run/tell-$backend" >"$run/said-$backend") &
    done
    local tell
    for backend in "$@"; do
        exec {tell}>"$run/tell-$backend"
        tells[backend]=$tell
    done
    for backend in "$@"; do
        within 20 grep -q made "$run/said-$backend" || fail "b$backend connects" "nothing said"
    done
}

# `tell WORD BACKEND...`: has them say how many connections live.
tell() {
    local word=$1 backend
    shift
    asked=$((asked + 1))
    for backend in "$@"; do printf '%s %s\n' "$word" "$asked" >&"${tells[backend]}"; done
    for backend in "$@"; do
        within 20 grep -q "asked $asked\$" "$run/said-$backend" || fail "b$backend says what lives" "nothing said"
    done
}

# `of WORD BACKEND...`: the sum of what they said.
of() {
    local word=$1 backend
    shift
    for backend in "$@"; do sed -n "s/.*$word \\([0-9]*\\).*/\\1/p" "$run/said-$backend" | tail -n 1; done | awk '{ all += $1 } END { print all + 0 }'
}
declare -a tells=()
asked=0

bed_up 4
ip -n client address add 10.0.0.3/24 dev c0
start_servers 4
net_background client "$python" "$here/outbound.py" serve >"$run/outbound-server" 2>>"$run/servers.log"
within 5 grep -q ready "$run/outbound-server" || fail "the server starts" "not ready"
outbound_config 3 >"$config"
gw_start
wait_for_service
check "a backend pings the outside" net b1 ping -c 3 -i 0.2 -W 2 -q 10.0.0.2

clients 667 1 2 3
equal "2,001 connections at once from three backends to one server and port" 2001 "$(of made 1 2 3)"
equal "each from a port of its own" 2001 "$(of distinct 1 2 3)"
equal "guideway knows them" 2001 "$(sum answered_total)"
equal "show flows lists them, as many as are asked for" "1000 limit" \
    "$(gw show flows --rule egress --state established --limit 1000 --json | jq -r '"\(.outbound | length) \(.cut_by)"')"
equal "and those of one backend" 667 \
    "$(gw show flows --backend web/10.1.0.12 --limit 10000 --json | jq '[.outbound[] | select(.protocol == "tcp")] | length')"
equal "and that none failed" 0 "$(sum failed_total)"
equal "the service goes on beside them" 100 "$(requests 100 | grep -c ' 200 ' || true)"

outbound_config 4 'ports_per_backend = 512' >"$config"
gw_reload &
reloading=$!
tell still 1 2 3
wait "$reloading"
equal "all live while the pool grows and each gets fewer ports" 2001 "$(of alive 1 2 3)"
clients 100 4
equal "the new backend connects" 100 "$(of made 4)"
tell still 1 2 3
equal "all still live" 2001 "$(of alive 1 2 3)"
outbound_config 2 >"$config"
gw_reload
tell end 1 2 3
equal "and when two backends leave the pool" 2001 "$(of alive 1 2 3)"
tell end 4

equal "what a UDP client finds out" "translated yes mapping endpoint-independent filtering address-and-port-dependent" \
    "$(net b1 "$python" "$here/outbound.py" stun)"
equal "the same of another worker's, perhaps" "translated yes mapping endpoint-independent filtering address-and-port-dependent" \
    "$(net b2 "$python" "$here/outbound.py" stun)"
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
check "whoever was not asked was not let in" test "$(counter outbound-filtered)" -ge 4

# All but 64 ports of the address belong to a rule: each of three has 16, and 16 are nobody's.
outbound_config 3 'ports_per_backend = 16' >"$config"
printf '\n[[rule]]\nname = "wide"\nfrontend = "10.0.0.100:1088-65535/tcp"\npool = "web"\nforward = "full-nat"\n' >>"$config"
gw_start
check "a backend pings the outside" within 10 net b1 ping -c 1 -W 1 -q 10.0.0.2
clients 40 1 2 3
between "as many connections as there are ports, of 120 asked for" 60 64 "$(of made 1 2 3)"
equal "each from a port of its own" "$(of made 1 2 3)" "$(of distinct 1 2 3)"
check "those that failed are counted, each try" test "$(sum failed_total)" -ge 56
tell end 1 2 3
equal "those that were made live" "$(of made 1 2 3)" "$(of alive 1 2 3)"
gw show outbound >"$run/shown"
contains "show outbound lists them" '10\.1\.0\.11 +tcp +egress' "$run/shown"
gw_stop
check "the drops have a name" test "$(counter outbound-no-port)" -ge 56
check_counters_add_up
case_end
