# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# 5,000 endpoints, each asked by HTTP every five seconds. To be sourced, after lib.sh.
#
# Prints what docs/PROBES.md tells: questions a second and how even they are, what the management thread needs for them,
# how fast the control socket answers meanwhile, and when a death among so many is noticed. The limits are loose: this is
# to see a storm, a standstill or a false alarm, not a slow machine.

endpoints=5000

# `many_config VIA`
many_config() {
    config_head | sed 's|10\.1\.0\.1/24|10.1.0.1/16|'
    cat <<TOML

[[pool]]
name = "many"
addresses = "10.1.16.1-10.1.47.254"
instances = $endpoints

[[probe]]
name = "p"
kind = "http"
via = "$1"
interval = "5s"
timeout = "1s"
fall = 1
path = "/who"
TOML
    config_rule web 80/tcp many 80
    printf 'probe = "p"\n'
}

# One host has all addresses.
many_backends() {
    bed_up 1
    ip -n b1 address flush dev eth0
    bed_address b1 eth0 10.1.0.11/16
    net b1 ip route add local 10.1.16.0/20 dev lo
    net b1 ip route add local 10.1.32.0/20 dev lo
    bed_nginx 1
}

# Connections that the backends have taken so far.
# shellcheck disable=SC2016 # what awk reads
taken() { net b1 awk '$1 == "Tcp:" && $7 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp; }

# Milliseconds of CPU that the main thread has had.
cpu_ms() { awk '{ print int($1 / 1000000) }' "/proc/$1/task/$1/schedstat"; }

# Connections, looked at every 25 ms or so for 3 s: "LEAST MOST", the least in 200 ms and the most in 50. What stands
# still for 300 ms has 200 ms of nothing in it, wherever the looks fall. With a load of eight on two CPUs looks are 150 ms
# apart and threads wait as long, but then something comes.
evenness() {
    local until
    until=$(($(now_ms) + 3000))
    while (($(now_ms) < until)); do
        printf '%s %s\n' "$(taken)" "$(now_ms)"
        sleep 0.01
    done | awk '
        # Connections in so many ms from the look `i` on, or the like of them in the next longer time; -1 at the end.
        function within(i, ms,   j) {
            for (j = i + 1; j < NR && at[j] - at[i] < ms;) j++
            return at[j] - at[i] < ms ? -1 : (taken[j] - taken[i]) * ms / (at[j] - at[i])
        }
        { taken[NR] = $1; at[NR] = $2 }
        END {
            least = 1e9
            for (i = 1; i < NR; i++) {
                if (within(i, 50) > most) most = within(i, 50)
                few = within(i, 200)
                if (few >= 0 && few < least) least = few
            }
            print int(least), int(most)
        }'
}

is_down() { grep -q "10.1.20.7:80 is down" "$run/guideway.log"; }

# `show_status NUMBER`: so many answers of the control socket, in ms, in ascending order.
show_status() {
    local i
    for ((i = 0; i < $1; i++)); do
        curl --silent --output /dev/null --unix-socket "$run/control.sock" --write-out '%{time_total}\n' http://x/v1/status
    done | awk '{ print int($1 * 1000 + 0.5) }' | sort -n
}

# `check_many VIA`
check_many() {
    local what="by $1" cpu before began least most share
    many_config "$1" >"$config"
    gw_start
    sleep 5.5
    before=$(taken) cpu=$(cpu_ms "$gw_pid") began=$(now_ms)
    read -r least most < <(evenness)
    share=$((($(cpu_ms "$gw_pid") - cpu) * 100 / ($(now_ms) - began)))
    between "$what: questions a second" 400 1200 "$((($(taken) - before) * 1000 / ($(now_ms) - began)))"
    between "$what: in the emptiest 200 ms; 200 on average" 20 210 "$least"
    between "$what: and in the fullest; at most 448" 50 460 "$most"
    between "$what: percent of a CPU on the management thread" 1 95 "$share"
    show_status 20 >"$run/status"
    between "$what: ms for the control socket to answer, in the middle" 0 1000 "$(sed -n 10p "$run/status")"
    between "$what: and at worst of 20" 0 3000 "$(tail -n 1 "$run/status")"
    equal "$what: nobody is down who is not" 0 "$(grep -c ' is down' "$run/guideway.log" || true)"
    net b1 ip route add blackhole 10.1.20.7/32 table local
    began=$(now_ms)
    within 10 is_down || true
    between "$what: ms until one that falls silent is noticed; interval x fall + timeout are 6000" 900 9000 \
        "$(($(now_ms) - began))"
    net b1 ip route del blackhole 10.1.20.7/32 table local
    gw_stop
    equal "it ends with exit code 0" 0 "$gw_status"
}
