//! Compares folded rows with stored ones: unchanged rows are filtered, new ones copied in, the rest updated.
//!
//! The counters get only what the writing statements saw: a COPY that succeeds proves that its rows did not exist; an
//! UPDATE meets exactly the row versions that were seen before, or fails.

use millstream_engine::Outcome;
use millstream_postgres::Connection;
use sqlx::Row as _;

use super::columns::{Columns, DescriptionRow, Row};
use super::copy;
use super::counts::{Deltas, RowState};
use super::fold::{Folded, description_order, fold, is_shown};
use super::lookup::Lookup;
use super::stored::{self, Change, Known, Stored};
use super::versions::{Keys, Removals};
use crate::sinks::tables::columns::Span;
use crate::sinks::tables::error::Fault;
use crate::sinks::tables::rows::{self, Care, Include};

/// The outcome of one set of records, with its changes of the counters.
type Applied = rows::Applied<Deltas>;

/// Writes the events of the included records. With [`Care::Optimistic`] new keys are written by COPY, at half the CPU
/// and two thirds of the WAL of an INSERT, and existing ones are updated as they were seen; all fails if another writer
/// was faster. With [`Care::Locked`] INSERT .. ON CONFLICT DO NOTHING shows which rows another writer inserted first,
/// and existing rows are locked and read again before they are updated.
pub(super) async fn apply(
    connection: &mut Connection,
    columns: &Columns,
    include: Include<'_>,
    care: Care,
    lookup: &Lookup,
) -> Result<Applied, Fault> {
    let mut applied = Applied::default();
    let mut rows: Vec<Row> = columns.rows.iter().filter(|row| include.has(row.record)).copied().collect();
    let mut first = true;
    while !rows.is_empty() {
        let (folded, later) = fold(columns, rows);
        // A second pass meets rows that the first pass wrote.
        let all = !first || care == Care::Locked;
        let sought = lookup.seek(columns, &folded, all);
        let known = stored::look(connection, columns, &folded, &sought).await?;
        lookup.found(&sought, &known);
        apply_pass(connection, columns, &folded, &known, care, &mut applied).await?;
        rows = later;
        first = false;
    }
    Ok(applied)
}

async fn apply_pass(
    connection: &mut Connection,
    columns: &Columns,
    folded: &[Folded],
    known: &[Known],
    care: Care,
    applied: &mut Applied,
) -> Result<(), Fault> {
    let mut fresh: Vec<&Folded> = Vec::with_capacity(folded.len());
    let mut newer: Vec<(&Folded, Option<&Stored>)> = Vec::new();
    let mut keys = Keys::default();
    for (one, known) in folded.iter().zip(known) {
        let stored = match known {
            Known::Duplicate | Known::Stale => {
                unchanged(&mut applied.outcome, one, matches!(known, Known::Duplicate));
                continue;
            }
            Known::Row(stored) => Some(stored),
            Known::Nothing => None,
        };
        // Stored removals are read only under the lock of the head row.
        let removes = one.removal.is_some();
        if let Some(change) = stored.map(|stored| Change::of(columns, one, stored))
            && !change.is_any()
            && !removes
        {
            unchanged(&mut applied.outcome, one, change.is_same(one));
            continue;
        }
        let versioned = !columns.bytes(one.row.version).is_empty() || stored.is_some_and(|stored| stored.versioned);
        if versioned || removes {
            keys.add(columns, &one.row);
        }
        if stored.is_some() { newer.push((one, stored)) } else { fresh.push(one) }
    }
    let before = keys.lock(connection).await?;
    if !keys.is_empty() {
        // Locking created missing head rows: a key that was new a moment ago may exist now.
        let (there, absent): (Vec<&Folded>, Vec<&Folded>) =
            fresh.iter().partition(|one| keys.made_head(columns, &one.row));
        fresh = absent;
        newer.extend(there.into_iter().map(|one| (one, None)));
        newer.sort_by(|(a, _), (b, _)| columns.key(&a.row).cmp(&columns.key(&b.row)));
    }
    match care {
        Care::Optimistic => {
            copy::copy(connection, columns, &fresh).await?;
            for one in &fresh {
                written(&mut applied.outcome, one);
                applied.left.row(columns, &one.row, RowState::ABSENT, RowState::inserted(columns, &one.row));
            }
        }
        Care::Locked => {
            let raced = insert_new(connection, columns, &fresh, applied).await?;
            newer.extend(raced.into_iter().map(|one| (one, None)));
            newer.sort_by(|(a, _), (b, _)| columns.key(&a.row).cmp(&columns.key(&b.row)));
        }
    }
    let removals = update(connection, columns, &newer, &keys, care, applied).await?;
    keys.remove(connection, &before, removals, &mut applied.left).await?;
    keys.derive(connection, before, &mut applied.left).await
}

/// Counts a key whose row changed: the winning events are written, their copies duplicates, the others stale.
fn written(outcome: &mut Outcome, one: &Folded) {
    let events = u64::from(one.events);
    let written = u64::from(one.parts).min(events);
    let duplicates = u64::from(one.winners).saturating_sub(written).min(events - written);
    outcome.written += written;
    outcome.filter("duplicate", duplicates);
    outcome.filter("stale", events - written - duplicates);
}

/// Counts a key whose row did not change; `same` if this very event wrote it, and not a newer one.
fn unchanged(outcome: &mut Outcome, one: &Folded, same: bool) {
    let events = u64::from(one.events);
    let duplicates = if same { u64::from(one.winners).min(events) } else { 0 };
    outcome.filter("duplicate", duplicates);
    outcome.filter("stale", events - duplicates);
}

/// The column of a piece of description.
fn described<'a>(
    columns: &'a Columns,
    rows: &[&Folded],
    pick: fn(&DescriptionRow) -> Option<Span>,
) -> Vec<Option<&'a str>> {
    let text = |one: &&Folded| one.row.description.as_ref().and_then(pick).map(|span| columns.text(span));
    rows.iter().map(text).collect()
}

/// A column of numbers.
fn column<T>(rows: &[&Folded], pick: impl Fn(&Row) -> T) -> Vec<T> {
    rows.iter().map(|one| pick(&one.row)).collect()
}

/// A column of the order of descriptions.
fn description_column(rows: &[&Folded], pick: fn((i64, i64, i64)) -> i64) -> Vec<i64> {
    column(rows, |row| pick(description_order(row.description.as_ref())))
}

/// Inserts rows that may exist by now; returns those that did.
async fn insert_new<'a>(
    connection: &mut Connection,
    columns: &Columns,
    fresh: &[&'a Folded],
    applied: &mut Applied,
) -> Result<Vec<&'a Folded>, Fault> {
    if fresh.is_empty() {
        return Ok(Vec::new());
    }
    let inserted = sqlx::query(include_str!("sql/objects_insert.sql"))
        .bind(column(fresh, |row| columns.store(row)))
        .bind(column(fresh, |row| columns.text(row.bucket)))
        .bind(column(fresh, |row| columns.text(row.key)))
        .bind(column(fresh, |row| columns.text(row.version)))
        .bind(column(fresh, |row| row.kind))
        .bind(column(fresh, |row| row.order_time))
        .bind(column(fresh, |row| row.order_seq))
        .bind(column(fresh, |row| row.order_class))
        .bind(column(fresh, |row| columns.text(row.etag)))
        .bind(column(fresh, |row| row.size))
        .bind(description_column(fresh, |order| order.0))
        .bind(description_column(fresh, |order| order.1))
        .bind(description_column(fresh, |order| order.2))
        .bind(described(columns, fresh, |text| text.content_type))
        .bind(described(columns, fresh, |text| text.metadata))
        .bind(described(columns, fresh, |text| text.tags))
        .fetch_all(&mut *connection)
        .await
        .map_err(Fault::data)?;
    let mut keys = std::collections::HashSet::with_capacity(inserted.len());
    for row in &inserted {
        let get = |at| row.try_get::<String, _>(at).map_err(Fault::ours);
        keys.insert((get(0)?, get(1)?, get(2)?, get(3)?));
    }
    let mut raced = Vec::new();
    for one in fresh {
        let text = |span| columns.text(span).to_owned();
        let row = &one.row;
        if keys.contains(&(columns.store(row).to_owned(), text(row.bucket), text(row.key), text(row.version))) {
            written(&mut applied.outcome, one);
            applied.left.row(columns, row, RowState::ABSENT, RowState::inserted(columns, row));
        } else {
            raced.push(*one);
        }
    }
    Ok(raced)
}

/// Updates existing rows: as they were seen, or under locks taken in key order. Returns removals of whole keys that are
/// newer than the known ones.
async fn update(
    connection: &mut Connection,
    columns: &Columns,
    newer: &[(&Folded, Option<&Stored>)],
    keys: &Keys,
    care: Care,
    applied: &mut Applied,
) -> Result<Removals, Fault> {
    let mut removals = Removals::default();
    if newer.is_empty() {
        return Ok(removals);
    }
    let seen: Option<Vec<&Stored>> = newer.iter().map(|(_, seen)| *seen).collect();
    let locked;
    let stored = match seen {
        // Creating head rows of versioned keys changed some of these rows since they were seen.
        Some(seen) if care == Care::Optimistic && keys.is_empty() => seen,
        _ => {
            let rows: Vec<&Folded> = newer.iter().map(|(one, _)| *one).collect();
            locked = stored::lock(connection, columns, &rows).await?;
            // We never delete rows; a missing one was purged meanwhile, and another attempt inserts it.
            locked.iter().map(Option::as_ref).collect::<Option<Vec<_>>>().ok_or(Fault::Again)?
        }
    };
    let mut changes = Changes::default();
    for ((one, _), stored) in newer.iter().zip(stored) {
        if stored.versioned && !keys.contains(columns, &one.row) {
            // The key got its first version while we waited for its lock: retry with its head row locked.
            return Err(Fault::Again);
        }
        let change = Change::of(columns, one, stored);
        let removal = one.removal.filter(|removal| Some(*removal) > stored.removal);
        if !change.is_any() && removal.is_none() {
            let same = change.is_same(one) || (one.removal.is_some() && one.removal == stored.removal);
            unchanged(&mut applied.outcome, one, same);
            continue;
        }
        written(&mut applied.outcome, one);
        if let Some(removal) = removal {
            removals.add(columns, &one.row, removal);
        }
        if !change.is_any() {
            continue;
        }
        let old = RowState { kind: stored.order.2, time: stored.order.0, size: stored.size, current: stored.current };
        let new = new_state(columns, &one.row, stored, change);
        // The current row of a versioned key is counted once, where it is derived.
        let counted = |state: RowState| RowState { current: state.current && !stored.versioned, ..state };
        applied.left.row(columns, &one.row, counted(old), counted(new));
        changes.rows.push(one);
        changes.changes.push(change);
        changes.stored.push(stored);
        changes.current.push(new.current);
        changes.shown.push(stays_shown(&one.row, stored, change));
    }
    changes.write(connection, columns).await?;
    Ok(removals)
}

/// Updates of one statement, a column each.
#[derive(Default)]
struct Changes<'a> {
    rows: Vec<&'a Folded>,
    changes: Vec<Change>,
    stored: Vec<&'a Stored>,
    current: Vec<bool>,
    /// Whether the description belongs to these facts, and not to older ones.
    shown: Vec<bool>,
}

impl Changes<'_> {
    async fn write(&self, connection: &mut Connection, columns: &Columns) -> Result<(), Fault> {
        let rows = &self.rows;
        if rows.is_empty() {
            return Ok(());
        }
        let flag = |pick: fn(&Change) -> bool| self.changes.iter().map(pick).collect::<Vec<bool>>();
        let done = sqlx::query(include_str!("sql/objects_update.sql"))
            .bind(self.stored.iter().map(|stored| &*stored.place).collect::<Vec<&str>>())
            .bind(flag(|change| change.facts_newer))
            .bind(flag(|change| change.facts_equal))
            .bind(flag(|change| change.desc_newer))
            .bind(flag(|change| change.desc_merged))
            .bind(&self.current)
            .bind(column(rows, |row| row.kind))
            .bind(column(rows, |row| row.order_time))
            .bind(column(rows, |row| row.order_seq))
            .bind(column(rows, |row| row.order_class))
            .bind(column(rows, |row| columns.text(row.etag)))
            .bind(column(rows, |row| row.size))
            .bind(description_column(rows, |order| order.0))
            .bind(description_column(rows, |order| order.1))
            .bind(description_column(rows, |order| order.2))
            .bind(described(columns, rows, |text| text.content_type))
            .bind(described(columns, rows, |text| text.metadata))
            .bind(described(columns, rows, |text| text.tags))
            .bind(self.stored.iter().map(|stored| &*stored.writer).collect::<Vec<&str>>())
            .bind(&self.shown)
            .execute(&mut *connection)
            .await
            .map_err(Fault::data)?;
        // The counters were told of every row: one that changed since it was seen would make them wrong.
        if done.rows_affected() == rows.len() as u64 { Ok(()) } else { Err(Fault::Again) }
    }
}

/// Whether the description of a row belongs to its facts once both are updated.
fn stays_shown(row: &Row, stored: &Stored, change: Change) -> bool {
    let facts = if change.facts_newer { (row.order_time, row.order_seq) } else { (stored.order.0, stored.order.1) };
    let description = if change.desc_newer { description_order(row.description.as_ref()) } else { stored.description };
    is_shown(description, facts)
}

/// The row that `objects_update.sql` leaves, for the counters.
fn new_state(columns: &Columns, row: &Row, stored: &Stored, change: Change) -> RowState {
    if change.facts_newer {
        let alone = columns.bytes(row.version).is_empty() && !stored.versioned;
        let current = row.kind == 1 && (stored.current || alone);
        return RowState { kind: row.kind, time: row.order_time, size: row.size, current };
    }
    let size = if change.facts_equal { row.size.max(stored.size) } else { stored.size };
    RowState { kind: stored.order.2, time: stored.order.0, size, current: stored.current }
}
