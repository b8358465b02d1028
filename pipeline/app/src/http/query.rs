//! Queries of clients: read-only, each with a timeout after which the database itself gives up.

use std::time::Duration;

use axum::http::StatusCode;
use millstream_engine::task;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::problem::Problem;

/// Maximum time that a query of a client may hold a connection and the disk. Pages and dashboards that need longer ask
/// for more than a lookup; analysts have SQL for it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// `query_canceled`: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
const CANCELLED: &str = "57014";

/// Begins a transaction that only reads, with a timeout for each statement. Its statements have no name (`persistent`),
/// which a pooler could not handle.
///
/// A task of its own begins it: if a client left during BEGIN, the connection would go back to the pool with an open
/// transaction that sqlx does not know of. A transaction that no caller receives is rolled back.
pub(super) async fn begin(pool: &PgPool, timeout: Duration) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = task::spawn("begin a question", async move { pool.begin_with("BEGIN READ ONLY").await });
    let mut transaction = begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
    limit(&mut transaction, timeout).await?;
    Ok(transaction)
}

/// Sets the timeout of the next statements, and UTC as the time zone of dates without one.
pub(super) async fn limit(
    transaction: &mut Transaction<'static, Postgres>,
    timeout: Duration,
) -> Result<(), sqlx::Error> {
    // Our own number: SET takes no parameters.
    let set = format!("SET LOCAL statement_timeout = {}; SET LOCAL timezone = 'UTC'", timeout.as_millis().max(1));
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut **transaction).await?;
    Ok(())
}

/// Whether the database gave up because of the timeout.
pub(super) fn took_too_long(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == CANCELLED)
}

/// The answer to a client.
pub(super) fn failed(error: &sqlx::Error) -> Problem {
    if took_too_long(error) {
        let detail = format!(
            "the database was stopped after {} s; narrow the question, by prefix or by a rarer metadata value",
            TIMEOUT.as_secs()
        );
        return Problem::new(StatusCode::GATEWAY_TIMEOUT, "too-slow", "the question takes too long", detail);
    }
    match error.as_database_error() {
        // Class 22: the data of the question, such as a time of month 13.
        Some(database) if database.code().is_some_and(|code| code.starts_with("22")) => {
            Problem::bad_request(database.message())
        }
        _ => {
            tracing::warn!(%error, "a question was not answered");
            let detail =
                format!("{error}; events are still taken in, ask again; `millstream doctor` looks at the database");
            Problem::unavailable("database", "the database does not answer", detail)
        }
    }
}

/// A number of any size as JSON has it.
pub(super) fn number(digits: String) -> Option<Box<RawValue>> {
    RawValue::from_string(digits).ok()
}
