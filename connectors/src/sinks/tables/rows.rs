//! The part of a domain: everything about rows that a [`Writer`](super::Writer) does not do itself.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use millstream_engine::{Outcome, SinkError};
use millstream_postgres::Connection;

use super::columns::Events;
use super::error::Fault;

/// Why the database refused a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The five characters of the SQLSTATE.
    pub sqlstate: String,
    /// The message of the database.
    pub detail: String,
}

/// Which records of a batch are written.
#[derive(Clone, Copy, Debug)]
pub enum Include<'a> {
    /// All of them.
    All,
    /// All but those that were refused.
    Without(&'a BTreeMap<u32, Refusal>),
    /// Only these, sorted.
    Only(&'a [u32]),
}

impl Include<'_> {
    /// Whether a record is written.
    pub fn has(self, record: u32) -> bool {
        match self {
            Include::All => true,
            Include::Without(refused) => !refused.contains_key(&record),
            Include::Only(records) => records.binary_search(&record).is_ok(),
        }
    }
}

/// Whether a transaction assumes that no other one writes the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Probably none does: the cheapest statements, which fail with [`Fault::Again`] if another one did.
    Optimistic,
    /// Another one does: statements that succeed all the same.
    Locked,
}

/// The result of a set of records.
#[derive(Debug, Default)]
pub struct Applied<Left> {
    /// The outcome of its events.
    pub outcome: Outcome,
    /// The part that is written once per transaction.
    pub left: Left,
}

/// The rows of a domain.
///
/// For each batch a writer calls `before`, then in one transaction `enter`, `apply` and `finish`, then one of the last two.
#[async_trait]
pub trait Rows: Send + fmt::Debug {
    /// The columns that become rows.
    type Columns: Events;
    /// What `apply` leaves for `finish`.
    type Left: Send;

    /// Statements that follow BEGIN, such as settings of the planner; may be empty.
    fn settings(&self) -> &'static str;

    /// Prepares for transactions, outside of any. What it writes stays, whatever becomes of the batch. A dry run skips
    /// it, so that nothing stays.
    async fn before(&mut self, connection: &mut Connection) -> Result<(), SinkError>;

    /// Locks what belongs to the whole transaction, and reads what that lock protects. Called once in a transaction, right
    /// after the lease is checked and never under a savepoint.
    async fn enter(&mut self, connection: &mut Connection, columns: &Self::Columns) -> Result<(), Fault>;

    /// Writes the events of the included records, and accounts for each of them. While a bad record is searched, it is
    /// called several times in a transaction, each time under a savepoint that may be rolled back; so it MUST NOT keep
    /// any state except what it returns. It MUST fail with [`Fault::Data`] if a statement that carries data of records
    /// fails, and with [`Fault::Again`] if another writer was faster.
    async fn apply(
        &mut self,
        connection: &mut Connection,
        columns: &Self::Columns,
        include: Include<'_>,
        care: Care,
    ) -> Result<Applied<Self::Left>, Fault>;

    /// Writes `left`, once in a transaction and never under a savepoint.
    async fn finish(&mut self, connection: &mut Connection, left: Self::Left) -> Result<(), Fault>;

    /// The transaction is committed: what was learnt in it is valid.
    fn committed(&mut self);

    /// It is rolled back, or its result is unknown. Also called if there was none.
    fn rolled_back(&mut self);
}
