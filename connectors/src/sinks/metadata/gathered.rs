//! Changes of many counters at once, written as one row and added up later.
//!
//! An update of a counter costs PostgreSQL as much as a good part of an object's row, and a large transaction changes
//! thousands of them. Gathered, each counter is updated once for many transactions. Whoever reads adds up what is there,
//! so that what is seen is exact at any moment; a slot's rows belong to one writer, so that nobody waits.

use millstream_postgres::Connection;

use super::counts::Objects;
use super::slot::Slot;

/// So many changes and more are gathered, fewer are written into their counters. Fewer: rows that readers must add up for
/// the sake of a millisecond.
const GATHERED_FROM: usize = 256;

/// What is gathered is added up when there are so many changes for each counter that this writer knows, within these
/// bounds. More of them: readers have more to add up, and the transaction that adds up takes longer.
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

/// What a writer has gathered in its slot.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Changes; nothing is known of a slot that was just leased: its writer before may have left some.
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
        // With little to do there is time for it.
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
