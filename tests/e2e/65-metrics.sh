#!/usr/bin/env bash
# Metrics and the control API, from outside: promtool finds nothing to say, a real Prometheus scrapes and has data for each
# query of the dashboard, and what metrics, `show` and tshark have counted of one run is the same, to the packet.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 90

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }
lb_curl() { net lb curl --silent --show-error --noproxy '*' --max-time 10 "$@"; }
metrics() { lb_curl http://127.0.0.1:9464/metrics; }

# `sum METRIC [LABEL]`: over all label sets in $run/metrics, or those with LABEL.
sum() { awk -v m="$1{" -v l="${2:-}" 'index($0, m) == 1 && index($0, l) { n += $NF } END { printf "%.0f\n", n }' "$run/metrics"; }

metrics_config() {
    config_head | sed "/^\[control\]/a listen = \"127.0.0.1:9465\"\ntoken_file = \"$run/token\"\nsocket_group = \"$group\""
    config_pool web 1 2 3
    cat <<'TOML'

[[probe]]
name = "web-ready"
kind = "http"
port = 80
path = "/who"
interval = "500ms"
TOML
    config_rule web 80/tcp web 80
    printf 'probe = "web-ready"\n'
    config_rule echo 5353/udp web 5300
}

# What passes at the other ends of guideway's two links.
capture_start() {
    net_background client tshark -q -n -i c0 -w "$run/outside.pcapng" >"$run/tshark-outside" 2>&1
    tshark -q -n -i s0 -w "$run/inside.pcapng" >"$run/tshark-inside" 2>&1 &
    local side
    for side in outside inside; do
        within 10 grep -q '^Capturing' "$run/tshark-$side" || fail "tshark captures" "$(cat "$run/tshark-$side")"
    done
    sleep 0.5
}

# What tshark saw between the moments `opened` and `scraped`, a line for each frame:
# TIME ETH.SRC IP.SRC IP.DST TCP.SRCPORT TCP.DSTPORT UDP.DSTPORT IP.LEN
capture_read() {
    local side
    for side in outside inside; do
        tshark -n -r "$run/$side.pcapng" -Y "frame.time_epoch > $opened && frame.time_epoch <= $scraped" -T fields -E occurrence=f -e frame.time_epoch \
            -e eth.src -e ip.src -e ip.dst -e tcp.srcport -e tcp.dstport -e udp.dstport -e ip.len >"$run/$side" 2>/dev/null
    done
}

# `count SIDE CONDITION`: frames, and the bytes of their IP packets.
count() { awk -F '\t' "$2 { frames += 1; bytes += \$8 } END { print frames + 0, bytes + 0 }" "$run/$1"; }
frames() { count "$@" | cut -d ' ' -f 1; }

# Sets `quiet_at` to the middle of a time in which nothing moved, and runs COMMAND then: `when_quiet COMMAND...`.
# tshark and guideway look at a frame one after the other, so a moment of quiet would not do.
when_quiet() {
    local before after i
    for ((i = 0; i < 50; i++)); do
        before=$(gw show counters --json)
        sleep 0.3
        "$@"
        quiet_at=$EPOCHREALTIME
        sleep 0.3
        after=$(gw show counters --json)
        [[ $before != "$after" ]] || break
    done
    equal "nothing moves while counters are read" "$before" "$after"
    counted=$after
}

# What came before guideway's ports were open nobody has counted: frames are compared from this moment on.
open_when_quiet() {
    when_quiet true
    opened=$quiet_at counted_first=$counted
}

scrape() { metrics >"$run/metrics" && gw show rules --json >"$run/rules.json"; }

scrape_when_quiet() {
    when_quiet scrape
    scraped=$quiet_at
    printf '%s' "$counted" >"$run/counters.json"
}

# `first_and_last`: of the frames compared, for who looks for one too many.
first_and_last() {
    local side
    for side in outside inside; do
        note "$side, from $opened to $scraped, the first and last of $(wc -l <"$run/$side") frames:"
        sed -n '1,5p' "$run/$side"
        tail -n 5 "$run/$side"
    done
}

query() { lb_curl --get --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query; }

# Every query of the dashboard has an answer, with "All" for its variables, and none of another program's metrics.
check_dashboard() {
    local panel expression rows empty='' all=0
    equal "another program has metrics of the same name" 2 "$(query process_start_time_seconds | jq '.data.result | length')"
    while IFS=$'\t' read -r panel expression; do
        all=$((all + 1))
        # shellcheck disable=SC2016 # these are Grafana's variables
        expression=$(sed 's/\$__rate_interval/30s/g; s/\$instance/.*/g; s/\$rule/.*/g' <<<"$expression")
        rows=$(query "$expression" | jq -r 'if .status != "success" then .error
            elif any(.data.result[].metric.job; . and . != "guideway") then "of another program"
            else .data.result | length end')
        [[ $rows =~ ^[1-9][0-9]*$ ]] || empty+="$panel: $expression: $rows; "
    done < <(jq -r '(.panels[] | .title as $t | .targets[]? | [$t, .expr]), (.annotations.list[] | [.name, .expr]) | @tsv' \
        "$root/dpdk-config/grafana-dashboard.json")
    equal "Prometheus has data for each of the dashboard's $all queries" '' "$empty"
    between "queries tried" 40 1000 "$all"
}

# The alerts of docs/METRICS.md: Prometheus takes them, and a rule whose backends are all ill is told of either way.
check_alerts() {
    {
        printf 'groups:\n- name: guideway\n  rules:\n'
        # shellcheck disable=SC2016 # these are Markdown's backquotes
        sed -n '/^## What to be woken by/,/^## /{/^```yaml/,/^```$/{/^```/!s/^/  /p}}' "$root/docs/METRICS.md"
    } >"$run/alerts.yml"
    cat >"$run/alerts-test.yml" <<'YAML'
rule_files: [alerts.yml]
tests:
  - interval: 1m
    input_series:
      - { series: 'guideway_rule_backends_taking_flows{rule="well"}', values: "2+0x5" }
      - { series: 'guideway_rule_healthy_backends{rule="well"}', values: "2+0x5" }
      - { series: 'guideway_rule_backends_taking_flows{rule="drop"}', values: "0+0x5" }
      - { series: 'guideway_rule_healthy_backends{rule="drop"}', values: "0+0x5" }
      - { series: 'guideway_rule_backends_taking_flows{rule="all"}', values: "2+0x5" }
      - { series: 'guideway_rule_healthy_backends{rule="all"}', values: "0+0x5" }
      - { series: 'guideway_rule_backends_taking_flows{rule="unprobed"}', values: "0+0x5" }
    alert_rule_test:
      - eval_time: 2m
        alertname: GuidewayRuleWithoutBackends
        exp_alerts:
          - exp_labels: { rule: drop }
          - exp_labels: { rule: all }
          - exp_labels: { rule: unprobed }
YAML
    check "Prometheus takes the documented alerts" promtool check rules "$run/alerts.yml"
    check "they tell of rules without a healthy backend" promtool test rules "$run/alerts-test.yml"
}

check_counts() {
    local to back
    capture_read
    # shellcheck disable=SC2016 # these are awk's fields
    to=$(count inside '$3 == "10.0.0.2" && $6 == 80') back=$(count outside '$3 == "10.0.0.100" && $5 == 80')
    equal "tshark and metrics: packets and bytes to backends" "$to" \
        "$(sum guideway_rule_to_backend_packets_total '"web"') $(sum guideway_rule_to_backend_bytes_total '"web"')"
    equal "tshark and metrics: packets and bytes to clients" "$back" \
        "$(sum guideway_rule_to_client_packets_total '"web"') $(sum guideway_rule_to_client_bytes_total '"web"')"
    equal "show and metrics: the same four" "$to $back" \
        "$(jq -r '.rules[] | select(.rule == "web") | "\(.packets_to_backend) \(.bytes_to_backend) \(.packets_to_client) \(.bytes_to_client)"' "$run/rules.json")"
    equal "the same, backend by backend" "$to" \
        "$(sum guideway_backend_to_backend_packets_total '"web",f') $(sum guideway_backend_to_backend_bytes_total '"web",f')"
    between "packets there and back" 4000 10000000 "$((${to% *} + ${back% *}))"
    local mac_out mac_in received sent
    mac_out=$(gw show ports --json | jq -r '.ports[0].mac') mac_in=$(gw show ports --json | jq -r '.ports[1].mac')
    received=$(($(frames outside "\$2 != \"$mac_out\"") + $(frames inside "\$2 != \"$mac_in\"")))
    sent=$(($(frames outside "\$2 == \"$mac_out\"") + $(frames inside "\$2 == \"$mac_in\"")))
    # What was counted by the moment from which tshark's frames are.
    received=$((received + $(jq .frames.received <<<"$counted_first")))
    sent=$((sent + $(jq '.frames | .transmitted + .answered + .originated' <<<"$counted_first")))
    local failed_before=$failed
    equal "tshark, show and metrics: frames received" "$received $received $received" \
        "$(sum guideway_worker_received_frames_total) $(jq .frames.received "$run/counters.json") $(sum guideway_port_received_frames_total)"
    equal "tshark, show and metrics: frames sent" "$sent $sent" \
        "$(($(sum guideway_worker_transmitted_frames_total) + $(sum guideway_worker_answered_frames_total) + $(sum guideway_worker_originated_frames_total))) $(jq '.frames | .transmitted + .answered + .originated' "$run/counters.json")"
    ((failed == failed_before)) || first_and_last
    equal "drops by reason: show and metrics" \
        "$(jq -r '.drops[] | "\(.reason) \(.frames)"' "$run/counters.json" | sort)" \
        "$(sed -nE 's/^guideway_dropped_frames_total\{reason="(.*)"\} /\1 /p' "$run/metrics" | sort)"
    equal "7 datagrams for no rule: tshark and metrics" "7 7" \
        "$(frames outside "\$7 == 9999") $(sum guideway_dropped_frames_total '"no-rule"')"
}

# What the metrics say of the start is what the kernel says, and not when DPDK was ready.
check_start() {
    local started told loaded
    started=$(awk -v now="$EPOCHREALTIME" -v hz="$(getconf CLK_TCK)" \
        'NR == FNR { up = $1; next } { printf "%.2f", now - up + $22 / hz }' /proc/uptime "/proc/$gw_pid/stat")
    told=$(awk '$1 == "process_start_time_seconds" { print $2 }' "$run/metrics")
    loaded=$(awk '$1 == "guideway_config_loaded_timestamp_seconds" { print $2 }' "$run/metrics")
    check "started at $started, as told at $told, loaded at $loaded" awk -v started="$started" -v told="$told" \
        -v loaded="$loaded" 'BEGIN { exit !(told > started - 0.1 && told - started < loaded - told) }'
}

# Every path that the OpenAPI file has for GET, over both listeners.
check_paths() {
    local path bad='' all=0
    while read -r path; do
        all=$((all + 1))
        lb_curl --fail --unix-socket "$run/control.sock" "http://guideway$path" | jq -e . >/dev/null || bad+="$path "
        lb_curl --fail --header "Authorization: Bearer $(cat "$run/token")" "http://127.0.0.1:9465$path" >"$run/answer" ||
            bad+="tcp:$path "
        ! grep -qF "$(cat "$run/token")" "$run/answer" || bad+="$path tells the token "
    done < <(jq -r '.paths | to_entries[] | select(.value.get) | .key' "$root/docs/openapi.json")
    equal "curl to each of $all paths of the OpenAPI file, over both listeners" '' "$bad"
    equal "a change over TCP, by who has the token" 200 "$(lb_curl --output /dev/null --write-out '%{http_code}' \
        --header "Authorization: Bearer $(cat "$run/token")" --json '{"weight": 7}' http://127.0.0.1:9465/v1/backends/web/10.1.0.11)"
    equal "and by who has not" 401 "$(lb_curl --output /dev/null --write-out '%{http_code}' \
        --header "Authorization: Bearer 0123456789abcdef" --json '{"weight": 8}' http://127.0.0.1:9465/v1/backends/web/10.1.0.11)"
    check "the log does not tell the token" bash -c "! grep -qF '$(cat "$run/token")' '$run/guideway.log' '$run/guideway.out'"
    equal "mode and group of the control socket" "660 $group" "$(stat -c '%a %g' "$run/control.sock")"
}

check_refused() {
    sed 's/listen = "127.0.0.1:9465"/listen = "10.1.0.2:9465"/' "$config" >"$run/anywhere.toml"
    "$guideway" check --config "$run/anywhere.toml" >"$run/anywhere" 2>&1 && fail "an open listener is refused" "taken"
    contains "a listener that others can reach is refused, and what to do is said" 'listen_anywhere' "$run/anywhere"
}

for tool in promtool prometheus tshark; do
    if ! command -v "$tool" >/dev/null; then
        skip "$case_name" "$tool is not there; scripts/test installs it on Debian"
        case_end
    fi
done
group=$(id -g)
(umask 077 && od -An -tx1 -N 32 /dev/urandom | tr -d ' \n' >"$run/token")
bed_up 3
start_servers 3
bed_host
metrics_config >"$config"
capture_start
gw_start
open_when_quiet
cat >"$run/prometheus.yml" <<'YAML'
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: guideway
    static_configs: [{ targets: ["127.0.0.1:9464"] }]
  - job_name: prometheus
    static_configs: [{ targets: ["127.0.0.1:9090"] }]
YAML
net_background lb prometheus --config.file="$run/prometheus.yml" --storage.tsdb.path="$run/tsdb" \
    --web.listen-address=127.0.0.1:9090 >"$run/prometheus.log" 2>&1
wait_for_service
# shellcheck disable=SC2317 # `within` calls it.
is_scraped() { (($(query 'up{job="guideway"} == 1' | jq '.data.result | length') > 0)); }
check "Prometheus scrapes" within 10 is_scraped
check_paths
check_refused
unwanted() { for ((i = 0; i < $1; i++)); do net client bash -c "echo x >/dev/udp/$vip/9999"; done; }
unwanted 7
requests 500 >"$run/requests"
scrape_when_quiet
check_start
# What is counted is done; what follows is for the dashboard's rates, and for what Prometheus stores.
unwanted 5
check "a change by the command" gw backend web/10.1.0.12 weight 2
net client bash -c "echo x >/dev/udp/$vip/5353"
requests 200 >>"$run/requests"
sleep 2
equal "all requests are answered" 700 "$(grep -c ' 200 ' "$run/requests")"
check_dashboard
check_alerts
equal "what Prometheus has stored" 12 \
    "$(query 'guideway_dropped_frames_total{reason="no-rule"}' | jq -r '.data.result[0].value[1]')"
check "promtool has nothing to say of the metrics" bash -c "set -o pipefail; said=\$(promtool check metrics <'$run/metrics' 2>&1) && [[ -z \$said ]] || { echo \"\$said\"; false; }"
check_counts
lb_curl --header 'Accept: application/openmetrics-text; version=1.0.0' --dump-header "$run/head" \
    http://127.0.0.1:9464/metrics >"$run/openmetrics"
contains "OpenMetrics for who asks for it" '[Aa]pplication/openmetrics-text; version=1.0.0' "$run/head"
equal "and it ends as it must" '# EOF' "$(tail -n 1 "$run/openmetrics")"
gw_stop
check_counters_add_up
case_end
