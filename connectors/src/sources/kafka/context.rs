//! What the client tells besides records: who has which partition, where partitions end, what fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::shared::Shared;

/// How the client says, among its words for developers, that it reads another topic of the same name from now on: at the
/// old offsets, and without an error (librdkafka 2.12, `rd_kafka_topic_metadata_update`). Said before it fetches from it,
/// so that this waits for `poll` before any record of the other topic does.
const CHANGED_TOPIC: &str = " changed id from ";

/// The id that a topic has now, if that is what the client says.
fn changed_to<'a>(message: &'a str, topic: &str) -> Option<&'a str> {
    let (of, ids) = message.split_once(CHANGED_TOPIC)?;
    let is_ours = of.strip_suffix(topic)?.ends_with("Topic ");
    ids.rsplit(' ').next().filter(|_| is_ours)
}

/// Everything that a client has to say at the moment, which would pile up otherwise. Does not block.
pub(super) fn hear<C: ConsumerContext>(
    client: &BaseConsumer<C>,
) -> impl Iterator<Item = KafkaResult<BorrowedMessage<'_>>> {
    let waiting = millstream_kafka::events_waiting(client.client());
    (0..waiting).filter_map(|_| client.poll(Duration::ZERO))
}

/// The callbacks of the client that reads. All of them run inside of `poll`.
#[derive(Debug)]
pub(super) struct Reading(pub(super) Arc<Shared>);

/// The callbacks of the member of the group. All of them run inside of `poll`.
#[derive(Debug)]
pub(super) struct Membership(pub(super) Arc<Shared>);

impl ClientContext for Reading {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(id) = changed_to(message, &self.0.topic) {
            self.0.topic_is(id);
        }
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

impl ConsumerContext for Reading {}

/// What a client without a group says: why it gets no answer.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Option<String>>);

impl Asking {
    /// The last of its complaints.
    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That none is left says less than what became of the last one.
        if last.is_none() || error != KafkaError::Global(RDKafkaErrorCode::AllBrokersDown) {
            *last = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Asking {}

impl ClientContext for Membership {
    /// A commit that nobody waits for says only here that it failed.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "COMMITFAIL" {
            self.0.commit_failed(message);
            return;
        }
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.client_failed(&error, reason);
    }
}

impl ConsumerContext for Membership {
    /// The member itself reads nothing: who reads is in no group, and needs not stop while this one divides.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.0.assigned(partitions.elements().iter().map(|one| one.partition()).collect());
            consumer.assign(&TopicPartitionList::new())
        } else {
            self.0.revoked();
            consumer.unassign()
        };
        if let Err(error) = done {
            tracing::error!(topic = self.0.topic, %error, "an assignment could not be taken: the client is made anew");
            self.0.revive();
        }
    }
}

/// Hands the client's own log on.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if is_error(level) => tracing::warn!(facility, "kafka client: {message}"),
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(facility, "kafka client: {message}"),
        _ => tracing::debug!(facility, "kafka client: {message}"),
    }
}

fn is_error(level: RDKafkaLogLevel) -> bool {
    use RDKafkaLogLevel::{Alert, Critical, Emerg, Error};
    matches!(level, Emerg | Alert | Critical | Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_id_of_a_topic_is_heard_and_that_of_others_is_not() {
        let said = "[thrd:main]: Topic a.b changed id from AAAAAAAAAAAAAAAAAAAAAA to r0xCBxIsTEO9J4QVbfXEvQ";
        assert_eq!(changed_to(said, "a.b"), Some("r0xCBxIsTEO9J4QVbfXEvQ"));
        assert_eq!(changed_to(said, "b"), None);
        assert_eq!(changed_to("[thrd:main]: Topic a.b [0] Leader 1 Epoch 0", "a.b"), None);
    }
}
