#!/usr/bin/env bash
# The conformance suite by another's eyes: tshark finds no malformed packet and no wrong checksum, neither in what
# tests/conformance expects nor in what the program makes of its captures.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 150

# `replay_case DIRECTORY`: what leaves goes to $run/got/NAME-PORT.pcap.
replay_case() {
    local directory=$1 name file port arguments=()
    name=$(basename "$directory")
    for file in "$directory"/{in,out}-*.pcap; do
        port=${file##*/}
        port=${port#*-} port=${port%.pcap}
        case ${file##*/} in
        in-*) arguments+=(--in "$port=$file") ;;
        out-*) arguments+=(--out "$port=$run/got/$name-$port.pcap") ;;
        esac
    done
    # shellcheck disable=SC2046 # words of a line
    "$guideway" replay --config "$directory/guideway.toml" "${arguments[@]}" \
        $(cat "$directory/arguments" 2>/dev/null || true) >/dev/null 2>"$run/replay.err" ||
        fail "replay of $name" "$(cat "$run/replay.err")"
}

# `look_through WHAT FILE...`: all of them at once, for tshark takes its time to begin.
look_through() {
    local what=$1 number found
    shift
    mergecap -a -w "$run/all.pcapng" "$@"
    number=$(tshark -r "$run/all.pcapng" -T fields -e frame.number 2>/dev/null | tail -n 1)
    between "$what: frames" "$frames_least" 1000000 "${number:-0}"
    # 0 is "bad" in the fields of checksums. What an ICMP error quotes is cut off, and tshark sums up what is left of it.
    found=$(tshark -r "$run/all.pcapng" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
        -o tcp.analyze_sequence_numbers:FALSE -o tcp.desegment_tcp_streams:FALSE \
        -Y '_ws.malformed || ip.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 ||
            ((tcp.checksum.status == 0 || udp.checksum.status == 0) && !icmp.type && !icmpv6.type)' 2>"$run/tshark.err") ||
        fail "$what: tshark reads it" "$(cat "$run/tshark.err")"
    equal "$what: none malformed, no wrong checksum" '' "$found"
}

mkdir "$run/got"
expected=() got=() all=0
for directory in "$root"/tests/conformance/*/; do
    [[ -f $directory/why.txt ]] || continue
    all=$((all + 1))
    replay_case "$directory"
    # Some have checksums that are wrong on purpose.
    ! grep -q '^wrong_checksums' "$directory/case.toml" || continue
    name=$(basename "$directory")
    for file in "$directory"/out-*.pcap; do
        expected+=("$file")
        file=${file##*/}
        got+=("$run/got/$name-${file#out-}")
    done
done
between "cases" 90 10000 "$all"
frames_least=$((all * 2))
look_through "what is expected" "${expected[@]}"
look_through "what leaves" "${got[@]}"
case_end
