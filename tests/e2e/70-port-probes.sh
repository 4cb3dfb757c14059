#!/usr/bin/env bash
# Probes out of guideway's own port, one worker.
#
# The machine itself has no way to the backends. By tcp, http and https: all are up, a web server dies and comes back, one
# falls silent; connections are closed in order, and a page of many frames is read.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=port-probes.sh
. "$here/port-probes.sh"

driver=af_packet
workers=1
case_start 60
port_probes_case
