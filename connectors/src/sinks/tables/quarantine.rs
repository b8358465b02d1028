//! Quarantine: events that could not be written, with their bytes.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::{Batch, Record};
use millstream_postgres::Connection;

use super::columns::Events;
use super::error::Fault;
use super::options::{Bound, DROP_ROWS, Options};
use super::rows::Refusal;

/// Bytes of records in one statement. Each row has the whole record, and a message to PostgreSQL is limited to 1 GB.
const STATEMENT_BYTES_MAX: usize = 8 << 20;
/// Rows that one statement of the retention removes, which takes some milliseconds.
const EXPIRE_ROWS_MAX: i64 = 1_000;
/// Changes added up by one statement.
const FOLD_ROWS_MAX: i64 = 10_000;

/// One row of the quarantine table.
struct Kept<'a> {
    record: usize,
    index: i32,
    reason: &'a str,
    detail: &'a str,
    sqlstate: Option<&'a str>,
}

/// The quarantined part of a batch.
#[derive(Debug)]
pub(super) struct Quarantined {
    /// The number of events that the rows stand for.
    pub(super) events: u64,
    /// The records of these events, without those kept because their share was paused.
    pub(super) bad: BTreeSet<u32>,
    /// Older rows that were dropped for these.
    pub(super) dropped: u64,
}

/// Writes the quarantine rows of a batch.
pub(super) async fn write<C: Events>(
    connection: &mut Connection,
    options: &Options,
    batch: &Batch<C>,
    refused: &BTreeMap<u32, Refusal>,
) -> Result<Quarantined, Fault> {
    let settled = batch.columns().settled();
    let mut kept: Vec<Kept<'_>> = Vec::new();
    for one in &settled.refused {
        let record = one.record as usize;
        let index = one.index;
        kept.push(Kept { record, index, reason: one.reason, detail: &one.detail, sqlstate: None });
    }
    for (record, refusal) in refused {
        let detail = &*refusal.detail;
        let sqlstate = Some(&*refusal.sqlstate);
        kept.push(Kept { record: *record as usize, index: -1, reason: "refused_by_database", detail, sqlstate });
    }
    let refused_here = batch.columns().records().filter(|record| refused.contains_key(record)).count() as u64;
    let events = settled.refused_events() + refused_here;
    let bad = settled.refused.iter().map(|one| one.record).chain(refused.keys().copied());
    let bad = bad.filter(|record| !batch.is_aside(*record as usize)).collect();
    let mut quarantined = Quarantined { events, bad, dropped: 0 };
    if kept.is_empty() {
        return Ok(quarantined);
    }
    let with_records: Vec<(Kept<'_>, &Record, &str)> = kept
        .into_iter()
        .filter_map(|kept| {
            let record = batch.records().get(kept.record)?;
            let partition = batch.range_of(kept.record)?.partition.as_str();
            Some((kept, record, partition))
        })
        .collect();
    let mut left = &*with_records;
    while !left.is_empty() {
        let mut bytes = 0;
        let fits = |(_, record, _): &&(Kept<'_>, &Record, &str)| {
            bytes += record.cost_bytes();
            bytes <= STATEMENT_BYTES_MAX
        };
        let (now, later) = left.split_at(left.iter().take_while(fits).count().max(1));
        insert(connection, options, batch, now).await?;
        left = later;
    }
    if let Some(bound) = options.quarantine_max {
        let shares: BTreeSet<&str> = with_records.iter().map(|(kept, _, _)| batch.share_of(kept.record)).collect();
        let shares: Vec<&str> = shares.into_iter().collect();
        quarantined.dropped = drop_oldest(connection, options, bound, &shares, with_records.len()).await?;
    }
    Ok(quarantined)
}

/// Drops the oldest rows of these shares if the quarantine keeps too much of them, after `added` rows came. Returns how
/// many. Of a quarantine that is far over its bound, as after the bound was lowered, each call drops a part.
async fn drop_oldest(
    connection: &mut Connection,
    options: &Options,
    bound: Bound,
    shares: &[&str],
    added: usize,
) -> Result<u64, Fault> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (rows, bytes) = bound.slack();
    // More than were added, so that it gets smaller by each call.
    let rows_max = DROP_ROWS.saturating_add((added as u64).saturating_mul(2));
    let gone: Vec<(String, i64)> = sqlx::query_as(include_str!("sql/quarantine_drop.sql"))
        .bind(&options.pipeline)
        .bind(shares)
        .bind(number(bound.rows))
        .bind(number(bound.bytes))
        .bind(number(rows))
        .bind(number(bytes))
        .bind(number(rows_max))
        .fetch_all(connection)
        .await
        .map_err(Fault::ours)?;
    for (share, rows) in &gone {
        tracing::warn!(
            pipeline = options.pipeline,
            share,
            rows,
            "the quarantine keeps too much of one share: its oldest rows are dropped for good"
        );
    }
    Ok(gone.iter().map(|(_, rows)| u64::try_from(*rows).unwrap_or_default()).sum())
}

async fn insert<C: Events>(
    connection: &mut Connection,
    options: &Options,
    batch: &Batch<C>,
    with_records: &[(Kept<'_>, &Record, &str)],
) -> Result<(), Fault> {
    let of = |pick: fn(&(Kept<'_>, &Record, &str)) -> String| with_records.iter().map(pick).collect::<Vec<String>>();
    sqlx::query(include_str!("sql/quarantine_insert.sql"))
        .bind(&options.pipeline)
        .bind(&options.incarnation)
        .bind(with_records.iter().map(|(_, _, partition)| *partition).collect::<Vec<_>>())
        .bind(of(|(_, record, _)| record.position.to_string()))
        .bind(with_records.iter().map(|(kept, _, _)| kept.index).collect::<Vec<_>>())
        .bind(with_records.iter().map(|(kept, _, _)| kept.reason).collect::<Vec<_>>())
        .bind(of(|(kept, _, _)| kept.detail.replace('\0', "\\0")))
        .bind(with_records.iter().map(|(kept, _, _)| kept.sqlstate).collect::<Vec<_>>())
        .bind(with_records.iter().map(|(kept, _, _)| batch.share_of(kept.record)).collect::<Vec<_>>())
        .bind(with_records.iter().map(|(_, record, _)| &*record.key).collect::<Vec<&[u8]>>())
        .bind(of(|(_, record, _)| headers_json(record)))
        .bind(with_records.iter().map(|(_, record, _)| &*record.payload).collect::<Vec<&[u8]>>())
        .bind(with_records.iter().map(|(_, record, _)| record.published_at_ms).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map_err(Fault::ours)?;
    Ok(())
}

/// Headers as JSON, for people: a value that is no text is shown with replacement characters.
fn headers_json(record: &Record) -> String {
    let headers = record.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value).replace('\0', "\u{fffd}");
        (name.replace('\0', "\u{fffd}"), serde_json::Value::String(value))
    });
    serde_json::Value::Object(headers.collect()).to_string()
}

/// Removes some rows that have been in quarantine for more than `days`: returns stores, and the number of rows of each.
/// Unless that is empty, there may be more.
///
/// # Errors
/// The database failed.
pub async fn expire(
    connection: &mut sqlx::PgConnection,
    pipeline: &str,
    days: u32,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/quarantine_expire.sql"))
        .bind(pipeline)
        .bind(i32::try_from(days).unwrap_or(i32::MAX))
        .bind(EXPIRE_ROWS_MAX)
        .fetch_all(connection)
        .await
}

/// Adds up the changes to each share's quarantine.
///
/// # Errors
/// The database failed.
pub async fn fold(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/quarantine_changes_fold.sql")).bind(FOLD_ROWS_MAX).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_goes_on_a_part_below_the_bound() {
        assert_eq!(Bound { rows: 1_000_000, bytes: 1 << 30 }.slack(), (10_000, (1 << 30) / 10));
        assert_eq!(Bound { rows: 50, bytes: 0 }.slack(), (5, 0));
    }
}
