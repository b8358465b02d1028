//! What the client tells besides records: who has which partition, where partitions end, what fails.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::shared::Shared;

/// The callbacks of a member of the group. All of them run inside of `poll`.
#[derive(Debug)]
pub(super) struct Context(pub(super) Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.0.topic) else { return };
        // With transactions, records after the last stable offset are not given out yet.
        let ends = topic.partitions.iter().filter_map(|(partition, told)| {
            let end = if told.ls_offset >= 0 { told.ls_offset } else { told.hi_offset };
            Some((*partition, u64::try_from(end).ok()?))
        });
        self.0.buffers().ends(ends);
    }

    /// Hears of everything that `poll` gives as an error, too, and of more.
    fn error(&self, error: KafkaError, reason: &str) {
        if error != KafkaError::Global(RDKafkaErrorCode::PartitionEOF) {
            self.0.client_failed(&error, reason);
        }
    }
}

impl ConsumerContext for Context {
    /// Partitions begin at rest: a lane says where to read, once it has the lease. Until then nothing is fetched, so
    /// that no position of the client or the broker is ever used.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let numbers: Vec<i32> = partitions.elements().iter().map(|one| one.partition()).collect();
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let mut resting = TopicPartitionList::with_capacity(numbers.len());
            let added =
                numbers.iter().try_for_each(|number| resting.add_partition_offset(&self.0.topic, *number, Offset::End));
            let done = added.and_then(|()| consumer.assign(&resting)).and_then(|()| consumer.pause(&resting));
            self.0.assigned(numbers);
            done
        } else {
            self.0.revoked();
            consumer.unassign()
        };
        if let Err(error) = done {
            tracing::error!(topic = self.0.topic, %error, "an assignment could not be taken: the client is made anew");
            self.0.revive();
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            self.0.commit_failed(&error);
        }
    }
}

/// Hands the client's own log on.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "kafka client: {message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(facility, "kafka client: {message}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, "kafka client: {message}"),
    }
}
