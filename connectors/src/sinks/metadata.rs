//! Object events into `millstream.objects`, with exact counters, quarantine and positions, in one transaction.
//!
//! Guarantees: each event takes effect once, also when the answer to COMMIT is lost or a second writer holds the same
//! keys; any order, duplication and split of the same events gives the same rows; a bad record never takes its
//! neighbours with it. On a crash nothing is half done: what was not committed is read again.
//!
//! The flow, in the order of the files: bytes become columns ([`columns`]), columns are folded by key (`fold`), compared
//! with what is stored and written (`apply`), counted (`counts`), and committed with their positions (`transaction`).

pub mod columns;

mod decode;

mod fold;

mod apply;
mod copy;
mod lookup;
mod stored;
mod versions;

mod counts;
mod gathered;
mod segments;

mod isolate;
mod quarantine;

mod lease;
mod transaction;

pub mod redrive;

pub mod shares;

pub mod recount;

mod error;

pub use decode::Decoder;

use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::{
    Batch, Gap, Held, Outcome, Partition, Range, Receipt, Recovery, Share, Sink, SinkError, Standing,
};
use millstream_postgres::{Connection, Connector};

use columns::Columns;
use counts::Slot;
use lease::Leases;
use lookup::Lookup;
use segments::Segments;

/// What a writer must know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name: leases and quarantine rows carry it.
    pub pipeline: String,
    /// The incarnation of the stream.
    pub incarnation: String,
    /// How to reach the database.
    pub connect: Connector,
    /// Counted first path segments per bucket; beyond it objects are counted in the bucket only.
    pub segments_max: i32,
    /// Statements that each transaction begins with, such as limits of time; may be empty.
    pub set_local: String,
    /// How long a transaction may keep a lease locked that another writer wants. Shorter: a writer that is only slow is
    /// ended, and its batch begun anew. Longer: the partitions of one that stands still wait for longer.
    pub lease_lock_max: Duration,
}

/// One writer: a connection, its leases, its slot of the counters.
#[derive(Debug)]
pub struct Metadata {
    options: Options,
    /// Taken out while it is in use: a call that is dropped half-way leaves none, and the next one connects anew.
    connection: Option<Connection>,
    leases: Leases,
    slot: Option<Slot>,
    segments: Segments,
    lookup: Lookup,
    /// What the last COMMIT was sent for: if its answer was lost, the stored positions tell whether it took effect.
    pending: Option<(Vec<Range>, Outcome)>,
    /// Records of the current batch that the database refused, kept across attempts.
    verdicts: isolate::Verdicts,
}

impl Metadata {
    /// A writer that connects when it is first used.
    pub fn new(options: Options) -> Self {
        Metadata::sharing(options, Lookup::default())
    }

    /// The writers of one pipeline. They tell each other which keys they have written.
    pub fn several(options: Options, count: usize) -> impl Iterator<Item = Self> {
        let lookup = Lookup::default();
        (0..count).map(move |_| Metadata::sharing(options.clone(), lookup.clone()))
    }

    fn sharing(options: Options, lookup: Lookup) -> Self {
        let segments = Segments::new(options.segments_max);
        Metadata {
            options,
            connection: None,
            leases: Leases::default(),
            slot: None,
            segments,
            lookup,
            pending: None,
            verdicts: isolate::Verdicts::default(),
        }
    }

    async fn connect(&mut self) -> Result<Connection, SinkError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.options.connect.connect().await.map_err(error::unreachable),
        }
    }

    /// As long as nobody knows whether the last COMMIT took effect, only the very same batch can find that out.
    fn keep_whole(&self, error: SinkError) -> SinkError {
        match error {
            SinkError::Failed { doing, recovery: Recovery::Split, pressure, source } if self.pending.is_some() => {
                SinkError::Failed { doing, recovery: Recovery::Retry { after: None }, pressure, source }
            }
            error => error,
        }
    }

    /// Keeps the connection for the next call if it is still good: a statement that failed in a transaction leaves one
    /// to roll back, unless the error means that nobody knows the state of the connection, where that might hang.
    async fn put_back(&mut self, mut connection: Connection, error: Option<&SinkError>, in_transaction: bool) {
        let good = match error {
            None => true,
            Some(error) if error::closes_connection(error) => false,
            Some(_) => !in_transaction || transaction::rollback(&mut connection).await.is_ok(),
        };
        if good {
            self.connection = Some(connection);
        }
    }
}

#[async_trait]
impl Sink for Metadata {
    type Columns = Columns;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.pending = None;
        let mut connection = self.connect().await?;
        let acquired = self.leases.acquire(&mut connection, &self.options, partitions).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, acquired.as_ref().err(), pooled).await;
        acquired
    }

    async fn write(&mut self, batch: &Batch<Columns>) -> Result<Receipt, SinkError> {
        self.verdicts.begin(batch.ranges());
        let mut connection = self.connect().await?;
        let written = self.transact(&mut connection, batch).await;
        self.put_back(connection, written.as_ref().err(), true).await;
        Ok(batch.receipt(written.map_err(|error| self.keep_whole(error))?)?)
    }

    async fn confirm(&mut self) -> Result<(), SinkError> {
        let mut connection = self.connect().await?;
        let confirmed = self.leases.confirm(&mut connection, &self.options).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, confirmed.as_ref().err(), pooled).await;
        confirmed
    }

    async fn record_gap(&mut self, gap: &Gap) -> Result<(), SinkError> {
        let mut connection = self.connect().await?;
        let recorded = lease::record_gap(&mut connection, &self.options, gap).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, recorded.as_ref().err(), pooled).await;
        recorded
    }

    async fn shares(&mut self) -> Result<Option<Vec<Standing>>, SinkError> {
        let mut connection = self.connect().await?;
        let read = shares::read(&mut connection, &self.options.pipeline).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, read.as_ref().err(), pooled).await;
        read.map(Some)
    }

    async fn put_aside(&mut self, share: &Share, reason: &str) -> Result<(), SinkError> {
        let mut connection = self.connect().await?;
        let put = shares::put_aside(&mut connection, &self.options, share, reason).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, put.as_ref().err(), pooled).await;
        put
    }
}
