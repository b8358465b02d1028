//! The thread that owns the client: a member of the group that fetches what lanes ask for.
//!
//! `BaseConsumer`, polled by hand: its callbacks run where we expect them, nothing can miss a wake-up, and a client that
//! stands still can be thrown away and made anew.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_engine::{Position, Record};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::Context;
use super::settings::KafkaOptions;
use super::shared::Shared;

/// How long a poll waits for a first record: as late may a seek be.
const POLL_WAIT: Duration = Duration::from_millis(20);
/// Records taken from the client in one go, before they are handed to the lanes.
const BURST_RECORDS: usize = 2000;
/// Bytes of them.
const BURST_BYTES: usize = 2 << 20;
/// How long everything may be full before partitions are paused: pausing throws away what was fetched.
const FULL_MAX: Duration = Duration::from_secs(1);
/// How often the group is told our positions.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How long a seek may take; it does not ask a broker.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long seeks are tried again before the assignment is taken again.
const SEEK_MAX: Duration = Duration::from_millis(300);
/// How often it is asked whether the topic is still the same.
const TOPIC_LOOK: Duration = Duration::from_secs(30);
/// How often at most, when the client says that it may not be.
const TOPIC_LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the brokers have to say so, before fetching goes on.
const TOPIC_ANSWER: Duration = Duration::from_secs(2);

/// Runs clients until told to stop. `topic_id` is that of the topic as it was opened.
pub(super) fn run(shared: &Arc<Shared>, options: &KafkaOptions, topic_id: &str) {
    while !shared.is_stopped() {
        let made = options.consumer().map_err(|error| error.to_string()).and_then(|config| {
            let made = config.create_with_context(Context(Arc::clone(shared)));
            let made: BaseConsumer<Context> = made.map_err(|error| error.to_string())?;
            made.subscribe(&[&options.topic]).map_err(|error| error.to_string())?;
            Ok(made)
        });
        match made {
            Ok(consumer) => {
                let (committed, looked) = (Instant::now(), Instant::now());
                let (full_since, seeking_since) = (None, None);
                let client =
                    Client { shared, options, topic_id, consumer, full_since, committed, looked, seeking_since };
                client.serve();
            }
            Err(error) => {
                shared.break_with(error);
                return;
            }
        }
        // Dropping it has left the group, or told it that we come back.
        shared.revoked();
    }
}

struct Client<'a> {
    shared: &'a Arc<Shared>,
    options: &'a KafkaOptions,
    topic_id: &'a str,
    consumer: BaseConsumer<Context>,
    full_since: Option<Instant>,
    committed: Instant,
    looked: Instant,
    seeking_since: Option<Instant>,
}

impl Client<'_> {
    /// Fetches until told to stop or to begin anew.
    fn serve(mut self) {
        while !self.shared.is_stopped() && !self.shared.is_to_revive() && self.shared.broken().is_none() {
            self.shared.rounds.fetch_add(1, Relaxed);
            self.seek();
            self.look_at_topic();
            self.look_at_ranges();
            if self.committed.elapsed() >= COMMIT_EVERY {
                self.commit(CommitMode::Async);
            }
            if !self.has_room() {
                continue;
            }
            let confirms = self.shared.is_unconfirmed();
            self.take_burst();
            if confirms && self.shared.is_unconfirmed() {
                self.shared.publish();
            }
        }
        self.commit(CommitMode::Sync);
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

    /// An offset that was out of range leaves a partition without a fetcher, which no seek brings back: the assignment is
    /// taken once more, each partition from where its reader is.
    fn begin_again(&self) {
        let mut buffers = self.shared.buffers();
        let (mut all, mut resting) = (Vec::new(), Vec::new());
        for (partition, next) in buffers.positions() {
            all.push((partition, Some(next.unwrap_or(0))));
            if next.is_none() {
                resting.push((partition, None));
            }
        }
        let done = self.list(all.iter().copied()).and_then(|all| self.consumer.assign(&all)).and_then(|()| {
            if resting.is_empty() { Ok(()) } else { self.consumer.pause(&self.list(resting.into_iter())?) }
        });
        match done {
            Ok(()) => buffers.begun_again(),
            Err(error) => tracing::warn!(topic = self.shared.topic, %error, "the assignment could not be taken again"),
        }
    }

    fn list(&self, partitions: impl Iterator<Item = (i32, Option<u64>)>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            match offset {
                Some(offset) => {
                    let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
                    list.add_partition_offset(&self.options.topic, partition, offset)?;
                }
                None => drop(list.add_partition(&self.options.topic, partition)),
            }
        }
        Ok(list)
    }

    /// Whether more may be taken from the client. When all is full for long, the full partitions are paused, so that the
    /// others go on and the group still hears of us.
    fn has_room(&mut self) -> bool {
        if self.shared.wait_for_room(self.options.memory_bytes / 3, POLL_WAIT) {
            self.full_since = None;
            let hungry = self.shared.buffers().hungry();
            self.pause(&hungry, false);
            return true;
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
        let (mut burst, mut ends, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut wait = POLL_WAIT;
        while burst.len() < BURST_RECORDS && bytes < BURST_BYTES {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let record = record(&message);
                    bytes += record.cost_bytes();
                    burst.push((message.partition(), record));
                }
                // It ends after what came before.
                Some(Err(KafkaError::PartitionEOF(partition))) => ends.push((burst.len(), partition)),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => self.shared.client_failed(&error, ""),
                // The callback has told it, with its reason.
                Some(Err(_)) => {}
                None => break,
            }
            wait = Duration::ZERO;
        }
        if burst.is_empty() && ends.is_empty() {
            return;
        }
        let mut buffers = self.shared.buffers();
        let mut ends = ends.into_iter().peekable();
        for (index, (partition, record)) in burst.into_iter().enumerate() {
            while let Some((_, ended)) = ends.next_if(|(at, _)| *at <= index) {
                buffers.at_end(ended);
            }
            if let Position::Offset(offset) = record.position {
                buffers.accept(partition, offset, record);
            }
        }
        ends.for_each(|(_, ended)| buffers.at_end(ended));
        drop(buffers);
        self.shared.wake();
    }

    /// A topic that was deleted and made again has other records at the same offsets: all that is read of it is lost.
    fn look_at_topic(&mut self) {
        let due = if self.shared.look_at_topic.load(Relaxed) { TOPIC_LOOK_AGAIN } else { TOPIC_LOOK };
        if self.looked.elapsed() < due {
            return;
        }
        self.looked = Instant::now();
        match millstream_kafka::topic_id(self.consumer.client(), &self.options.topic, TOPIC_ANSWER) {
            Ok(id) if id == self.topic_id => self.shared.look_at_topic.store(false, Relaxed),
            Ok(_) => {
                if !self.shared.is_made_anew.swap(true, Relaxed) {
                    tracing::error!(topic = self.options.topic, "the topic was deleted and made again");
                }
                let mut buffers = self.shared.buffers();
                for (partition, offset) in buffers.read() {
                    buffers.out_of_range(partition, offset, Some((0, 0, super::MADE_ANEW)));
                }
                drop(buffers);
                self.shared.wake();
            }
            Err(error) => {
                tracing::warn!(topic = self.options.topic, %error, "it is not known whether the topic is still there")
            }
        }
    }

    /// The client says that an offset is out of range, but not whose: every partition that is read is looked at.
    fn look_at_ranges(&self) {
        if !self.shared.look_at_ranges.swap(false, Relaxed) {
            return;
        }
        let read = self.shared.buffers().read();
        for (partition, offset) in read {
            let range = self.consumer.fetch_watermarks(&self.options.topic, partition, SEEK_TIMEOUT);
            let Ok((start, end)) = range else {
                self.shared.look_at_ranges.store(true, Relaxed);
                continue;
            };
            let gap = super::gap(offset, start, end);
            self.shared.buffers().out_of_range(partition, offset, gap);
        }
        self.shared.wake();
    }

    /// Tells the group how far the tables are: for people and their tools.
    fn commit(&mut self, mode: CommitMode) {
        self.committed = Instant::now();
        let positions = std::mem::take(&mut *self.shared.commits());
        if positions.is_empty() {
            return;
        }
        let list = self.list(positions.into_iter().map(|(partition, next)| (partition, Some(next))));
        if let Err(error) = list.and_then(|list| self.consumer.commit(&list, mode)) {
            tracing::debug!(topic = self.shared.topic, %error, "the group was not told our positions");
            self.shared.commit_failed(&error);
        }
    }
}

/// Copies a message: what the client holds is not counted against its limits.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let copy = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.into(), header.value.map_or_else(Bytes::new, Bytes::copy_from_slice))
        };
        headers.iter().map(copy).collect()
    });
    Record {
        position: Position::Offset(u64::try_from(message.offset()).unwrap_or(0)),
        published_at_ms: message.timestamp().to_millis().filter(|at_ms| *at_ms >= 0).unwrap_or_else(now_ms),
        key: message.key().map_or_else(Bytes::new, Bytes::copy_from_slice),
        headers,
        payload: message.payload().map_or_else(Bytes::new, Bytes::copy_from_slice),
    }
}

/// For records of producers that give no time.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
