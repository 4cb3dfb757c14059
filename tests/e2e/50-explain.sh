#!/usr/bin/env bash
# `guideway explain` names the backend that the running program chooses, flow by flow.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 120

# `explained PORT`: the backend's number that `explain` names for this client port.
explained() {
    "$guideway" explain --config "$config" --json "10.0.0.2:$1" "$vip:80/tcp" 2>"$run/explain.err" |
        jq -r .backend | sed -n 's/^10\.1\.0\.1\([0-9]\):80$/b\1/p'
}

# `agreement FLOWS WHAT`
next_port=20000
agreement() {
    local flows=$1 i answered said agreed=0 differed=''
    declare -A seen=()
    for ((i = 0; i < flows; i++)); do
        answered=$(client_curl --local-port "$next_port" "http://$vip/who" 2>&1) || true
        said=$(explained "$next_port") || true
        if [[ -n $said && ${answered%% *} == "$said" ]]; then
            agreed=$((agreed + 1))
            seen[$said]=1
        else
            differed="${differed:-port $next_port: explained \"$said\", answered \"$answered\"; $(head -n 3 "$run/explain.err")}"
        fi
        next_port=$((next_port + 1))
    done
    if ((agreed == flows)); then
        ok "$2: explain agrees on $agreed of $flows flows, over ${#seen[@]} backends"
    else
        fail "$2" "explain agrees on $agreed of $flows flows only. $differed"
    fi
}

explain_config() {
    config_head
    config_pool web "$@"
    config_rule web 80/tcp web 80
}

bed_up 3
for i in 1 2 3; do bed_nginx "$i"; done
explain_config 1 2 3 >"$config"
gw_start
wait_for_service
agreement 200 "three backends"
explain_config 1 '2, weight = 7' '3, weight = 2' >"$config"
gw_reload
agreement 60 "weights"
explain_config 1 '2, state = "drain"' 3 >"$config"
gw_reload
agreement 60 "one of three drained"
{
    explain_config 1 2 3
    echo 'distribution = "source-ip"'
} >"$config"
gw_reload
agreement 60 "by the client's address only"
gw_stop
check_counters_add_up
case_end
