#!/usr/bin/env bash
# Runs one of Kafka's own programs; a JVM's start, so two seconds each.
#
#   kafka-tool.sh CLASS ARGUMENTS...
#
#   kafka-tool.sh org.apache.kafka.tools.TopicCommand --bootstrap-server ADDRESS --create --topic T --partitions 12
#   kafka-tool.sh org.apache.kafka.tools.GetOffsetShell --bootstrap-server ADDRESS --topic T
#   kafka-tool.sh kafka.admin.ConfigCommand ...
#   kafka-tool.sh org.apache.kafka.tools.ProducerPerformance ...

# shellcheck source=kafka-lib.sh
. "$(dirname "$0")/kafka-lib.sh"

[ $# -ge 1 ] || usage
kafka_tool "$@"
