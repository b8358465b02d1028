#!/usr/bin/env bash
# kinesis-local (npm, MIT), a stand-in for Kinesis that keeps the rules of shards: lineage, ends, paging, expiry of
# iterators, sequence numbers of 56 digits. For some thousand records; for volume take kinesalite.sh.
#
#   kinesis-local.sh fetch              fetches the program (16 MB), prints its directory
#   kinesis-local.sh start DIR [PORT]   starts it on 127.0.0.1; prints its URL. It keeps nothing over a stop
#   kinesis-local.sh stop DIR           stops it
#   kinesis-local.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# An access key id of 12 digits is an account of its own.
# Programs: node, npm for the first time.

# shellcheck source=npm-lib.sh
. "$(dirname "$0")/npm-lib.sh"

PORTS=2
PACKAGE=kinesis-local
VERSION=0.6.2

configure() {
    :
}

serve() {
    program main.js
    # A certificate is wanted for the second port, where TLS is spoken.
    exec env KINESIS_MOCK_CERT_PATH="$(fetch)/node_modules/$PACKAGE/server.json" \
        KINESIS_MOCK_PLAIN_PORT="$(port "$1" 1)" KINESIS_MOCK_TLS_PORT="$(port "$1" 2)" SHARD_LIMIT=1000 \
        CREATE_STREAM_DURATION=50ms DELETE_STREAM_DURATION=50ms SPLIT_SHARD_DURATION=50ms MERGE_SHARDS_DURATION=50ms \
        UPDATE_SHARD_COUNT_DURATION=50ms LOG_LEVEL=WARN setsid nohup "${PROGRAM[@]}"
}

ready() {
    http "$(port "$1" 1)" /healthcheck
}

main "$@"
