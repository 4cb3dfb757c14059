#!/usr/bin/env bash
# `guideway capture` and `guideway trace`, as tshark and the servers see it: hostile traffic has its reasons, and as many
# frames as the counters say; a client's packets are there on both ports both ways; a trace names who answers.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 90

gw() { "$guideway" "$@" --control-socket "$run/control.sock"; }

# `fields FILE FIELD...`: of each frame, as tshark reads them.
fields() {
    local file=$1 field list=()
    shift
    for field in "$@"; do list+=(-e "$field"); done
    tshark -r "$file" -T fields -E separator=/t "${list[@]}" 2>"$run/tshark.err"
}

# `capture NAME OPTION...`: in the background, to $run/NAME.pcapng; until it is on.
capture() {
    local name=$1
    shift
    # Not by `gw`: the signal is for the program, not for a shell around it.
    "$guideway" capture "$@" -w "$run/$name.pcapng" --control-socket "$run/control.sock" 2>"$run/$name.err" &
    capture_pid=$!
    within 5 grep -q 'capturing to' "$run/$name.err" || fail "the capture $name starts" "$(cat "$run/$name.err")"
    within 5 reached || fail "the workers know of the capture $name" "$(gw show status)"
}
reached() { gw show status --json | jq -e '.generation == .generation_reached'; }

# `captured NAME [LOST]`: ends it as Ctrl-C does. LOST is a pattern, 0 unless given.
captured() {
    # What is on its way settles.
    sleep 0.3
    kill -INT "$capture_pid"
    capture_status=0
    wait "$capture_pid" || capture_status=$?
    equal "capture $1: Ctrl-C ends it with exit code 0" 0 "$capture_status"
    contains "capture $1: it says how many" "[0-9]+ frames written, ${2:-0} lost" "$run/$1.err"
}

# `drops`: "REASON FRAMES" of each reason, from `show counters`.
drops() { gw show counters --json | jq -r '.drops[] | "\(.reason) \(.frames)"'; }
all_drops() { gw show counters --json | jq '[.drops[].frames] | add'; }
station() { gw show ports --json | jq -r '.ports[] | select(.port == "outside") | .mac'; }

check_hostile() {
    local station reason told counted
    station=$(station)
    capture hostile --dropped
    drops >"$run/drops-before"
    net client "$python" "$here/hostile.py" c0 "$station" "$vip" 7 >"$run/reasons"
    settled drops >"$run/drops-after"
    captured hostile
    fields "$run/hostile.pcapng" frame.comment frame.interface_name frame.packet_flags_direction >"$run/hostile"
    while read -r reason; do
        told=$(grep -Ec "^dropped: $reason(,| ).*"$'\t'"outside"$'\t'"(1|0x00000001)\$" "$run/hostile" || true)
        counted=$(join "$run/drops-before" "$run/drops-after" | awk -v r="$reason" '$1 == r { print $3 - $2 }')
        equal "7 frames are dropped as $reason: tshark, counter" "7 7" "$told $counted"
    done < <(LC_ALL=C sort "$run/reasons")
    equal "15 kinds of them" 15 "$(wc -l <"$run/reasons")"
    equal "and no others" "$(awk '{ s += $2 } END { print s }' "$run/drops-after")" \
        "$(($(awk '{ s += $2 } END { print s }' "$run/drops-before") + $(wc -l <"$run/hostile")))"
    capture two --dropped=no-rule,ttl-exceeded
    net client "$python" "$here/hostile.py" c0 "$station" "$vip" 3 >/dev/null
    captured two
    equal "two reasons of them" "3 no-rule 3 ttl-exceeded" "$(fields "$run/two.pcapng" frame.comment |
        sed 's/^dropped: \([a-z-]*\).*/\1/' | LC_ALL=C sort | uniq -c | xargs)"
}

# As fast as they come: what is lost on the way to the file is counted, and the rest has its reasons.
check_flood() {
    local before dropped told lost
    capture flood --dropped --snaplen 96
    before=$(all_drops)
    net client "$python" "$here/hostile.py" c0 "$(station)" "$vip" 3000 >/dev/null
    dropped=$(($(settled all_drops) - before))
    captured flood '[0-9]+'
    told=$(fields "$run/flood.pcapng" frame.comment | grep -c '^dropped: [a-z0-9-]*, ' || true)
    lost=$(sed -n 's/.* frames written, \([0-9]*\) lost.*/\1/p' "$run/flood.err")
    note "a flood: $dropped dropped, $told in the file, $lost lost on the way there"
    check "a flood: thousands of frames are in the file" test "$told" -gt 1000
    equal "a flood: every frame is told or counted as lost" "$dropped" "$((told + lost))"
    equal "a flood: and every one that is told has a reason" "$told" "$(fields "$run/flood.pcapng" frame.number | wc -l)"
}

check_client() {
    capture client --client 10.0.0.2 --count 20
    requests 6 >"$run/requests"
    within 5 not_running "$capture_pid" || fail "20 frames end the capture" "$(cat "$run/client.err")"
    wait "$capture_pid" || true
    contains "it says how many" '^guideway: 20 frames written, 0 lost' "$run/client.err"
    fields "$run/client.pcapng" frame.interface_name frame.packet_flags_direction frame.comment >"$run/client"
    equal "20 frames" 20 "$(wc -l <"$run/client")"
    equal "both directions on both ports" "inside in inside out outside in outside out" "$(awk -F '\t' '
        { print $1, ($2 ~ /1$/ ? "in" : "out") }' "$run/client" | LC_ALL=C sort -u | xargs)"
    contains "with the verdict" 'forwarded to 10\.1\.0\.1[1-3]:80 by rule web, on inside, worker 0' "$run/client"
    equal "timestamps are of today, and not in the future" 1 "$(fields "$run/client.pcapng" frame.time_epoch |
        awk -v now="$EPOCHSECONDS" 'int($1) > now || $1 < now - 60 { bad = 1 } END { print !bad }')"
    # Written by us and read by us: what was received is what a replay takes.
    # Nobody tells this shell when the capture is on, so there is something to capture until it has ended.
    rm -f "$run/stop"
    until [[ -e $run/stop ]]; do requests 1; done >/dev/null &
    equal "a pipe to tshark" 4 "$(gw capture --rule web --count 4 -w - 2>/dev/null | tshark -r - 2>/dev/null | wc -l)"
    touch "$run/stop"
    wait "$!"
}
not_running() { ! kill -0 "$1" 2>/dev/null; }

# `check_trace PORT`
check_trace() {
    local port=$1 answered
    gw trace "10.0.0.2:$port" web --count 8 --timeout 10s --json >"$run/trace.json" 2>"$run/trace.err" &
    trace_pid=$!
    gw trace "10.0.0.2:$port" web --count 8 --timeout 10s >"$run/trace" 2>&1 &
    trace_text_pid=$!
    within 5 traces_are_on || fail "the traces start" "$(cat "$run/trace.err" "$run/guideway.log")"
    within 5 reached || fail "the workers know of the traces" "$(gw show status)"
    answered=$(client_curl --local-port "$port" "http://$vip/who")
    wait "$trace_pid" "$trace_text_pid" || true
    equal "trace: the backend of all packets is who answered" "10.1.0.1${answered:1:1}:80" \
        "$(jq -r .backend "$run/trace.json" | sort -u)"
    equal "trace: both directions" "to-backend to-client" "$(jq -r .direction "$run/trace.json" | sort -u | xargs)"
    equal "trace: the first packet makes the flow, by the slot of the hash" "new half-open SYN web true" \
        "$(jq -rs '.[0] | "\(.flow) \(.state) \(.tcp_flags) \(.rule) \(.choice.backend == .backend)"' "$run/trace.json")"
    equal "trace: and the client's next one knows it" "known" \
        "$(jq -rs '[.[] | select(.direction == "to-backend")][1].flow' "$run/trace.json")"
    equal "trace: the slot is explain's" \
        "$("$guideway" explain --config "$config" --json "10.0.0.2:$port" web 2>/dev/null | jq -r '"\(.hash) \(.slot)"')" \
        "$(jq -rs '.[0].choice | "\(.hash) \(.slot)"' "$run/trace.json")"
    contains "trace: as text" '^  backend +10\.1\.0\.1[1-3]:80, by the slot of the hash' "$run/trace"
    contains "trace: with the next hop" '^  next hop +10\.1\.0\.1[1-3] at ([0-9a-f]{2}:){5}[0-9a-f]{2}' "$run/trace"
}
traces_are_on() { (($(grep -c 'trace started' "$run/guideway.log") >= 2)); }

bed_up 3
for i in 1 2 3; do bed_nginx "$i"; done
{
    config_head
    config_pool web 1 2 3
    config_rule web 80/tcp web 80
} >"$config"
gw_start
wait_for_service
check_hostile
check_flood
check_client
check_trace 41234

capture last --client 10.0.0.2
requests 2 >/dev/null
sleep 0.3
gw_stop
within 5 not_running "$capture_pid" || fail "the capture ends with guideway" "it goes on"
contains "a capture ends with guideway" 'the running guideway has ended' "$run/last.err"
check "and its file is whole" fields "$run/last.pcapng" frame.comment
equal "with all its frames" "$(sed -n 's/^guideway: \([0-9]*\) frames written.*/\1/p' "$run/last.err")" \
    "$(fields "$run/last.pcapng" frame.number | wc -l)"
check_counters_add_up
case_end
