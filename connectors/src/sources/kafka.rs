//! A topic of Apache Kafka as a source.
//!
//! The consumer group decides which process reads which partition; the tables hold the position; the lease rows fence a
//! process that lost a partition and does not know it yet. No offset of the client or the broker is ever used: the
//! client seeks to where a lane wants to read, and a position that the topic does not have is a gap, never a jump.
//! Offsets committed to the group are for people and their tools.

mod buffers;
mod burst;
mod client;
mod context;
mod epochs;
mod fault;
mod inquirer;
mod place;
mod queues;
mod reader;
mod settings;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::{Checkpoint, Partition, Position, RecordBatch, Source, SourceError, Want};
use tokio::sync::watch;
use tokio::time::Instant;

use buffers::Taken;
pub use inquirer::{Inquirer, OpenError};
pub use settings::{Cluster, KafkaOptions, check, refused};
use shared::Shared;

/// Timeout of a question to the brokers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Timeout of leaving the group.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The reason of the gap after a topic was deleted and made again.
const MADE_ANEW: &str = "the topic was deleted and made again, and what it holds now is read only after a restart";

/// A topic, read as a member of a consumer group.
pub struct KafkaSource {
    shared: Arc<Shared>,
    incarnation: String,
    /// Asks the brokers from outside of the group.
    inquirer: Arc<Inquirer>,
    heartbeat: Duration,
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl KafkaSource {
    /// Joins the group. Blocks for some seconds at most.
    ///
    /// # Errors
    /// If the brokers do not answer, or the topic does not exist.
    pub fn open(options: KafkaOptions) -> Result<Self, OpenError> {
        let ask = || {
            let inquirer = Inquirer::new(&options.cluster, &options.topic, &options.group)?;
            Ok((inquirer.topic_id()?, inquirer.partitions()?, inquirer))
        };
        // Brokers that have just started may never answer the first client.
        let (topic_id, partitions, inquirer) = match ask() {
            Err(OpenError::Unavailable { .. }) => ask()?,
            asked => asked?,
        };
        let incarnation = inquirer.incarnation()?;
        let shared = Arc::new(Shared::new(&options.topic, topic_id));
        let heartbeat = options.heartbeat();
        let inner = Arc::clone(&shared);
        let inquirer = Arc::new(inquirer);
        let asks = Arc::clone(&inquirer);
        let thread = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || client::run(&inner, &options, partitions, || asks.hear()))
            .map_err(|error| OpenError::Settings(error.to_string()))?;
        let thread = std::sync::Mutex::new(Some(thread));
        Ok(KafkaSource { shared, incarnation, inquirer, heartbeat, thread })
    }

    /// The number of failed commits to the group.
    pub fn commits_failed(&self) -> u64 {
        self.shared.commits_failed()
    }

    /// Asks the brokers without blocking the caller's thread.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Inquirer) -> Result<T, OpenError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let inquirer = Arc::clone(&self.inquirer);
        let answer = tokio::task::spawn_blocking(move || question(&inquirer)).await;
        answer
            .map_err(|error| SourceError::Broken(Box::new(error)))?
            .map_err(|error| SourceError::Unavailable(Box::new(error)))
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // The thread ends by itself; `close` also waits for that.
        self.shared.stop();
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource").field("topic", &self.shared.topic).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.shared.assignment.subscribe()
    }

    /// Waits for two heartbeats, since a member that was replaced learns it with its next one.
    async fn confirm(&self) -> Result<(), SourceError> {
        let began = Instant::now();
        let rounds = self.shared.rounds.load(Relaxed);
        let heard =
            || began.elapsed() >= 2 * self.heartbeat && self.shared.rounds.load(Relaxed) >= rounds.wrapping_add(2);
        while !heard() || self.shared.is_dividing() {
            if began.elapsed() > ANSWER_WITHIN {
                // Another process has written meanwhile: until the group answers, no partition is ours.
                self.shared.give_up();
                return Err(SourceError::Unavailable("the Kafka client stands still".into()));
            }
            tokio::time::sleep(self.heartbeat / 4).await;
        }
        Ok(())
    }

    fn revive(&self) {
        self.shared.revive();
    }

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        era: Option<i64>,
    ) -> Result<Position, SourceError> {
        let number = number(partition)?;
        let asked = u32::try_from(number).unwrap_or(u32::MAX);
        let (start, end) = self.ask(move |inquirer| inquirer.range(asked)).await?;
        let from = match stored {
            None => start,
            Some(Position::Offset(offset)) => *offset,
            Some(Position::Sequence(text)) => {
                return Err(SourceError::Broken(format!("the stored position {text} is no offset").into()));
            }
        };
        let made_anew = self.shared.is_made_anew().then_some(MADE_ANEW);
        if let Some(reason) = made_anew.or_else(|| gap_between(from, start, end)) {
            // A partition that was never read is lost from its beginning.
            let stored = if stored.is_none() { 0 } else { from };
            return Err(lost(partition, stored, start, end, reason));
        }
        if let Some(epoch) = era.filter(|_| from > start).and_then(|era| i32::try_from(era).ok())
            && !self.ask(move |inquirer| inquirer.has_epoch(asked, from, epoch)).await?
        {
            return Err(lost(partition, from, from, from, TRUNCATED));
        }
        // The former owner may not have committed its last position to the group.
        self.shared.commits().insert(number, from);
        Ok(Position::Offset(from))
    }

    /// The leader epoch of the record before it (KIP-320).
    fn era(&self, partition: &Partition, next: &Position) -> Option<i64> {
        let Position::Offset(next) = next else { return None };
        self.shared.buffers().epoch_before(number(partition).ok()?, *next).map(i64::from)
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let mut changed = self.shared.changed.subscribe();
        let (deadline, (faults, _)) = (Instant::now() + wait, self.shared.fault());
        loop {
            changed.borrow_and_update();
            let batches = self.take(wants)?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            if let Some(reason) = self.shared.broken() {
                return Err(SourceError::Broken(reason.into()));
            }
            if self.shared.is_missing() {
                let reason = format!("topic {} is not there any more", self.shared.topic);
                return Err(SourceError::Unavailable(reason.into()));
            }
            let (faults_now, reason) = self.shared.fault();
            if faults_now != faults {
                return Err(SourceError::Unavailable(reason.into()));
            }
            // The source holds the sender, so the channel does not close.
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        let mut commits = self.shared.commits();
        for (partition, next) in checkpoint.positions() {
            if let (Ok(partition), Position::Offset(next)) = (number(partition), next) {
                commits.insert(partition, *next);
            }
        }
        Ok(())
    }

    /// Commits the last positions to the group and leaves it. With a name of its own it does not leave: it may then
    /// come back within the session without a rebalance.
    async fn close(&self) {
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        match tokio::time::timeout(CLOSE_WITHIN, joined).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => tracing::error!(topic = self.shared.topic, "the thread of the Kafka client panicked"),
            Err(_) => tracing::warn!(topic = self.shared.topic, "the group was not left in time"),
        }
    }

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        let Position::Offset(next) = next else { return None };
        let end = self.shared.buffers().end(number(partition).ok()?)?;
        Some(end.saturating_sub(*next))
    }
}

impl KafkaSource {
    fn take(&self, wants: &[Want]) -> Result<Vec<RecordBatch>, SourceError> {
        let (mut batches, mut buffers) = (Vec::new(), self.shared.buffers());
        for want in wants {
            let Position::Offset(from) = want.from else { continue };
            match buffers.take(number(&want.partition)?, from, want.bytes_max) {
                Taken::Records(records, next) => {
                    let partition = want.partition.clone();
                    let next = Position::Offset(next);
                    batches.push(RecordBatch { partition, records, next });
                }
                Taken::Gap(start, end, reason) => return Err(lost(&want.partition, from, start, end, reason)),
                // The reader has stopped by now.
                Taken::Nothing if self.shared.is_made_anew() && batches.is_empty() => {
                    return Err(lost(&want.partition, from, 0, 0, MADE_ANEW));
                }
                // The lane learns of that by itself.
                Taken::Nothing | Taken::NotOurs => {}
            }
        }
        drop(buffers);
        // There is room now, or another offset to read from.
        self.shared.ring();
        Ok(batches)
    }
}

/// The reason of the gap in a partition that was truncated while no process read it, and has grown since.
const TRUNCATED: &str =
    "the partition was truncated and has grown since: what stands before this position now are other records";

fn number(partition: &Partition) -> Result<i32, SourceError> {
    partition.as_str().parse().map_err(|error| SourceError::Broken(Box::new(error)))
}

/// Why a partition that holds `start` to `end` does not have an offset; `None` if it has.
fn gap_between(offset: u64, start: u64, end: u64) -> Option<&'static str> {
    if offset < start {
        Some("retention or a deletion has removed the records in between")
    } else if offset > end {
        Some("the partition ends before it: it was truncated, or the topic was made anew")
    } else {
        None
    }
}

/// As [`gap_between`], with the brokers' range, for the buffers.
fn gap(offset: u64, start: i64, end: i64) -> Option<(u64, u64, &'static str)> {
    let start = u64::try_from(start).unwrap_or(0);
    let end = u64::try_from(end).unwrap_or(0);
    gap_between(offset, start, end).map(|reason| (start, end, reason))
}

fn lost(partition: &Partition, stored: u64, start: u64, end: u64, reason: &'static str) -> SourceError {
    SourceError::Gap {
        partition: partition.clone(),
        stored: Position::Offset(stored),
        start: Position::Offset(start),
        end: Position::Offset(end),
        reason: reason.into(),
    }
}
