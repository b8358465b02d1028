//! Removes what nobody needs any more: tasks, instances and slices that are long gone, and old parts of the log.
//!
//! A purged task must not come back with a late event, so each purge raises the floor of its source: unknown tasks that
//! were created before it are not written, unless a list tells of them.

use millstream_postgres::Connection;
use millstream_schemas::tasks::{Fact, Kind};

use super::log::{self, Change};
use super::turn::Turn;
use crate::sinks::tables::error::Fault;
use crate::sinks::tables::session::{begin, commit, enter, leave, rollback};

/// Rows of each kind in one transaction: others wait for the turn meanwhile.
const ROWS_MAX: i64 = 2_000;
/// Commits that are removed from the log at a time.
const COMMITS_MAX: i64 = 10_000;

/// Removes some of the tasks that were gone before a time, with their health, and of the instances and slices; returns how
/// many rows, health left out, 0 once there are none. A dry run only counts, and once. `set_local` sets the timeouts.
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
    let old = |query: Query| query.bind(before_ms).bind(ROWS_MAX);
    let tasks = read(connection, Kind::Task, include_str!("sql/purge_tasks_select.sql"), old).await?;
    let instances = read(connection, Kind::Instance, include_str!("sql/purge_instances_select.sql"), old).await?;
    let slices = read(connection, Kind::Slice, include_str!("sql/purge_slices_select.sql"), old).await?;
    let count = tasks.len() + instances.len() + slices.len();
    if count == 0 {
        rollback(connection).await.map_err(Fault::ours)?;
        return Ok(0);
    }
    let named = |query: Query| query.bind(column(&tasks, 0)).bind(column(&tasks, 1));
    let healths = read(connection, Kind::Health, include_str!("sql/purge_health_select.sql"), named).await?;
    for (facts, statement) in [
        (&tasks, include_str!("sql/purge_tasks_delete.sql")),
        (&tasks, include_str!("sql/purge_health_delete.sql")),
        (&instances, include_str!("sql/purge_instances_delete.sql")),
        (&slices, include_str!("sql/purge_slices_delete.sql")),
    ] {
        let delete = sqlx::query(statement).bind(column(facts, 0)).bind(column(facts, 1));
        delete.execute(&mut *connection).await.map_err(Fault::ours)?;
    }
    let raise = sqlx::query(include_str!("sql/floor_raise.sql")).bind(column(&tasks, 0)).bind(before_ms);
    raise.execute(&mut *connection).await.map_err(Fault::ours)?;
    let removed = tasks.iter().chain(&healths).chain(&instances).chain(&slices);
    log::write(connection, &turn, &removed.map(Change::removal).collect::<Vec<_>>()).await?;
    commit(connection).await.map_err(Fault::ours)?;
    Ok(count)
}

/// A column of the keys.
fn column(facts: &[Fact], at: usize) -> Vec<String> {
    facts.iter().filter_map(|fact| fact.key().columns.get(at).cloned()).collect()
}

/// Removes a part of the log that is older than this, what gateways served and which changes of deploys were asked before; returns up to where the log is
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
    for statement in [include_str!("sql/gateways_prune.sql"), include_str!("sql/deploy_changes_prune.sql")] {
        sqlx::query(statement).bind(hours).execute(&mut *connection).await.map_err(Fault::ours)?;
    }
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
