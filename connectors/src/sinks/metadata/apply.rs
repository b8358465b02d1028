//! Folded rows meet what is stored: unchanged ones are filtered, new ones copied in, the rest updated under lock.
//!
//! The counters are told only what the writing statements saw: a COPY that succeeds proves that its rows were not
//! there, an UPDATE returns what its row locks saw. The look at stored rows before it only decides which statement a
//! row goes to, and makes redelivery cheap.

use std::collections::HashMap;

use millstream_engine::Outcome;
use sqlx::{PgConnection, Row as _};

use super::columns::{Columns, DescriptionRow, Row, Span};
use super::copy;
use super::counts::{Deltas, RowState};
use super::error::Fault;
use super::fold::{Folded, description_order, fold};
use super::versions::Keys;

/// How new keys are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insert {
    /// COPY: half the CPU and two thirds of the WAL of an INSERT, but fails as a whole if another writer was faster.
    Copy,
    /// INSERT .. ON CONFLICT DO NOTHING: tells which rows another writer inserted first.
    OnConflict,
}

/// Whether stored rows are looked up first. While hardly any key is stored already, the look-up costs more than it
/// saves, so it is left out until a COPY finds a key that is there.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Batches in a row in which no key was stored.
    misses: u32,
    /// Batches for which a surprise has switched it on, whatever they find.
    owed: u32,
    surprises: u32,
}

/// Batches without a hit after which looking stops. A wrong guess costs one repeated transaction.
const MISSES_BEFORE_SKIP: u32 = 8;

impl Lookup {
    pub(super) fn is_due(&self) -> bool {
        self.owed > 0 || self.misses < MISSES_BEFORE_SKIP
    }

    fn found(&mut self, hits: usize) {
        self.owed = self.owed.saturating_sub(1);
        self.misses = if hits == 0 { self.misses.saturating_add(1) } else { 0 };
    }

    /// A key was there that was not looked for: look for longer after each such surprise.
    pub(super) fn surprised(&mut self) {
        self.surprises = (self.surprises + 1).min(10);
        self.owed = 8 << self.surprises;
        self.misses = 0;
    }
}

/// What one set of records did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) outcome: Outcome,
    pub(super) deltas: Deltas,
}

/// A row of the table as a statement saw it.
struct Stored {
    order: (i64, i64, i16),
    etag: String,
    size: Option<i64>,
    order_class: i16,
    description: (i64, i64, i64),
    versioned: bool,
    current: bool,
    /// Where the row stands, if it is locked.
    place: Option<String>,
}

/// Writes the events of the records that `include` names.
pub(super) async fn apply(
    connection: &mut PgConnection,
    columns: &Columns,
    include: impl Fn(u32) -> bool,
    insert: Insert,
    lookup: &mut Lookup,
) -> Result<Applied, Fault> {
    let mut applied = Applied::default();
    let mut rows: Vec<Row> = columns.rows.iter().filter(|row| include(row.record)).copied().collect();
    let mut first = true;
    while !rows.is_empty() {
        let (folded, later) = fold(columns, rows);
        // A second pass meets rows that the first has written.
        let look = !first || insert == Insert::OnConflict || lookup.is_due();
        let stored = if look {
            select_stored(connection, columns, include_str!("sql/objects_stored_select.sql"), folded.iter()).await?
        } else {
            HashMap::new()
        };
        if look && first {
            lookup.found(stored.len());
        }
        apply_pass(connection, columns, &folded, &stored, insert, &mut applied).await?;
        rows = later;
        first = false;
    }
    Ok(applied)
}

async fn apply_pass(
    connection: &mut PgConnection,
    columns: &Columns,
    folded: &[Folded],
    stored: &HashMap<usize, Stored>,
    insert: Insert,
    applied: &mut Applied,
) -> Result<(), Fault> {
    let mut fresh: Vec<&Folded> = Vec::with_capacity(folded.len());
    let mut newer: Vec<&Folded> = Vec::new();
    let mut keys = Keys::default();
    for (at, one) in folded.iter().enumerate() {
        let known = stored.get(&at);
        if let Some(change) = known.map(|stored| Change::of(columns, one, stored))
            && !change.is_any()
        {
            unchanged(&mut applied.outcome, one, change);
            continue;
        }
        if columns.bytes(one.row.version).is_empty() {
            if known.is_some_and(|stored| stored.versioned) {
                keys.add(columns, &one.row);
            }
        } else {
            keys.add(columns, &one.row);
        }
        if known.is_some() { newer.push(one) } else { fresh.push(one) }
    }
    let before = keys.lock(connection).await?;
    if !keys.is_empty() {
        // Locking made heads of keys that had none: what was new a moment ago may be there now.
        let (there, absent): (Vec<&Folded>, Vec<&Folded>) =
            fresh.iter().partition(|one| keys.made_head(columns, &one.row));
        fresh = absent;
        newer.extend(there);
        newer.sort_by(|a, b| columns.key(&a.row).cmp(&columns.key(&b.row)));
    }
    match insert {
        Insert::Copy => {
            copy::copy(connection, columns, &fresh).await?;
            for one in &fresh {
                written(&mut applied.outcome, one);
                applied.deltas.row(columns, &one.row, RowState::ABSENT, RowState::inserted(columns, &one.row));
            }
        }
        Insert::OnConflict => {
            let raced = insert_new(connection, columns, &fresh, applied).await?;
            newer.extend(raced);
            newer.sort_by(|a, b| columns.key(&a.row).cmp(&columns.key(&b.row)));
        }
    }
    update(connection, columns, &newer, &keys, applied).await?;
    keys.derive(connection, before, &mut applied.deltas).await
}

/// What a folded row would change of a stored one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    /// The facts are newer.
    facts_newer: bool,
    /// The facts are of the same order.
    facts_equal: bool,
    /// Of the same order, and a field of them is larger or known now.
    facts_grow: bool,
    /// The description is newer.
    desc_newer: bool,
    /// The description is of the same order and says something else.
    desc_merged: bool,
    /// The description is of the same order.
    desc_equal: bool,
}

impl Change {
    fn of(columns: &Columns, one: &Folded, stored: &Stored) -> Self {
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

    fn is_any(self) -> bool {
        self.facts_newer || self.facts_grow || self.desc_newer || self.desc_merged
    }

    /// Whether what was stored already is this very event, and not a newer one.
    fn is_same(self, one: &Folded) -> bool {
        if one.row.kind == 0 { self.desc_equal } else { self.facts_equal }
    }
}

/// Counts a key whose row changed: the winning events are written, their copies duplicates, the others stale.
fn written(outcome: &mut Outcome, one: &Folded) {
    let events = u64::from(one.events);
    let written = (1 + u64::from(one.split)).min(events);
    let duplicates = u64::from(one.winners).saturating_sub(written).min(events - written);
    outcome.written += written;
    outcome.filter("duplicate", duplicates);
    outcome.filter("stale", events - written - duplicates);
}

/// Counts a key whose row did not change.
fn unchanged(outcome: &mut Outcome, one: &Folded, change: Change) {
    let events = u64::from(one.events);
    let duplicates = if change.is_same(one) { u64::from(one.winners).min(events) } else { 0 };
    outcome.filter("duplicate", duplicates);
    outcome.filter("stale", events - duplicates);
}

/// Looks rows up by key; `statement` decides whether it locks them.
async fn select_stored<'a>(
    connection: &mut PgConnection,
    columns: &Columns,
    statement: &'static str,
    folded: impl Iterator<Item = &'a Folded> + Clone,
) -> Result<HashMap<usize, Stored>, Fault> {
    let rows = sqlx::query(statement)
        .bind(folded.clone().map(|one| columns.store(&one.row)).collect::<Vec<_>>())
        .bind(folded.clone().map(|one| columns.text(one.row.bucket)).collect::<Vec<_>>())
        .bind(folded.clone().map(|one| columns.text(one.row.key)).collect::<Vec<_>>())
        .bind(folded.map(|one| columns.text(one.row.version)).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await
        .map_err(Fault::data)?;
    let stored = rows.iter().map(|row| {
        let ordinal: i64 = row.try_get(0)?;
        let stored = Stored {
            order: (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?),
            etag: row.try_get(4)?,
            size: row.try_get(5)?,
            order_class: row.try_get(6)?,
            description: (row.try_get(7)?, row.try_get(8)?, row.try_get(9)?),
            versioned: row.try_get(10)?,
            current: row.try_get(11)?,
            place: row.try_get(12)?,
        };
        Ok((usize::try_from(ordinal - 1).unwrap_or(usize::MAX), stored))
    });
    stored.collect::<Result<_, sqlx::Error>>().map_err(Fault::ours)
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

/// Inserts rows that may be there by now; returns those that were.
async fn insert_new<'a>(
    connection: &mut PgConnection,
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
            applied.deltas.row(columns, row, RowState::ABSENT, RowState::inserted(columns, row));
        } else {
            raced.push(*one);
        }
    }
    Ok(raced)
}

/// Updates rows that are there, under locks taken in key order.
async fn update(
    connection: &mut PgConnection,
    columns: &Columns,
    newer: &[&Folded],
    keys: &Keys,
    applied: &mut Applied,
) -> Result<(), Fault> {
    if newer.is_empty() {
        return Ok(());
    }
    let statement = include_str!("sql/objects_lock.sql");
    let mut locked = select_stored(connection, columns, statement, newer.iter().copied()).await?;
    let mut rows: Vec<&Folded> = Vec::with_capacity(newer.len());
    let (mut changes, mut places, mut current) = (Vec::new(), Vec::new(), Vec::new());
    for (at, one) in newer.iter().enumerate() {
        let row = &one.row;
        // Rows are never deleted by us; one that is gone was purged meanwhile, and another look inserts it.
        let Some(stored) = locked.remove(&at) else { return Err(Fault::Again) };
        if stored.versioned && !keys.contains(columns, row) {
            // The key got its first version while we waited for its lock: begin again with its head locked.
            return Err(Fault::Again);
        }
        let change = Change::of(columns, one, &stored);
        if !change.is_any() {
            unchanged(&mut applied.outcome, one, change);
            continue;
        }
        written(&mut applied.outcome, one);
        let old = RowState { kind: stored.order.2, time: stored.order.0, size: stored.size, current: stored.current };
        let new = new_state(columns, row, &stored, change);
        // What is current of a key with versions is counted once, where it is derived.
        let counted = |state: RowState| RowState { current: state.current && !stored.versioned, ..state };
        applied.deltas.row(columns, row, counted(old), counted(new));
        rows.push(one);
        changes.push(change);
        places.push(stored.place);
        current.push(new.current);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let flag = |pick: fn(&Change) -> bool| changes.iter().map(pick).collect::<Vec<bool>>();
    let done = sqlx::query(include_str!("sql/objects_update.sql"))
        .bind(places)
        .bind(flag(|change| change.facts_newer))
        .bind(flag(|change| change.facts_equal))
        .bind(flag(|change| change.desc_newer))
        .bind(flag(|change| change.desc_merged))
        .bind(current)
        .bind(column(&rows, |row| row.kind))
        .bind(column(&rows, |row| row.order_time))
        .bind(column(&rows, |row| row.order_seq))
        .bind(column(&rows, |row| row.order_class))
        .bind(column(&rows, |row| columns.text(row.etag)))
        .bind(column(&rows, |row| row.size))
        .bind(description_column(&rows, |order| order.0))
        .bind(description_column(&rows, |order| order.1))
        .bind(description_column(&rows, |order| order.2))
        .bind(described(columns, &rows, |text| text.content_type))
        .bind(described(columns, &rows, |text| text.metadata))
        .bind(described(columns, &rows, |text| text.tags))
        .execute(&mut *connection)
        .await
        .map_err(Fault::data)?;
    // The counters were told of every row: one that was not updated would make them wrong.
    if done.rows_affected() == rows.len() as u64 { Ok(()) } else { Err(Fault::Again) }
}

/// What `objects_update.sql` makes of a row, for the counters.
fn new_state(columns: &Columns, row: &Row, stored: &Stored, change: Change) -> RowState {
    if change.facts_newer {
        let alone = columns.bytes(row.version).is_empty() && !stored.versioned;
        let current = row.kind == 1 && (stored.current || alone);
        return RowState { kind: row.kind, time: row.order_time, size: row.size, current };
    }
    let size = if change.facts_equal { row.size.max(stored.size) } else { stored.size };
    RowState { kind: stored.order.2, time: stored.order.0, size, current: stored.current }
}
