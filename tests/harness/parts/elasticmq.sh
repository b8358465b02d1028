#!/usr/bin/env bash
# ElasticMQ (Maven, Apache-2.0), a strict and fast stand-in for SQS.
#
#   elasticmq.sh fetch              fetches the program (43 MB), prints its directory
#   elasticmq.sh start DIR [PORT]   starts it on 127.0.0.1; prints its URL. It keeps nothing over a stop
#   elasticmq.sh stop DIR           stops it
#   elasticmq.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# ELASTICMQ_HEAP_OPTS sets its heap (default: -Xmx256m).
# Programs: java (17 or later), mvn for the first time.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PORTS=1
VERSION=1.7.1

fetch() {
    need java default-jre-headless
    once "elasticmq-$VERSION" fetch_elasticmq
}

fetch_elasticmq() {
    need mvn maven
    jars "$1" <<<"org.elasticmq elasticmq-server_3 $VERSION"
}

configure() {
    local port
    port=$(port "$1" 1)
    cat >"$1/elasticmq.conf" <<CONF
include classpath("application.conf")
node-address { protocol = http, host = "127.0.0.1", port = $port, context-path = "" }
rest-sqs { enabled = true, bind-port = $port, bind-hostname = "127.0.0.1", sqs-limits = strict }
rest-stats { enabled = false }
CONF
}

serve() {
    local programs
    programs=$(fetch)
    # shellcheck disable=SC2086 # several options in one variable
    exec setsid nohup java ${ELASTICMQ_HEAP_OPTS:--Xmx256m} -XX:+UseSerialGC -Djava.awt.headless=true \
        -Dconfig.file="$1/elasticmq.conf" -cp "$programs/lib/*" org.elasticmq.server.Main
}

ready() {
    http "$(port "$1" 1)" '/?Action=ListQueues'
}

address() {
    echo "http://127.0.0.1:$(port "$1" 1)"
}

main "$@"
