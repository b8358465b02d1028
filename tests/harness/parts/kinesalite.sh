#!/usr/bin/env bash
# kinesalite (npm, MIT), a stand-in for Kinesis for volume: 16,000 records a second and more. It cannot update the count
# of shards, and names no children at the end of one; kinesis-local.sh does.
#
#   kinesalite.sh fetch              fetches the program (15 MB), prints its directory
#   kinesalite.sh start DIR [PORT]   starts it on 127.0.0.1; prints its URL. It keeps nothing over a stop
#   kinesalite.sh stop DIR           stops it
#   kinesalite.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# Programs: node, npm for the first time.

# shellcheck source=npm-lib.sh
. "$(dirname "$0")/npm-lib.sh"

PORTS=1
PACKAGE=kinesalite
VERSION=3.3.3

configure() {
    :
}

serve() {
    program cli.js
    exec setsid nohup "${PROGRAM[@]}" --port "$(port "$1" 1)" --shardLimit 1000 --createStreamMs 50 \
        --deleteStreamMs 50 --updateStreamMs 50
}

# It refuses a GET, which is an answer.
ready() {
    listening "$(port "$1" 1)"
}

main "$@"
