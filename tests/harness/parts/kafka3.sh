#!/usr/bin/env bash
# Three real Apache Kafka nodes (4.3.1, KRaft, each broker and controller) on 127.0.0.1, to see what the loss of one
# does: three replicas of everything, min.insync.replicas=2. For throughput take kafka.sh, which needs a tenth of the
# CPU.
#
#   kafka3.sh fetch               fetches the programs (55 MB), prints their directory
#   kafka3.sh start DIR           starts what does not run; prints the bootstrap addresses, with commas between
#   kafka3.sh stop DIR            stops all; a later start has the data and the ports again
#   kafka3.sh hold DIR            start; at the end of the standard input stop, and remove DIR, which has to be empty
#   kafka3.sh start-one DIR N     starts node N (1 to 3); prints its address
#   kafka3.sh stop-one DIR N      asks it to stop
#   kafka3.sh kill-one DIR N      kills it (SIGKILL)
#
# DIR/N/pid, DIR/N/log, DIR/N/address are those of node N.
# Programs: java (17 or later), mvn for the first time.

# shellcheck source=kafka-lib.sh
. "$(dirname "$0")/kafka-lib.sh"

# A node's directory is DIR/N; its ports, the client's and the controller's, are two lines of DIR/ports.
configure() {
    local all=${1%/*} node=${1##*/}
    sed -n "$((node * 2 - 1)),$((node * 2))p" "$all/ports" >"$1/ports"
    {
        common_properties 3
        echo "node.id=$node"
        echo "controller.quorum.voters=1@127.0.0.1:$(port "$all" 2),2@127.0.0.1:$(port "$all" 4),3@127.0.0.1:$(port "$all" 6)"
        echo "log.dirs=$1/data"
        echo "listeners=PLAINTEXT://127.0.0.1:$(port "$1" 1),CONTROLLER://127.0.0.1:$(port "$1" 2)"
        echo "advertised.listeners=PLAINTEXT://127.0.0.1:$(port "$1" 1)"
        echo "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        echo "${KAFKA_PROPERTIES:-}"
    } >"$1/server.properties"
    format "$1"
}

address() {
    echo "127.0.0.1:$(port "$1" 1)"
}

start() {
    local node nodes=()
    fetch >/dev/null
    [ -s "$1/ports" ] || choose 6 >"$1/ports"
    for node in 1 2 3; do
        mkdir -p "$1/$node"
        ! running "$1/$node" || continue
        nodes+=("$node")
        configure "$1/$node"
    done
    # Together: one alone has no majority to start with.
    for node in "${nodes[@]}"; do spawn "$1/$node"; done
    for node in "${nodes[@]}"; do wait_until_ready "$1/$node"; done
    cat "$1/1/address" "$1/2/address" "$1/3/address" | paste -sd ,
}

stop() {
    local node
    # At once: the last of three has nobody left to hand its partitions to, and would wait.
    for node in 1 2 3; do stop_process "$1/$node" & done
    wait
}

one() {
    local node=${3:-}
    if [[ ! $node =~ ^[123]$ ]] || [ ! -s "$2/ports" ]; then usage; fi
    directory=$(cd "$2" && pwd)/$node
    case $1 in
        start-one)
            if ! running "$directory"; then
                configure "$directory"
                spawn "$directory"
                wait_until_ready "$directory"
            fi
            cat "$directory/address"
            ;;
        stop-one) stop_process "$directory" ;;
        kill-one) kill_process "$directory" ;;
    esac
}

case ${1:-} in
    *-one) one "$@" ;;
    *) main "$@" ;;
esac
