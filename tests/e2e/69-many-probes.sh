#!/usr/bin/env bash
# 5,000 endpoints, each asked every five seconds, out of guideway's port.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=many-probes.sh
. "$here/many-probes.sh"

driver=af_packet
workers=1

case_start 60
many_backends
check_many port
case_end
