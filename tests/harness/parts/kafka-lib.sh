# shellcheck shell=bash
# Apache Kafka from its jars: what kafka.sh, kafka3.sh and the tools share. KRaft, no ZooKeeper.
# KAFKA_HEAP_OPTS sets the heap of a broker (default: -Xms128m -Xmx384m).
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# kafka-tools lags behind the broker: all three are pinned to what both have.
KAFKA_VERSION=4.3.1
# Any id will do; every cluster is alone in its directory.
CLUSTER=MkU3OEVBNTcwNTJENDM2Qg

fetch() {
    need java default-jre-headless
    once "kafka-$KAFKA_VERSION" fetch_kafka
}

fetch_kafka() {
    need mvn maven
    # The broker logs nothing without the last one, which binds slf4j 1.7.
    jars "$1" <<DEPENDENCIES
org.apache.kafka kafka_2.13 $KAFKA_VERSION
org.apache.kafka kafka-tools $KAFKA_VERSION
org.apache.logging.log4j log4j-slf4j-impl 2.25.4
DEPENDENCIES
    log_to SYSTEM_OUT info '%d{ISO8601} %p %c{1} - %m%n' >"$1/log4j2.properties"
    # Tools keep their standard output for their answer.
    log_to SYSTEM_ERR warn '%p %c{1} - %m%n' >"$1/log4j2-tools.properties"
}

log_to() {
    cat <<PROPERTIES
rootLogger.level = $2
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.target = $1
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = $3
PROPERTIES
}

# kafka_tool CLASS ARGUMENTS...: runs a program of Kafka's own.
kafka_tool() {
    local kafka
    kafka=$(fetch)
    # The class path goes to java as it is: a star that the shell expands is another thing.
    java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.awt.headless=true \
        -Dlog4j2.configurationFile="$kafka/log4j2-tools.properties" -cp "$kafka/lib/*" "$@"
}

# What a node of a cluster with so many nodes is configured with, besides who it is and where it listens.
common_properties() {
    local replicas=$1
    cat <<PROPERTIES
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
num.partitions=12
default.replication.factor=$replicas
min.insync.replicas=$((replicas > 1 ? 2 : 1))
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$((replicas > 1 ? 2 : 1))
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$((replicas > 1 ? 2 : 1))
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=268435456
log.retention.hours=24
# A node that was killed can be back after 3 s, not after 9: the old session has to end first.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
PROPERTIES
}

# format DIR ARGUMENTS...: makes the storage that DIR/server.properties names, where it is not made yet.
format() {
    [ -f "$1/data/meta.properties" ] ||
        kafka_tool kafka.tools.StorageTool format -t "$CLUSTER" -c "$1/server.properties" "${@:2}" >/dev/null
}

serve() {
    local kafka
    kafka=$(fetch)
    # shellcheck disable=SC2086 # several options in one variable
    exec setsid nohup java ${KAFKA_HEAP_OPTS:--Xms128m -Xmx384m} -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
        -Djava.awt.headless=true -Dlog4j2.configurationFile="$kafka/log4j2.properties" \
        -cp "$kafka/lib/*" kafka.Kafka "$1/server.properties"
}

# Logged after the broker has taken its place in the cluster and listens.
ready() {
    grep -qs 'Kafka Server started' "$1/log"
}
