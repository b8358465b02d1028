//! Callbacks of the client for everything but records: assignments, ends of partitions, errors.

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

/// The debug line by which the client reports that it now reads another topic of the same name: at the old offsets, and
/// without an error (librdkafka 2.12, `rd_kafka_topic_metadata_update`). It is logged before the first fetch from the
/// other topic, so `poll` returns it before any record of that topic.
const CHANGED_TOPIC: &str = " changed id from ";

/// The id of a topic of which the client knew none before: 16 zero bytes in base64.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The former and the new id of a topic, if a log line of the client reports a change.
fn changed<'a>(message: &'a str, topic: &str) -> Option<(&'a str, &'a str)> {
    let (of, ids) = message.split_once(CHANGED_TOPIC)?;
    let is_ours = of.strip_suffix(topic)?.ends_with("Topic ");
    ids.split_once(" to ").filter(|_| is_ours)
}

/// Polls all events that wait in a client, which would pile up otherwise, and once more: a client that is not polled for
/// `max.poll.interval.ms` leaves its group. Does not block.
pub(super) fn hear<C: ConsumerContext>(
    client: &BaseConsumer<C>,
) -> impl Iterator<Item = KafkaResult<BorrowedMessage<'_>>> {
    let waiting = millstream_kafka::events_waiting(client.client());
    (0..=waiting).filter_map(|_| client.poll(Duration::ZERO))
}

/// The callbacks of the client that reads. All of them run inside of `poll`.
#[derive(Debug)]
pub(super) struct Reading(pub(super) Arc<Shared>);

/// The callbacks of the member of the group. All of them run inside of `poll`.
#[derive(Debug)]
pub(super) struct Membership(pub(super) Arc<Shared>);

impl ClientContext for Reading {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match changed(message, &self.0.topic) {
            // The broker that told it may not have heard of a topic that was just created again.
            Some((NO_ID, id)) => self.0.topic_may_be(id),
            Some((_, id)) => {
                self.0.topic_may_be(id);
                self.0.topic_is(id);
            }
            None => {}
        }
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.0.topic) else { return };
        // With transactions, records after the last stable offset are not delivered yet.
        let ends = topic.partitions.iter().filter_map(|(partition, told)| {
            let end = if told.ls_offset >= 0 { told.ls_offset } else { told.hi_offset };
            Some((*partition, u64::try_from(end).ok()?))
        });
        self.0.buffers().ends(ends);
    }

    /// Gets every error that `poll` returns, and more.
    fn error(&self, error: KafkaError, reason: &str) {
        if error != KafkaError::Global(RDKafkaErrorCode::PartitionEOF) {
            self.0.client_failed(&error, reason);
        }
    }
}

impl ConsumerContext for Reading {}

/// Keeps why a client without a group gets no answer.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Option<String>>);

impl Asking {
    /// Its last error.
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
        // "All brokers down" is less useful than the error of the last broker.
        if last.is_none() || error != KafkaError::Global(RDKafkaErrorCode::AllBrokersDown) {
            *last = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Asking {}

impl ClientContext for Membership {
    /// An asynchronous commit reports its failure only here.
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
    /// The member itself reads nothing: the reader is in no group, and need not stop during a rebalance.
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

/// Forwards the client's own log.
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
        assert_eq!(changed(said, "a.b"), Some((NO_ID, "r0xCBxIsTEO9J4QVbfXEvQ")));
        assert_eq!(changed(said, "b"), None);
        assert_eq!(changed("[thrd:main]: Topic a.b [0] Leader 1 Epoch 0", "a.b"), None);
    }
}
