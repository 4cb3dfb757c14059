# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# What all scripts share: where things are, and how they talk. To be sourced.

# The checkout.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# A machine set up by rustup has cargo here, and sudo, cron or a bare environment do not know it.
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/local/sbin:/usr/sbin:/sbin
export PATH

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' yellow='' plain=''
fi

# A new part of the work.
step() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }

note() { printf '    %s\n' "$*"; }

warn() { printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2; }

die() {
    printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
    exit 1
}

# The comment at the head of a script is its help. `usage FILE` prints it.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"; }

# `bar SHARE WIDTH`: a bar for SHARE per cent of WIDTH characters.
bar() {
    local length=$(($1 * $2 / 100)) text
    printf -v text '%*s' "$length" ''
    printf '%s' "${text// /#}"
}

target_directory() { printf '%s' "${CARGO_TARGET_DIR:-$root/target}"; }

# The built program, or the one that GUIDEWAY names.
guideway_binary() { printf '%s' "${GUIDEWAY:-$(target_directory)/release/guideway}"; }

# In a process group of its own, so that a script that is stopped can stop all of it (see `end_group`); and told to end
# where the script is killed.
group=''
run_in_group() {
    setsid setpriv --pdeathsig TERM "$@" &
    group=$!
    local status=0
    wait "$group" || status=$?
    group=''
    return "$status"
}

end_group() {
    [[ -n $group ]] || return 0
    kill -TERM -- "-$group" 2>/dev/null || true
    # The compiler's processes end a moment after cargo.
    local i
    for ((i = 0; i < 50; i++)); do
        kill -0 -- "-$group" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null || true
}

require_cargo() {
    command -v cargo >/dev/null ||
        die "cargo was not found. Install a Rust toolchain first: https://www.rust-lang.org/tools/install"
}

release=(cargo build --release --locked --manifest-path "$root/Cargo.toml")
build_release() {
    require_cargo
    run_in_group "${release[@]}"
}
