//! Queries to the brokers about a topic, from outside of the group.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_engine::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::burst::Burst;
use super::context::{Asking, hear};
use super::place::Place;
use super::settings::Cluster;

/// Timeout of a query.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Most bytes of an answer of a broker, which always holds at least one batch.
const FETCH_BYTES: &str = "262144";

/// Wait before a seek is retried: an assignment takes effect within some milliseconds.
const SEEK_AGAIN: Duration = Duration::from_millis(5);

/// A client that joins no group and commits nothing. All of its calls block.
pub struct Inquirer {
    brokers: String,
    topic: String,
    client: Arc<BaseConsumer<Asking>>,
    /// Held while the assignment is used.
    seeking: Mutex<()>,
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings are refused by the client.
    #[error("settings of the Kafka client: {0}")]
    Settings(String),
    /// There is no such topic.
    #[error("the Kafka cluster at {brokers} has no topic {topic}: make it, such as with `kafka-topics.sh --create`")]
    NoSuchTopic {
        /// The brokers.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// The brokers do not answer.
    #[error("the Kafka cluster at {brokers} does not answer: {said}")]
    Unavailable {
        /// The brokers.
        brokers: String,
        /// The client's error.
        said: String,
    },
}

impl Inquirer {
    /// A client for queries about a topic and a group that reads it. Does not connect yet.
    ///
    /// # Errors
    /// If the client refuses the settings.
    pub fn new(cluster: &Cluster, topic: &str, group: &str) -> Result<Self, OpenError> {
        let settings = |error: &dyn fmt::Display| OpenError::Settings(error.to_string());
        let mut config = cluster.client().map_err(|error| settings(&error))?;
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            // An answer without records reports the end of a partition; the broker delays it by this time.
            .set("fetch.wait.max.ms", "50")
            // A question wants one record, or a few.
            .set("max.partition.fetch.bytes", FETCH_BYTES)
            .set("queued.max.messages.kbytes", "1")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true");
        let client = config.create_with_context(Asking::default()).map_err(|error| settings(&error))?;
        Ok(Inquirer {
            brokers: cluster.brokers.clone(),
            topic: topic.to_owned(),
            client: Arc::new(client),
            seeking: Mutex::new(()),
        })
    }

    /// The topic's id.
    ///
    /// # Errors
    /// If the brokers do not answer, or the topic does not exist.
    pub fn topic_id(&self) -> Result<String, OpenError> {
        millstream_kafka::topic_id(self.client.client(), &self.topic, ANSWER_WITHIN).map_err(|error| match error {
            millstream_kafka::Error::NoSuchTopic(topic) => {
                OpenError::NoSuchTopic { brokers: self.brokers.clone(), topic }
            }
            error @ millstream_kafka::Error::Unavailable { .. } => self.unavailable(&error),
        })
    }

    /// Identifies the stream: the ids of the cluster and the topic, which change when either is made anew.
    ///
    /// # Errors
    /// If the brokers do not answer, or the topic does not exist.
    pub fn incarnation(&self) -> Result<String, OpenError> {
        let topic = self.topic_id()?;
        let id = self.client.client().fetch_cluster_id(ANSWER_WITHIN);
        Ok(format!("kafka:{}:{topic}", id.ok_or_else(|| self.unavailable(&"it has no id"))?))
    }

    /// The number of partitions of the topic.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn partitions(&self) -> Result<u32, OpenError> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), ANSWER_WITHIN);
        let metadata = metadata.map_err(|error| self.unavailable(&error))?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The first offset of a partition and the one after its last.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn range(&self, partition: u32) -> Result<(u64, u64), OpenError> {
        let ask = || self.client.fetch_watermarks(&self.topic, number(partition), ANSWER_WITHIN);
        let range = ask().or_else(|error| match error {
            // The partition was added after this client's last look.
            KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition) => {
                self.client.fetch_metadata(Some(&self.topic), ANSWER_WITHIN)?;
                ask()
            }
            error => Err(error),
        });
        let (start, end) = range.map_err(|error| self.unavailable(&error))?;
        Ok((u64::try_from(start).unwrap_or(0), u64::try_from(end).unwrap_or(0)))
    }

    /// The first offset stored at or after a time, in milliseconds since 1970; the end if there is none.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn offset_at(&self, partition: u32, ms: i64) -> Result<u64, OpenError> {
        let times = self.list([(partition, Offset::Offset(ms.max(0)))])?;
        let found = self.client.offsets_for_times(times, ANSWER_WITHIN).map_err(|error| self.unavailable(&error))?;
        match found.elements().first().map(|one| one.offset()) {
            Some(Offset::Offset(offset)) => Ok(u64::try_from(offset).unwrap_or(0)),
            _ => Ok(self.range(partition)?.1),
        }
    }

    /// The committed offsets of the group, by partition; partitions without one are left out.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn committed(&self) -> Result<Vec<(u32, u64)>, OpenError> {
        let all = self.list((0..self.partitions()?).map(|partition| (partition, Offset::Invalid)))?;
        let told = self.client.committed_offsets(all, ANSWER_WITHIN).map_err(|error| self.unavailable(&error))?;
        let committed = told.elements().into_iter().filter_map(|one| match one.offset() {
            Offset::Offset(offset) => Some((u32::try_from(one.partition()).ok()?, u64::try_from(offset).ok()?)),
            _ => None,
        });
        Ok(committed.collect())
    }

    /// Records of a partition from an offset on, about `bytes_max`, and the next offset. Waits for the first record.
    ///
    /// # Errors
    /// The client's error, also if the offset does not exist.
    pub fn read(
        &self,
        partition: u32,
        from: u64,
        bytes_max: usize,
        wait: Duration,
    ) -> Result<(Vec<Record>, u64), OpenError> {
        let _one = self.seeking.lock().unwrap_or_else(PoisonError::into_inner);
        // Read the end first: offsets below it without a record are ends of transactions.
        let (_, end) = self.range(partition)?;
        let place = self.enter(partition, Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX)))?;
        let began = Instant::now();
        let mut burst = Burst::default();
        let mut passed = from;
        while burst.bytes() < bytes_max {
            match place.next(wait.saturating_sub(began.elapsed())) {
                Some(Ok(message)) => burst.add(&message),
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    passed = from.max(end);
                    break;
                }
                None => break,
                Some(Err(error)) => return Err(self.unavailable(&error)),
            }
        }
        let mut records = Vec::with_capacity(burst.len());
        let mut next = from;
        for (_, offset, _, record) in burst.into_records() {
            next = offset.saturating_add(1);
            records.push(record);
        }
        Ok((records, next.max(passed)))
    }

    /// Whether a partition still has the record before `offset` that was written under the leader epoch `epoch`. False
    /// if it was truncated since, however far it has grown. Seeks there: the client then asks the leader where that
    /// epoch ends (OffsetForLeaderEpoch), and reports a truncation before any record.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn has_epoch(&self, partition: u32, offset: u64, epoch: i32) -> Result<bool, OpenError> {
        // One at a time, as the client has one assignment.
        let _one = self.seeking.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let place = self.enter(partition, at)?;
        let began = Instant::now();
        loop {
            let mut list = self.list([(partition, at)])?;
            millstream_kafka::set_leader_epoch(&mut list, epoch);
            let sought = self.client.seek_partitions(list, ANSWER_WITHIN).map_err(|error| self.unavailable(&error))?;
            match sought.elements().first().map(|one| one.error()) {
                Some(Ok(())) => break,
                // The assignment has not taken effect yet.
                Some(Err(_)) if began.elapsed() < ANSWER_WITHIN => std::thread::sleep(SEEK_AGAIN),
                Some(Err(error)) => return Err(self.unavailable(&error)),
                None => return Err(self.unavailable(&"a seek without an answer")),
            }
        }
        loop {
            match place.next(ANSWER_WITHIN.saturating_sub(began.elapsed())) {
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(true),
                // Out of range, or a truncation: the client has one code for both.
                Some(Err(error @ KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                    let (start, end) = self.range(partition)?;
                    return if (start..=end).contains(&offset) { Ok(false) } else { Err(self.unavailable(&error)) };
                }
                // Other errors show again in the next event, or in the timeout.
                Some(Err(_)) if began.elapsed() < ANSWER_WITHIN => {}
                Some(Err(error)) => return Err(self.unavailable(&error)),
                None => return Err(self.unavailable(&"no answer in time")),
            }
        }
    }

    fn enter(&self, partition: u32, at: Offset) -> Result<Place<'_>, OpenError> {
        Place::enter(&self.client, self.list([(partition, at)])?).map_err(|error| self.unavailable(&error))
    }

    fn list(&self, places: impl IntoIterator<Item = (u32, Offset)>) -> Result<TopicPartitionList, OpenError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in places {
            let added = list.add_partition_offset(&self.topic, number(partition), offset);
            added.map_err(|error| self.unavailable(&error))?;
        }
        Ok(list)
    }

    /// Polls the events of the client. Does not block.
    pub(super) fn hear(&self) {
        hear(&self.client).for_each(drop);
    }

    /// Adds the client's last error: it alone knows that a password or a certificate is wrong.
    fn unavailable(&self, said: &dyn fmt::Display) -> OpenError {
        self.hear();
        let said = match self.client.context().last() {
            Some(last) => format!("{said}: {last}"),
            None => said.to_string(),
        };
        OpenError::Unavailable { brokers: self.brokers.clone(), said }
    }
}

impl fmt::Debug for Inquirer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquirer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
