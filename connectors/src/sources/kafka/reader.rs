//! Reads the partitions that lanes want.
//!
//! It has its own client, which is in no group: a rebalance does not stop it, so lanes can read even while a group
//! rebalances all the time. The leases alone decide who may write.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::{Reading, hear};
use super::queues::Queues;
use super::settings::KafkaOptions;
use super::shared::Shared;

/// Longest wait for a wake-up, after which it checks by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Share of the memory budget (one twelfth) that waiting records may fill before per-partition limits apply. The client
/// holds as much and more, and lanes have their own queues: enough to keep every lane busy.
const MEMORY_PART: usize = 12;
/// Timeout of a seek, which does not ask a broker.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// Retry seeks for this long, then assign all partitions anew.
const SEEK_MAX: Duration = Duration::from_millis(300);
/// Timeout of a query for the range of a partition.
const RANGE_ANSWER: Duration = Duration::from_secs(2);
/// Interval of the checks whether the topic is still the same.
const TOPIC_LOOK: Duration = Duration::from_secs(10);
/// Minimum interval between topic checks after the client reported a problem.
const TOPIC_LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Rebuild the client when the topic could not be confirmed for this long.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Timeout of one topic check.
const TOPIC_ANSWER: Duration = Duration::from_secs(2);

pub(super) struct Reader<'a> {
    shared: &'a Arc<Shared>,
    options: &'a KafkaOptions,
    /// Dropped before their client.
    queues: Queues,
    consumer: Arc<BaseConsumer<Reading>>,
    /// The partitions assigned to the client.
    partitions: Vec<i32>,
    looked: Instant,
    /// Since when the brokers have not confirmed that the topic is still the same.
    unanswered_since: Option<Instant>,
    seeking_since: Option<Instant>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, options: &'a KafkaOptions, partitions: u32) -> Result<Self, String> {
        let config = options.reader(partitions).map_err(|error| error.to_string())?;
        let consumer = config.create_with_context(Reading(Arc::clone(shared))).map_err(|error| error.to_string())?;
        Ok(Reader {
            shared,
            options,
            queues: Queues::default(),
            consumer: Arc::new(consumer),
            partitions: Vec::new(),
            looked: Instant::now(),
            unanswered_since: None,
            seeking_since: None,
        })
    }

    /// Whether it must be replaced: a client without answers may get none for a minute, even after the brokers are
    /// back, and does not know how far it is behind.
    pub(super) fn is_stuck(&self) -> bool {
        self.unanswered_since.is_some_and(|since| since.elapsed() >= STUCK_AFTER)
    }

    /// Takes waiting records, or waits for up to `LOOK_EVERY`.
    pub(super) fn read(&mut self) {
        let due = if self.shared.look_at_topic.load(Relaxed) { TOPIC_LOOK_AGAIN } else { TOPIC_LOOK };
        if self.looked.elapsed() >= due {
            self.look_at_topic();
        }
        if self.shared.is_made_anew() {
            self.rest();
            return;
        }
        if self.shared.is_unsure() {
            self.ask_which_topic();
            self.rest();
            return;
        }
        if !self.shared.buffers().are(&self.partitions) {
            self.begin_again();
        }
        self.seek();
        self.look_at_ranges();
        if !self.take_burst() {
            self.shared.wait_for_ring(LOOK_EVERY);
        }
    }

    /// Makes the client learn the topic's id again, which it then reports in its log, and asks the brokers itself.
    fn ask_which_topic(&mut self) {
        if self.looked.elapsed() < TOPIC_LOOK_AGAIN {
            return;
        }
        if let Err(error) = self.consumer.fetch_metadata(Some(&self.options.topic), TOPIC_ANSWER) {
            tracing::debug!(topic = self.shared.topic, %error, "it is asked again which topic this is");
        }
        self.look_at_topic();
    }

    /// Stops the client from reading, and waits for up to `LOOK_EVERY`.
    fn rest(&mut self) {
        if !self.partitions.is_empty() {
            match self.consumer.unassign() {
                Ok(()) => self.partitions.clear(),
                Err(error) => tracing::warn!(topic = self.shared.topic, %error, "the client still reads the topic"),
            }
        }
        hear(&self.consumer).for_each(drop);
        self.shared.wait_for_ring(LOOK_EVERY);
    }

    /// Makes the client seek to where lanes want to read.
    fn seek(&mut self) {
        let seeks = self.shared.buffers().seeks();
        if seeks.is_empty() {
            self.seeking_since = None;
            return;
        }
        let since = *self.seeking_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SEEK_MAX {
            self.seeking_since = None;
            self.begin_again();
            return;
        }
        let done = self.list(seeks.iter().map(|(partition, offset)| (*partition, Some(*offset)))).and_then(|list| {
            let sought = self.consumer.seek_partitions(list, SEEK_TIMEOUT)?;
            let resumed = self.list(seeks.iter().map(|(partition, _)| (*partition, None)))?;
            self.consumer.resume(&resumed)?;
            Ok(sought)
        });
        let sought = match done {
            Ok(sought) => sought,
            Err(error) => {
                tracing::debug!(topic = self.shared.topic, %error, "a seek is tried again");
                std::thread::sleep(LOOK_EVERY);
                return;
            }
        };
        let mut buffers = self.shared.buffers();
        for one in sought.elements() {
            match one.error() {
                Ok(()) => {
                    if let Some((_, offset)) = seeks.iter().find(|(partition, _)| *partition == one.partition()) {
                        buffers.sought(one.partition(), *offset);
                    }
                }
                // The assignment has not taken effect yet, or was revoked. The next round knows which.
                Err(error) => tracing::debug!(partition = one.partition(), %error, "a seek is tried again"),
            }
        }
    }

    /// Assigns our partitions anew, each at the position of its lane. After an offset was out of range, a partition has
    /// no fetcher; a seek does not bring it back, but this does.
    fn begin_again(&mut self) {
        let mut buffers = self.shared.buffers();
        let mut all = Vec::new();
        let mut reading = Vec::new();
        let mut resting = Vec::new();
        for (partition, next) in buffers.positions() {
            all.push((partition, next));
            if next.is_some() { reading.push((partition, None)) } else { resting.push((partition, None)) }
        }
        self.queues.split(&self.consumer, self.shared, all.iter().map(|(partition, _)| *partition));
        let set = |partitions: Vec<(i32, Option<u64>)>, paused: bool| match partitions.is_empty() {
            true => Ok(()),
            false => {
                let list = self.list(partitions.into_iter())?;
                if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
            }
        };
        // A partition without a reader is not fetched: it is paused at its end.
        let assigned = self.list(all.into_iter()).and_then(|all| self.consumer.assign(&all));
        // A partition stays paused until it is resumed.
        match assigned.and_then(|()| set(resting, true)).and_then(|()| set(reading, false)) {
            Ok(()) => {
                buffers.begun_again();
                self.partitions = buffers.positions().into_iter().map(|(partition, _)| partition).collect();
            }
            Err(error) => tracing::warn!(topic = self.shared.topic, %error, "the assignment could not be taken again"),
        }
    }

    fn list(&self, partitions: impl Iterator<Item = (i32, Option<u64>)>) -> KafkaResult<TopicPartitionList> {
        list(&self.options.topic, partitions)
    }

    /// Takes records from the client, up to a limit, and passes them to the lanes. Returns whether there were any.
    fn take_burst(&mut self) -> bool {
        let room = self.shared.buffers().room(self.options.memory_bytes / MEMORY_PART);
        let got = self.queues.take(&self.consumer, self.shared, &room);
        if got.is_empty() {
            return false;
        }
        // It is unknown which of these records belong to the topic that was opened.
        if self.shared.is_made_anew() || self.shared.is_unsure() {
            return true;
        }
        let mut buffers = self.shared.buffers();
        let mut ends = got.ends.into_iter().peekable();
        for (index, (partition, offset, epoch, record)) in got.burst.into_records().enumerate() {
            while let Some((_, ended)) = ends.next_if(|(at, _)| *at <= index) {
                buffers.at_end(ended);
            }
            buffers.accept(partition, offset, epoch, record);
        }
        ends.for_each(|(_, ended)| buffers.at_end(ended));
        drop(buffers);
        self.shared.wake();
        true
    }

    /// Asks for the id of the topic with our name. Returns whether it is known.
    pub(super) fn look_at_topic(&mut self) -> bool {
        let shared = self.shared;
        let topic = &self.options.topic;
        let answer = millstream_kafka::topic_id(self.consumer.client(), topic, TOPIC_ANSWER);
        self.looked = Instant::now();
        let is_missing = matches!(answer, Err(millstream_kafka::Error::NoSuchTopic(_)));
        if shared.set_missing(is_missing) && is_missing {
            tracing::error!(topic, "the topic is not there any more: nothing is read until it is");
        }
        match answer {
            Ok(ref id) => {
                shared.look_at_topic.store(false, Relaxed);
                shared.topic_is(id);
            }
            Err(_) if is_missing => shared.look_at_topic.store(true, Relaxed),
            Err(ref error) => {
                shared.look_at_topic.store(true, Relaxed);
                if self.unanswered_since.is_none() {
                    tracing::warn!(topic, %error, "it is not known whether the topic is still there");
                }
                self.unanswered_since.get_or_insert_with(Instant::now);
                return false;
            }
        }
        self.unanswered_since = None;
        answer.is_ok()
    }

    /// The client reports an offset out of range, but not its partition: checks every partition that is read.
    fn look_at_ranges(&self) {
        if !self.shared.look_at_ranges.swap(false, Relaxed) {
            return;
        }
        let read = self.shared.buffers().read();
        for (partition, offset) in read {
            let range = self.consumer.fetch_watermarks(&self.options.topic, partition, RANGE_ANSWER);
            let Ok((start, end)) = range else {
                // Retry in another round: the member must be polled in between.
                self.shared.look_at_ranges.store(true, Relaxed);
                break;
            };
            let gap = super::gap(offset, start, end);
            self.shared.buffers().out_of_range(partition, offset, gap);
        }
        self.shared.wake();
    }
}

/// A list of partitions of a topic with their offsets, or at their ends.
pub(super) fn list(
    topic: &str,
    partitions: impl Iterator<Item = (i32, Option<u64>)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        let offset = offset.map_or(Offset::End, |offset| Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX)));
        list.add_partition_offset(topic, partition, offset)?;
    }
    Ok(list)
}
