# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# What the end-to-end cases share. A case sources this, calls `case_start`, makes checks, and ends with `case_end`.
#
# Each check prints one line: "ok    what", "FAIL  what: why" or "skip  what: why". The first check that needs what a
# failed one left undone fails too; a case that stops early says so and fails.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../scripts/lib/common.sh
. "$here/../../scripts/lib/common.sh"
# shellcheck source=../../scripts/lib/sandbox.sh
. "$root/scripts/lib/sandbox.sh"
# shellcheck source=../../scripts/lib/bed.sh
. "$root/scripts/lib/bed.sh"

guideway=$(guideway_binary)
case_file=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
case_name=$(basename "$0" .sh)
case_arguments=("$@")

# The driver and the number of workers that the case runs with; cases set them before `case_start`.
driver=af_packet
workers=1

passed=0 failed=0 skipped=0
stopped_at=''
gw_pid=''

# ---- the case -------------------------------------------------------------------------------------------------------

# `case_start SECONDS [root]`: goes on in a sandbox that ends after SECONDS at most; in one of the real root's if asked.
case_start() {
    if [[ -z ${GUIDEWAY_SANDBOX:-} ]]; then
        case_outside "$@"
        exit
    fi
    sandbox_enter
    cd "$run" || exit
    ulimit -n 8192 2>/dev/null || true
    # The sandbox is its own PID namespace, so this tells what hung before the outside ends it all.
    (sleep "$(($1 - 5))" && printf 'FAIL  %s: not done within %s s\n' "$case_name" "$1" && show_logs) &
    disown
    set -E
    trap 'stopped_at=${BASH_SOURCE[0]##*/}:$LINENO' ERR
    trap 'case_stopped $?' EXIT
}

case_outside() {
    local seconds=$1 kind status=0
    case ${case_arguments[0]:-} in
    -h | --help)
        usage "$case_file"
        printf '\nUsage: %s\nGUIDEWAY names another program than target/release/guideway.\n' "$(basename "$0")"
        exit 0
        ;;
    esac
    [[ -x $guideway ]] || die "$guideway is not there; build it first: cargo build --release"
    ! "$guideway" --version | grep -q 'DPDK: none' ||
        die "$guideway was built without DPDK; build it with: cargo build --release"
    kind=$(sandbox_kind)
    [[ -n $kind ]] || die "$sandbox_help"
    if [[ ${2:-} == root ]]; then
        if (($(id -u) != 0)); then
            printf 'skip  %s: needs root\n' "$case_name"
            exit 0
        fi
        kind=root
    fi
    # A small /dev has no tun; the real root can make one that only the sandbox sees.
    if [[ $driver == tap && ! -c /dev/net/tun ]] && (($(id -u) == 0)); then kind=root; fi
    trap sandbox_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    GUIDEWAY_SANDBOX=$kind sandbox_run "$kind" "$seconds" bash "$case_file" "${case_arguments[@]}" </dev/null || status=$?
    if ((status == 137)); then
        printf 'FAIL  %s: ended after %s s\n' "$case_name" "$seconds"
    fi
    exit "$status"
}

case_stopped() {
    trap - EXIT
    if (($1 != 0)); then
        failed=$((failed + 1))
        printf 'FAIL  %s: stopped early, at %s, with exit code %s\n' "$case_name" "${stopped_at:-?}" "$1"
    fi
    case_close
}

case_end() {
    trap - EXIT
    case_close
}

case_close() {
    ((failed == 0)) || show_logs
    printf '%s%s: %s passed, %s failed, %s skipped%s\n' "$dim" "$case_name" "$passed" "$failed" "$skipped" "$plain"
    ((failed == 0)) || exit 1
    exit 0
}

show_logs() {
    local log
    for log in "$run"/guideway.log "$run"/guideway.out "$run"/servers.log; do
        [[ -s $log ]] || continue
        printf '%s--- the end of %s%s\n' "$dim" "${log#"$run/"}" "$plain"
        tail -n 25 "$log" | cut -c 1-240
    done
}

# Taps are made through /dev/net/tun.
need_tun() {
    [[ -c /dev/net/tun ]] || make_tun || true
    if ! (: <>/dev/net/tun) 2>/dev/null; then
        skip "$case_name" "/dev/net/tun is not there or cannot be opened"
        case_end
    fi
}

make_tun() {
    local file name
    mkdir "$run/dev"
    mount --rbind /dev "$run/dev" && mount -t tmpfs -o mode=755 tmpfs /dev || return
    for file in "$run"/dev/*; do
        name=/dev/${file##*/}
        if [[ -L $file ]]; then
            cp -P "$file" "$name"
        elif [[ -d $file ]]; then
            mkdir "$name" && mount --rbind "$file" "$name"
        else
            touch "$name" && mount --bind "$file" "$name"
        fi
    done
    mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200
}

# ---- checks ---------------------------------------------------------------------------------------------------------

ok() {
    passed=$((passed + 1))
    printf '%sok%s    %s\n' "$green" "$plain" "$1"
}

# `fail WHAT WHY`
fail() {
    failed=$((failed + 1))
    printf '%sFAIL%s  %s: %s\n' "$red" "$plain" "$1" "${2//$'\n'/ | }"
}

skip() {
    skipped=$((skipped + 1))
    printf '%sskip%s  %s: %s\n' "$yellow" "$plain" "$1" "$2"
}

# `check WHAT COMMAND...`: it must succeed; what it prints is the reason if not.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then ok "$what"; else fail "$what" "${said:-\`$*\` failed}"; fi
}

# `equal WHAT WANTED GOT`
equal() {
    if [[ $2 == "$3" ]]; then ok "$1"; else fail "$1" "wanted \"$2\", got \"$3\""; fi
}

# `between WHAT LEAST MOST GOT`
between() {
    if (($4 >= $2 && $4 <= $3)); then ok "$1 ($4)"; else fail "$1" "wanted $2 to $3, got $4"; fi
}

# `contains WHAT PATTERN FILE`: PATTERN is an extended regular expression.
contains() {
    if grep -Eq -- "$2" "$3"; then ok "$1"; else fail "$1" "no line with \"$2\" in: $(tail -n 12 "$3")"; fi
}

# `within SECONDS COMMAND...`: until it succeeds, or not.
within() {
    local until=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@" >/dev/null 2>&1; do
        ((${EPOCHREALTIME/[.,]/} < until)) || return 1
        sleep 0.05
    done
}

# `settled COMMAND...`: prints what it prints, once that has stayed the same for 0.3 s; after 10 s in any case.
settled() {
    local before after i
    after=$("$@")
    for ((i = 0; i < 33; i++)); do
        before=$after
        sleep 0.3
        after=$("$@")
        [[ $before != "$after" ]] || break
    done
    printf '%s\n' "$after"
}

now_ms() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# ---- guideway -------------------------------------------------------------------------------------------------------

config=/run/guideway/guideway.toml

# Sets first_cpu and second_cpu to the first that this process may use; the second is empty where there is only one.
allowed_cpus() {
    local list part first last cpu found=()
    list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    for part in ${list//,/ }; do
        first=${part%-*} last=${part#*-}
        for ((cpu = first; cpu <= last && ${#found[@]} < 2; cpu++)); do found+=("$cpu"); done
    done
    first_cpu=${found[0]:-0} second_cpu=${found[1]:-}
}
allowed_cpus

# The part of the configuration that does not change: CPUs and ports, by `driver` and `workers`.
config_head() {
    local list=${second_cpu:-$first_cpu} outside inside
    ((workers == 1)) || list="$first_cpu,$second_cpu"
    case $driver in
    af_packet) outside='net_af_packet0,iface=c1' inside='net_af_packet1,iface=s1' ;;
    af_xdp) outside='net_af_xdp0,iface=c1' inside='net_af_xdp1,iface=s1' ;;
    tap) outside='net_tap0,iface=gwout' inside='net_tap1,iface=gwin' ;;
    esac
    cat <<TOML
[dataplane]
workers = "$list"
management_cpu = $first_cpu
idle = "sleep"
flows_per_worker = 65536
hash_key = "00112233445566778899aabbccddeeff"

[control]
socket = "$run/control.sock"
state_directory = "$run/state"

[[port]]
name = "outside"
device = "$outside"
addresses = ["10.0.0.1/24"]

[[port]]
name = "inside"
device = "$inside"
addresses = ["10.1.0.1/24"]
TOML
}

# `config_pool NAME BACKEND...`: a BACKEND is the number of its namespace, or that and more: "2, weight = 5".
config_pool() {
    local name=$1 backend number
    shift
    printf '\n[[pool]]\nname = "%s"\nbackends = [\n' "$name"
    for backend in "$@"; do
        number=${backend%%,*}
        printf '  { address = "10.1.0.%s"%s },\n' "$((10 + number))" "${backend#"$number"}"
    done
    printf ']\n'
}

# `config_rule NAME PORT/PROTOCOL POOL BACKEND_PORT`
config_rule() {
    cat <<TOML

[[rule]]
name = "$1"
frontend = "10.0.0.100:$2"
pool = "$3"
backend_port = $4
TOML
}

# `gw_start ARGUMENT...`: runs guideway with $config, until it is ready and its interfaces are plugged in.
gw_start() {
    : >"$run/guideway.log"
    (exec nsenter --net=/run/netns/lb -- "$guideway" run --config "$config" "$@" \
        >"$run/guideway.out" 2>"$run/guideway.log") &
    gw_pid=$!
    if ! within 20 gw_ready_or_gone || ! gw_is_ready; then
        fail "guideway starts" "not ready"
        exit 1
    fi
    [[ $driver != tap ]] || bed_adopt gwout gwin
}

gw_is_ready() { grep -q 'ready:' "$run/guideway.log"; }
gw_is_gone() { ! kill -0 "$gw_pid" 2>/dev/null; }
gw_ready_or_gone() { gw_is_ready || gw_is_gone; }

# `gw_stop [SIGNAL]`: sets gw_status and gw_took, in ms.
gw_stop() {
    local before
    before=$(now_ms)
    kill "-${1:-TERM}" "$gw_pid"
    within 10 gw_is_gone || kill -KILL "$gw_pid"
    gw_status=0
    wait "$gw_pid" || gw_status=$?
    gw_took=$(($(now_ms) - before))
}

reloads() { grep -Ec ' reloaded: | not reloaded; ' "$run/guideway.log" || true; }

# Tells guideway to read $config again, and waits until it has said what it makes of it.
gw_reload() {
    local before
    before=$(reloads)
    kill -HUP "$gw_pid"
    # shellcheck disable=SC2317 # `within` calls it.
    has_reloaded() { (($(reloads) > before)); }
    within 5 has_reloaded || fail "a reload ends within 5 s" "$(tail -n 3 "$run/guideway.log")"
}

# `counter NAME`: of the last table that guideway printed: received, transmitted, created, ..., or a reason of drops.
counter() {
    awk -v name="$1" '
        $1 == "frames" { split("", value) }
        $1 == "frames" || $1 == "flows" { for (i = 2; i < NF; i++) if ($i ~ /^[a-z]+$/) value[$i] = $(i + 1) }
        $1 == "dropped" { value[$2] = $3 }
        END { print value[name] + 0 }' "$run/guideway.out"
}

# `backend_counter RULE BACKEND COLUMN`: of the last table; COLUMN 3 is flows, 4 flows in total.
backend_counter() {
    awk -v rule="$1" -v backend="$2" -v column="$3" '
        $1 == "frames" { value = 0 }
        $1 == rule && $2 == backend { value = $column }
        END { print value + 0 }' "$run/guideway.out"
}

# After `gw_stop`: every frame that came in has one end.
check_counters_add_up() {
    local received transmitted answered controlled held dropped
    received=$(counter received) transmitted=$(counter transmitted) answered=$(counter answered)
    controlled=$(counter controlled) held=$(counter held) dropped=$(counter dropped)
    equal "received ($received) = transmitted + answered + controlled + held + dropped" \
        "$received" "$((transmitted + answered + controlled + held + dropped))"
    check "frames were received" test "$received" -gt 0
}

# ---- clients and servers --------------------------------------------------------------------------------------------

vip=10.0.0.100

# Not a wrapper that looks for the right version at each start.
python=/usr/bin/python3
[[ -x $python ]] || python=python3

client_curl() { net client curl --silent --show-error --noproxy '*' --max-time 20 "$@"; }

# `requests NUMBER [PATH]`: on a new connection each; prints "BACKEND CLIENT:PORT STATUS LOCAL:PORT" of each.
requests() {
    client_curl --header 'Connection: close' --write-out ' %{http_code} %{local_ip}:%{local_port}\n' \
        "http://$vip/who?[1-$1]" 2>&1 || true
}

# `sniff NAMESPACE INTERFACE NAME`: what comes in goes to $run/sniffed-NAME, until `sniffed_all`. No name is the inside.
# Not tcpdump, which as root insists on becoming another user; a user namespace has none.
sniffers=()
sniff() {
    if [[ -n $1 ]]; then
        net_background "$1" "$python" "$here/sniff.py" "$2" >"$run/sniffed-$3"
    else
        "$python" "$here/sniff.py" "$2" >"$run/sniffed-$3" &
    fi
    sniffers+=("$!")
    within 5 grep -q ready "$run/sniffed-$3" || fail "the capture on $2 starts" "not ready"
}
sniffed_all() {
    # A busy machine is late to read what came.
    settled wc -c "$run"/sniffed-* >/dev/null
    kill "${sniffers[@]}"
    wait "${sniffers[@]}" 2>/dev/null || true
    sniffers=()
}

answers() { client_curl --max-time 1 --fail "http://$vip/who"; }

# Until all next hops are known: five requests in a row that go well.
wait_for_service() {
    within 15 five_answers || fail "the service answers within 15 s of the start" "$(answers 2>&1)"
}
five_answers() {
    local i
    for ((i = 0; i < 5; i++)); do answers || return 1; done
}

# `start_servers BACKENDS`: nginx on port 80, an HTTP server that takes uploads on 8000, TCP and UDP echo on 5300.
start_servers() {
    local i
    for ((i = 1; i <= $1; i++)); do start_server "$i"; done
    for ((i = 1; i <= $1; i++)); do
        within 10 net "b$i" curl --silent --max-time 1 --noproxy '*' http://127.0.0.1:8000/ ||
            fail "the servers of b$i start" "nothing on port 8000"
    done
}

start_server() {
    bed_nginx "$1"
    net_background "b$1" "$python" "$here/servers.py" "b$1" >>"$run/servers.log" 2>&1
}
