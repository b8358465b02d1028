//! What the safe layer of rdkafka leaves out: the id of a topic (KIP-516), and leader epochs (KIP-320).
//!
//! A topic that was deleted and made again has another id under the same name. Without the id, positions in the old
//! topic would silently be applied to the new one. Only librdkafka's DescribeTopics returns it.
//!
//! A partition that was truncated and has grown since has other records at the same offsets. The epoch of the leader
//! that wrote a record tells them apart: [`leader_epoch`] reads it, [`set_leader_epoch`] makes a seek check it.

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::message::BorrowedMessage;

/// Why the id is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster has no such topic.
    #[error("the cluster has no topic {0}")]
    NoSuchTopic(String),
    /// The brokers do not answer, or refuse; a retry may help.
    #[error("ask the brokers for the id of topic {topic}: {said}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// The error of the client.
        said: String,
    },
}

/// The epoch of the leader that wrote a message; `None` from brokers that do not send it (before Kafka 0.11).
#[must_use]
pub fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: the pointer is that of a living message, which the call only reads.
    let epoch = unsafe { c::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}

/// Gives every offset of a list the epoch of the leader that wrote the record before it. If the partition does not have
/// that epoch up to there, a seek to the offset then fails with `AutoOffsetReset` (where `auto.offset.reset` is
/// `error`). The error comes through the queue of the consumer.
pub fn set_leader_epoch(places: &mut TopicPartitionList, epoch: i32) {
    let list = places.ptr();
    // SAFETY: the list is alive and ours alone during the call; it has `cnt` elements, and the call writes into the
    // element that it is given.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        for at in 0..count {
            c::rd_kafka_topic_partition_set_leader_epoch((*list).elems.add(at), epoch);
        }
    }
}

/// The number of events that wait for `poll` in the queue of a client that has a group's name: records of partitions
/// without a queue of their own, errors, statistics, log lines. Each `poll` takes one event; after one that went to a
/// callback it returns `None` as if the queue were empty (rdkafka 0.39), so `None` does not mean that it is.
#[must_use]
pub fn events_waiting<C: ClientContext>(client: &Client<C>) -> usize {
    // SAFETY: `client` is alive, and the call only reads lengths. Its main queue leads to the one that is polled.
    usize::try_from(unsafe { c::rd_kafka_outq_len(client.native_ptr()) }).unwrap_or(0)
}

/// The current id of a topic in the cluster, 22 characters of base64. Blocks for `timeout` at most.
///
/// # Errors
/// [`Error::NoSuchTopic`] if the cluster has no such topic, [`Error::Unavailable`] if it does not answer.
pub fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<String, Error> {
    let unavailable = |said: &str| Error::Unavailable { topic: topic.to_owned(), said: said.to_owned() };
    let name = CString::new(topic).map_err(|_| Error::NoSuchTopic(topic.to_owned()))?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let answer = Answer::ask(client.native_ptr(), &name, timeout_ms).ok_or_else(|| unavailable("no answer in time"))?;
    answer.read(topic).map_err(|error| match error {
        Said::NoSuchTopic => Error::NoSuchTopic(topic.to_owned()),
        Said::Error(said) => unavailable(&said),
    })
}

/// An event of librdkafka that holds the answer; freed with this.
struct Answer {
    event: *mut c::rd_kafka_event_t,
    queue: *mut c::rd_kafka_queue_t,
}

enum Said {
    NoSuchTopic,
    Error(String),
}

impl Answer {
    fn ask(client: *mut c::rd_kafka_t, name: &CStr, timeout_ms: i32) -> Option<Self> {
        let mut names = [name.as_ptr()];
        // SAFETY: `client` is that of a living `Client`; the collection copies the names and is freed after the call,
        // which copies it; the queue is freed by `drop`, also without an event.
        unsafe {
            let queue = c::rd_kafka_queue_new(client);
            let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            c::rd_kafka_DescribeTopics(client, topics, std::ptr::null(), queue);
            c::rd_kafka_TopicCollection_destroy(topics);
            let event = c::rd_kafka_queue_poll(queue, timeout_ms);
            let answer = Answer { event, queue };
            (!event.is_null()).then_some(answer)
        }
    }

    fn read(&self, topic: &str) -> Result<String, Said> {
        // SAFETY: the event is not null and lives as long as `self`; everything read belongs to it, and texts are
        // copied before it is freed.
        unsafe {
            if c::rd_kafka_event_error(self.event) != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(Said::Error(text(c::rd_kafka_event_error_string(self.event))));
            }
            let result = c::rd_kafka_event_DescribeTopics_result(self.event);
            if result.is_null() {
                return Err(Said::Error("another answer than was asked for".to_owned()));
            }
            let mut count = 0;
            let topics = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 {
                return Err(Said::Error(format!("an answer without topic {topic}")));
            }
            let description = *topics;
            let error = c::rd_kafka_TopicDescription_error(description);
            if !error.is_null() {
                return Err(match c::rd_kafka_error_code(error) {
                    c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Said::NoSuchTopic,
                    _ => Said::Error(text(c::rd_kafka_error_string(error))),
                });
            }
            let id = c::rd_kafka_TopicDescription_topic_id(description);
            if id.is_null() {
                return Err(Said::Error("the brokers know no topic ids: Kafka 2.8 or newer is needed".to_owned()));
            }
            Ok(text(c::rd_kafka_Uuid_base64str(id)))
        }
    }
}

/// Copies a text of librdkafka.
///
/// # Safety
/// `text` is null, or ends with a zero byte and lives during the call.
unsafe fn text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: as the caller promised.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: made by `ask`, freed once; the event may be null, which the call allows for.
        unsafe {
            c::rd_kafka_event_destroy(self.event);
            c::rd_kafka_queue_destroy(self.queue);
        }
    }
}
