#!/usr/bin/env bash
# guideway against dpdk-testpmd on the same virtual devices: scripts/lib/bench-forwarding.sh [--quick] [TEXT...]
#
#   --quick    one minute instead of six
#   TEXT       only the beds whose names contain one of these, as in "memif" or "2 workers"
#
# A JSON object for each figure goes to standard output, progress to standard error. Installs what is missing. By root it
# reserves up to 6 GiB of hugepages and gives them back at the end; where there are too few, beds are left out.

set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=packages.sh
. "$root/scripts/lib/packages.sh"
# shellcheck source=hugepages.sh
. "$root/scripts/lib/hugepages.sh"
# shellcheck source=ports-bench.sh
. "$root/scripts/lib/ports-bench.sh"

case ${1:-} in
-h | --help)
    usage "$0"
    exit 0
    ;;
esac

trap ports_bench_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mebibytes=5632
[[ ${1:-} != --quick ]] || mebibytes=1024
ports_bench forwarding "$mebibytes" "$@"
