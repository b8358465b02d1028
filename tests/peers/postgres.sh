#!/usr/bin/env bash
# A PostgreSQL of this machine for all peers, on a port of 127.0.0.1, with the settings of millstream's private cluster
# (connectors/postgres/src/cluster/tuning.rs).
#
#   postgres.sh fetch              prints the directory of the programs
#   postgres.sh start DIR [PORT]   starts it with its data in DIR; prints its address
#   postgres.sh stop DIR           stops it
#   postgres.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# MILLSTREAM_PG_BIN names the directory of another PostgreSQL. As root it runs under the account `postgres`, which has to
# be able to enter DIR. Whoever reaches the port is let in: there is nothing in it but made-up events.
# Programs: PostgreSQL 15 or later; as root setpriv (util-linux).

# shellcheck source=../harness/parts/lib.sh
. "$(dirname "$0")/../harness/parts/lib.sh"

PORTS=1

fetch() {
    local directory found=${MILLSTREAM_PG_BIN:-}
    if [ -z "$found" ]; then
        for directory in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql*/bin | sort -V); do
            [ ! -x "$directory/initdb" ] || found=$directory
        done
    fi
    [ -x "$found/initdb" ] || fail "PostgreSQL is missing (Debian: apt-get install postgresql)"
    echo "$found"
}

# as_server COMMAND...: under an account that PostgreSQL accepts.
as_server() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    else
        "$@"
    fi
}

configure() {
    [ ! -f "$1/data/PG_VERSION" ] || return 0
    mkdir -m 700 "$1/data"
    [ "$(id -u)" != 0 ] || chown postgres: "$1" "$1/data"
    as_server "$(fetch)/initdb" --pgdata="$1/data" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
        --auth=trust --data-checksums >"$1/initdb.log" || fail "initdb failed: see $1/initdb.log"
}

# `serve` has to become the server: its process is the one that is stopped, and whose family is measured.
serve() {
    local settings=(
        fsync=on full_page_writes=on synchronous_commit=on autovacuum=on
        shared_buffers=256MB max_wal_size=4GB checkpoint_timeout=15min jit=off wal_compression=lz4
        timezone=UTC log_timezone=UTC log_checkpoints=on
        listen_addresses=127.0.0.1 unix_socket_directories= port="$(port "$1" 1)"
    )
    local server=() account=()
    [ "$(id -u)" != 0 ] || account=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    server=("$(fetch)/postgres" -D "$1/data")
    exec setsid "${account[@]}" "${server[@]}" "${settings[@]/#/--}"
}

ready() {
    grep -qs 'ready to accept connections' "$1/log"
}

address() {
    echo "127.0.0.1:$(port "$1" 1)"
}

main "$@"
