#!/usr/bin/env bash
# A worker of Kafka Connect 4.3.1 with the JDBC sink of Debezium 3.6.0.Final and the PostgreSQL driver 42.7.11, without
# connectors; they are made through its address.
#
#   connect.sh fetch              fetches the programs (75 MB), prints their directory
#   connect.sh start DIR [PORT]   starts it on 127.0.0.1; prints its URL
#   connect.sh stop DIR           stops it
#   connect.sh hold DIR [PORT]    start; at the end of the standard input stop, and remove DIR, which has to be empty
#
# CONNECT_BOOTSTRAP: the brokers, for a start.
# Programs: java (17 or later), mvn for the first time.

# shellcheck source=../harness/parts/kafka-lib.sh
. "$(dirname "$0")/../harness/parts/kafka-lib.sh"

PORTS=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fetch() {
    need java default-jre-headless
    once debezium-jdbc-3.6.0 fetch_connect
}

fetch_connect() {
    need mvn maven
    cp "$here/connect-pom.xml" "$1/pom.xml"
    mvn --quiet --batch-mode --file "$1/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/lib"
    log_to SYSTEM_OUT info '%d{ISO8601} %p %c{1} - %m%n' >"$1/log4j2.properties"
    log_to SYSTEM_ERR warn '%p %c{1} - %m%n' >"$1/log4j2-tools.properties"
}

configure() {
    cat >"$1/worker.properties" <<PROPERTIES
bootstrap.servers=${CONNECT_BOOTSTRAP:?the address of the brokers}
listeners=http://127.0.0.1:$(port "$1" 1)
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.storage.file.filename=$1/offsets
plugin.discovery=service_load
connector.client.config.override.policy=All
PROPERTIES
}

# The options are those that Kafka's own script gives a worker.
serve() {
    local connect
    connect=$(fetch)
    exec setsid nohup java -Xms256m -Xmx2g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
        -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true \
        -Dlog4j2.configurationFile="$connect/log4j2.properties" -cp "$connect/lib/*" \
        org.apache.kafka.connect.cli.ConnectStandalone "$1/worker.properties"
}

ready() {
    http "$(port "$1" 1)" /connectors
}

address() {
    echo "http://127.0.0.1:$(port "$1" 1)"
}

main "$@"
