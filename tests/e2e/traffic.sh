# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# Real traffic through guideway, for every driver and number of workers. To be sourced, after lib.sh.

traffic_config() {
    config_head
    config_pool web "$@"
    config_rule web 80/tcp web 80
    config_rule upload 8081/tcp web 8000
    config_rule echo 5353/udp web 5300
}

# All of it.
traffic_case() {
    if ((workers > 1)) && [[ -z $second_cpu ]]; then
        skip "$case_name" "needs two CPUs"
        case_end
    fi
    if [[ $driver == tap ]]; then
        need_tun
        bed_up 3 without-ports
    else
        bed_up 3
    fi
    start_servers 3
    traffic_config 1 2 3 >"$config"
    gw_start
    wait_for_service
    check_pings
    check_spread
    check_download
    check_upload
    check_many_at_once
    check_udp
    check_udp_without_checksum
    check_weights
    check_drain
    check_refusals
    # What is on its way settles.
    sleep 0.5
    gw_stop
    equal "it ends with exit code 0" 0 "$gw_status"
    check_counters_add_up
    between "flows created" 2000 1000000 "$(counter created)"
    equal "no frame was lost between workers" 0 "$(counter handover-full)"
    case_end
}

check_pings() {
    check "ping of guideway's own address, outside" net client ping -q -c 3 -i 0.2 -W 2 10.0.0.1
    check "ping of the frontend" net client ping -q -c 3 -i 0.2 -W 2 "$vip"
    check "ping of the frontend, full frames" net client ping -q -c 3 -i 0.2 -W 2 -s 1472 -M "do" "$vip"
    check "ping of guideway's own address, inside" net b1 ping -q -c 3 -i 0.2 -W 2 10.1.0.1
    net client ping -q -c 1 -W 1 10.0.0.99 >/dev/null 2>&1 || true
    # The kernel keeps an entry without an address for who does not answer.
    local lladdr
    lladdr=$(ip -n client neighbour show 10.0.0.99 | grep -c lladdr || true)
    equal "ARP for an address that is not ours goes unanswered" 0 "$lladdr"
}

# `answers_of BACKEND`: of the requests in $run/requests.
answers_of() { awk -v name="$1" '$1 == name' "$run/requests" | wc -l; }

check_spread() {
    local i
    requests 1000 >"$run/requests"
    equal "1000 requests, each answered with 200" 1000 "$(awk 'NF == 4 && $3 == 200' "$run/requests" | wc -l)"
    # The flow hash spreads as a fair die does: 333 each, and 250 or 420 are more than five standard deviations off.
    for i in 1 2 3; do between "the share of b$i is plausible" 250 420 "$(answers_of "b$i")"; done
    equal "the servers saw the client's own address and port" 1000 \
        "$(awk 'NF == 4 && $2 == $4' "$run/requests" | wc -l)"
}

check_download() {
    local wanted got
    [[ -s $run/www/big ]] || head -c 100000000 /dev/urandom >"$run/www/big"
    wanted=$(sha256sum <"$run/www/big")
    got=$(client_curl --max-time 90 "http://$vip/big" | sha256sum) || true
    equal "a download of 100 MB arrives as it was sent" "$wanted" "$got"
}

check_upload() {
    local wanted got
    wanted=$(sha256sum <"$run/www/big" | cut -d ' ' -f 1)
    got=$(client_curl --max-time 90 --header 'Expect:' --upload-file "$run/www/big" "http://$vip:8081/" 2>&1) || true
    equal "an upload of 100 MB arrives as it was sent" "$wanted" "$got"
}

# wrk gets the port in figures: it would look up "http" in /etc/services, which a small system does not have.
#
# `check_wrk WHAT FILE`: what wrk printed has answers, and nothing went wrong.
check_wrk() {
    local answered
    answered=$(awk '/requests in/ { print $1 }' "$2")
    if [[ ${answered:-0} == 0 ]] || grep -Eq 'Socket errors|Non-2xx' "$2"; then
        fail "$1" "$(grep -E 'requests in|Socket errors|Non-2xx|unable' "$2" || echo nothing)"
    else
        ok "$1 ($answered requests)"
    fi
}

check_many_at_once() {
    net client wrk --threads 1 --connections 200 --duration 3s --timeout 15s "http://$vip:80/who" \
        >"$run/wrk" 2>&1 || true
    check_wrk "200 connections at once, kept alive, no error" "$run/wrk"
    net client wrk --threads 1 --connections 200 --duration 3s --timeout 15s --header 'Connection: close' \
        "http://$vip:80/who" >"$run/wrk" 2>&1 || true
    check_wrk "200 connections at once, a new one for each request, no error" "$run/wrk"
}

udp_client() { net client "$python" "$here/udp_client.py" "$vip" 5353 "$@" 2>&1; }

check_udp() {
    equal "300 datagrams: answered by the frontend, for this client, each socket by one of the 3 backends" \
        "sent 300 answered 300 wrong_sender 0 wrong_client 0 moved 0 backends 3" "$(udp_client 60 5)"
}

check_udp_without_checksum() {
    local inside outside
    sniff client c0 outside
    sniff '' s0 inside
    equal "60 datagrams without a checksum, both ways" \
        "sent 60 answered 60 wrong_sender 0 wrong_client 0 moved 0 backends 3" "$(udp_client 30 2 nocheck)"
    sniffed_all
    inside=$(grep -Ec '^udp 10.0.0.2:[0-9]+ 10.1.0.1[1-3]:5300 0x0000$' "$run/sniffed-inside" || true)
    outside=$(grep -Ec '^udp 10.0.0.100:5353 10.0.0.2:[0-9]+ 0x0000$' "$run/sniffed-outside" || true)
    equal "they stay without one towards the backend" 60 "$inside"
    equal "they stay without one towards the client" 60 "$outside"
}

check_weights() {
    traffic_config "1" "2, weight = 3" "3, weight = 0" >"$config"
    gw_reload
    requests 400 >"$run/requests"
    equal "weights: 400 requests, each answered with 200" 400 "$(awk '$3 == 200' "$run/requests" | wc -l)"
    # 100 of 400 on average, 60 and 140 are more than four standard deviations off.
    between "weight 1 of 4" 60 140 "$(answers_of b1)"
    equal "weight 0 gets nothing new" 0 "$(answers_of b3)"
}

check_drain() {
    traffic_config '1, state = "drain"' '2, state = "down"' 3 >"$config"
    gw_reload
    requests 100 >"$run/requests"
    equal "drained and down backends get nothing new: 100 of 100 are the third's" 100 "$(answers_of b3)"
    traffic_config '1, state = "drain"' '2, state = "down"' "3, weight = 0" >"$config"
    gw_reload
    check "no backend left: nobody answers" test "$(answers 2>&1)" != b3
    traffic_config 1 2 3 >"$config"
    gw_reload
    requests 200 >"$run/requests"
    equal "all back: 200 requests, each answered with 200" 200 "$(awk '$3 == 200' "$run/requests" | wc -l)"
    check "all three answer again" test "$(cut -d ' ' -f 1 "$run/requests" | sort -u | tr '\n' ' ')" = "b1 b2 b3 "
}

# What has no rule is counted as that.
check_refusals() {
    local i
    for i in 1 2 3; do client_curl --max-time 0.2 "http://$vip:81/" >/dev/null 2>&1 && break; done
    check "a port without a rule gets no answer" test "$i" = 3
}
