//! A bridge from a queue into a stream, which can be read again: receive, append durably, delete.
//!
//! At least once: a crash between append and deletion appends a message again. That does no harm, because repeats do
//! not change the tables. A message is deleted only after the stream has all of its records.
//!
//! A body is split as by `POST /v1/events`: a record per event, keyed by bucket and object key, so that the events of
//! an object stay in one partition. A queue itself promises no order, and none is needed. A part that can never be a
//! record is not lost: the body is appended as one more record, unchanged and without a key, and the pipeline
//! quarantines it; its other events then come twice. Message attributes are not taken over (see
//! [`crate::sources::sqs`]).
//!
//! A message that the stream can never take is left to the queue: it is not deleted, and received again until the
//! queue's redrive policy moves it to its dead-letter queue, or its retention ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use millstream_engine::retry::Backoff;
use millstream_engine::{Position, Record};
use tokio_util::sync::CancellationToken;

use crate::sinks::stream::{Append, AppendError, NewRecord};
use crate::sources::sqs::feed::Feed;
use crate::sources::sqs::{self, Queue};

mod split;
use split::Splitter;

/// Bytes of messages in one append. More: the first of them is durable later. Fewer: more appends. Their records are
/// slices of these bytes.
const APPEND_BYTES: usize = 4 << 20;
/// Waits before retries of an append.
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(10);
/// Timeout at shutdown for the append under way, and again for the deletions. Less than a container's stop timeout.
const END_MAX: Duration = Duration::from_secs(8);

/// The shared counters of a bridge.
#[derive(Debug, Default)]
pub struct Counters {
    /// Those of the queue.
    pub queue: Arc<sqs::Counters>,
    records: AtomicU64,
    messages: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
}

/// Counts since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those of the queue; `deleted` messages are done.
    pub queue: sqs::Counts,
    /// Records that the stream has durably.
    pub records: u64,
    /// Messages that held these records.
    pub messages: u64,
    /// Receipts of messages that the stream can never take, and that are left to the queue.
    pub refused: u64,
    /// Appends that failed and were retried.
    pub errors: u64,
}

impl Counters {
    /// The current values.
    pub fn counts(&self) -> Counts {
        Counts {
            queue: self.queue.counts(),
            records: self.records.load(Relaxed),
            messages: self.messages.load(Relaxed),
            refused: self.refused.load(Relaxed),
            errors: self.errors.load(Relaxed),
        }
    }
}

/// How a bridge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By `shutdown`.
    Asked,
    /// Because the stream is closed.
    StreamClosed,
}

/// Bridges a queue into a stream until `shutdown`. `store` names the store of the queue's objects, if it is not the
/// default store of the pipeline.
///
/// At the end, appended messages are deleted and the others become visible to others at once. This takes up to 16 s
/// when neither the stream nor the queue answers.
pub async fn run(
    queue: Queue,
    stream: Arc<dyn Append>,
    store: Option<String>,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) -> Ended {
    let feed = Feed::new(queue, Arc::clone(&counters.queue));
    // Positions are numbers of this process alone and never stored.
    feed.inbox().start(Some(0), 0);
    feed.receive();
    let bridge = Bridge { feed, stream, splitter: Splitter::new(store), counters };
    let ended = bridge.carry(&shutdown).await;
    bridge.feed.close(END_MAX).await;
    ended
}

struct Bridge {
    feed: Feed,
    stream: Arc<dyn Append>,
    splitter: Splitter,
    counters: Arc<Counters>,
}

impl Bridge {
    async fn carry(&self, shutdown: &CancellationToken) -> Ended {
        let mut arrivals = self.feed.inbox().arrivals();
        let mut next = 0;
        loop {
            arrivals.borrow_and_update();
            // Only our own commits move the beginning, so this position always exists.
            let messages = self.feed.inbox().read(next, APPEND_BYTES).map(|(messages, _)| messages).unwrap_or_default();
            if messages.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => return Ended::Asked,
                    _ = arrivals.changed() => continue,
                }
            }
            // A dropped append may still have happened, so it gets time to answer.
            let late = async {
                shutdown.cancelled().await;
                tokio::time::sleep(END_MAX).await;
            };
            let appended = tokio::select! {
                appended = self.append(&messages, shutdown) => appended,
                () = late => return Ended::Asked,
            };
            if let Err(ended) = appended {
                return ended;
            }
            next += messages.len() as u64;
            self.feed.inbox().commit(next);
            if shutdown.is_cancelled() {
                return Ended::Asked;
            }
        }
    }

    /// Appends messages, with retries while one may help.
    async fn append(&self, messages: &[Record], shutdown: &CancellationToken) -> Result<(), Ended> {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            let records = self.split(messages).await;
            let count = records.len() as u64;
            let error = match self.stream.append(records).await {
                Ok(()) => {
                    self.counters.records.fetch_add(count, Relaxed);
                    self.counters.messages.fetch_add(messages.len() as u64, Relaxed);
                    return Ok(());
                }
                Err(error) => error,
            };
            match (error, messages) {
                (AppendError::Closed, _) => return Err(Ended::StreamClosed),
                (AppendError::Refused(reason), [message]) => {
                    self.refuse(message, &reason);
                    return Ok(());
                }
                (AppendError::Refused(_), _) => {
                    // One of them cannot be taken, so each is appended by itself.
                    for message in messages {
                        Box::pin(self.append(std::slice::from_ref(message), shutdown)).await?;
                    }
                    return Ok(());
                }
                (error @ (AppendError::Full(_) | AppendError::NotDurable(_)), _) => {
                    self.counters.errors.fetch_add(1, Relaxed);
                    tracing::warn!(%error, attempt = backoff.attempts(), "the stream does not take messages of the queue");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = shutdown.cancelled() => return Err(Ended::Asked),
            }
        }
    }

    /// Splits on another thread: bodies of megabytes take milliseconds.
    async fn split(&self, messages: &[Record]) -> Vec<NewRecord> {
        let bodies: Vec<Bytes> = messages.iter().map(|message| message.payload.clone()).collect();
        let splitter = self.splitter.clone();
        let split = move || bodies.into_iter().flat_map(|body| splitter.records(body)).collect();
        match tokio::task::spawn_blocking(split).await {
            Ok(records) => records,
            // A message is not lost for its body: the pipeline judges it whole.
            Err(error) => {
                tracing::error!(%error, "messages could not be split: they are appended as they are");
                messages.iter().map(|message| self.splitter.whole(message.payload.clone())).collect()
            }
        }
    }

    fn refuse(&self, message: &Record, reason: &str) {
        self.counters.refused.fetch_add(1, Relaxed);
        tracing::error!(
            reason,
            bytes = message.payload.len(),
            "the stream can never take a message: it is left to the queue and its redrive policy"
        );
        if let Position::Offset(position) = message.position {
            self.feed.inbox().spare(position);
        }
    }
}
