//! The state of shares, which here are stores: which are paused, how one is resumed, and how much the quarantine
//! keeps of each.
//!
//! A record is kept only in a transaction that prevents a resume of its share meanwhile. So after a resume all
//! records that were kept are visible, and no further one is added.

use millstream_engine::{Pause, Share, SinkError, Standing};
use millstream_postgres::Connection;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::error::{Fault, failed};
use super::session::{enter, leave};

/// The stored state of all shares of a pipeline.
///
/// # Errors
/// The database failed.
pub async fn read(connection: &mut Connection, pipeline: &str) -> Result<Vec<Standing>, SinkError> {
    let doing = "read which shares are paused";
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

/// Pauses a share.
pub(super) async fn pause_share(
    connection: &mut Connection,
    pipeline: &str,
    share: &Share,
    reason: &str,
) -> Result<(), SinkError> {
    let told = |error| failed("pause a share", error);
    enter(connection).await.map_err(told)?;
    sqlx::query(include_str!("sql/share_pause_insert.sql"))
        .bind(pipeline)
        .bind(share.as_str())
        .bind(reason)
        .execute(&mut *connection)
        .await
        .map_err(told)?;
    leave(connection).await.map_err(told)
}

/// Checks that each share is still paused of which a batch keeps records, and locks that state.
pub(super) async fn check(connection: &mut Connection, pipeline: &str, shares: Vec<&str>) -> Result<(), Fault> {
    if shares.is_empty() {
        return Ok(());
    }
    let locked: Vec<String> = sqlx::query_scalar(include_str!("sql/share_pauses_lock.sql"))
        .bind(pipeline)
        .bind(&shares)
        .fetch_all(connection)
        .await
        .map_err(Fault::ours)?;
    let resumed = shares.into_iter().find(|share| locked.iter().all(|locked| locked != share));
    resumed.map_or(Ok(()), |share| Err(Fault::Fence(SinkError::Resumed { share: Share::new(share) })))
}

/// Resumes a share: its next records are decoded and written. Returns whether it was paused.
///
/// # Errors
/// The database failed.
pub async fn resume(connection: &mut sqlx::PgConnection, pipeline: &str, share: &str) -> Result<bool, sqlx::Error> {
    let resume = sqlx::query(include_str!("sql/share_resume.sql")).persistent(false);
    Ok(resume.bind(pipeline).bind(share).execute(connection).await?.rows_affected() > 0)
}

/// The number of records of a share that are kept now.
///
/// # Errors
/// The database failed.
pub async fn left(connection: &mut sqlx::PgConnection, pipeline: &str, share: &str) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar::<_, i64>(include_str!("sql/share_aside_count.sql")).persistent(false);
    Ok(u64::try_from(count.bind(pipeline).bind(share).fetch_one(connection).await?).unwrap_or_default())
}
