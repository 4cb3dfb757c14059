# shellcheck shell=bash disable=SC2034,SC2154 # what is set in one file is used in others
# Runs a program in user, network, mount and PID namespaces of its own. To be sourced, after common.sh.
#
# Nothing that is made in there can be left behind: the kernel kills every process of a PID namespace with its first,
# and each link of the chain down to that first process dies with the one above it (PR_SET_PDEATHSIG). So it does not
# matter how this shell ends; not even SIGKILL leaves anything. Files go to a tmpfs that only the sandbox sees.

# `user`: without privileges. `root`: as the machine's root. Nothing where neither works.
sandbox_kind() {
    # Some systems let everybody make a user namespace, but grant nothing in it; so try what is needed.
    # shellcheck disable=SC2016
    local trial='mount -t tmpfs tmpfs /run && ip link add trial0 type veth peer name trial1 && ip link del trial0'
    if unshare --user --map-root-user --net --mount --pid --fork sh -c "$trial" 2>/dev/null; then
        echo user
    elif (($(id -u) == 0)) && unshare --net --mount --pid --fork sh -c "$trial" 2>/dev/null; then
        echo root
    fi
}

sandbox_help='No network namespaces can be made here, neither by root nor by others.
  - Not root? This system does not let other users make them (Ubuntu 24.04 does not, for one).
    Run this as root, or allow it until the next boot:
      sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000
      sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0
    Each is needed only where the system has it.
  - In a container? Start it with --privileged, or with --cap-add NET_ADMIN --cap-add SYS_ADMIN.'

sandbox_pid=''

# `sandbox_run KIND SECONDS COMMAND...`: 137 where it did not end within SECONDS (0: may take as long as it likes).
sandbox_run() {
    local kind=$1 seconds=$2 stdin status=0
    shift 2
    local namespaces=(--net --mount --pid --fork --kill-child=KILL)
    [[ $kind == root ]] || namespaces+=(--user --map-root-user)
    # A command in the background has no standard input but what it is given.
    exec {stdin}<&0
    setpriv --pdeathsig KILL \
        timeout --foreground --signal KILL "$seconds" \
        setpriv --pdeathsig KILL unshare "${namespaces[@]}" -- "$@" <&"$stdin" &
    sandbox_pid=$!
    wait "$sandbox_pid" || status=$?
    sandbox_pid=''
    exec {stdin}<&-
    return "$status"
}

# The first process of the sandbox goes first, where it can be found, so that each is waited for by the one above it.
sandbox_end() {
    [[ -n $sandbox_pid ]] || return 0
    local unshare='' first=''
    read -r unshare 2>/dev/null <"/proc/$sandbox_pid/task/$sandbox_pid/children" || true
    [[ -z $unshare ]] || read -r first 2>/dev/null <"/proc/${unshare% }/task/${unshare% }/children" || true
    if [[ -n $first ]]; then
        kill -KILL "${first% }" 2>/dev/null || true
        local i
        for ((i = 0; i < 30; i++)); do
            kill -0 "$sandbox_pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
    kill -KILL "$sandbox_pid" 2>/dev/null || true
    wait "$sandbox_pid" 2>/dev/null || true
    sandbox_pid=''
}

# The first thing that what runs in the sandbox does. Sets `run`, a directory that goes with the sandbox, and
# `outer_pid`, the number of this process outside.
# shellcheck disable=SC2034
sandbox_enter() {
    read -r outer_pid _ </proc/self/stat
    mount -t tmpfs -o mode=755 tmpfs /run
    # Where this is not allowed (containers hide parts of it), /proc shows the machine's processes: nobody needs it.
    mount -t proc proc /proc 2>/dev/null || true
    mkdir -p /run/netns /run/guideway/tmp
    run=/run/guideway
    export TMPDIR=$run/tmp
}
