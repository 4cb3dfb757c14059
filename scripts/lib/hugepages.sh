# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# Hugepages for a while. To be sourced, after common.sh.

hugepages_before=''

# `reserve_hugepages MEBIBYTES`: as far as there are not so many free already. Without root, or where memory is too
# scattered, there are fewer, and that is said.
reserve_hugepages() {
    local size free have want
    size=$(awk '/^Hugepagesize:/ { print $2 }' /proc/meminfo)
    free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
    [[ -n $size && -n $free ]] || return 0
    want=$(($1 * 1024 / size))
    ((free < want)) || return 0
    have=$(</proc/sys/vm/nr_hugepages)
    if [[ ! -w /proc/sys/vm/nr_hugepages ]]; then
        warn "not root, so no hugepages are reserved: $((free * size / 1024)) MiB are free, $1 MiB wanted"
        return 0
    fi
    hugepages_before=$have
    echo $((have + want - free)) >/proc/sys/vm/nr_hugepages
    free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
    ((free >= want)) || warn "only $((free * size / 1024)) MiB of hugepages could be reserved of $1"
}

give_hugepages_back() {
    [[ -n $hugepages_before ]] || return 0
    echo "$hugepages_before" >/proc/sys/vm/nr_hugepages
    hugepages_before=''
}
