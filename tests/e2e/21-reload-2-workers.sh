#!/usr/bin/env bash
# Reloads under traffic, two workers.
#
# Thirty reloads by SIGHUP, every fifth of a broken file, while connections are held, kept alive, made anew and used for
# long downloads. Backends are added, removed, drained and reweighted. Nothing may break.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"
# shellcheck source=reload.sh
. "$here/reload.sh"

workers=2
case_start 120
reload_case
