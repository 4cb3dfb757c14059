#!/usr/bin/env bash
# Real traffic over af_xdp ports, one worker. Needs root.
#
# Pings, HTTP over three real web servers, large transfers both ways, many connections at once, UDP with and without
# checksums, weights, draining; then the counters must add up.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

driver=af_xdp
workers=1
case_start 150 root
traffic_case
