#!/usr/bin/env bash
# Path-MTU discovery by real kernels, through a link of 1,400 bytes between two routers: on the clients' side of guideway and
# on the backends' side, in IPv4 and IPv6, uploads and downloads, by NAT and by VXLAN.

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case_start 150

#   far --- mid -1400- client --- guideway --- b2                 rules web and up: b2
#    10.9.0.0   10.8.0.0  10.0.0.0       10.1.0.0                 rules deep and deep-up: b3
#                                         b1 -1400- r2 --- b3
#                                           10.6.0.0  10.7.0.0
vip6=2001:db8:0::100

# `link FROM TO NET MTU`: a veth pair, FROM with host number 1 and TO with 2 of network 10.NET.0.0/24 and 2001:db8:NET::/64.
link() {
    ip link add "$2-$1" netns "$1" type veth peer name "$1-$2" netns "$2"
    local name host=0 device
    for name in "$1" "$2"; do
        host=$((host + 1))
        device=$([[ $name == "$1" ]] && echo "$2-$1" || echo "$1-$2")
        ip -n "$name" link set "$device" mtu "$4"
        bed_whole_frames "$name" "$device"
        bed_address "$name" "$device" "10.$3.0.$host/24"
    done
}

# After all links are there.
six() {
    # shellcheck disable=SC2016 # the other shell expands it
    net "$1" sh -c 'for i in /proc/sys/net/ipv6/conf/*/; do
        echo 0 >$i/disable_ipv6; echo 0 >$i/accept_dad; echo '"$2"' >$i/forwarding; done
        echo '"$2"' >/proc/sys/net/ipv4/ip_forward
        for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done'
}

addresses6() {
    local name device net host
    while read -r name device net host; do
        ip -n "$name" address add "2001:db8:$net::$host/64" dev "$device" nodad
    done <<'LIST'
far mid-far 9 1
mid far-mid 9 2
mid client-mid 8 1
client mid-client 8 2
client c0 0 2
client c0 0 3
client c0 0 4
b1 eth0 1 11
b2 eth0 1 12
b1 r2-b1 6 1
r2 b1-r2 6 2
r2 b3-r2 7 1
b3 r2-b3 7 2
LIST
}

routes() {
    local name to via
    while read -r name to via; do
        ip -n "$name" route replace "${to/NET/10.}" via "10.$via"
        to=${to/.0.0\/24/::\/64} via=${via/.0./::}
        ip -n "$name" -6 route replace "${to/NET/2001:db8:}" via "2001:db8:$via"
    done <<'LIST'
far default 9.0.2
mid default 8.0.2
client NET9.0.0/24 8.0.1
b1 default 1.0.1
b2 default 1.0.1
b1 NET7.0.0/24 6.0.2
r2 default 6.0.1
b3 default 7.0.1
LIST
}

mtu_config() {
    config_head | sed '/^addresses/s|"10\.\([01]\)\.0\.1/24"|"10.\1.0.1/24", "2001:db8:\1::1/64"|
        /"10\.0\.0\.1\/24"/a gateway = "10.0.0.2"\ngateway6 = "2001:db8:0::2"'
    cat <<TOML

[[route]]
destination = "10.7.0.0/24"
via = "10.1.0.11"

[[route]]
destination = "2001:db8:7::/64"
via = "2001:db8:1::11"
TOML
    local family frontend near deep
    for family in 4 6; do
        frontend=$vip near=10.1.0.12 deep=10.7.0.2
        ((family == 4)) || frontend="[$vip6]" near=2001:db8:1::12 deep=2001:db8:7::2
        cat <<TOML

[[pool]]
name = "near$family"
backends = [{ address = "$near" }]

[[pool]]
name = "deep$family"
backends = [{ address = "$deep" }]

[[rule]]
name = "web$family"
frontend = "$frontend:80/tcp"
pool = "near$family"

[[rule]]
name = "up$family"
frontend = "$frontend:8000/tcp"
pool = "near$family"

[[rule]]
name = "deep$family"
frontend = "$frontend:81/tcp"
pool = "deep$family"
backend_port = 80

[[rule]]
name = "deep-up$family"
frontend = "$frontend:8001/tcp"
pool = "deep$family"
backend_port = 8000
TOML
    done
}

# To b3 by VXLAN, which keeps ports.
tunnel_config() {
    mtu_config | sed '/^name = "\(web\|up\)/,/^pool/s/"near/"deep/; /^frontend.*:80\(00\)\?\/tcp/a forward = "vxlan"'
}

# b3 has the frontends' addresses, and answers the client by a way of its own.
give_b3_a_tunnel() {
    ip -n b3 link add vx4 address 02:00:0a:07:00:02 type vxlan id 1 dstport 4789 local 10.7.0.2 dev r2-b3 nolearning
    ip -n b3 link add vx6 address 02:00:00:00:00:02 type vxlan id 1 dstport 4789 local 2001:db8:7::2 dev r2-b3 nolearning
    ip -n b3 link set vx4 up
    ip -n b3 link set vx6 up
    link client b3 5 1500
    net b3 sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce'
    six b3 0
    six client 1
    ip -n client address add 2001:db8:5::1/64 dev b3-client nodad
    ip -n b3 address add 2001:db8:5::2/64 dev client-b3 nodad
    ip -n b3 address add "$vip/32" dev lo
    ip -n b3 address add "$vip6/128" dev lo nodad
    ip -n b3 route add 10.0.0.4/32 via 10.5.0.1
    ip -n b3 -6 route add 2001:db8:0::4/128 via 2001:db8:5::1
}

at() { if (($1 == 4)); then printf '%s' "$vip"; else printf '[%s]' "$vip6"; fi; }
get() { net "$1" curl -sg --noproxy '*' --max-time 10 "${@:2}"; }
# `download NAMESPACE FAMILY PORT [ADDRESS]`, and an upload: of several clients one that the server knows no MTU to.
download() { get "$1" ${4:+--interface "$4"} "http://$(at "$2"):$3/blob" | sha256sum | sed 's/ .*//'; }
upload() { get "$1" ${4:+--interface "$4"} -T "$run/www/blob" "http://$(at "$2"):$3/"; }
# What NAMESPACE has learnt of the way to ADDRESS.
learnt() { net "$1" ip route get "$2" | sed -n 's/.* mtu \([0-9]*\).*/\1/p'; }

if [[ ! -e /proc/net/if_inet6 ]]; then
    skip "$case_name" "the kernel has no IPv6"
    case_end
fi
bed_up 2
for name in far mid r2 b3; do bed_namespace "$name"; done
link far mid 9 1500
link mid client 8 1400
link b1 r2 6 1400
link r2 b3 7 1500
for name in far b2 b3; do six "$name" 0; done
for name in mid client b1 r2; do six "$name" 1; done
ip -n client address add 10.0.0.3/24 dev c0
ip -n client address add 10.0.0.4/24 dev c0
addresses6
routes
start_server 2
start_server 3
head -c 3000000 /dev/urandom >"$run/www/blob"
wanted=$(sha256sum <"$run/www/blob" | sed 's/ .*//')
mtu_config >"$config"
gw_start
# shellcheck disable=SC2317 # `within` calls it.
all_answer() {
    local family port
    for family in 4 6; do
        for port in 80 81 8000 8001; do
            net client curl -sgo "$run/null" --noproxy '*' --max-time 1 "http://$(at "$family"):$port/" || return 1
        done
        net far curl -sgo "$run/null" --noproxy '*' --max-time 1 "http://$(at "$family"):80/" || return 1
    done
}
check "all rules answer" within 20 all_answer
for family in 4 6; do
    if ((family == 4)); then
        far=10.9.0.1 frontend=$vip client=10.0.0.
    else
        far=2001:db8:9::1 frontend=$vip6 client=2001:db8:0::
    fi
    equal "NAT, IPv$family, small link at the clients' side: a download is whole" "$wanted" "$(download far "$family" 80)"
    equal "its backend has been told of 1400 bytes" 1400 "$(learnt b2 "$far")"
    equal "an upload is whole" "$wanted" "$(upload far "$family" 8000)"
    equal "NAT, IPv$family, small link at the backends' side: a download is whole" "$wanted" "$(download client "$family" 81 "${client}2")"
    equal "its backend has learnt it of its own router" 1400 "$(learnt b3 "${client}2")"
    equal "an upload is whole" "$wanted" "$(upload client "$family" 8001 "${client}3")"
    equal "its client has been told of 1400 bytes" 1400 "$(learnt client "$frontend")"
done
# Frontends that clients know no MTU to.
vip=10.0.0.101 vip6=2001:db8:0::101
give_b3_a_tunnel
tunnel_config >"$config"
gw_reload
for family in 4 6; do
    # Less 50 bytes of outer headers, or 70 of IPv6.
    if ((family == 4)); then frontend=$vip told=1350 client=10.0.0.4; else frontend=$vip6 told=1330 client=2001:db8:0::4; fi
    # shellcheck disable=SC2317 # `within` calls it.
    b3_answers() { [[ $(get client --interface "$client" "http://$(at "$family"):80/who") == b3* ]]; }
    check "VXLAN, IPv$family: b3 answers" within 15 b3_answers
    equal "VXLAN, IPv$family, small link on the tunnel's way: an upload is whole" "$wanted" "$(upload client "$family" 8000 "$client")"
    equal "its client has been told of what the tunnel leaves" "$told" "$(learnt client "$frontend")"
done
sleep 0.3
gw_stop
equal "it ends with exit code 0" 0 "$gw_status"
check_counters_add_up
case_end
