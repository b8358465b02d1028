//! Detects a pooler that shares server connections between clients.
//!
//! It is recognised by what makes it dangerous, not by its name: one process of the server serves two open connections,
//! or two processes serve one. With direct sessions neither can happen, so there is no false alarm.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

/// A pooler hands out the server connection that was used last, or takes turns: either shows in one round, unless other
/// clients come in between. More rounds would find more only on a pool that is full.
const ROUNDS: usize = 4;

/// Whether transactions of one connection may be served by different server connections.
///
/// # Errors
/// A connection failed.
pub async fn shares_connections(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut one = PgConnection::connect_with(options).await?;
    let mut other = PgConnection::connect_with(options).await?;
    let own = served_by(&mut one).await?;
    let mut shared = false;
    for _ in 0..ROUNDS {
        shared = served_by(&mut other).await? == own || served_by(&mut one).await? != own;
        if shared {
            break;
        }
    }
    // Whether closing works does not matter.
    one.close().await.ok();
    other.close().await.ok();
    Ok(shared)
}

/// The server's process id, asked without a prepared statement, which some poolers do not support.
async fn served_by(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    use sqlx::Row as _;
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
