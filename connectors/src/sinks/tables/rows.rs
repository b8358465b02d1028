//! What a domain says of its rows: all that a [`Writer`](super::Writer) does not do by itself.

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
    /// Its five letters and digits.
    pub sqlstate: String,
    /// What it said.
    pub detail: String,
}

/// Which records of a batch are written.
#[derive(Clone, Copy, Debug)]
pub enum Include<'a> {
    /// All of them.
    All,
    /// All but those that were refused.
    Without(&'a BTreeMap<u32, Refusal>),
    /// Only these, which are sorted.
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

/// How much a transaction relies on nobody else writing the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nobody does, most likely: the cheapest statements, which fail with [`Fault::Again`] where somebody did.
    Optimistic,
    /// Somebody does: statements that go through all the same.
    Locked,
}

/// What a set of records did.
#[derive(Debug, Default)]
pub struct Applied<Left> {
    /// What became of its events.
    pub outcome: Outcome,
    /// What is left to be written once for the transaction.
    pub left: Left,
}

/// The rows of a domain.
///
/// For each batch a writer calls `before`, then in one transaction `apply` and `finish`, and tells how that ended.
#[async_trait]
pub trait Rows: Send + fmt::Debug {
    /// The columns that become rows.
    type Columns: Events;
    /// What `apply` leaves for `finish`.
    type Left: Send;

    /// Statements that follow BEGIN, such as settings of the planner; may be empty.
    fn settings(&self) -> &'static str;

    /// Makes ready for transactions, outside of any. What it writes stays, whatever becomes of the batch. A dry run leaves
    /// it out, so that nothing stays.
    async fn before(&mut self, connection: &mut Connection) -> Result<(), SinkError>;

    /// Writes the events of the records that are included, and accounts for each of them. Called several times in a
    /// transaction while a bad record is looked for, each time under a savepoint that may be rolled back; so it MUST NOT
    /// keep anything of what it did but what it returns. MUST fail with [`Fault::Data`] where a statement fails that
    /// carries data of records, and with [`Fault::Again`] where another writer was faster.
    async fn apply(
        &mut self,
        connection: &mut Connection,
        columns: &Self::Columns,
        include: Include<'_>,
        care: Care,
    ) -> Result<Applied<Self::Left>, Fault>;

    /// Writes what is left, once in a transaction and never under a savepoint.
    async fn finish(&mut self, connection: &mut Connection, left: Self::Left) -> Result<(), Fault>;

    /// The transaction is committed: what was learnt in it is true.
    fn committed(&mut self);

    /// It is rolled back, or was never heard of again. Also called where there was none.
    fn rolled_back(&mut self);
}
