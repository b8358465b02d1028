//! One writer of tables for every domain: it owns everything that does not depend on the rows.
//!
//! Guarantees: each event takes effect once, also when the answer to COMMIT is lost or a second writer holds the same
//! rows; a bad record never fails its neighbours; a writer that lost a lease writes nothing. On a crash nothing is half
//! done: uncommitted records are read again.
//!
//! A domain brings its rows ([`Rows`]) and the columns that become rows ([`Events`]). One transaction, by file: it
//! locks and checks the lease (`lease`), writes rows without those that PostgreSQL refuses (`isolate`), quarantines
//! these (`quarantine`), and commits everything with the positions (`transaction`). Records leave quarantine by the
//! same rules (`redrive`).

pub mod columns;
pub mod error;
mod options;
pub mod rows;

pub(crate) mod copy;
pub(crate) mod session;

pub(crate) mod lease;
mod transaction;

mod isolate;
pub mod quarantine;
pub mod redrive;
pub mod rewrite;
pub mod shares;

use async_trait::async_trait;
use millstream_engine::{
    Batch, Gap, Held, Outcome, Partition, Position, Range, Receipt, Recovery, Share, Sink, SinkError, Standing,
};
use millstream_postgres::Connection;

pub use columns::Events;
pub use options::{Bound, Options};
pub use rows::Rows;

use isolate::Verdicts;
use lease::Leases;

/// One writer: a connection, its leases, and the rows of its domain.
#[derive(Debug)]
pub struct Writer<R> {
    options: Options,
    rows: R,
    /// `None` while it is in use: after a call that is dropped half-way the next one connects anew.
    connection: Option<Connection>,
    leases: Leases,
    /// The batch of the last COMMIT: if its answer was lost, the stored positions show whether it took effect.
    pending: Option<(Vec<Range>, Outcome)>,
    /// Records of the current batch that the database refused, kept across attempts.
    verdicts: Verdicts,
}

impl<R: Rows> Writer<R> {
    /// A writer that connects when it is first used.
    pub fn new(options: Options, rows: R) -> Self {
        Writer {
            options,
            rows,
            connection: None,
            leases: Leases::default(),
            pending: None,
            verdicts: Verdicts::default(),
        }
    }

    async fn connect(&mut self) -> Result<Connection, SinkError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.options.connect.connect().await.map_err(error::unreachable),
        }
    }

    /// While it is unknown whether the last COMMIT took effect, only a retry of the very same batch can find out.
    fn keep_whole(&self, error: SinkError) -> SinkError {
        match error {
            SinkError::Failed { doing, recovery: Recovery::Split, pressure, source } if self.pending.is_some() => {
                SinkError::Failed { doing, recovery: Recovery::Retry, pressure, source }
            }
            error => error,
        }
    }

    /// Keeps the connection for the next call if it is still good. After a failed statement it rolls the transaction
    /// back, unless the error leaves the state of the connection unknown: then a rollback might hang.
    async fn put_back(&mut self, mut connection: Connection, error: Option<&SinkError>, in_transaction: bool) {
        let good = match error {
            None => true,
            Some(error) if error::closes_connection(error) => false,
            Some(_) => !in_transaction || session::rollback(&mut connection).await.is_ok(),
        };
        if good {
            self.connection = Some(connection);
        }
    }
}

#[async_trait]
impl<R: Rows> Sink for Writer<R> {
    type Columns = R::Columns;

    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError> {
        self.pending = None;
        let mut connection = self.connect().await?;
        let acquired = self.leases.acquire(&mut connection, &self.options, partitions).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, acquired.as_ref().err(), pooled).await;
        acquired
    }

    async fn write(&mut self, batch: &Batch<R::Columns>) -> Result<Receipt, SinkError> {
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

    async fn go_on(&mut self, gap: &Gap, to: &Position, era: Option<i64>) -> Result<(), SinkError> {
        let mut connection = self.connect().await?;
        let went = self.leases.go_on(&mut connection, &self.options, gap, to, era).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, went.as_ref().err(), pooled).await;
        went
    }

    async fn shares(&mut self) -> Result<Option<Vec<Standing>>, SinkError> {
        let mut connection = self.connect().await?;
        let read = shares::read(&mut connection, &self.options.pipeline).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, read.as_ref().err(), pooled).await;
        read.map(Some)
    }

    async fn pause_share(&mut self, share: &Share, reason: &str) -> Result<(), SinkError> {
        let mut connection = self.connect().await?;
        let put = shares::pause_share(&mut connection, &self.options.pipeline, share, reason).await;
        let pooled = connection.is_pooled();
        self.put_back(connection, put.as_ref().err(), pooled).await;
        put
    }
}
