//! Brings the schema of a database up to date, one transaction a step.

use anyhow::{Context as _, bail};
use millstream_schemas::migrations::{MIGRATIONS, Migration};
use sqlx::{AssertSqlSafe, PgConnection};

/// A number that no other program is likely to lock: two processes that start together take turns.
const LOCK: i64 = 0x6d69_6c6c_7374_726d;

/// The steps that a database does not have yet.
///
/// # Errors
/// When the database does not answer, or was made by a newer millstream.
pub async fn pending(connection: &mut PgConnection) -> anyhow::Result<Vec<&'static Migration>> {
    let there: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('millstream.migration')::text").fetch_one(&mut *connection).await?;
    let mut applied: Vec<i32> = Vec::new();
    if there.is_some() {
        applied = sqlx::query_scalar("SELECT number FROM millstream.migration ORDER BY number")
            .fetch_all(&mut *connection)
            .await
            .context("read which migrations were applied")?;
    }
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    if let Some(unknown) = applied.iter().find(|number| **number > newest) {
        bail!(
            "the database has migration {unknown}, this millstream knows only up to {newest}: start a newer millstream"
        );
    }
    Ok(MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.number)).collect())
}

/// Applies what is missing; returns what it applied.
///
/// # Errors
/// Names the step that failed; the steps before it stay applied.
pub async fn apply(connection: &mut PgConnection) -> anyhow::Result<Vec<&'static Migration>> {
    let mut done = Vec::new();
    loop {
        begin(connection).await?;
        let applied = apply_next(connection).await;
        let end = if matches!(applied, Ok(Some(_))) { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::raw_sql(end).execute(&mut *connection).await;
        let Some(next) = applied? else { return Ok(done) };
        ended.with_context(|| format!("commit migration {} ({})", next.number, next.name))?;
        done.push(next);
    }
}

/// Begins a transaction in which nobody else changes tables or accounts.
pub(crate) async fn begin(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statements = format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
}

async fn apply_next(connection: &mut PgConnection) -> anyhow::Result<Option<&'static Migration>> {
    let Some(next) = pending(connection).await?.into_iter().next() else { return Ok(None) };
    sqlx::raw_sql(AssertSqlSafe(script(next)))
        .execute(connection)
        .await
        .with_context(|| format!("migration {} ({})", next.number, next.name))?;
    Ok(Some(next))
}

/// All statements of a step, with those that put it on record.
pub(crate) fn script(step: &Migration) -> String {
    format!(
        "{}\nCREATE TABLE IF NOT EXISTS millstream.migration (\n    \
         number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());\n\
         INSERT INTO millstream.migration (number, name) VALUES ({}, '{}');",
        step.sql.trim_end(),
        step.number,
        step.name
    )
}
