//! What all shards of a stream share: the client, the list of shards, and whether it is still the same stream.

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

/// How much sooner than it says a stream is taken to forget: clocks differ, and a batch takes its time.
const MARGIN_MS: i64 = 10 * 60 * 1_000;

/// For how long a look at the stream is good enough for a new iterator. Longer: more of another stream's records could
/// be read by old positions. Shorter: many shards that begin at once ask more often than Kinesis answers (20 a second).
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// A stream that is read.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) client: Client,
    /// Its ARN and the moment it was made.
    pub(super) incarnation: String,
    pub(super) reads_per_second: NonZeroU32,
    /// How often a place is stored anew where nothing comes.
    quiet: Duration,
    retention_ms: AtomicI64,
    /// What became of the stream, if it is not the one that was opened any more; else when that was last looked at.
    look: Mutex<Result<Instant, String>>,
    /// For how long a look is good enough.
    look_every: Duration,
    /// Every shard that the stream has, by its name.
    pub(super) listed: watch::Sender<Arc<BTreeMap<Partition, Listed>>>,
    /// Asks for the list to be read at once.
    pub(super) relist: Notify,
    changes: watch::Sender<u64>,
}

impl Stream {
    /// Asks what the stream is and which shards it has.
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

    /// Reads the list of shards, and looks whether the stream is still the same.
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

    /// An error if it is known that this is not the stream that was opened any more: its old positions mean nothing.
    pub(super) fn is_known_to_be_another(&self) -> Result<(), SourceError> {
        match &*self.look() {
            Ok(_) => Ok(()),
            Err(why) => Err(SourceError::Broken(why.clone().into())),
        }
    }

    /// The same, after a look that is not older than some seconds: Kinesis may take a position of the old stream for one
    /// of the new.
    pub(super) async fn is_lately_the_same(&self) -> Result<(), SourceError> {
        let is_late = self.look().as_ref().is_ok_and(|at| at.elapsed() >= self.look_every);
        if is_late { self.is_the_same().await } else { self.is_known_to_be_another() }
    }

    /// The same, after a look at it now.
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

    /// Whether everything behind a place must still be there, because it was read until a moment that retention has not
    /// reached. A record that reading begins with proves itself; the oldest one, where none was ever read, is right.
    pub(super) fn is_covered(&self, place: &Place) -> bool {
        let kept_since_ms = now_ms().saturating_sub(self.retention_ms.load(Relaxed)).saturating_add(MARGIN_MS);
        match place {
            Place::At { .. } | Place::End | Place::Oldest { seen_ms: None } => true,
            Place::Oldest { seen_ms: Some(ms) } => *ms > kept_since_ms,
            Place::After { seen_ms, .. } => seen_ms.is_some_and(|ms| ms > kept_since_ms),
        }
    }

    /// How long nothing may come until that is worth storing: several times within what the stream keeps.
    pub(super) fn quiet_ms(&self) -> i64 {
        ms(self.quiet).min(self.retention_ms.load(Relaxed) / 8)
    }

    /// Wakes every fetch that waits.
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

/// An error of a call that nothing is known about but its kind.
pub(super) fn by_kind(failure: Failure) -> SourceError {
    match failure.kind {
        Kind::Throttled | Kind::Away | Kind::Expired => SourceError::Unavailable(failure.into()),
        Kind::Missing | Kind::Broken => SourceError::Broken(failure.into()),
    }
}
