//! Folded rows meet what is stored: unchanged ones are filtered, new ones copied in, the rest updated under lock.
//!
//! The counters are told only what the writing statements saw: a COPY that succeeds proves that its rows were not
//! there, an UPDATE returns what its row locks saw. The look at stored rows before it only decides which statement a
//! row goes to, and makes redelivery cheap.

use std::collections::HashMap;

use millstream_engine::Outcome;
use sqlx::{PgConnection, Row as _};

use super::columns::{Columns, Row};
use super::copy;
use super::counts::{Deltas, RowState};
use super::error::Fault;
use super::fold::{Folded, LOWEST, description_order, fold};
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

struct Stored {
    order: (i64, i64, i16),
    etag: String,
    size: Option<i64>,
    order_class: i16,
    description: (i64, i64, i64),
    versioned: bool,
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
        let stored = if look { select_stored(connection, columns, &folded).await? } else { HashMap::new() };
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
        let verdict = known.map_or(Compared::Newer, |stored| compare(columns, one, stored));
        if verdict != Compared::Newer {
            unchanged(&mut applied.outcome, one, verdict);
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Newer,
    Same,
    Older,
}

/// Whether a row would change anything stored. Must say `Newer` whenever `objects_update.sql` would.
fn compare(columns: &Columns, one: &Folded, stored: &Stored) -> Compared {
    let row = &one.row;
    let facts = (row.order_time, row.order_seq, row.kind);
    let facts = facts.cmp(&stored.order).then_with(|| columns.bytes(row.etag).cmp(stored.etag.as_bytes()));
    let grows = facts.is_eq() && (row.size > stored.size || row.order_class > stored.order_class);
    let description = description_order(row.description.as_ref());
    let same_order = (description.0, description.1) == (stored.description.0, stored.description.1);
    // A merged description keeps the larger hash: what hashes lower at the same order may still add a field.
    let description_newer = if same_order { description.2 != stored.description.2 } else { description > stored.description };
    if (row.kind != 0 && (facts.is_gt() || grows)) || description_newer {
        Compared::Newer
    } else if (row.kind != 0 && facts.is_eq()) || (row.kind == 0 && same_order) {
        Compared::Same
    } else {
        Compared::Older
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
fn unchanged(outcome: &mut Outcome, one: &Folded, compared: Compared) {
    let events = u64::from(one.events);
    let duplicates = if compared == Compared::Same { u64::from(one.winners).min(events) } else { 0 };
    outcome.filter("duplicate", duplicates);
    outcome.filter("stale", events - duplicates);
}

async fn select_stored(
    connection: &mut PgConnection,
    columns: &Columns,
    folded: &[Folded],
) -> Result<HashMap<usize, Stored>, Fault> {
    let rows = sqlx::query(include_str!("sql/objects_stored_select.sql"))
        .bind(folded.iter().map(|one| columns.store(&one.row)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.bucket)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.key)).collect::<Vec<_>>())
        .bind(folded.iter().map(|one| columns.text(one.row.version)).collect::<Vec<_>>())
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
        };
        Ok((usize::try_from(ordinal - 1).unwrap_or(usize::MAX), stored))
    });
    stored.collect::<Result<_, sqlx::Error>>().map_err(Fault::ours)
}

/// Binds the sixteen columns that `objects_insert.sql` and `objects_update.sql` share.
macro_rules! bind_rows {
    ($query:expr, $columns:expr, $rows:expr) => {{
        let (columns, rows): (&Columns, &[&Folded]) = ($columns, $rows);
        let description = |one: &&Folded| description_order(one.row.description.as_ref());
        let text = |pick: fn(&super::columns::DescriptionRow) -> Option<super::columns::Span>| {
            rows.iter()
                .map(|one| one.row.description.as_ref().and_then(pick).map(|span| columns.text(span)))
                .collect::<Vec<_>>()
        };
        sqlx::query($query)
            .bind(rows.iter().map(|one| columns.store(&one.row)).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| columns.text(one.row.bucket)).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| columns.text(one.row.key)).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| columns.text(one.row.version)).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| one.row.kind).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| one.row.order_time).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| one.row.order_seq).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| one.row.order_class).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| columns.text(one.row.etag)).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| one.row.size).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| description(one).0).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| description(one).1).collect::<Vec<_>>())
            .bind(rows.iter().map(|one| description(one).2).collect::<Vec<_>>())
            .bind(text(|text| text.content_type))
            .bind(text(|text| text.metadata))
            .bind(text(|text| text.tags))
    }};
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
    let inserted = bind_rows!(include_str!("sql/objects_insert.sql"), columns, fresh)
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
    let changed = bind_rows!(include_str!("sql/objects_update.sql"), columns, newer)
        .fetch_all(&mut *connection)
        .await
        .map_err(Fault::data)?;
    let mut seen = vec![false; newer.len()];
    for row in &changed {
        let ordinal: i64 = row.try_get(0).map_err(Fault::ours)?;
        let at = usize::try_from(ordinal - 1).unwrap_or(usize::MAX);
        let (Some(one), Some(seen)) = (newer.get(at), seen.get_mut(at)) else { continue };
        *seen = true;
        written(&mut applied.outcome, one);
        let (old, new, versioned) = row_states(row).map_err(Fault::ours)?;
        if versioned && !keys.contains(columns, &one.row) {
            // The key got its first version while we waited for its lock: begin again with its head locked.
            return Err(Fault::Again);
        }
        applied.deltas.row(columns, &one.row, old, new);
    }
    for (one, seen) in newer.iter().zip(seen) {
        if !seen {
            unchanged(&mut applied.outcome, one, Compared::Older);
        }
    }
    Ok(())
}

fn row_states(row: &sqlx::postgres::PgRow) -> Result<(RowState, RowState, bool), sqlx::Error> {
    let state = |kind: i16, time: i64, size: Option<i64>, current: bool| RowState {
        kind,
        time: if kind == 0 { LOWEST } else { time },
        size,
        current,
    };
    let old = state(row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
    let new = state(row.try_get(6)?, row.try_get(7)?, row.try_get(8)?, row.try_get(9)?);
    Ok((old, new, row.try_get(1)?))
}
