# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# Probes out of guideway's own port, for any number of workers. To be sourced, after lib.sh.

# All three kinds. The page is many full frames long, and only its end is what the probe waits for.
port_probe_config() {
    config_head
    config_pool web 1 2 3
    cat <<'TOML'

[[probe]]
name = "page"
kind = "http"
path = "/page"
body = "that was all"
interval = "200ms"
timeout = "200ms"
via = "port"

[[probe]]
name = "tls"
kind = "https"
path = "/who"
interval = "200ms"
timeout = "200ms"
via = "port"

[[probe]]
name = "open"
kind = "tcp"
interval = "200ms"
timeout = "200ms"
via = "port"
TOML
    local rule
    for rule in 'web 80/tcp web 80 page' 'secure 443/tcp web 443 tls' 'lines 7000/tcp web 5300 open'; do
        # shellcheck disable=SC2086 # the words of a rule
        config_rule ${rule% *}
        printf 'probe = "%s"\n' "${rule##* }"
    done
}

# `verdicts BACKEND:PORT WORD`: how often the log has said so of it.
verdicts() { grep -Ec "backend 10\.1\.0\.$((10 + ${1%:*})):${1#*:} is $2" "$run/guideway.log" || true; }

# `told_within MS WHAT BACKEND:PORT WORD NUMBER BEGAN`
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

# Connections that the backends have found reset so far.
# shellcheck disable=SC2016 # what awk reads
resets() {
    local i
    for i in 1 2 3; do net "b$i" awk '$1 == "Tcp:" && $8 ~ /^[0-9]+$/ { print $8 }' /proc/net/snmp; done | paste -sd ' '
}

port_probes_case() {
    if ((workers > 1)) && [[ -z $second_cpu ]]; then
        skip "$case_name" "needs two CPUs"
        case_end
    fi
    local i before
    bed_up 3
    mkdir -p "$run/www"
    { head -c 20000 /dev/zero | tr '\0' '.' && printf 'that was all'; } >"$run/www/page"
    start_servers 3
    for i in 1 2 3; do bed_nginx_tls "$i" 443; done
    equal "the machine itself has no way to the backends" "" "$(ip -n lb -4 -o address show scope global)"
    port_probe_config >"$config"
    check "check prints the way" grep -q "probe: tcp to the backend port, out of guideway's port, every 200ms" \
        <("$guideway" check --config "$config")
    gw_start --stats 1
    wait_for_service
    before=$(resets)
    sleep 2
    equal "all are up after two seconds" 0 "$(grep -c ' is down' "$run/guideway.log" || true)"
    between "and have been asked: a dozen times each, at some five answers a question" 300 100000 "$(counter controlled)"
    equal "they found no connection reset" "$before" "$(resets)"
    check_port_death
    check_port_silence
    gw_stop
    equal "it ends with exit code 0" 0 "$gw_status"
    check_counters_add_up
    equal "no answer was lost on the way to the management thread" 0 "$(counter control-full)"
    case_end
}

check_port_death() {
    local began
    began=$(now_ms)
    kill -QUIT "$(cat "$run/nginx-b2/pid")" "$(cat "$run/nginx-tls-b2/pid")"
    told_within 1000 "a death is noticed in under 1 s" 2:80 down 1 "$began"
    told_within 1500 "also by TLS" 2:443 down 1 "$began"
    contains "and why" 'probe of rule web: backend 10.1.0.12:80 is down: connection refused' "$run/guideway.log"
    equal "what still works is up" 0 "$(verdicts 2:5300 down)"
    sleep 0.2
    requests 100 >"$run/requests"
    equal "new connections avoid it: 100 requests, each answered with 200" 100 \
        "$(awk 'NF == 4 && $3 == 200' "$run/requests" | wc -l)"
    began=$(now_ms)
    bed_nginx 2
    bed_nginx_tls 2 443
    told_within 1000 "it is back: noticed in under 1 s" 2:80 'up again' 1 "$began"
    told_within 1500 "also by TLS" 2:443 'up again' 1 "$began"
}

check_port_silence() {
    local began
    began=$(now_ms)
    ip -n b3 link set eth0 down
    told_within 1300 "one that falls silent is noticed" 3:5300 down 1 "$began"
    contains "and why" '10.1.0.13:5300 is down: no connection in 200ms' "$run/guideway.log"
    began=$(now_ms)
    ip -n b3 link set eth0 up
    ip -n b3 route replace default via 10.1.0.1
    told_within 4000 "it is heard again" 3:5300 'up again' 1 "$began"
}
