#!/usr/bin/env bash
# 5,000 endpoints, each asked every five seconds, by the machine's own network.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=many-probes.sh
. "$here/many-probes.sh"

driver=af_packet
workers=1

case_start 60
many_backends
bed_host
# The one host as its gateway, for kernels keep no 5,000 neighbours.
ip -n lb route add 10.1.0.0/16 via 10.1.0.11 dev h1
check_many host
case_end
