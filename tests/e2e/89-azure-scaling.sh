#!/usr/bin/env bash
# A cloud service of Azure's, from its two files: three servers behind one public port 443. The instance count goes from 3
# to 5 and to 2 under load: the .cscfg is changed, imported and reloaded. No request fails and no connection breaks.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=traffic.sh
. "$here/traffic.sh"

service_definition() {
    cat <<'XML'
<?xml version="1.0" encoding="utf-8"?>
<ServiceDefinition name="Shop" xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceDefinition">
  <LoadBalancerProbes>
    <LoadBalancerProbe name="Ready" protocol="tcp" intervalInSeconds="5" timeoutInSeconds="11" />
  </LoadBalancerProbes>
  <WebRole name="Front" vmsize="Small">
    <Endpoints>
      <InputEndpoint name="Secure" protocol="https" port="443" localPort="8443" certificate="Shop" loadBalancerProbe="Ready" />
      <InputEndpoint name="Lines" protocol="tcp" port="7000" localPort="5300" loadBalancerProbe="Ready" />
    </Endpoints>
    <Certificates><Certificate name="Shop" storeLocation="LocalMachine" storeName="My" /></Certificates>
  </WebRole>
</ServiceDefinition>
XML
}

# `service_configuration INSTANCES`
service_configuration() {
    cat <<XML
<?xml version="1.0" encoding="utf-8"?>
<ServiceConfiguration serviceName="Shop" xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration">
  <Role name="Front"><Instances count="$1" /></Role>
</ServiceConfiguration>
XML
}

addresses() {
    printf '[frontends]\npublic = "%s"\n\n[pools]\nFront = "10.1.0.11-10.1.0.15"\n\n' "$vip"
    config_head
}

# `import INSTANCES`
import() {
    service_configuration "$1" >"$run/shop.cscfg"
    "$guideway" import azure-classic --definition "$run/shop.csdef" --service-configuration "$run/shop.cscfg" \
        --addresses "$run/addresses.toml" >"$config" 2>"$run/import.log"
}

# `scale INSTANCES`
scale() {
    check "$1 instances: imported" import "$1"
    gw_reload
    equal "and reloaded" "$2" "$(grep -c ' reloaded: ' "$run/guideway.log" || true)"
}

answers() { client_curl --insecure --max-time 1 --fail "https://$vip/who"; }

# One new connection after the other, until $run/stop exists.
steady_requests() {
    until [[ -e $run/stop ]]; do
        client_curl --insecure --header 'Connection: close' --write-out ' %{http_code}\n' "https://$vip/who?[1-20]" 2>&1 || true
    done
}

# Who answers 200 connections of a client that has had none before: a port that is used again stays where it was.
who_answers() {
    local newcomer
    newcomer=10.0.0.$((2 + $(ip -n client -4 address show dev c0 | grep -c inet)))
    ip -n client address add "$newcomer/24" dev c0
    client_curl --interface "$newcomer" --insecure --header 'Connection: close' --write-out '\n' "https://$vip/who?[1-200]" | sort -u | tr '\n' ' '
}
# A newcomer serves once its first probe has gone well: at the next of its interval.
all_five() { [[ $(who_answers) == 'b1 b2 b3 b4 b5 ' ]]; }

case_start 120
bed_up 5
bed_host
start_servers 5
for i in 1 2 3 4 5; do bed_nginx_tls "$i" 8443; done
service_definition >"$run/shop.csdef"
addresses >"$run/addresses.toml"
check "3 instances: imported" import 3
check "what import prints, check accepts" "$guideway" check --config "$config"
gw_start
wait_for_service
equal "three servers answer on the one port" "b1 b2 b3 " "$(who_answers)"

net client wrk --threads 1 --connections 40 --duration 25s --timeout 15s "https://$vip:443/who" >"$run/wrk-kept" 2>&1 &
load=("$!")
net client wrk --threads 1 --connections 5 --duration 25s --timeout 15s --header 'Connection: close' \
    "https://$vip:443/who" >"$run/wrk-new" 2>&1 &
load+=("$!")
steady_requests >"$run/requests" 2>&1 &
steady=$!
net_background client "$python" "$here/hold.py" "$vip" 7000 60 "$run/stop" >"$run/hold" 2>"$run/hold.err"
hold=$!
within 20 grep -q ready "$run/hold" || fail "60 connections open" "$(cat "$run/hold" "$run/hold.err")"
sleep 2
scale 5 1
check "five servers answer" within 10 all_five
sleep 3
scale 2 2
equal "two take new connections, at once" "b1 b2 " "$(who_answers)"
"$guideway" show backends --control-socket "$run/control.sock" >"$run/shown"
contains "the others keep the connections they have" '10\.1\.0\.1[345]:' "$run/shown"
touch "$run/stop"
wait "$steady" || true
wait "$hold" || true
wait "${load[@]}" || true
check_wrk "40 kept-alive connections saw no error" "$run/wrk-kept"
check_wrk "connections made anew for each request neither" "$run/wrk-new"
check "new connections by curl all the while" test "$(wc -l <"$run/requests")" -ge 100
equal "each of these $(wc -l <"$run/requests") requests was answered with 200; others" \
    "" "$(awk 'NF != 2 || $2 != 200' "$run/requests" | head -n 5)"
equal "60 connections that were open at 3 instances: none broken, none moved" \
    "held 60 broken 0 moved 0" "$(awk '/^held/ { print $1, $2, $5, $6, $7, $8 }' "$run/hold")"
sleep 0.5
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
