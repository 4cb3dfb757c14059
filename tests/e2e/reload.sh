# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# Thirty reloads while connections of all kinds go on. To be sourced, after lib.sh and traffic.sh.

# `reload_pool NUMBER`: the backends after that reload. They come and go, change weight and are drained; each of the four
# is out at some time, and one at least always takes new flows. None is `down`: a client's repeated SYN then goes to
# another backend, and where a busy kernel has lost the first one's answer, that backend lives and answers again too.
reload_pool() {
    case $(($1 % 8)) in
    0) printf '%s\n' 1 2 3 4 ;;
    1) printf '%s\n' 1 2 ;;
    2) printf '%s\n' '1, weight = 5' '3, weight = 2' 4 ;;
    3) printf '%s\n' '1, state = "drain"' 2 '3, weight = 0' 4 ;;
    4) printf '%s\n' 4 ;;
    5) printf '%s\n' 4 3 '2, weight = 100' ;;
    6) printf '%s\n' '1, weight = 0' '2, weight = 0' 3 '4, state = "drain"' ;;
    7) printf '%s\n' '2, state = "drain"' 1 ;;
    esac
}

reload_config() {
    local backends
    mapfile -t backends <<<"$(reload_pool "$1")"
    traffic_config "${backends[@]}"
    config_rule lines 7000/tcp web 5300
}

# `broken_config NUMBER`: that, with a mistake; a different one each time.
broken_config() {
    reload_config "$1"
    case $(($1 / 5 % 6)) in
    0) echo 'this is no TOML' ;;
    1) printf '[control]\n' ;;
    2) config_rule twice 80/tcp web 81 ;;
    3) config_rule lost 90/tcp nowhere 80 ;;
    4) printf '[[port]]\nname = "third"\ndevice = "net_null0"\naddresses = ["10.2.0.1/24"]\n' ;;
    5) printf '[[pool]]\nname = "odd"\nbackends = [{ address = "10.1.0.9", wieght = 1 }]\n' ;;
    esac
}

# New connections one after the other, until $run/stop exists.
steady_requests() {
    until [[ -e $run/stop ]]; do requests 20; done
}

start_load() {
    net_background client "$python" "$here/hold.py" "$vip" 7000 50 "$run/stop" >"$run/hold" 2>"$run/hold.err"
    hold=$!
    within 20 grep -q ready "$run/hold" || fail "50 connections open" "$(cat "$run/hold" "$run/hold.err")"
    net client wrk --threads 1 --connections 40 --duration "$load_seconds" --timeout 15s "http://$vip:80/who" \
        >"$run/wrk" 2>&1 &
    wrk=$!
    downloads=()
    local i
    for i in 1 2 3 4; do
        (client_curl --max-time 120 --limit-rate 5M "http://$vip/big" 2>&1 | sha256sum >"$run/download-$i") &
        downloads+=("$!")
    done
    steady_requests >"$run/requests" 2>&1 &
    steady=$!
}

do_reloads() {
    local number
    good=0 bad=0
    for ((number = 1; number <= 30; number++)); do
        if ((number % 5 == 0)); then
            bad=$((bad + 1))
            broken_config "$number" >"$config"
        else
            good=$((good + 1))
            reload_config "$number" >"$config"
        fi
        gw_reload
        sleep 0.4
    done
}

check_load() {
    local i sum
    touch "$run/stop"
    wait "$steady" || true
    wait "$hold" || true
    wait "$wrk" || true
    check_wrk "wrk's 40 kept-alive connections saw no error" "$run/wrk"
    equal "50 connections that were open before the first reload: none broken, none moved" \
        "held 50 broken 0 moved 0" "$(awk '/^held/ { print $1, $2, $5, $6, $7, $8 }' "$run/hold")"
    sed 's/^/      /' "$run/hold.err"
    between "a line over each of them, many times" 30 100000 "$(awk '/^held/ { print $4 }' "$run/hold")"
    check "new connections all the while: requests were made" test "$(wc -l <"$run/requests")" -ge 200
    equal "each of these $(wc -l <"$run/requests") requests on a new connection was answered with 200; others" \
        "" "$(awk 'NF != 4 || $3 != 200' "$run/requests" | head -n 5)"
    sum=$(sha256sum <"$run/www/big")
    for i in 1 2 3 4; do
        wait "${downloads[i - 1]}" || true
        equal "download $i of 4, across the reloads, arrives as it was sent" "$sum" "$(cat "$run/download-$i")"
    done
}

reload_case() {
    if ((workers > 1)) && [[ -z $second_cpu ]]; then
        skip "$case_name" "needs two CPUs"
        case_end
    fi
    load_seconds=18s
    bed_up 4
    start_servers 4
    head -c 100000000 /dev/urandom >"$run/www/big"
    reload_config 0 >"$config"
    gw_start
    wait_for_service
    start_load
    sleep 0.5
    do_reloads
    equal "24 good files: reloaded" "$good" "$(grep -c ' reloaded: ' "$run/guideway.log" || true)"
    equal "6 broken files: not reloaded" "$bad" "$(grep -c ' not reloaded; ' "$run/guideway.log" || true)"
    check_load
    sleep 0.5
    gw_stop
    equal "it ends with exit code 0" 0 "$gw_status"
    check_counters_add_up
    case_end
}
