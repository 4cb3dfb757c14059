# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# A small network in namespaces, for a sandbox (sandbox.sh). To be sourced, after it.
#
#                        lb
#   client           +----------+      the sandbox's own namespace      b1, b2, ...
#   c0 10.0.0.2 ---- | c1    s1 | ---- s0  bridge "inside"  b1 ... ---- eth0 10.1.0.11, .12, ...
#                    +----------+                                       default route 10.1.0.1
#
# guideway runs in lb, is 10.0.0.1 to clients and 10.1.0.1 to backends, and serves 10.0.0.100.

# `net NAMESPACE COMMAND...`. As `ip netns exec`, without its mounts, which containers may forbid.
net() {
    local namespace=$1
    shift
    nsenter --net="/run/netns/$namespace" -- "$@"
}

# The same in the background; `$!` is the command's own process.
net_background() {
    local namespace=$1
    shift
    (exec nsenter --net="/run/netns/$namespace" -- "$@") &
}

bed_namespace() {
    ip netns add "$1"
    ip -n "$1" link set lo up
    # Its router solicitations would come among what is counted.
    net "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6' \
        2>/dev/null || true
}

# The kernel leaves checksums to the device and sends frames larger than the MTU. A veth pair just passes them on, so
# whoever reads frames from the other end would see them so.
bed_whole_frames() { net "$1" ethtool -K "$2" tx off >/dev/null; }

bed_address() {
    ip -n "$1" address add "$3" dev "$2"
    ip -n "$1" link set "$2" up
}

# `bed_backend N`: host number N on the inside network, 10.1.0.(10+N).
bed_backend() {
    bed_namespace "b$1"
    bed_attach "$1"
}

bed_attach() {
    ip link add "b$1" type veth peer name eth0 netns "b$1"
    ip link set "b$1" master inside up
    bed_whole_frames "b$1" eth0
    bed_address "b$1" eth0 "10.1.0.$((10 + $1))/24"
    ip -n "b$1" route add default via 10.1.0.1
}

# A link of the kernel's own to the inside, for probes: they leave by the host's network, not by guideway's port.
bed_host() {
    ip link add h1 netns lb type veth peer name h0
    ip link set h0 master inside up
    bed_address lb h1 10.1.0.2/24
    # The kernel would answer for this address on guideway's ports as well.
    ip -n lb link set s1 arp off
    ip -n lb link set c1 arp off
}

# `bed_up BACKENDS [without-ports]`: the latter for drivers that bring their own interfaces.
bed_up() {
    local i
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || true
    ip link set lo up
    ip link add inside type bridge
    ip link set inside up
    bed_namespace client
    bed_namespace lb
    if [[ ${2:-} != without-ports ]]; then
        ip link add c1 netns lb type veth peer name c0 netns client
        ip link add s1 netns lb type veth peer name s0
        ip -n lb link set c1 up
        ip -n lb link set s1 up
        bed_client
        ip link set s0 master inside up
    fi
    for ((i = 1; i <= $1; i++)); do bed_backend "$i"; done
}

bed_client() {
    bed_whole_frames client c0
    bed_address client c0 10.0.0.2/24
}

# `bed_adopt OUTSIDE INSIDE`: plugs in interfaces that a driver has made in lb.
bed_adopt() {
    ip -n lb link set "$1" netns client name c0
    # A tap interface begins with the address of the port behind it; two ends need two.
    ip -n client link set c0 address 02:00:00:00:00:02
    bed_client
    # Process 1 of the sandbox is in its own network namespace.
    ip -n lb link set "$2" netns 1 name s0
    ip link set s0 address 02:00:00:00:01:02
    ip link set s0 master inside up
}

# `bed_ipv6 BACKENDS`: IPv6 besides, in client, lb and the backends: 2001:db8:0::/64 outside, 2001:db8:1::/64 inside, with
# guideway at ::1 and backend N at ::(10+N), as hexadecimal digits go. Without duplicate address detection, which would
# take a second.
bed_ipv6() {
    local i name
    for name in client $(seq -f 'b%g' 1 "$1"); do
        # shellcheck disable=SC2016 # the other shell expands it
        net "$name" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
            for i in /proc/sys/net/ipv6/conf/*/; do echo 0 >$i/disable_ipv6; echo 0 >$i/accept_dad; done'
    done
    ip -n client address add 2001:db8:0::2/64 dev c0 nodad
    for ((i = 1; i <= $1; i++)); do
        ip -n "b$i" address add "2001:db8:1::$((10 + i))/64" dev eth0 nodad
        ip -n "b$i" route add default via 2001:db8:1::1
    done
}

# `bed_nginx_head HOME`: how each server's configuration begins, as far as its servers within http.
# In a user namespace there is no other user to become, and the usual directories are not ours to write.
bed_nginx_head() {
    cat <<NGINX
user root;
worker_processes 1;
pid $1/pid;
error_log $1/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path $1/1;
    proxy_temp_path $1/2;
    fastcgi_temp_path $1/3;
    uwsgi_temp_path $1/4;
    scgi_temp_path $1/5;
NGINX
}

# `bed_nginx N`: a web server on backend N.
#   /who   who it is, and who it thinks asks
#   /...   files of $run/www
# Port 81 takes the PROXY protocol, and says there who that says asks.
bed_nginx() {
    local home=$run/nginx-b$1
    local listen6=''
    [[ ! -e /proc/net/if_inet6 ]] || listen6='listen [::]:80 ipv6only=on backlog=4096;'
    mkdir -p "$home" "$run/www"
    cat >"$home/nginx.conf" <<NGINX
$(bed_nginx_head "$home")
    server {
        listen 80 backlog=4096;
        $listen6
        root $run/www;
        location = /who { return 200 "b$1 \$remote_addr:\$remote_port"; }
    }
    server {
        listen 81 proxy_protocol;
        ${listen6:+listen [::]:81 ipv6only=on proxy_protocol;}
        root $run/www;
        client_max_body_size 100m;
        location = /who { return 200 "b$1 \$proxy_protocol_addr:\$proxy_protocol_port \$proxy_protocol_server_port \$remote_addr"; }
    }
}
NGINX
    net "b$1" nginx -e "$home/error.log" -c "$home/nginx.conf"
}

# `bed_nginx_tls N PORT`: one that only says who it is, by TLS, with a certificate of its own making.
bed_nginx_tls() {
    local home=$run/nginx-tls-b$1
    mkdir -p "$home"
    [[ -f $run/key.pem ]] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=any \
        -keyout "$run/key.pem" -out "$run/certificate.pem" 2>/dev/null
    cat >"$home/nginx.conf" <<NGINX
$(bed_nginx_head "$home")
    server {
        listen $2 ssl backlog=4096;
        ssl_certificate $run/certificate.pem;
        ssl_certificate_key $run/key.pem;
        location = /who { return 200 "b$1"; }
    }
}
NGINX
    net "b$1" nginx -e "$home/error.log" -c "$home/nginx.conf"
}
