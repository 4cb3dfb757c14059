#!/usr/bin/env bash
# Fuzzes the control API of a running guideway with schemathesis, by its OpenAPI file. For use by hand, as it comes from PyPI:
#
#   python3 -m venv /tmp/st && /tmp/st/bin/pip install schemathesis
#   PATH=/tmp/st/bin:$PATH tests/e2e/fuzz-api.sh
#
# Fails where an answer is a 5xx, or none of those that the file lists: to who has the token, and, with a tenth as many
# requests, to who has none, has another, or sends no JSON. EXAMPLES is how many requests are made up for each operation
# (default 200). `cargo test --test fuzz` does a smaller one of our own, every time.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 900

command -v schemathesis >/dev/null || {
    skip "$case_name" "schemathesis is not there"
    case_end
}
(umask 077 && od -An -tx1 -N 32 /dev/urandom | tr -d ' \n' >"$run/token")
bed_up 3
start_servers 3
{
    config_head | sed "/^\[control\]/a listen = \"127.0.0.1:9465\"\ntoken_file = \"$run/token\""
    config_pool web 1 2 3
    config_rule web 80/tcp web 80
} >"$config"
gw_start
wait_for_service
before=$(awk '/^VmRSS/ { print $2 }' "/proc/$gw_pid/status")

# `fuzz WHO EXAMPLES ARGUMENT...`
fuzz() {
    local who=$1 examples=$2 status=0
    shift 2
    net lb schemathesis run "$root/docs/openapi.json" --url http://127.0.0.1:9465 "$@" \
        --max-examples "$examples" --phases examples,coverage,fuzzing,stateful --continue-on-failure \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method \
        >"$run/fuzz.out" 2>&1 || status=$?
    tail -n 60 "$run/fuzz.out"
    equal "schemathesis has nothing to say, $who" 0 "$status"
}

examples=${EXAMPLES:-200}
few=$((examples / 10 + 1))
token="Authorization: Bearer $(cat "$run/token")"
fuzz "with the token" "$examples" --header "$token"
fuzz "without" "$few"
fuzz "with another" "$few" --header "Authorization: Bearer 0123456789abcdef"
fuzz "with the token and no JSON" "$few" --header "$token" --header "Content-Type: text/plain"
check "guideway runs on" kill -0 "$gw_pid"
between "KiB of memory that it has grown by" -100000 200000 "$(($(awk '/^VmRSS/ { print $2 }' "/proc/$gw_pid/status") - before))"
check "and answers" "$guideway" show status --control-socket "$run/control.sock"
gw_stop
check_counters_add_up
case_end
