//! The record of shares, which here are stores: which are put aside, how one is resumed, and how much the quarantine
//! keeps of each.
//!
//! A record is put aside only in a transaction that keeps its share from being resumed meanwhile. So whoever resumes a
//! share finds every record that was put aside, and no other comes after.

use millstream_engine::{Batch, Pause, Share, SinkError, Standing};
use millstream_postgres::Connection;
use millstream_schemas::Limits;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Options;
use super::columns::Columns;
use super::error::{Fault, failed};
use super::redrive::{Redrive, Redriven};
use super::transaction::{enter, leave};

/// Why a record is in quarantine that was put aside with its share.
pub const PAUSED: &str = "share_paused";

/// Records in one transaction of a redrive: enough to share its cost, few enough to hold locks briefly.
pub const REDRIVE_RECORDS_MAX: usize = 500;
/// And their bytes, which are in memory at once.
pub const REDRIVE_BYTES_MAX: i64 = 16 << 20;
/// Rows that one statement of the retention removes: some milliseconds.
const EXPIRE_ROWS_MAX: i64 = 1_000;
/// Changes that one statement adds up.
const FOLD_ROWS_MAX: i64 = 10_000;

/// Everything on record of the shares of a pipeline.
///
/// # Errors
/// Of the database.
pub async fn read(connection: &mut Connection, pipeline: &str) -> Result<Vec<Standing>, SinkError> {
    let doing = "read which shares are put aside";
    let told = |error| failed(doing, error);
    enter(connection).await.map_err(told)?;
    let rows = sqlx::query(include_str!("sql/shares_select.sql"))
        .bind(pipeline)
        .fetch_all(&mut *connection)
        .await
        .map_err(told)?;
    leave(connection).await.map_err(told)?;
    rows.iter().map(standing).collect::<Result<_, _>>().map_err(told)
}

fn standing(row: &PgRow) -> Result<Standing, sqlx::Error> {
    let count = |at| row.try_get::<i64, _>(at).map(|count| u64::try_from(count).unwrap_or_default());
    let reason: Option<String> = row.try_get(1)?;
    let pause = match reason {
        Some(reason) => {
            let since_ms = row.try_get(2)?;
            Some(Pause { since_ms, reason, is_resumed: row.try_get(3)?, rows: count(5)? })
        }
        None => None,
    };
    Ok(Standing { share: Share::new(row.try_get(0)?), pause, rows: count(4)?, bytes: count(6)? })
}

/// Puts a share aside.
pub(super) async fn put_aside(
    connection: &mut Connection,
    options: &Options,
    share: &Share,
    reason: &str,
) -> Result<(), SinkError> {
    let told = |error| failed("put a share aside", error);
    enter(connection).await.map_err(told)?;
    sqlx::query(include_str!("sql/share_pause_insert.sql"))
        .bind(&options.pipeline)
        .bind(share.as_str())
        .bind(reason)
        .execute(&mut *connection)
        .await
        .map_err(told)?;
    leave(connection).await.map_err(told)
}

/// Checks that every share of which a batch puts records aside still is put aside, and keeps it so.
pub(super) async fn check(connection: &mut Connection, options: &Options, batch: &Batch<Columns>) -> Result<(), Fault> {
    let shares = batch.put_aside();
    if shares.is_empty() {
        return Ok(());
    }
    let locked: Vec<String> = sqlx::query_scalar(include_str!("sql/share_pauses_lock.sql"))
        .bind(&options.pipeline)
        .bind(&shares)
        .fetch_all(connection)
        .await
        .map_err(Fault::ours)?;
    let resumed = shares.into_iter().find(|share| locked.iter().all(|locked| locked != share));
    resumed.map_or(Ok(()), |share| Err(Fault::Fence(SinkError::Resumed { share: Share::new(share) })))
}

/// Resumes a share: what comes of it now is decoded and written. Returns whether it was put aside.
///
/// # Errors
/// Of the database.
pub async fn resume(connection: &mut sqlx::PgConnection, pipeline: &str, share: &str) -> Result<bool, sqlx::Error> {
    let resume = sqlx::query(include_str!("sql/share_resume.sql")).persistent(false);
    Ok(resume.bind(pipeline).bind(share).execute(connection).await?.rows_affected() > 0)
}

/// How many records of a share are put aside just now.
///
/// # Errors
/// Of the database.
pub async fn left(connection: &mut sqlx::PgConnection, pipeline: &str, share: &str) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar::<_, i64>(include_str!("sql/share_aside_count.sql")).persistent(false);
    Ok(u64::try_from(count.bind(pipeline).bind(share).fetch_one(connection).await?).unwrap_or_default())
}

/// Writes the records of a resumed share that were put aside, some in each transaction.
#[derive(Debug)]
pub struct Rewrite {
    pipeline: String,
    share: String,
    redrive: Redrive,
}

impl Rewrite {
    /// The same as of [`Redrive::new`].
    pub fn new(pipeline: &str, share: &str, limits: Limits, segments_max: i32, set_local: String) -> Self {
        let redrive = Redrive::new(limits, segments_max, set_local, false);
        Rewrite { pipeline: pipeline.to_owned(), share: share.to_owned(), redrive }
    }

    /// Writes the next records. `None` once there are no more, or the share is put aside again.
    ///
    /// # Errors
    /// Of the database, unless it blames a record: that one stays in quarantine with the reason.
    pub async fn step(&mut self, connection: &mut Connection) -> Result<Option<Redriven>, SinkError> {
        let told = |error| failed("read what was put aside", error);
        enter(connection).await.map_err(told)?;
        let next: Vec<(i64, i64)> = sqlx::query_as(include_str!("sql/share_aside_select.sql"))
            .bind(&self.pipeline)
            .bind(&self.share)
            .bind(i64::try_from(REDRIVE_RECORDS_MAX).unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await
            .map_err(told)?;
        leave(connection).await.map_err(told)?;
        let ids = chunk(&next);
        if ids.is_empty() {
            enter(connection).await.map_err(told)?;
            sqlx::query(include_str!("sql/share_pause_delete.sql"))
                .bind(&self.pipeline)
                .bind(&self.share)
                .execute(&mut *connection)
                .await
                .map_err(told)?;
            leave(connection).await.map_err(told)?;
            return Ok(None);
        }
        self.redrive.run(connection, &ids).await.map(Some)
    }
}

/// The first of these rows that one transaction may redrive: at least one, however large.
pub fn chunk(rows: &[(i64, i64)]) -> Vec<i64> {
    let mut bytes = 0;
    let fits = |(_, payload_bytes): &&(i64, i64)| {
        bytes += payload_bytes;
        bytes <= REDRIVE_BYTES_MAX
    };
    let count = rows.iter().take(REDRIVE_RECORDS_MAX).take_while(fits).count().max(1);
    rows.iter().take(count).map(|(id, _)| *id).collect()
}

/// Removes some rows that have been in quarantine for more than `days`: stores, and how many rows of each. As long as
/// there are any, there may be more.
///
/// # Errors
/// Of the database.
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

/// Adds up what the quarantine of each share came to.
///
/// # Errors
/// Of the database.
pub async fn fold(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/quarantine_changes_fold.sql")).bind(FOLD_ROWS_MAX).execute(connection).await.map(drop)
}
