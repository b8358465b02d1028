//! The turn: whoever changes facts holds it up to COMMIT, so that changes are numbered in the order of the commits.
//!
//! A sequence would not do: it gives numbers in the order in which they are asked for, and a follower that reads what
//! is above the last number it knows would miss a transaction that commits late.

use millstream_postgres::Connection;
use millstream_postgres::sqlstate::{Verdict, verdict};

use crate::sinks::tables::error::Fault;

/// The turn of one transaction, and what stood when it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The number of the last change.
    pub seq: i64,
    /// The XOR of the digests of all facts.
    pub digest: u64,
    /// The time of this transaction's changes, as PostgreSQL writes it: later than that of every commit before.
    pub at: String,
}

impl Turn {
    /// Waits for the turn, after any lease row is locked. All facts MUST be read after it, by later statements.
    ///
    /// # Errors
    /// [`Fault::Busy`] if another transaction holds it for too long.
    pub async fn take(connection: &mut Connection) -> Result<Turn, Fault> {
        let lock = sqlx::raw_sql(include_str!("sql/turn_lock.sql")).execute(&mut *connection).await;
        lock.map_err(|error| if verdict(&error) == Verdict::Split { Fault::Busy(error) } else { Fault::Ours(error) })?;
        let last: (i64, i64, String) =
            sqlx::query_as(include_str!("sql/commit_select.sql")).fetch_one(connection).await.map_err(Fault::ours)?;
        Ok(Turn { seq: last.0, digest: last.1.cast_unsigned(), at: last.2 })
    }
}
