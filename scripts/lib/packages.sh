# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# Installs Debian packages, those that are missing and no others. To be sourced, after common.sh.

# To build with DPDK.
packages_to_build=(gcc libc6-dev pkg-config libdpdk-dev libclang-dev)

# For the namespaces, the servers in them and their clients.
packages_to_try=(iproute2 ethtool iputils-ping curl nginx)

# Beyond that, for the end-to-end tests.
packages_to_test=(wrk python3 jq openssl prometheus tshark)

as_root() {
    if (($(id -u) == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "neither root nor sudo: run as root, once: apt-get install ${missing[*]}"
    fi
}

is_installed() {
    [[ $(dpkg-query -W -f='${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]
}

missing=()
find_missing() {
    local package
    missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
}

# A server that comes as a package is started by its installation, and at each boot. Nobody asked for that here:
# a policy-rc.d that says no keeps it from starting, and those that are new are disabled afterwards.
# shellcheck disable=SC2016 # This is for the shell that root runs.
install_quietly='
    set -eu
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap "rm -f $policy" EXIT
        printf "#!/bin/sh\nexit 101\n" >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o Dpkg::Use-Pty=0 update
    said=$(apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" 2>&1) || {
        echo "$said" >&2
        exit 1
    }
    for package in "$@"; do
        case $package in nginx | prometheus) ;; *) continue ;; esac
        update-rc.d "$package" disable >/dev/null 2>&1 || true
        systemctl --quiet disable "$package" >/dev/null 2>&1 || true
    done'

# `install_packages PACKAGE...`
install_packages() {
    if ! command -v apt-get >/dev/null; then
        note "This is no Debian: what is needed goes by these names there: $*"
        return
    fi
    find_missing "$@"
    if ((${#missing[@]} == 0)); then
        note "Nothing to install: $* are there."
        return
    fi
    note "Installing with apt-get: ${missing[*]}"
    as_root sh -c "$install_quietly" install "${missing[@]}" </dev/null ||
        die "apt-get failed; its messages above say why. Try by hand: apt-get install ${missing[*]}"
}
