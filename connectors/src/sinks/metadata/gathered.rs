//! Changes of many counters at once, written as one row and added up later.
//!
//! An update of a counter costs PostgreSQL a good part of the cost of an object's row, and a large transaction changes
//! thousands of counters. Gathered, each counter is updated once for many transactions. Readers add the gathered
//! changes, so their counts are exact at any moment. A slot's rows belong to one writer, so that no writer waits.

use millstream_postgres::Connection;

use super::counts::Objects;
use super::slot::Slot;

/// From this many changed counters on, the changes of a transaction are written as one row; below it each counter is
/// updated. Lower: readers add up more rows, to save a writer a millisecond.
const GATHERED_FROM: usize = 256;

/// Gathered changes are added up once there are this many for each counter that the writer knows, within the bounds
/// below. More: readers have more to add up, and the transaction that adds up takes longer.
const PER_COUNTER: usize = 16;
const ADDED_UP_AT: (usize, usize) = (10_000, 50_000);

/// Store, bucket and segment.
pub(super) type Name<'a> = (&'a str, &'a str, &'a str);

/// A change of one counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) name: Name<'a>,
    pub(super) delta: Objects,
}

/// The changes that a writer has gathered in its slot.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Their number; `None` for a slot that was just leased, because its former writer may have left some.
    changes: Option<usize>,
    /// The same, once the open transaction commits.
    next: Option<usize>,
}

impl Gathered {
    pub(super) fn committed(&mut self) {
        self.changes = self.next;
    }

    pub(super) fn rolled_back(&mut self) {
        self.next = self.changes;
    }

    /// Writes the changes of a transaction; `known` is the number of counters that this writer has met.
    pub(super) async fn write(
        &mut self,
        connection: &mut Connection,
        slot: &Slot,
        changes: &[Change<'_>],
        known: usize,
    ) -> Result<(), sqlx::Error> {
        let are_many = changes.len() >= GATHERED_FROM;
        if !changes.is_empty() {
            apply(connection, slot, changes, are_many).await?;
        }
        let there = self.changes.map(|there| there + if are_many { changes.len() } else { 0 });
        self.next = there;
        // A small transaction has time to add them up.
        let most = if are_many { (PER_COUNTER * known).clamp(ADDED_UP_AT.0, ADDED_UP_AT.1) } else { 0 };
        if there.is_none_or(|there| there > most) {
            let add_up = sqlx::query(include_str!("sql/segment_changes_fold.sql")).bind(slot.number);
            add_up.execute(connection).await?;
            self.next = Some(0);
        }
        Ok(())
    }
}

async fn apply(
    connection: &mut Connection,
    slot: &Slot,
    changes: &[Change<'_>],
    are_many: bool,
) -> Result<(), sqlx::Error> {
    let statement = match are_many {
        true => include_str!("sql/segment_changes_insert.sql"),
        false => include_str!("sql/segment_counts_apply.sql"),
    };
    let query = sqlx::query(statement)
        .bind(slot.number)
        .bind(changes.iter().map(|change| change.name.0).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.name.1).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.name.2).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.delta.objects).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.delta.bytes.to_string()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.delta.unknown_size).collect::<Vec<_>>());
    query.execute(connection).await.map(drop)
}
