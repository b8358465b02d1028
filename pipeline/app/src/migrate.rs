//! Brings the schema of a database up to date, one step at a time, and decides whether this program may write to it.
//!
//! A crash leaves no half steps: a step in a transaction is committed with its record or not at all; other steps can be
//! repeated. A step waits for a lock for at most two seconds, then lets the sessions behind it pass.

mod standing;
pub use standing::{Standing, Unfit, standing};

mod blocked;
use blocked::{Blocked, watched};

use std::time::Duration;

use anyhow::Context as _;
use millstream_postgres::{Connection, Connector};
use millstream_schemas::migrations::{Form, Migration};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::Instant;

/// Key of an advisory lock that no other program is likely to use: processes that start together take turns.
pub(crate) const LOCK: i64 = 0x6d69_6c6c_7374_726d;

/// How long a step waits for a lock. Later sessions wait behind it. If this were longer, a report that reads would
/// block writers; if shorter, a step would give up behind any transaction of a busy hour.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Pause between two tries for a lock: sessions that queued behind the step go first.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long an index that is created concurrently may wait for older transactions. It blocks nobody meanwhile.
const CONCURRENT_LOCK_WAIT: Duration = Duration::from_secs(600);

/// How long `run` and `migrate` try before they give up and name the session in the way.
pub(crate) const TRY_FOR: Duration = Duration::from_secs(60);

/// A step met a lock of another session until its time was over.
#[derive(Debug, thiserror::Error)]
#[error(
    "migration {number} ({name}) waited {seconds} s for a lock in the database{blocked}; nothing was changed, try again"
)]
pub(crate) struct Waited {
    number: i32,
    name: &'static str,
    seconds: u64,
    /// The sessions that hold it, as far as known.
    blocked: String,
}

/// The steps that a database does not have yet.
///
/// # Errors
/// When the database does not answer, or this program must not write to it.
pub async fn pending(connection: &mut PgConnection) -> anyhow::Result<Vec<&'static Migration>> {
    let standing = standing(connection).await?;
    standing.check()?;
    Ok(standing.pending())
}

/// Applies the missing steps and returns them. A step that meets a lock is tried again for `within`.
///
/// # Errors
/// Names the step that failed, and the session that blocked it; the steps before it stay applied.
pub async fn apply(connector: &Connector, within: Duration) -> anyhow::Result<Vec<&'static Migration>> {
    let mut connection = connector.connect().await.context("connect to PostgreSQL")?;
    let mut done = Vec::new();
    loop {
        let Some(next) = pending(&mut connection).await?.into_iter().next() else { break };
        if take_turn(connector, &mut connection, next, within).await? {
            done.push(next);
        }
    }
    // The result of closing does not matter.
    connection.close().await.ok();
    Ok(done)
}

/// Applies one step, taking turns with other processes. Returns false if another process has applied it meanwhile.
async fn take_turn(
    connector: &Connector,
    connection: &mut Connection,
    step: &'static Migration,
    within: Duration,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + within;
    let mut blocked: Option<Blocked> = None;
    loop {
        let attempt = attempt(connection, step);
        let (applied, seen) = match blocked {
            // No lock was met so far: to find its holder costs a connection.
            None => (attempt.await, None),
            Some(_) => watched(connector, attempt).await,
        };
        let error = match applied {
            Ok(applied) => return Ok(applied),
            Err(error) => error,
        };
        sqlx::raw_sql("ROLLBACK; SELECT pg_advisory_unlock_all()").execute(&mut *connection).await.ok();
        if !is_lock_timeout(&error) {
            return Err(error).with_context(|| format!("migration {} ({})", step.number, step.name));
        }
        let now = blocked.insert(seen.unwrap_or_default());
        if Instant::now() >= deadline {
            let seconds = within.as_secs();
            return Err(Waited { number: step.number, name: step.name, seconds, blocked: now.to_string() }.into());
        }
        tracing::warn!(number = step.number, name = step.name, "a migration waits for a lock{now}");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// One try of a step. Returns false if another process has applied it meanwhile.
async fn attempt(connection: &mut Connection, step: &'static Migration) -> anyhow::Result<bool> {
    let is_missing = |pending: Vec<&'static Migration>| pending.iter().any(|one| one.number == step.number);
    match step.form {
        Form::Transaction => {
            begin(connection).await?;
            if !is_missing(pending(connection).await?) {
                sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
                return Ok(false);
            }
            sqlx::raw_sql(AssertSqlSafe(script(step))).execute(&mut *connection).await?;
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
        }
        Form::Concurrently { index } => {
            let take = format!("SET lock_timeout = '{}ms'; SELECT pg_advisory_lock({LOCK})", LOCK_WAIT.as_millis());
            sqlx::raw_sql(AssertSqlSafe(take)).execute(&mut *connection).await?;
            if is_missing(pending(connection).await?) {
                make_index(connection, step, index).await?;
            }
            let free = format!("SELECT pg_advisory_unlock({LOCK}); RESET lock_timeout");
            sqlx::raw_sql(AssertSqlSafe(free)).execute(&mut *connection).await?;
        }
    }
    Ok(true)
}

/// Creates an index concurrently. The unusable index of an interrupted attempt is removed first.
async fn make_index(connection: &mut Connection, step: &Migration, index: &str) -> anyhow::Result<()> {
    let wait = format!("SET lock_timeout = '{}ms'", CONCURRENT_LOCK_WAIT.as_millis());
    sqlx::raw_sql(AssertSqlSafe(wait)).execute(&mut *connection).await?;
    let is_invalid: bool =
        sqlx::query_scalar(include_str!("sql/index_is_invalid.sql")).bind(index).fetch_one(&mut *connection).await?;
    if is_invalid {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS millstream.{index}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
    }
    // One statement per message: several would be a transaction.
    sqlx::raw_sql(step.sql).execute(&mut *connection).await?;
    sqlx::raw_sql(AssertSqlSafe(record(step))).execute(&mut *connection).await?;
    Ok(())
}

/// Begins a transaction in which nobody else changes tables or accounts, and no statement waits for a lock longer than
/// [`LOCK_WAIT`].
pub(crate) async fn begin(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let wait = LOCK_WAIT.as_millis();
    let statements = format!("BEGIN; SET LOCAL lock_timeout = '{wait}ms'; SELECT pg_advisory_xact_lock({LOCK})");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
}

/// Runs other work that takes turns with migrations: begins as they do, and commits. If a lock is in the way, it tries
/// again for `within`.
///
/// # Errors
/// Those of the work. If a lock was in the way to the end, the error names its session, and nothing was changed.
pub(crate) async fn in_turn<T>(
    connector: &Connector,
    connection: &mut Connection,
    within: Duration,
    work: impl AsyncFn(&mut Connection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let (done, seen) = watched(connector, attempt_of(connection, &work)).await;
        let error = match done {
            Err(error) if is_lock_timeout(&error) => error,
            done => return done,
        };
        let blocked = seen.unwrap_or_default();
        if Instant::now() >= deadline {
            let waited =
                format!("waited {} s for a lock in the database{blocked}; nothing was changed", within.as_secs());
            return Err(error.context(waited));
        }
        tracing::warn!("waiting for a lock in the database{blocked}");
    }
}

/// Runs a step that begins as migrations do. If a lock was in the way, the error names the session that holds it.
///
/// # Errors
/// Those of the step.
pub(crate) async fn name_blockers<T>(
    connector: &Connector,
    step: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let (done, seen) = watched(connector, step).await;
    match done {
        Err(error) if is_lock_timeout(&error) => {
            let blocked = seen.unwrap_or_default();
            let waited = LOCK_WAIT.as_secs();
            Err(error.context(format!("waited {waited} s for a lock in the database{blocked}; nothing was changed")))
        }
        done => done,
    }
}

async fn attempt_of<T>(
    connection: &mut Connection,
    work: &impl AsyncFn(&mut Connection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let done = match begin(connection).await {
        Ok(()) => work(&mut *connection).await,
        Err(error) => Err(error.into()),
    };
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::raw_sql(end).execute(&mut *connection).await;
    let done = done?;
    ended?;
    Ok(done)
}

/// Whether a lock of another session was in the way.
pub(crate) fn is_lock_timeout(error: &anyhow::Error) -> bool {
    let code = |error: &sqlx::Error| error.as_database_error().and_then(|said| said.code().map(String::from));
    error.chain().any(|cause| cause.downcast_ref().and_then(code).as_deref() == Some("55P03"))
}

/// All statements of a step, with those that record it.
pub(crate) fn script(step: &Migration) -> String {
    match step.form {
        Form::Transaction => format!("{}\n{}", step.sql.trim_end(), record(step)),
        // Each statement by itself.
        Form::Concurrently { .. } => format!("{};\n{}", step.sql.trim_end().trim_end_matches(';'), record(step)),
    }
}

/// The statements that record a step.
fn record(step: &Migration) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS millstream.migration (\n    \
         number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());\n\
         ALTER TABLE millstream.migration ADD COLUMN IF NOT EXISTS floor integer, ADD COLUMN IF NOT EXISTS checksum text;\n\
         INSERT INTO millstream.migration (number, name, floor, checksum) VALUES ({}, '{}', {}, '{}');",
        step.number,
        step.name,
        step.floor,
        checksum(step)
    )
}

/// SHA-256 of the statements of a step, in hexadecimal digits.
fn checksum(step: &Migration) -> String {
    Sha256::digest(step.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
