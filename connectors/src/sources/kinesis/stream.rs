//! Shared by all shards of a stream: the client, the list of shards, and whether the stream is still the same.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::clock::now_ms;
use millstream_engine::{Partition, SourceError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::place::Place;
use crate::kinesis::client::{Client, Listed};
use crate::kinesis::failure::{Failure, Kind};

/// Margin by which the retention is assumed to be shorter: clocks differ, and a batch takes time.
const MARGIN_MS: i64 = 10 * 60 * 1_000;

/// How long a check of the stream is valid for new iterators. Longer: more records of another stream could be read at
/// old positions. Shorter: many shards that begin at once ask more often than Kinesis answers (20 times a second).
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// A stream that is read.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) client: Client,
    /// Its ARN and creation time.
    pub(super) incarnation: String,
    pub(super) reads_per_second: NonZeroU32,
    /// Interval of renewing the place of a quiet shard.
    quiet: Duration,
    retention_ms: AtomicI64,
    /// When the stream was last checked, or why it is no longer the one that was opened.
    look: Mutex<Result<Instant, String>>,
    /// How long a check is valid.
    look_every: Duration,
    /// All shards of the stream, by name.
    pub(super) listed: watch::Sender<Arc<BTreeMap<Partition, Listed>>>,
    /// Requests an immediate read of the list.
    pub(super) relist: Notify,
    changes: watch::Sender<u64>,
}

impl Stream {
    /// Reads the stream's description and its list of shards.
    pub(super) async fn open(
        client: Client,
        reads_per_second: NonZeroU32,
        quiet: Duration,
        list_every: Duration,
    ) -> Result<Self, SourceError> {
        let summary = client.describe().await.map_err(by_kind)?;
        if !summary.is_ready {
            return Err(SourceError::Unavailable("the stream is being made or deleted".into()));
        }
        let stream = Stream {
            client,
            incarnation: summary.incarnation,
            reads_per_second,
            quiet,
            retention_ms: AtomicI64::new(ms(summary.retention)),
            look: Mutex::new(Ok(Instant::now())),
            look_every: list_every.min(LOOK_EVERY_MAX),
            listed: watch::Sender::default(),
            relist: Notify::new(),
            changes: watch::Sender::default(),
        };
        stream.list().await?;
        Ok(stream)
    }

    /// Reads the list of shards, and checks that the stream is still the same.
    pub(super) async fn list(&self) -> Result<(), SourceError> {
        self.is_the_same().await?;
        let listed = self.client.list_shards().await.map_err(by_kind)?;
        let listed: BTreeMap<Partition, Listed> =
            listed.into_iter().map(|shard| (Partition::new(&shard.id), shard)).collect();
        self.listed.send_if_modified(|known| {
            let is_new = **known != listed;
            *known = Arc::new(listed);
            is_new
        });
        Ok(())
    }

    /// An error if the stream is known to be no longer the one that was opened: its old positions mean nothing.
    pub(super) fn is_known_to_be_another(&self) -> Result<(), SourceError> {
        match &*self.look() {
            Ok(_) => Ok(()),
            Err(why) => Err(SourceError::Broken(why.clone().into())),
        }
    }

    /// The same, based on a check at most some seconds old: Kinesis may take a position of the old stream for one of
    /// the new.
    pub(super) async fn is_lately_the_same(&self) -> Result<(), SourceError> {
        let is_late = self.look().as_ref().is_ok_and(|at| at.elapsed() >= self.look_every);
        if is_late { self.is_the_same().await } else { self.is_known_to_be_another() }
    }

    /// The same, based on a check now.
    pub(super) async fn is_the_same(&self) -> Result<(), SourceError> {
        self.is_known_to_be_another()?;
        let looked = match self.client.describe().await {
            Ok(summary) if summary.incarnation == self.incarnation => {
                self.retention_ms.store(ms(summary.retention), Relaxed);
                Ok(Instant::now())
            }
            Ok(summary) => {
                Err(format!("the stream was made anew: it was {}, now it is {}", self.incarnation, summary.incarnation))
            }
            Err(failure) if failure.kind == Kind::Missing => {
                let say = format!("there is no stream {} any more", self.client.stream());
                return Err(SourceError::Broken(say.into()));
            }
            Err(failure) => return Err(by_kind(failure)),
        };
        *self.look() = looked;
        self.is_known_to_be_another()
    }

    fn look(&self) -> MutexGuard<'_, Result<Instant, String>> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hashes(&self, partition: &Partition) -> Option<(u128, u128)> {
        self.listed.borrow().get(partition)?.hashes
    }

    /// Whether everything after a place must still exist, because it was read until a time that retention has not
    /// reached. A record that reading begins with proves itself; if none was ever read, the oldest one is right.
    pub(super) fn is_covered(&self, place: &Place) -> bool {
        let kept_since_ms = now_ms().saturating_sub(self.retention_ms.load(Relaxed)).saturating_add(MARGIN_MS);
        match place {
            Place::At { .. } | Place::End | Place::Oldest { seen_ms: None } => true,
            Place::Oldest { seen_ms: Some(ms) } => *ms > kept_since_ms,
            Place::After { seen_ms, .. } => seen_ms.is_some_and(|ms| ms > kept_since_ms),
        }
    }

    /// How long a shard must be quiet before its place is renewed: several times within the retention.
    pub(super) fn quiet_ms(&self) -> i64 {
        ms(self.quiet).min(self.retention_ms.load(Relaxed) / 8)
    }

    /// Wakes every waiting fetch.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Changes whenever a call was answered.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The error of a failed call, by its kind alone.
pub(super) fn by_kind(failure: Failure) -> SourceError {
    match failure.kind {
        Kind::Throttled | Kind::Away | Kind::Expired => SourceError::Unavailable(failure.into()),
        Kind::Missing | Kind::Broken => SourceError::Broken(failure.into()),
    }
}
