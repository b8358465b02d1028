//! Reads what lanes ask for.
//!
//! A client of its own that is in no group: a rebalance does not stop it, so that a group that is never done with dividing
//! keeps nobody from reading. Who may write is decided by the leases alone.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::burst::Burst;
use super::context::Reading;
use super::settings::KafkaOptions;
use super::shared::Shared;

/// How long a poll waits for a first record: as late may a seek be.
const POLL_WAIT: Duration = Duration::from_millis(20);
/// Records taken from the client in one go, before they are handed to the lanes.
const BURST_RECORDS: usize = 2000;
/// Bytes of them.
const BURST_BYTES: usize = 2 << 20;
/// How long one partition may be kept waiting by others that are full, before those are paused: pausing throws away what
/// was fetched of them.
const FULL_MAX: Duration = Duration::from_millis(300);
/// How long a seek may take; it does not ask a broker.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long seeks are tried again before all is begun anew.
const SEEK_MAX: Duration = Duration::from_millis(300);
/// How long the brokers have for the range of a partition.
const RANGE_ANSWER: Duration = Duration::from_secs(2);
/// How often it is asked whether the topic is still the same.
const TOPIC_LOOK: Duration = Duration::from_secs(10);
/// How often at most, when the client says that it may not be.
const TOPIC_LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long nobody may have said so before the client is thrown away.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How long the brokers have to say so, before fetching goes on.
const TOPIC_ANSWER: Duration = Duration::from_secs(2);

pub(super) struct Reader<'a> {
    shared: &'a Arc<Shared>,
    options: &'a KafkaOptions,
    /// Of the topic as it was opened.
    topic_id: &'a str,
    consumer: BaseConsumer<Reading>,
    /// What the client has of the topic.
    partitions: Vec<i32>,
    full_since: Option<Instant>,
    looked: Instant,
    /// Since when the brokers do not say whether the topic is still the same.
    unanswered_since: Option<Instant>,
    seeking_since: Option<Instant>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, options: &'a KafkaOptions, topic_id: &'a str) -> Result<Self, String> {
        let config = options.reader().map_err(|error| error.to_string())?;
        let consumer = config.create_with_context(Reading(Arc::clone(shared))).map_err(|error| error.to_string())?;
        let (full_since, looked, seeking_since, unanswered_since) = (None, Instant::now(), None, None);
        let partitions = Vec::new();
        Ok(Reader {
            shared,
            options,
            topic_id,
            consumer,
            partitions,
            full_since,
            looked,
            unanswered_since,
            seeking_since,
        })
    }

    /// Whether it is to be thrown away: a client that gets no answers may get none for a minute, even if the brokers are
    /// there again, and knows of no records that it could be behind of.
    pub(super) fn is_stuck(&self) -> bool {
        self.unanswered_since.is_some_and(|since| since.elapsed() >= STUCK_AFTER)
    }

    /// Takes what there is, or waits for a moment.
    pub(super) fn read(&mut self) {
        let due = if self.shared.look_at_topic.load(Relaxed) { TOPIC_LOOK_AGAIN } else { TOPIC_LOOK };
        if self.looked.elapsed() >= due || self.shared.is_in_doubt() {
            self.look_at_topic();
        }
        if !self.shared.buffers().are(&self.partitions) {
            self.begin_again();
        }
        self.seek();
        self.look_at_ranges();
        if self.has_room() {
            self.take_burst();
        }
    }

    /// Sets the client to where lanes want to read.
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
                std::thread::sleep(POLL_WAIT);
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
                // Just assigned, and not begun yet; or taken away. Either is known by the next round.
                Err(error) => tracing::debug!(partition = one.partition(), %error, "a seek is tried again"),
            }
        }
    }

    /// Begins anew with the partitions that are ours, each where its lane is. An offset that was out of range leaves a
    /// partition without a fetcher, which no seek brings back, but this does.
    fn begin_again(&mut self) {
        let mut buffers = self.shared.buffers();
        let (mut all, mut reading, mut resting) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, next) in buffers.positions() {
            all.push((partition, next));
            if next.is_some() { reading.push((partition, None)) } else { resting.push((partition, None)) }
        }
        let set = |partitions: Vec<(i32, Option<u64>)>, paused: bool| match partitions.is_empty() {
            true => Ok(()),
            false => {
                let list = self.list(partitions.into_iter())?;
                if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
            }
        };
        // Where nobody reads, nothing is fetched: it rests at its end.
        let assigned = self.list(all.into_iter()).and_then(|all| self.consumer.assign(&all));
        // A partition that was paused once stays so.
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

    /// Whether more may be taken from the client. When there is no room and a partition that somebody waits for has
    /// nothing, the others are paused, so that it goes on.
    fn has_room(&mut self) -> bool {
        if self.shared.wait_for_room(self.options.memory_bytes / 3, POLL_WAIT) {
            self.full_since = None;
            let hungry = self.shared.buffers().hungry();
            self.pause(&hungry, false);
            return true;
        }
        if !self.shared.buffers().is_any_starved() {
            self.full_since = None;
            return false;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < FULL_MAX {
            return false;
        }
        let full = self.shared.buffers().full();
        self.pause(&full, true);
        true
    }

    fn pause(&self, partitions: &[i32], paused: bool) {
        if partitions.is_empty() {
            return;
        }
        let done = self
            .list(partitions.iter().map(|partition| (*partition, None)))
            .and_then(|list| if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) });
        match done {
            Ok(()) => self.shared.buffers().set_paused(partitions, paused),
            Err(error) => tracing::debug!(topic = self.shared.topic, %error, paused, "pause or resume is tried again"),
        }
    }

    /// Takes what the client has, up to a limit, and hands it to the lanes at once.
    fn take_burst(&self) {
        let (mut burst, mut ends) = (Burst::default(), Vec::new());
        let mut wait = POLL_WAIT;
        while burst.len() < BURST_RECORDS && burst.bytes() < BURST_BYTES {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => burst.add(&message),
                // It ends after what came before.
                Some(Err(KafkaError::PartitionEOF(partition))) => ends.push((burst.len(), partition)),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => self.shared.client_failed(&error, ""),
                // The callback has told it, with its reason.
                Some(Err(_)) => {}
                None => break,
            }
            wait = Duration::ZERO;
        }
        if burst.len() == 0 && ends.is_empty() {
            return;
        }
        let mut buffers = self.shared.buffers();
        if self.shared.is_in_doubt() {
            buffers.seek_all();
            return;
        }
        let mut ends = ends.into_iter().peekable();
        for (index, (partition, offset, record)) in burst.into_records().enumerate() {
            while let Some((_, ended)) = ends.next_if(|(at, _)| *at <= index) {
                buffers.at_end(ended);
            }
            buffers.accept(partition, offset, record);
        }
        ends.for_each(|(_, ended)| buffers.at_end(ended));
        drop(buffers);
        self.shared.wake();
    }

    /// A topic that was deleted and made again has other records at the same offsets: all that is read of it is lost.
    /// Whether it is known which one it is.
    pub(super) fn look_at_topic(&mut self) -> bool {
        let (shared, topic) = (self.shared, &self.options.topic);
        let doubted = shared.ask_about_doubt();
        let answer = millstream_kafka::topic_id(self.consumer.client(), topic, TOPIC_ANSWER);
        self.looked = Instant::now();
        if answer.is_err() && doubted {
            shared.doubt();
        }
        let is_missing = matches!(answer, Err(millstream_kafka::Error::NoSuchTopic(_)));
        if shared.set_missing(is_missing) && is_missing {
            tracing::error!(topic, "the topic is not there any more: nothing is read until it is");
        }
        match answer {
            Ok(ref id) if id == self.topic_id => shared.look_at_topic.store(false, Relaxed),
            Ok(_) => {
                if !shared.is_made_anew.swap(true, Relaxed) {
                    tracing::error!(topic, "the topic was deleted and made again");
                }
                let mut buffers = shared.buffers();
                for (partition, offset) in buffers.read() {
                    buffers.out_of_range(partition, offset, Some((0, 0, super::MADE_ANEW)));
                }
                drop(buffers);
                shared.wake();
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

    /// The client says that an offset is out of range, but not whose: every partition that is read is looked at.
    fn look_at_ranges(&self) {
        if !self.shared.look_at_ranges.swap(false, Relaxed) {
            return;
        }
        let read = self.shared.buffers().read();
        for (partition, offset) in read {
            let range = self.consumer.fetch_watermarks(&self.options.topic, partition, RANGE_ANSWER);
            let Ok((start, end)) = range else {
                // Another round; the group is to hear of us in between.
                self.shared.look_at_ranges.store(true, Relaxed);
                break;
            };
            let gap = super::gap(offset, start, end);
            self.shared.buffers().out_of_range(partition, offset, gap);
        }
        self.shared.wake();
    }
}

/// Partitions of a topic with their offsets, or at their ends.
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
