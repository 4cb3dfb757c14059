#!/usr/bin/env bash
# What cannot start says what is wrong and how to mend it, with the right exit code: 2 for the configuration, 1 for the
# machine. Nothing is left running or reserved.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 90

# `refused WHAT EXIT_CODE PATTERN... [-- ARGUMENT...]`: guideway with $config and ARGUMENTs ends so, and its messages
# have all PATTERNs.
prefix=()
refused() {
    local what=$1 wanted=$2 patterns=() pattern status=0 out=$run/refused
    shift 2
    while (($# > 0)) && [[ $1 != -- ]]; do
        patterns+=("$1")
        shift
    done
    (($# == 0)) || shift
    nsenter --net=/run/netns/lb -- "${prefix[@]}" timeout --signal KILL 15 \
        "$guideway" run --config "$config" "$@" >"$out" 2>&1 || status=$?
    equal "$what: exit code $wanted" "$wanted" "$status"
    for pattern in "${patterns[@]}"; do contains "$what: says \"$pattern\"" "$pattern" "$out"; done
    check "$what: never ready" test -z "$(grep ready: "$out")"
}

good_config() {
    config_head
    config_pool web 1
    config_rule web 80/tcp web 80
}

bed_up 1

good_config | sed 's/iface=c1/iface=nosuch0/' >"$config"
refused "an interface that does not exist" 1 'nosuch0' '[Dd]oes the interface exist' 'ip link'

good_config | sed 's/iface=c1/speed=11/' >"$config"
refused "a device without its interface" 1 'net_af_packet0,speed=11'

good_config | sed 's/net_af_packet0,iface=c1/net_nosuch0,iface=c1/' >"$config"
refused "a driver that does not exist" 1 'net_nosuch0,iface=c1' 'names and parameters|ip link'

good_config | sed 's/net_af_packet0,iface=c1/0000:ff:1f.7/' >"$config"
refused "a PCI device that does not exist" 1 '0000:ff:1f.7'

good_config >"$config"
none=-net_raw,-net_admin
prefix=(setpriv "--inh-caps=$none" "--bounding-set=$none")
refused "no capability" 1 'CAP_NET_RAW' 'CAP_NET_ADMIN'
prefix=()

good_config | sed 's/net_af_packet1,iface=s1/net_af_packet0,iface=c1/' >"$config"
refused "two ports on one device" 2 ':19: port inside' 'net_af_packet0' 'line 14'

good_config | sed '/^device/d' >"$config"
refused "ports without devices" 2 'device' '--port outside=DEVICE'

good_config | sed 's/^workers = .*/workers = "1000"/' >"$config"
refused "a CPU that does not exist" 2 '1000'

good_config | sed 's/^workers = .*/workers = "1023"/' >"$config"
refused "another CPU that does not exist" 2 '1023'

good_config >"$config"
refused "an MTU that does not fit" 1 'port outside' 'an MTU of 1500 bytes' 'mtu 9000' -- --mtu outside=9000

rm -f "$config"
refused "no configuration file" 2 'guideway.toml'

# Four mistakes at once; each has its line.
cat >"$config" <<TOML
[dataplane]
managment_cpu = 0

[[port]]
name = "outside"
device = "net_af_packet0,iface=c1"
addresses = ["10.0.0.300/24"]

[[pool]]
name = "web"
backends = [
  { address = "10.1.0.11", weight = 101 },
]

[[rule]]
name = "web"
frontend = "10.0.0.100:80/tcp"
pool = "wbe"
TOML
refused "a file with four mistakes" 2 ':2: .*managment_cpu.*management_cpu' ':7: .*10\.0\.0\.300/24' ':12: .*weight 101' \
    ':1[4-9]: .*wbe.*did you mean web'

printf '[[port]\nname = 1\n' >"$config"
refused "a file that is no TOML" 2 'guideway.toml:1'

good_config >"$config"
refused "a flag that does not exist" 2 'nosuch' -- --nosuch
refused "a wrong argument for EAL" 1 'EAL' -- -- --nosuch-eal-argument

# After all of that the same ports serve.
gw_start
check "a good start after all the bad ones" gw_is_ready
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
case_end
