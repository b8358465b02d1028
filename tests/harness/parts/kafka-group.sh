#!/usr/bin/env bash
# What the broker itself says of a consumer group: members, positions, lag.
#
#   kafka-group.sh BOOTSTRAP GROUP [--state | --members | --offsets | ...]

# shellcheck source=kafka-lib.sh
. "$(dirname "$0")/kafka-lib.sh"

[ $# -ge 2 ] || usage
kafka_tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$1" \
    --describe --group "$2" "${@:3}"
