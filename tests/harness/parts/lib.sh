# shellcheck shell=bash
# What the scripts of the parts share. Each one sources this, says what its service needs, and ends with `main "$@"`:
#
#   PORTS              how many ports it listens on
#   fetch              prints the directory of its programs; the first call fetches them into the cache
#   configure DIR      writes what it is configured with; the ports are the lines of DIR/ports
#   serve DIR          replaces its process by the service's, its output in DIR/log
#   ready DIR          succeeds when the service answers
#   address DIR        prints where it answers
#
# DIR of a service that was started holds: pid, ports, address, log, log.previous, and its data.
# The process is known by MILLSTREAM_PART=DIR in its environment, which neither a zombie nor a reused pid has.
# Linux only: /proc, flock, setsid.
set -euo pipefail
shopt -s inherit_errexit

part=$(basename "$0")
# A start on two busy cores, in seconds.
START_SECONDS=90
# A stop, before the process is killed, in seconds.
STOP_SECONDS=30
# Another call's fetch through a slow registry, in seconds.
FETCH_SECONDS=900

fail() {
    echo "$part: $*" >&2
    exit 1
}

# need PROGRAM PACKAGE: ends with what to install, where the program is missing.
need() {
    command -v "$1" >/dev/null || fail "$1 is missing (Debian: apt-get install $2)"
}

# The lines at the top of the script, which say how it is used.
usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# once NAME FUNCTION: prints the directory NAME of the cache; FUNCTION DIRECTORY fills it where it is not there.
# Calls at the same time wait for the first; one that is killed leaves nothing that looks finished.
once() {
    local cache=${MILLSTREAM_PARTS_CACHE:-${HOME:?set HOME or MILLSTREAM_PARTS_CACHE}/.cache/millstream/parts}
    if [ ! -d "$cache/$1" ]; then
        mkdir -p "$cache"
        (
            flock --timeout "$FETCH_SECONDS" 9 || fail "another call fetches $1 for more than $FETCH_SECONDS s"
            [ ! -d "$cache/$1" ] || exit 0
            new=$(mktemp -d "$cache/$1.new-XXXXXX")
            trap 'rm -rf "$new"' EXIT
            echo "$part: fetching $1 into $cache" >&2
            "$2" "$new" >&2 9>&- </dev/null
            mv -T "$new" "$cache/$1"
        ) 9>"$cache/$1.lock"
    fi
    echo "$cache/$1"
}

# jars DIRECTORY < dependencies: the jars of these Maven dependencies and of all that they need.
jars() {
    local pom=$1/pom.xml
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>local</groupId><artifactId>part</artifactId><version>1</version><packaging>pom</packaging>'
        echo '<dependencies>'
        local group artifact version
        while read -r group artifact version; do
            echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$pom"
    mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies -DoutputDirectory="$1/lib"
}

listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# http PORT PATH: succeeds when the answer to a GET is 200.
http() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
        read -r -t 5 line <&3
        [[ $line == HTTP/*' 200'* ]]
    ) 2>/dev/null
}

# choose COUNT [FIRST]: ports of 127.0.0.1 where nobody listens, one a line. They lie below those that the kernel
# gives to clients (from 32768 on), so that nobody else is given one between now and the start.
choose() {
    local port chosen=()
    [ -z "${2:-}" ] || chosen=("$2")
    for port in $(shuf -i 20000-31999 -n 200); do
        [ ${#chosen[@]} -lt "$1" ] || break
        listening "$port" || chosen+=("$port")
    done
    printf '%s\n' "${chosen[@]}"
}

# port DIR N: the Nth of its ports.
port() {
    sed -n "$2p" "$1/ports"
}

# running DIR: whether the process that was started there is still that process.
running() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "MILLSTREAM_PART=$1"
}

# ended PID: whether it is gone, or only waits to be collected: while one of its threads is left, its ports are taken.
ended() {
    local threads=(/proc/"$1"/task/*)
    [ ${#threads[@]} -le 1 ] && ! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"
}

# wait_until_ended PID SECONDS: fails where it has not ended by then.
wait_until_ended() {
    local tries
    for ((tries = 0; tries < $2 * 20; tries++)); do
        ! ended "$1" || return 0
        sleep 0.05
    done
    return 1
}

# spawn DIR: starts the process of a service that is configured, and does not wait for it.
spawn() {
    [ ! -e "$1/log" ] || mv -f "$1/log" "$1/log.previous"
    (
        export MILLSTREAM_PART="$1"
        cd "$1"
        serve "$1"
    ) >"$1/log" 2>&1 </dev/null &
    echo $! >"$1/pid"
    # Whoever holds it does not want to hear how it ended.
    disown
}

# wait_until_ready DIR: ends the process and fails where it does not answer in time.
wait_until_ready() {
    local pid tries
    pid=$(cat "$1/pid")
    for ((tries = 0; tries < START_SECONDS * 10; tries++)); do
        ! ended "$pid" || break
        if ready "$1"; then
            address "$1" >"$1/address"
            return
        fi
        sleep 0.1
    done
    tail -n 20 "$1/log" >&2
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$1/pid"
    fail "does not answer; the end of $1/log is above"
}

# stop_process DIR: asks its process to stop, and kills it after STOP_SECONDS. Says on stderr where nothing runs.
stop_process() {
    local pid
    if ! running "$1"; then
        rm -f "$1/pid"
        echo "$part: nothing runs in $1" >&2
        return
    fi
    pid=$(cat "$1/pid")
    kill -TERM "$pid"
    # One that stands still (SIGSTOP) has to go on to stop.
    kill -CONT "$pid" 2>/dev/null || true
    wait_until_ended "$pid" "$STOP_SECONDS" || kill_process "$1"
    rm -f "$1/pid"
}

# kill_process DIR: ends its process at once, if it runs.
kill_process() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 0
    ! running "$1" || kill -KILL "$pid" 2>/dev/null || true
    wait_until_ended "$pid" "$STOP_SECONDS" || fail "process $pid was killed, and stays"
    rm -f "$1/pid"
}

# start DIR [PORT]: what runs there already keeps its port; what ran there before gets the same ports again.
start() {
    if ! running "$1"; then
        fetch >/dev/null
        if [ ! -s "$1/ports" ] || [ -n "${2:-}" ]; then choose "$PORTS" "${2:-}" >"$1/ports"; fi
        ! listening "$(port "$1" 1)" || fail "port $(port "$1" 1) is taken by another process"
        configure "$1"
        spawn "$1"
        wait_until_ready "$1"
    fi
    cat "$1/address"
}

stop() {
    stop_process "$1"
}

# hold DIR [PORT]: for a program that wants the service for as long as it lives, however it ends.
hold() {
    [ -z "$(ls -A "$1")" ] || fail "$1 is not empty, and all in it would be removed at the end"
    # The caller's end is what counts, not a Ctrl-C that reaches us as well.
    trap '' INT HUP
    trap 'exit 143' TERM
    # The directory, because the names of functions are gone when the trap runs.
    held=$1
    trap 'stop "$held" 2>/dev/null || true; rm -rf "$held"' EXIT
    start "$@"
    cat >/dev/null
}

# The commands that every part has. DIR becomes absolute.
main() {
    local command=${1:-} directory
    case $command in
        fetch) fetch ;;
        start | stop | hold)
            [ $# -ge 2 ] || usage
            mkdir -p "$2"
            directory=$(cd "$2" && pwd)
            "$command" "$directory" "${@:3}"
            ;;
        *) usage ;;
    esac
}
