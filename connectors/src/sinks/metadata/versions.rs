//! Keys with versions: which of their rows is current is derived under the lock of their head row.
//!
//! Keys without versions never come here.

use std::collections::{BTreeMap, BTreeSet};

use millstream_postgres::Connection;
use sqlx::Row as _;

use super::columns::{Columns, Row};
use super::counts::{Current, Deltas};
use super::error::Fault;

/// The versioned keys of a batch, in lock order.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: BTreeSet<(String, String, String)>,
}

/// Current objects of these keys, by ordinal.
pub(super) type CurrentRows = BTreeMap<i64, Option<i64>>;

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

    /// Whether this is a head row that locking has made.
    pub(super) fn made_head(&self, columns: &Columns, row: &Row) -> bool {
        columns.bytes(row.version).is_empty() && self.contains(columns, row)
    }

    /// Locks the head rows; says what was current before.
    pub(super) async fn lock(&self, connection: &mut Connection) -> Result<CurrentRows, Fault> {
        if self.keys.is_empty() {
            return Ok(CurrentRows::new());
        }
        let (stores, buckets, keys) = self.bind();
        sqlx::query(include_str!("sql/heads_lock.sql"))
            .bind(stores)
            .bind(buckets)
            .bind(keys)
            .execute(&mut *connection)
            .await
            .map_err(Fault::data)?;
        self.current(connection).await
    }

    /// Derives `current` again and counts the difference.
    pub(super) async fn derive(
        &self,
        connection: &mut Connection,
        before: CurrentRows,
        deltas: &mut Deltas,
    ) -> Result<(), Fault> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let (stores, buckets, keys) = self.bind();
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
            deltas.current(store, bucket, key, state(&before), state(&after));
        }
        Ok(())
    }

    async fn current(&self, connection: &mut Connection) -> Result<CurrentRows, Fault> {
        let (stores, buckets, keys) = self.bind();
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

    fn bind(&self) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        let mut columns = (Vec::new(), Vec::new(), Vec::new());
        for (bucket, key, store) in &self.keys {
            columns.0.push(&**store);
            columns.1.push(&**bucket);
            columns.2.push(&**key);
        }
        columns
    }
}

fn name(columns: &Columns, row: &Row) -> (String, String, String) {
    (columns.text(row.bucket).to_owned(), columns.text(row.key).to_owned(), columns.store(row).to_owned())
}
