#!/usr/bin/env bash
# ministack (PyPI, MIT), a stand-in for AWS in one process: S3 with events to SQS and SNS, SQS, SNS, EventBridge to SQS,
# CloudWatch Logs, ECS.
#
#   ministack.sh fetch              fetches the program (90 MB), prints its directory
#   ministack.sh start DIR [PORT]   starts it on 127.0.0.1; prints its URL. It keeps nothing over a stop
#   ministack.sh stop DIR           stops it
#   ministack.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# An access key id of 12 digits is an account of its own, with its own queues, streams and log groups; the names of
# buckets are common to all. Not for Kinesis that reshards: it deletes the old shards with what is unread in them.
# Programs: python3 with venv.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PORTS=1
VERSION=1.5.33

fetch() {
    need python3 python3-venv
    once "ministack-$VERSION" fetch_ministack
}

# In an environment of its own: beside a newer boto3 pip would take an older ministack without a word.
fetch_ministack() {
    python3 -m venv "$1" || fail "python3 has no venv (Debian: apt-get install python3-venv)"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check "ministack==$VERSION"
}

configure() {
    mkdir -p "$1/tmp"
}

serve() {
    local programs
    programs=$(fetch)
    # Through python, because the first line of the program names the directory that it was installed in.
    # It listens everywhere, and for MQTT as well, unless told otherwise. In TMPDIR it keeps a file with its pid.
    exec env BIND_HOST=127.0.0.1 GATEWAY_PORT="$(port "$1" 1)" MINISTACK_HOST=127.0.0.1 IOT_MTLS_ENABLED=0 \
        LOG_LEVEL=WARNING TMPDIR="$1/tmp" setsid nohup "$programs/bin/python" "$programs/bin/ministack"
}

ready() {
    http "$(port "$1" 1)" /_ministack/health
}

address() {
    echo "http://127.0.0.1:$(port "$1" 1)"
}

main "$@"
