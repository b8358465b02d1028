//! Removes what nobody needs any more: tasks that are long gone, and old parts of the log.
//!
//! A purged task must not come back with a late event, so each purge raises the floor of its source: unknown tasks that
//! were created before it are not written, unless a list tells of them.

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Fact, Kind};

use super::log::{self, Change};
use super::turn::Turn;
use crate::sinks::tables::error::Fault;
use crate::sinks::tables::session::{begin, commit, enter, leave, rollback};

/// Tasks in one transaction: others wait for the turn meanwhile.
const TASKS_MAX: i64 = 2_000;
/// Commits that are removed from the log at a time.
const COMMITS_MAX: i64 = 10_000;

/// Removes some of the tasks that were gone before a time, with their health; returns how many, 0 once there are none.
/// A dry run only counts, and once. `set_local` sets the timeouts.
///
/// # Errors
/// The database failed; what was removed before stays removed.
pub async fn purge(
    connection: &mut Connection,
    before_ms: i64,
    set_local: &str,
    dry_run: bool,
) -> Result<usize, Fault> {
    begin(connection, "", set_local).await.map_err(Fault::ours)?;
    if dry_run {
        let counted = sqlx::query_scalar(include_str!("sql/purge_count.sql")).bind(before_ms);
        let count: i64 = counted.fetch_one(&mut *connection).await.map_err(Fault::ours)?;
        rollback(connection).await.map_err(Fault::ours)?;
        return Ok(usize::try_from(count).unwrap_or_default());
    }
    let turn = Turn::take(connection).await?;
    let tasks = read(connection, Kind::Task, include_str!("sql/purge_select.sql"), |query| {
        query.bind(before_ms).bind(TASKS_MAX)
    })
    .await?;
    if tasks.is_empty() {
        rollback(connection).await.map_err(Fault::ours)?;
        return Ok(0);
    }
    let keys: Vec<_> = tasks.iter().map(Fact::key).collect();
    let column = |at: usize| keys.iter().filter_map(|key| key.columns.get(at).cloned()).collect::<Vec<String>>();
    let sources = column(0);
    let ids = column(1);
    let healths = read(connection, Kind::Health, include_str!("sql/purge_health_select.sql"), |query| {
        query.bind(sources.clone()).bind(ids.clone())
    })
    .await?;
    for statement in [include_str!("sql/purge_delete.sql"), include_str!("sql/purge_health_delete.sql")] {
        let delete = sqlx::query(statement).bind(&sources).bind(&ids);
        delete.execute(&mut *connection).await.map_err(Fault::ours)?;
    }
    let raise = sqlx::query(include_str!("sql/floor_raise.sql")).bind(&sources).bind(before_ms);
    raise.execute(&mut *connection).await.map_err(Fault::ours)?;
    let changes: Vec<Change> = tasks.iter().chain(&healths).map(Change::removal).collect();
    log::write(connection, &turn, &changes).await?;
    commit(connection).await.map_err(Fault::ours)?;
    Ok(tasks.len())
}

/// Removes a part of the log that is older than this, and what gateways served before; returns up to where the log is
/// removed, if anything was.
///
/// # Errors
/// The database failed.
pub async fn prune(connection: &mut Connection, hours: i32) -> Result<Option<i64>, Fault> {
    enter(connection).await.map_err(Fault::ours)?;
    let pruned = sqlx::query_scalar(include_str!("sql/log_prune.sql"))
        .bind(hours)
        .bind(COMMITS_MAX)
        .fetch_optional(&mut *connection)
        .await
        .map_err(Fault::ours)?;
    sqlx::query(include_str!("sql/gateways_prune.sql"))
        .bind(hours)
        .execute(&mut *connection)
        .await
        .map_err(Fault::ours)?;
    leave(connection).await.map_err(Fault::ours)?;
    Ok(pruned)
}

type Query = sqlx::query::QueryScalar<'static, sqlx::Postgres, String, sqlx::postgres::PgArguments>;

async fn read(
    connection: &mut Connection,
    kind: Kind,
    statement: &'static str,
    bind: impl FnOnce(Query) -> Query,
) -> Result<Vec<Fact>, Fault> {
    let rows = bind(sqlx::query_scalar(statement)).fetch_all(connection).await.map_err(Fault::ours)?;
    let read = |row: &String| Fact::read(kind, row).map_err(|error| Fault::Ours(sqlx::Error::Decode(error.into())));
    rows.iter().map(read).collect()
}
