//! Amazon Kinesis Data Streams as a source.
//!
//! A partition is a shard, under its name. Positions are text, see [`place`]; several records in one, as the Kinesis
//! Producer Library makes them, are returned one by one. The incarnation is the stream's ARN and creation time.
//!
//! Guarantees: a position alone restores all state. The children of a shard that was divided or merged are read once
//! the position of every parent that the stream still has is stored as [`END`]: the records of a key stay in order over
//! a change of shards. Records lost to retention are reported as a gap wherever that can be known.
//!
//! Kinesis itself does not report a loss: after a record that is gone it continues with its oldest record. So a
//! position after a record holds the time until which nothing came there, and is renewed from time to time while
//! nothing comes. Within the retention after that time nothing can be lost. Later, only the record's existence proves
//! that; otherwise it is a gap. So a shard that is read never raises a false alarm, however quiet it is. A shard that
//! was not read for as long as the stream keeps records does, even if nothing came, because that cannot be known.

mod pace;
pub mod place;
mod shard;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::{Checkpoint, Partition, Position, RecordBatch, Source, SourceError, Want, task};
use millstream_postgres::Connector;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assignment::{Assigner, Member, Timing, ready};
use crate::kinesis::Address;
use crate::kinesis::client::{Client, Listed};

use place::{END, Place};
use shard::Shard;
use stream::Stream;

/// The options of a source.
#[derive(Clone, Debug)]
pub struct KinesisOptions {
    /// The stream.
    pub address: Address,
    /// Interval of reading the list of shards. Shorter: new shards are read sooner; Kinesis allows 100 calls a second.
    pub list_every: Duration,
    /// Maximum calls per second for records of a shard. Kinesis allows five to all readers of a shard together.
    pub reads_per_second: NonZeroU32,
    /// Interval of renewing the position of a quiet shard. Longer: less proof after an outage.
    pub quiet: Duration,
    /// How shards are shared with other processes. `None`: this process reads every shard.
    pub sharing: Option<Sharing>,
}

/// How the shards are divided among processes.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The pipeline's name, as its writers have it.
    pub pipeline: String,
    /// The database that assigns shards.
    pub connect: Connector,
    /// The name of this process, which no other has at the same time: see [`crate::assignment::unique_owner`].
    pub owner: String,
    /// How often this process renews its row, and when it is taken for dead.
    pub timing: Timing,
}

impl KinesisOptions {
    /// The usual options for a stream that only this process reads.
    #[must_use]
    pub fn new(address: Address) -> Self {
        KinesisOptions {
            address,
            list_every: Duration::from_secs(30),
            // One call a second is left to other readers.
            reads_per_second: NonZeroU32::MIN.saturating_add(3),
            quiet: Duration::from_secs(3_600),
            sharing: None,
        }
    }
}

/// A stream of Kinesis. [`KinesisSource::close`] gives its shards to the other processes at once.
#[derive(Debug)]
pub struct KinesisSource {
    inner: Arc<Inner>,
    lister: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    stream: Arc<Stream>,
    shards: Mutex<BTreeMap<Partition, Arc<Shard>>>,
    share: Share,
}

/// How it is decided which shards are read here.
#[derive(Debug)]
enum Share {
    /// This process reads all shards that are ready.
    All { finished: Mutex<BTreeSet<Partition>>, assignment: watch::Sender<Vec<Partition>> },
    /// The database decides.
    Leased(Assigner),
}

impl KinesisSource {
    /// Reads the stream's description, and follows its shards.
    ///
    /// # Errors
    /// If the stream does not answer, does not exist, or may not be read.
    pub async fn open(options: KinesisOptions) -> Result<Arc<Self>, SourceError> {
        let client = Client::new(options.address);
        let stream = Arc::new(Stream::open(client, options.reads_per_second, options.quiet, options.list_every).await?);
        let share = match options.sharing {
            None => Share::All { finished: Mutex::default(), assignment: watch::Sender::default() },
            Some(sharing) => Share::Leased(Assigner::start(
                crate::assignment::Options {
                    pipeline: sharing.pipeline,
                    incarnation: stream.incarnation.clone(),
                    connect: sharing.connect,
                    owner: sharing.owner,
                    timing: sharing.timing,
                    finished: END,
                },
                members(&stream.listed.borrow()),
            )),
        };
        let inner = Arc::new(Inner { stream, shards: Mutex::default(), share });
        inner.listed();
        let lister = task::spawn("list the shards", follow(Arc::clone(&inner), options.list_every));
        Ok(Arc::new(KinesisSource { inner, lister }))
    }

    /// Milliseconds from the end of the last answer of a shard to its newest record.
    #[must_use]
    pub fn lag_ms(&self, partition: &Partition) -> Option<u64> {
        let ms = self.inner.shards().get(partition)?.lag_ms()?;
        u64::try_from(ms).ok()
    }
}

impl Drop for KinesisSource {
    fn drop(&mut self) {
        self.lister.abort();
        self.inner.shards().values().for_each(|shard| shard.forget());
    }
}

/// Whether a position is the end of a shard that was divided or merged: it has no more records.
#[must_use]
pub fn is_end(position: &Position) -> bool {
    Place::of(position) == Some(Place::End)
}

/// Reads the list of shards at an interval.
async fn follow(inner: Arc<Inner>, every: Duration) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = inner.stream.relist.notified() => {}
        }
        if let Err(error) = inner.stream.list().await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the list of shards cannot be read: new shards have to wait");
            // Wait even if the list was requested.
            tokio::time::sleep(every.min(Duration::from_secs(5))).await;
        }
        inner.listed();
    }
}

/// The shards with their parents, for the assigner.
fn members(listed: &BTreeMap<Partition, Listed>) -> Vec<Member> {
    let member = |(partition, shard): (&Partition, &Listed)| Member {
        partition: partition.clone(),
        parents: shard.parents.iter().map(Partition::new).collect(),
    };
    listed.iter().map(member).collect()
}

impl Inner {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<Partition, Arc<Shard>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, partition: &Partition) -> Arc<Shard> {
        let new = || Arc::new(Shard::new(partition.clone(), Arc::clone(&self.stream)));
        Arc::clone(self.shards().entry(partition.clone()).or_insert_with(new))
    }

    /// The list of shards may have changed.
    fn listed(&self) {
        let members = members(&self.stream.listed.borrow());
        match &self.share {
            Share::All { finished, assignment } => {
                let ready = ready(&members, &finished.lock().unwrap_or_else(PoisonError::into_inner));
                assignment.send_if_modified(|told| {
                    let is_new = *told != ready;
                    *told = ready;
                    is_new
                });
            }
            Share::Leased(assigner) => assigner.members(members),
        }
        let assigned = self.assignment();
        self.shards().retain(|partition, _| assigned.borrow().contains(partition));
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        match &self.share {
            Share::All { assignment, .. } => assignment.subscribe(),
            Share::Leased(assigner) => assigner.assignment(),
        }
    }

    /// The end position of a shard is stored.
    fn finished(&self, partition: &Partition) {
        match &self.share {
            Share::All { finished, .. } => {
                finished.lock().unwrap_or_else(PoisonError::into_inner).insert(partition.clone());
                self.listed();
            }
            Share::Leased(assigner) => assigner.look(),
        }
        self.stream.relist.notify_one();
    }
}

#[async_trait]
impl Source for KinesisSource {
    fn incarnation(&self) -> &str {
        &self.inner.stream.incarnation
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        self.inner.assignment()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        match &self.inner.share {
            Share::All { .. } => Ok(()),
            Share::Leased(assigner) => assigner.confirm().await.map_err(|error| SourceError::Unavailable(error.into())),
        }
    }

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        _: Option<i64>,
    ) -> Result<Position, SourceError> {
        let position = stored.cloned().unwrap_or_else(|| Place::Oldest { seen_ms: None }.position());
        if Place::of(&position) == Some(Place::End) {
            self.inner.finished(partition);
            return Ok(position);
        }
        self.inner.shard(partition).start(&position).await?;
        Ok(position)
    }

    /// The end of a shard never goes back.
    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let deadline = tokio::time::Instant::now() + wait;
        // Subscribed before looking, so that an answer between the look and the wait is not missed.
        let mut changes = self.inner.stream.changes();
        let shards: Vec<(&Want, Arc<Shard>)> =
            wants.iter().map(|want| (want, self.inner.shard(&want.partition))).collect();
        loop {
            self.inner.stream.is_known_to_be_another()?;
            changes.borrow_and_update();
            let batches: Vec<RecordBatch> = shards.iter().filter_map(|(want, shard)| shard.take(want)).collect();
            if !batches.is_empty() {
                return Ok(batches);
            }
            for (want, shard) in &shards {
                if let Some(fault) = shard.fault(want) {
                    return Err(fault);
                }
            }
            shards.iter().for_each(|(want, shard)| shard.ask(want));
            // Nothing is taken before the wait ends, so a dropped fetch loses nothing.
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    fn revive(&self) {
        self.inner.stream.client.renew();
        self.inner.shards().values().for_each(|shard| shard.forget());
    }

    /// Kinesis keeps no positions. This only learns which shards were read to their end.
    async fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        for (partition, position) in checkpoint.positions() {
            if Place::of(position) == Some(Place::End) {
                self.inner.finished(partition);
            }
        }
        Ok(())
    }

    /// Gives the shards back, so that other processes take them at once.
    async fn close(&self) {
        self.lister.abort();
        if let Share::Leased(assigner) = &self.inner.share {
            assigner.stop().await;
        }
    }

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        if Place::of(next) == Some(Place::End) {
            return Some(0);
        }
        self.inner.shards().get(partition)?.lag_records(next)
    }
}
