//! What the table holds of the keys of a batch, and what an event would change of it.
//!
//! A look without locks settles redelivered and superseded events, and says of the others which version of a row it saw:
//! an update names that version, so it either meets exactly what was seen or is known not to have.

use millstream_postgres::Connection;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::columns::Columns;
use super::error::Fault;
use super::fold::{Folded, description_order};

/// What is known of one key.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing is stored, or nobody looked.
    Nothing,
    /// This very event is stored.
    Duplicate,
    /// Something newer is stored.
    Stale,
    /// A row that the event may change.
    Row(Stored),
}

/// A row of the table as a statement saw it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) order: (i64, i64, i16),
    pub(super) etag: String,
    pub(super) size: Option<i64>,
    pub(super) order_class: i16,
    pub(super) description: (i64, i64, i64),
    pub(super) versioned: bool,
    pub(super) current: bool,
    /// Where this version of the row stands, and the transaction that wrote it.
    pub(super) place: String,
    pub(super) writer: String,
}

/// What a folded row would change of a stored one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The facts are newer.
    pub(super) facts_newer: bool,
    /// The facts are of the same order.
    pub(super) facts_equal: bool,
    /// Of the same order, and a field of them is larger or known now.
    pub(super) facts_grow: bool,
    /// The description is newer.
    pub(super) desc_newer: bool,
    /// The description is of the same order and says something else.
    pub(super) desc_merged: bool,
    /// The description is of the same order.
    pub(super) desc_equal: bool,
}

impl Change {
    pub(super) fn of(columns: &Columns, one: &Folded, stored: &Stored) -> Self {
        let row = &one.row;
        let order = (row.order_time, row.order_seq, row.kind).cmp(&stored.order);
        let order = order.then_with(|| columns.bytes(row.etag).cmp(stored.etag.as_bytes()));
        // Kind 0 brings no facts.
        let (facts_newer, facts_equal) = (row.kind != 0 && order.is_gt(), row.kind != 0 && order.is_eq());
        let description = description_order(row.description.as_ref());
        let order = (description.0, description.1).cmp(&(stored.description.0, stored.description.1));
        Change {
            facts_newer,
            facts_equal,
            facts_grow: facts_equal && (row.size > stored.size || row.order_class > stored.order_class),
            desc_newer: order.is_gt(),
            desc_merged: order.is_eq() && description.2 != stored.description.2,
            desc_equal: order.is_eq(),
        }
    }

    pub(super) fn is_any(self) -> bool {
        self.facts_newer || self.facts_grow || self.desc_newer || self.desc_merged
    }

    /// Whether what was stored already is this very event, and not a newer one.
    pub(super) fn is_same(self, one: &Folded) -> bool {
        if one.row.kind == 0 { self.desc_equal } else { self.facts_equal }
    }
}

/// Looks at the rows of some keys without locking them.
pub(super) async fn look(
    connection: &mut Connection,
    columns: &Columns,
    folded: &[Folded],
) -> Result<Vec<Known>, Fault> {
    let order = |pick: fn((i64, i64, i64)) -> i64| {
        folded.iter().map(|one| pick(description_order(one.row.description.as_ref()))).collect::<Vec<_>>()
    };
    let rows = sqlx::query(include_str!("sql/objects_stored_select.sql"))
        .bind(folded.iter().map(|one| columns.store(&one.row)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.bucket)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.key)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.version)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| one.row.order_time).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| one.row.order_seq).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| one.row.kind).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.etag)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| one.row.size).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| one.row.order_class).collect::<Vec<_>>())
        .bind(order(|order| order.0))
        .bind(order(|order| order.1))
        .bind(order(|order| order.2))
        .fetch_all(connection)
        .await
        .map_err(Fault::data)?;
    let mut known: Vec<Known> = folded.iter().map(|_| Known::Nothing).collect();
    for row in &rows {
        read_look(row, &mut known).map_err(Fault::ours)?;
    }
    Ok(known)
}

fn read_look(row: &PgRow, known: &mut [Known]) -> Result<(), sqlx::Error> {
    if let Some(ordinal) = row.try_get::<Option<i64>, _>(0)? {
        if let Some(known) = at(known, ordinal) {
            *known = Known::Row(stored(row)?);
        }
        return Ok(());
    }
    for ordinal in row.try_get::<Option<Vec<i64>>, _>(14)?.unwrap_or_default() {
        if let Some(known) = at(known, ordinal) {
            *known = Known::Duplicate;
        }
    }
    for ordinal in row.try_get::<Option<Vec<i64>>, _>(15)?.unwrap_or_default() {
        if let Some(known) = at(known, ordinal) {
            *known = Known::Stale;
        }
    }
    Ok(())
}

/// The entry of an ordinal, which counts from 1.
fn at<T>(entries: &mut [T], ordinal: i64) -> Option<&mut T> {
    usize::try_from(ordinal - 1).ok().and_then(|at| entries.get_mut(at))
}

/// Locks rows in key order; `None` for a key without a row.
pub(super) async fn lock(
    connection: &mut Connection,
    columns: &Columns,
    folded: &[&Folded],
) -> Result<Vec<Option<Stored>>, Fault> {
    let rows = sqlx::query(include_str!("sql/objects_lock.sql"))
        .bind(folded.iter().map(|one| columns.store(&one.row)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.bucket)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.key)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.version)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .map_err(Fault::data)?;
    let mut locked: Vec<Option<Stored>> = folded.iter().map(|_| None).collect();
    for row in &rows {
        let ordinal: i64 = row.try_get(0).map_err(Fault::ours)?;
        if let Some(locked) = at(&mut locked, ordinal) {
            *locked = Some(stored(row).map_err(Fault::ours)?);
        }
    }
    Ok(locked)
}

/// The columns that both statements have in common.
fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        order: (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?),
        etag: row.try_get(4)?,
        size: row.try_get(5)?,
        order_class: row.try_get(6)?,
        description: (row.try_get(7)?, row.try_get(8)?, row.try_get(9)?),
        versioned: row.try_get(10)?,
        current: row.try_get(11)?,
        place: row.try_get(12)?,
        writer: row.try_get(13)?,
    })
}
