//! The stored rows of the keys of a batch, and what an event would change in them.
//!
//! A lookup without locks settles redelivered and superseded events. For the others it returns the version of the row:
//! an update names that version, so it either meets exactly the row that was seen, or reports that it did not.

use millstream_postgres::Connection;
use sqlx::Row as _;
use sqlx::postgres::{PgRow, Postgres};

use super::columns::{Columns, Row};
use super::fold::{Folded, Removal, description_order};
use crate::sinks::tables::error::Fault;

/// The result of the lookup of one key.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing is stored, or the key was not looked up.
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
    /// The newest removal of the whole key; read only under locks, where a head row must have it.
    pub(super) removal: Option<Removal>,
    /// The place of this version of the row, and the transaction that wrote it.
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
    /// The description is of the same order and differs.
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
        let facts_newer = row.kind != 0 && order.is_gt();
        let facts_equal = row.kind != 0 && order.is_eq();
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

    /// Whether the stored event is this very event, and not a newer one.
    pub(super) fn is_same(self, one: &Folded) -> bool {
        if one.row.kind == 0 { self.desc_equal } else { self.facts_equal }
    }
}

/// The keys of a batch to look up.
#[derive(Debug)]
pub(super) struct Sought {
    pub(super) all: bool,
    pub(super) remembered: Vec<bool>,
}

impl Sought {
    /// Whether the key at this place is looked up.
    pub(super) fn has(&self, place: usize) -> bool {
        self.all || self.remembered.get(place).is_some_and(|remembered| *remembered)
    }
}

/// Reads the rows of the keys to look up, without locks; the others are [`Known::Nothing`].
pub(super) async fn look(
    connection: &mut Connection,
    columns: &Columns,
    folded: &[Folded],
    sought: &Sought,
) -> Result<Vec<Known>, Fault> {
    let mut known: Vec<Known> = folded.iter().map(|_| Known::Nothing).collect();
    let (places, folded): (Vec<usize>, Vec<&Folded>) =
        folded.iter().enumerate().filter(|(place, _)| sought.has(*place)).unzip();
    if folded.is_empty() {
        return Ok(known);
    }
    let numbers = |pick: &dyn Fn(&Row) -> i64| folded.iter().map(|one| pick(&one.row)).collect::<Vec<i64>>();
    let description = |row: &Row| description_order(row.description.as_ref());
    let row = sqlx::query(include_str!("sql/objects_stored_select.sql"))
        .bind(folded.iter().map(|one| columns.text(one.row.bucket)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.key)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.version)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.etag)).collect::<Vec<_>>())
        .bind(numbers(&|row| row.order_time))
        .bind(numbers(&|row| row.order_seq))
        // A row that may be removed with its key must be read: kind 0 is never settled by a lookup.
        .bind(folded.iter().map(|one| if one.removal.is_some() { 0 } else { one.row.kind }).collect::<Vec<_>>())
        .bind(numbers(&|row| row.size.unwrap_or(-1)))
        .bind(folded.iter().map(|one| one.row.order_class).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| i32::from(one.row.store) + 1).collect::<Vec<_>>())
        .bind(numbers(&|row| description(row).0))
        .bind(numbers(&|row| description(row).1))
        .bind(numbers(&|row| description(row).2))
        .bind(columns.stores.iter().map(|store| &**store).collect::<Vec<&str>>())
        .fetch_one(connection)
        .await
        .map_err(Fault::data)?;
    read_look(&row, &places, &mut known).map_err(Fault::ours)?;
    Ok(known)
}

/// Reads the rows found; `places` are the places of the ordinals.
fn read_look(row: &PgRow, places: &[usize], known: &mut [Known]) -> Result<(), sqlx::Error> {
    let mut set = |ordinal: i64, what: Known| {
        let place = usize::try_from(ordinal - 1).ok().and_then(|at| places.get(at));
        if let Some(known) = place.and_then(|place| known.get_mut(*place)) {
            *known = what;
        }
    };
    list(row, 0)?.into_iter().for_each(|ordinal| set(ordinal, Known::Duplicate));
    list(row, 1)?.into_iter().for_each(|ordinal| set(ordinal, Known::Stale));
    let times = list::<i64>(row, 3)?;
    let seqs = list::<i64>(row, 4)?;
    let kinds = list::<i16>(row, 5)?;
    let mut etags = list::<String>(row, 6)?.into_iter();
    let sizes = list::<Option<i64>>(row, 7)?;
    let classes = list::<i16>(row, 8)?;
    let desc_times = list::<i64>(row, 9)?;
    let desc_seqs = list::<i64>(row, 10)?;
    let desc_hashes = list::<i64>(row, 11)?;
    let versioned = list::<bool>(row, 12)?;
    let current = list::<bool>(row, 13)?;
    let mut places = list::<String>(row, 14)?.into_iter();
    let mut writers = list::<String>(row, 15)?.into_iter();
    for (n, ordinal) in list(row, 2)?.into_iter().enumerate() {
        // All columns are aggregated over the same rows.
        let stored = (|| {
            Some(Stored {
                order: (*times.get(n)?, *seqs.get(n)?, *kinds.get(n)?),
                etag: etags.next()?,
                size: *sizes.get(n)?,
                order_class: *classes.get(n)?,
                description: (*desc_times.get(n)?, *desc_seqs.get(n)?, *desc_hashes.get(n)?),
                versioned: *versioned.get(n)?,
                current: *current.get(n)?,
                removal: None,
                place: places.next()?,
                writer: writers.next()?,
            })
        })();
        set(ordinal, Known::Row(stored.ok_or_else(|| sqlx::Error::Protocol("columns of unequal length".to_owned()))?));
    }
    Ok(())
}

/// An array; null stands for an empty one.
fn list<'r, T>(row: &'r PgRow, column: usize) -> Result<Vec<T>, sqlx::Error>
where
    Vec<T>: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    Ok(row.try_get::<Option<Vec<T>>, _>(column)?.unwrap_or_default())
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

/// A row that was locked.
fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    let removed_time: Option<i64> = row.try_get(14)?;
    let removal = removed_time.map(|time| Ok::<Removal, sqlx::Error>((time, row.try_get(15)?, row.try_get(16)?)));
    Ok(Stored {
        order: (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?),
        etag: row.try_get(4)?,
        size: row.try_get(5)?,
        order_class: row.try_get(6)?,
        description: (row.try_get(7)?, row.try_get(8)?, row.try_get(9)?),
        versioned: row.try_get(10)?,
        current: row.try_get(11)?,
        removal: removal.transpose()?,
        place: row.try_get(12)?,
        writer: row.try_get(13)?,
    })
}
