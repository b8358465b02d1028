//! Amazon SQS as a source for a sink, and the parts with which a bridge reads a queue.
//!
//! Standard and FIFO queues. A queue has no positions and does not keep deleted messages, so this source differs from
//! one of a stream:
//! - Each process has one partition, named after itself, whose positions are its own running numbers. They go on from
//!   the stored one, else from the time in microseconds, so that none is used twice. One partition means one writer:
//!   more throughput takes more processes, or a bridge.
//! - Messages are kept in memory and invisible to others until they are committed, and only then deleted. A commit
//!   comes after the sink's COMMIT: after a crash before it, or before the deletion, they come again, to this process
//!   or to another, under new numbers. Repeats are harmless, because they do not change the tables.
//! - Deleted messages cannot be read again: see [`SqsOptions::accept_loss_on_restore`]. A bridge into a stream
//!   ([`crate::bridge`]) has no such risk.
//! - A message that is never committed becomes visible again after [`SqsOptions::age_max`], and the queue's own redrive
//!   policy may move it to a dead-letter queue. A message that cannot be decoded does not go there: the sink
//!   quarantines it and commits.
//!
//! Records carry the unchanged body, without key or headers: message attributes are not taken over, because nothing
//! decodes them, and a producer could name a store with one.
//!
//! A lease row of about 200 bytes stays for each consumer name ever used. Names are few ([`SqsOptions::consumer`])
//! unless hosts are renamed at each start, as the pods of a Kubernetes Deployment are: name the consumers there (a
//! StatefulSet does), or remove rows that are older than any message can be:
//! `DELETE FROM millstream.lease WHERE incarnation LIKE 'arn:%:sqs:%' AND renewed_at < now() - interval '15 days'`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::clock::now_ms;
use millstream_engine::{Checkpoint, Partition, Position, RecordBatch, Source, SourceError, Want};
use tokio::sync::watch;

mod options;
pub use options::SqsOptions;

mod error;
pub use error::Error;

mod counters;
pub use counters::{Counters, Counts};

pub(crate) mod client;
pub use client::Queue;

mod consumer;
use consumer::Consumer;

pub(crate) mod inbox;
use inbox::{Ends, Start};

mod pace;

mod shared;

pub(crate) mod feed;
use feed::Feed;

mod keep;

mod delete;

/// Timeout of closing: pending deletions, and making messages visible to others.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A queue as a source.
#[derive(Debug)]
pub struct SqsSource {
    feed: Feed,
    consumer: Consumer,
    partition: Partition,
}

impl SqsSource {
    /// Finds the queue. Nothing is received before a lane starts to read.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub async fn open(options: SqsOptions) -> Result<Arc<SqsSource>, Error> {
        Ok(SqsSource::new(Queue::open(options).await?, Arc::default()))
    }

    /// Reads a queue that was found.
    pub fn new(queue: Queue, counters: Arc<Counters>) -> Arc<SqsSource> {
        let consumer = Consumer::new(queue.options.consumer.as_deref(), queue.incarnation());
        let partition = Partition::new(&consumer.name);
        Arc::new(SqsSource { feed: Feed::new(queue, counters), consumer, partition })
    }

    /// The name of this process among the readers of the queue.
    pub fn consumer(&self) -> &str {
        &self.consumer.name
    }

    /// The counters of messages.
    pub fn counters(&self) -> &Arc<Counters> {
        self.feed.counters()
    }

    /// When the oldest uncommitted message of this process was sent, in milliseconds since 1970. Messages that wait in
    /// the queue may be older: SQS reports that only to CloudWatch.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.feed.inbox().oldest_ms()
    }

    /// Long polls that may run concurrently now.
    pub fn polling(&self) -> usize {
        self.feed.polling()
    }

    /// Uncommitted messages of this process, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        self.feed.inbox().size()
    }

    /// Stops reading, once no lane reads any more: deletes committed messages and makes the others visible to other
    /// readers at once. Gives up after `within`.
    pub async fn close(&self, within: Duration) {
        self.feed.close(within).await;
    }

    fn gap(&self, stored: u64, ends: Ends) -> SourceError {
        SourceError::Gap {
            partition: self.partition.clone(),
            stored: Position::Offset(stored),
            start: Position::Offset(ends.first),
            end: Position::Offset(ends.end),
            reason: if stored < ends.first {
                "the database went back, and what was deleted from the queue cannot be read again"
            } else {
                "the positions of this consumer were moved by somebody else"
            }
            .into(),
        }
    }

    fn behind(&self, stored: u64, missing: u64, ends: Ends) -> Result<Position, SourceError> {
        if !self.feed.queue().options.accept_loss_on_restore {
            return Err(self.gap(stored, ends));
        }
        tracing::error!(
            partition = %self.partition,
            stored,
            missing,
            "db_rewound: the database went back behind messages that are deleted from the queue; reading goes on without them"
        );
        self.feed.inbox().renumber(stored);
        Ok(Position::Offset(stored))
    }
}

fn offset(position: &Position) -> Result<u64, SourceError> {
    match position {
        Position::Offset(offset) => Ok(*offset),
        Position::Sequence(text) => Err(SourceError::Broken(format!("the position {text} is no offset").into())),
    }
}

#[async_trait]
impl Source for SqsSource {
    fn incarnation(&self) -> &str {
        self.feed.queue().incarnation()
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        watch::Sender::new(vec![self.partition.clone()]).subscribe()
    }

    /// Nothing is assigned: the queue gives each message to one reader at a time.
    async fn confirm(&self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn start(&self, _: &Partition, stored: Option<&Position>, _: Option<i64>) -> Result<Position, SourceError> {
        let stored = stored.map(offset).transpose()?;
        let (start, ends) = self.feed.inbox().start(stored, (now_ms().max(0) as u64).saturating_mul(1000));
        let stored = stored.unwrap_or(ends.first);
        let begin = match start {
            Start::Here => Position::Offset(stored),
            Start::Behind(missing) => self.behind(stored, missing, ends)?,
            Start::Ahead => {
                tracing::warn!(partition = %self.partition, stored, "the stored position was moved by somebody else: does another process have the name of this consumer? No message is lost by it");
                Position::Offset(stored)
            }
        };
        self.feed.receive();
        Ok(begin)
    }

    /// A queue has no history.
    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        // Subscribed before looking, so that an arrival between the look and the wait is not missed.
        let mut arrivals = self.feed.inbox().arrivals();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            arrivals.borrow_and_update();
            let mut batches = Vec::new();
            for want in wants.iter().filter(|want| want.partition == self.partition) {
                let from = offset(&want.from)?;
                let read = self.feed.inbox().read(from, want.bytes_max);
                let (records, next) = read.map_err(|ends| self.gap(from, ends))?;
                if !records.is_empty() {
                    let partition = self.partition.clone();
                    batches.push(RecordBatch { partition, records, next: Position::Offset(next) });
                }
            }
            if !batches.is_empty() {
                return Ok(batches);
            }
            if let Some(error) = self.feed.trouble() {
                return Err(error.for_engine());
            }
            // We hold the feed, so only the timeout can fail this.
            if tokio::time::timeout_at(deadline, arrivals.changed()).await.is_err() {
                return Ok(batches);
            }
        }
    }

    fn revive(&self) {
        self.feed.revive();
    }

    /// Marks messages before the positions, which are durable in the sink, for deletion. The calls come later.
    async fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        for (_, next) in checkpoint.positions().filter(|(partition, _)| **partition == self.partition) {
            self.feed.inbox().commit(offset(next)?);
        }
        Ok(())
    }

    async fn close(&self) {
        SqsSource::close(self, CLOSE_WITHIN).await;
    }

    /// The messages of this process, and about those that wait in the queue.
    fn lag_records(&self, _: &Partition, next: &Position) -> Option<u64> {
        let here = self.feed.inbox().ends().end.saturating_sub(offset(next).ok()?);
        match self.feed.waiting() {
            Some(waiting) => Some(here.saturating_add(waiting)),
            // Held messages show a lag even if the queue's count is unknown.
            None => Some(here).filter(|here| *here > 0),
        }
    }
}
