//! Brings the schema of a database up to date, one transaction a step.

use anyhow::{Context as _, bail};
use millstream_schemas::migrations::{MIGRATIONS, Migration};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

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
        let mut transaction = connection.begin().await?;
        // Held to the end of the transaction: works behind a pooler, too.
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        let Some(next) = pending(&mut transaction).await?.into_iter().next() else { return Ok(done) };
        sqlx::raw_sql(AssertSqlSafe(next.sql))
            .execute(&mut *transaction)
            .await
            .with_context(|| format!("migration {} ({})", next.number, next.name))?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS millstream.migration (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO millstream.migration (number, name) VALUES ($1, $2)")
            .bind(next.number)
            .bind(next.name)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        done.push(next);
    }
}
