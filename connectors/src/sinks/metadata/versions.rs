//! Keys with versions: which of their rows is current is derived under the lock of their head row.
//!
//! A removal of the whole key is kept in the head row and folded into every older row, also into those that arrive
//! later: each writer of a row of the key locks the head row first, and so either sees the removal or is seen by it.
//!
//! Keys that never had a version or such a removal never come here.

use std::collections::{BTreeMap, BTreeSet};

use millstream_postgres::Connection;
use sqlx::Row as _;

use super::columns::{Columns, Row};
use super::counts::{Current, Deltas, RowState};
use super::fold::Removal;
use crate::sinks::tables::error::Fault;

/// Bucket, key and store, which sort in lock order.
type Name = (String, String, String);

/// The versioned keys of a batch, in lock order.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: BTreeSet<Name>,
}

/// Current objects of these keys, by ordinal.
type CurrentRows = BTreeMap<i64, Option<i64>>;

/// The state of the locked keys before they are written.
#[derive(Debug, Default)]
pub(super) struct Before {
    current: CurrentRows,
    /// The keys that were removed as a whole.
    removed: BTreeSet<Name>,
}

/// Removals of whole keys that are newer than those that the head rows keep.
#[derive(Debug, Default)]
pub(super) struct Removals(BTreeMap<Name, Removal>);

impl Removals {
    pub(super) fn add(&mut self, columns: &Columns, row: &Row, removal: Removal) {
        self.0.insert(name(columns, row), removal);
    }
}

impl Keys {
    pub(super) fn add(&mut self, columns: &Columns, row: &Row) {
        self.keys.insert(name(columns, row));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn contains(&self, columns: &Columns, row: &Row) -> bool {
        !self.keys.is_empty() && self.keys.contains(&name(columns, row))
    }

    /// Whether this is a head row that locking created.
    pub(super) fn made_head(&self, columns: &Columns, row: &Row) -> bool {
        columns.bytes(row.version).is_empty() && self.contains(columns, row)
    }

    /// Locks the head rows; returns what was current before, and which keys had been removed.
    pub(super) async fn lock(&self, connection: &mut Connection) -> Result<Before, Fault> {
        if self.keys.is_empty() {
            return Ok(Before::default());
        }
        let (stores, buckets, keys) = bind(&self.keys);
        let removed = sqlx::query_as(include_str!("sql/heads_lock.sql"))
            .bind(stores)
            .bind(buckets)
            .bind(keys)
            .fetch_all(&mut *connection)
            .await
            .map_err(Fault::data)?;
        Ok(Before { removed: removed.into_iter().collect(), current: self.current(connection).await? })
    }

    /// Stores new removals, and folds them and earlier ones into older rows.
    pub(super) async fn remove(
        &self,
        connection: &mut Connection,
        before: &Before,
        removals: Removals,
        deltas: &mut Deltas,
    ) -> Result<(), Fault> {
        let Removals(removals) = removals;
        if !removals.is_empty() {
            let (stores, buckets, keys) = bind(removals.keys());
            sqlx::query(include_str!("sql/removals_keep.sql"))
                .bind(stores)
                .bind(buckets)
                .bind(keys)
                .bind(removals.values().map(|removal| removal.0).collect::<Vec<_>>())
                .bind(removals.values().map(|removal| removal.1).collect::<Vec<_>>())
                .bind(removals.values().map(|removal| removal.2).collect::<Vec<_>>())
                .execute(&mut *connection)
                .await
                .map_err(Fault::data)?;
        }
        let removed: BTreeSet<&Name> = before.removed.iter().chain(removals.keys()).collect();
        if removed.is_empty() {
            return Ok(());
        }
        let (stores, buckets, keys) = bind(removed.iter().copied());
        let folded: Vec<(i64, i16, i64, Option<i64>, i64)> = sqlx::query_as(include_str!("sql/removals_fold.sql"))
            .bind(stores)
            .bind(buckets)
            .bind(keys)
            .fetch_all(&mut *connection)
            .await
            .map_err(Fault::data)?;
        let removed: Vec<&Name> = removed.into_iter().collect();
        for (ordinal, kind, time, size, removed_time) in folded {
            let name = usize::try_from(ordinal - 1).ok().and_then(|at| removed.get(at));
            let Some((bucket, _, store)) = name else { continue };
            // The current row of the key is counted where it is derived.
            let state = |kind, time, size| RowState { kind, time, size, current: false };
            deltas.facts(store, bucket, state(kind, time, size), state(3, removed_time, None));
        }
        Ok(())
    }

    /// Derives `current` again and counts the difference.
    pub(super) async fn derive(
        &self,
        connection: &mut Connection,
        before: Before,
        deltas: &mut Deltas,
    ) -> Result<(), Fault> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let (stores, buckets, keys) = bind(&self.keys);
        sqlx::query(include_str!("sql/current_derive.sql"))
            .bind(stores)
            .bind(buckets)
            .bind(keys)
            .execute(&mut *connection)
            .await
            .map_err(Fault::data)?;
        let after = self.current(connection).await?;
        for (ordinal, (bucket, key, store)) in (1i64..).zip(&self.keys) {
            let state = |rows: &CurrentRows| rows.get(&ordinal).map(|size| Current { size: *size });
            deltas.current(store, bucket, key, state(&before.current), state(&after));
        }
        Ok(())
    }

    async fn current(&self, connection: &mut Connection) -> Result<CurrentRows, Fault> {
        let (stores, buckets, keys) = bind(&self.keys);
        let rows = sqlx::query(include_str!("sql/current_select.sql"))
            .bind(stores)
            .bind(buckets)
            .bind(keys)
            .fetch_all(&mut *connection)
            .await
            .map_err(Fault::data)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(Fault::ours)
    }
}

/// Stores, buckets and keys as columns.
fn bind<'a>(names: impl IntoIterator<Item = &'a Name>) -> (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for (bucket, key, store) in names {
        columns.0.push(&**store);
        columns.1.push(&**bucket);
        columns.2.push(&**key);
    }
    columns
}

fn name(columns: &Columns, row: &Row) -> Name {
    (columns.text(row.bucket).to_owned(), columns.text(row.key).to_owned(), columns.store(row).to_owned())
}
