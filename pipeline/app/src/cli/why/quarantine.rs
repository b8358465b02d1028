//! The quarantined records of one object: rows are kept for records, so each is decoded to see which objects it names.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use millstream_schemas::objects::{Entity, decode_with_entities};
use millstream_schemas::{Input, Limits};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::stream::Wanted;

/// Maximum number of rows searched: those kept under the object's own key first, then the latest. A flood would have
/// millions.
const ROWS_MAX: u32 = 10_000;

/// A row about the object.
#[derive(Debug)]
pub(super) struct Quarantined {
    pub(super) id: i64,
    pub(super) pipeline: String,
    pub(super) partition: String,
    pub(super) position: String,
    /// Which event of the record; -1 for all of it.
    pub(super) index: i32,
    pub(super) reason: String,
    pub(super) detail: String,
}

/// The rows, and whether there are more than were searched.
pub(super) async fn find(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    limits: &Limits,
) -> Result<(Vec<Quarantined>, bool), sqlx::Error> {
    let mut rows = sqlx::query(include_str!("../sql/why_quarantine.sql"))
        .bind(wanted.record_key())
        .bind(wanted.store)
        .bind(i64::from(ROWS_MAX) + 1)
        .fetch(connection);
    let mut found = Vec::new();
    let mut looked = 0;
    while let Some(row) = rows.try_next().await? {
        looked += 1;
        if looked > ROWS_MAX {
            return Ok((found, true));
        }
        if is_about(&row, wanted, limits)? {
            found.push(Quarantined {
                id: row.try_get("id")?,
                pipeline: row.try_get("pipeline")?,
                partition: row.try_get("partition")?,
                position: row.try_get("position")?,
                index: row.try_get("index")?,
                reason: row.try_get("reason")?,
                detail: row.try_get("detail")?,
            });
        }
    }
    found.sort_by_key(|row| row.id);
    Ok((found, false))
}

/// True if the event of the row, or any event where the row is for a whole record, is about the object.
fn is_about(row: &PgRow, wanted: &Wanted<'_>, limits: &Limits) -> Result<bool, sqlx::Error> {
    let headers: BTreeMap<String, String> = serde_json::from_str(row.try_get("headers")?).unwrap_or_default();
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect();
    let payload: &[u8] = row.try_get("payload")?;
    let record_key: &[u8] = row.try_get("record_key")?;
    let input = Input { payload, headers: &headers, published_at_ms: row.try_get("published_at_ms")? };
    let mut entities: Vec<Entity<'static>> = Vec::new();
    decode_with_entities(input, limits, &mut |_, entity| entities.push(entity.into_owned()));
    let index: i32 = row.try_get("index")?;
    let one = usize::try_from(index).ok();
    let mut of_row = entities.iter().enumerate().filter(|(number, _)| one.is_none_or(|one| one == *number));
    Ok(of_row.any(|(_, entity)| wanted.is_about(entity, record_key, entities.len())))
}
