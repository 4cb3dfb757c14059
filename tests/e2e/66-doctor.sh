#!/usr/bin/env bash
# doctor names what this machine lacks; the commands that it prints are run as they stand; then it finds nothing more that
# commands could mend, and guideway runs as it said it would. What only another boot or kernel can mend stays named.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

pages_file=/proc/sys/vm/nr_hugepages
if [[ -z ${GUIDEWAY_SANDBOX:-} && -w $pages_file ]]; then
    # Hugepages are the machine's, not the sandbox's: they are given back however this ends.
    pages_before=$(<"$pages_file")
    (
        trap '' INT TERM HUP
        while kill -0 "$$"; do sleep 0.2; done
        echo "$pages_before" >"$pages_file"
    ) </dev/null >/dev/null 2>&1 &
fi

case_start 60 root

in_lb() { nsenter --net=/run/netns/lb -- "$@"; }
# `doctor NAME ARGUMENT...`: what it says goes to $run/NAME, as JSON.
doctor() {
    local name=$1 status=0
    shift
    in_lb "$guideway" doctor --json "$@" >"$run/$name" 2>"$run/$name.err" || status=$?
    echo "$status" >"$run/$name.status"
}
# `level NAME CHECK`: the worst finding of that kind.
level() { jq -r --arg check "$2" '[.findings[] | select(.check == $check) | .level][0] // "none"' "$run/$1"; }
commands() { jq -r '.findings[] | select(.effect == "now" and (.level == "error" or .level == "warning")) | .commands[]' "$run/$1"; }

bed_up 1
# /sys shows the interfaces of the namespace that it was mounted in.
in_lb mount -t sysfs sysfs /sys
config_head >"$config"
config_pool web 1 >>"$config"
config_rule web 80/tcp web 80 >>"$config"

# As bare as can be.
pages_found=$(<"$pages_file")
echo 0 >"$pages_file"
ip -n lb link set c1 down
ip -n lb address add 10.9.9.9/24 dev s1
cp "$(command -v sleep)" "$run/irqbalance"
cp "$(command -v sleep)" "$run/testpmd"
"$run/irqbalance" 60 &
"$run/testpmd" 60 &

doctor bare --config "$config"
equal "interfaces that are down: a warning" warning "$(level bare interface)"
equal "no hugepages: a warning" warning "$(level bare hugepages)"
equal "irqbalance: a warning" warning "$(level bare irqbalance)"
equal "another program of DPDK: a warning" warning "$(level bare programs)"
check "each thing that is bad has a remedy" jq -e '[.findings[] | select(.level == "error" or .level == "warning") |
    select((.commands == []) and .advice == null)] == []' "$run/bare"
equal "it changes nothing: the same again" "$(jq -c '[.findings[].found]' "$run/bare")" \
    "$(doctor again --config "$config" && jq -c '[.findings[].found]' "$run/again")"
in_lb "$guideway" doctor --config "$config" >"$run/text" || true
contains "for people: the worst first" '^(ERROR|warning) ' <(head -n 1 "$run/text")
contains "and a line at the end" '^[0-9]+ errors?, [0-9]+ warnings?: this configuration can run here$' <(tail -n 1 "$run/text")

commands bare >"$run/fixes"
between "commands to mend it" 5 12 "$(wc -l <"$run/fixes")"
while read -r command; do
    check "    $command" in_lb bash -c "$command"
done <"$run/fixes"
doctor mended --config "$config"
equal "then nothing is left that a command could mend" "" "$(commands mended)"
equal "and nothing stands in the way" 0 "$(cat "$run/mended.status")"
for what in hugepages interface programs; do equal "clean: $what" ok "$(level mended "$what")"; done
while read -r left; do
    printf '      left, for another boot, kernel or configuration: %s\n' "$left"
done < <(jq -r '.findings[] | select(.level == "error" or .level == "warning") | .found' "$run/mended")

# It was right about the memory.
gw_start
contains "guideway has its frames on hugepages" 'packet memory on hugepages' "$run/guideway.log"
contains "and its flow tables" 'flow tables: .* on huge pages' "$run/guideway.log"
doctor beside --config "$config"
equal "beside the one that runs: an error" error "$(level beside control-socket)"
equal "with exit code 1" 1 "$(cat "$run/beside.status")"
gw_stop

# Without rights it says which it lacks, and the command gives them to the program.
cp "$guideway" "$run/gw"
chmod 755 "$run" "$run/gw"
unprivileged() { in_lb setpriv --reuid 65534 --regid 65534 --clear-groups "$run/gw" doctor --json --config "$config"; }
unprivileged >"$run/plain" 2>/dev/null || true
equal "without rights: an error" error "$(level plain capabilities)"
if command -v setcap >/dev/null; then
    jq -r '.findings[] | select(.check == "capabilities") | .commands[0]' "$run/plain" | sort -u >"$run/setcap"
    check "    $(cat "$run/setcap")" bash -c "$(cat "$run/setcap")"
    unprivileged >"$run/able" 2>/dev/null || true
    equal "with these: none" none "$(level able capabilities)"
else
    skip "the command that gives them" "setcap is not there"
fi

# A card that is not there, on a machine without an IOMMU.
sed 's/net_af_packet0,iface=c1/0000:ff:1f.7/' "$config" >"$run/pci.toml"
doctor pci --config "$run/pci.toml"
equal "a card that is not there: an error" error "$(level pci device)"
equal "with exit code 1" 1 "$(cat "$run/pci.status")"
if [[ -z $(ls /sys/kernel/iommu_groups 2>/dev/null) ]]; then equal "no IOMMU: an error" error "$(level pci iommu)"; fi
if [[ ! -e /sys/bus/pci/drivers/vfio-pci ]]; then equal "no vfio-pci: an error" error "$(level pci vfio)"; fi

doctor bad --config "$run/no-such-file"
equal "a configuration that is not there: exit code 2" 2 "$(cat "$run/bad.status")"
status=0
in_lb "$guideway" run --config "$run/pci.toml" --control-socket "$run/other.sock" >"$run/refused" 2>&1 || status=$?
equal "run on such a machine ends with exit code 1" 1 "$status"
contains "and names doctor" 'guideway doctor' "$run/refused"

echo "$pages_found" >"$pages_file"
case_end
