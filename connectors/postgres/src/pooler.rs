//! Whether a pooler that shares server connections stands between, found out by looking.
//!
//! Told by what makes it dangerous, not by its name: two living connections that are served by one process of the
//! server, or one that is served by two. With a session of its own neither can happen, so there is no false alarm.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

/// A pooler hands out the server connection that was used last, or takes turns: either shows at once, unless other
/// clients come in between. More rounds would find more only on a pool that is full.
const ROUNDS: usize = 4;

/// Whether transactions of one connection may be served by different server connections.
///
/// # Errors
/// Of the connections.
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
    // How the farewell goes says nothing.
    one.close().await.ok();
    other.close().await.ok();
    Ok(shared)
}

/// The process of the server. Asked without a statement to prepare, which a pooler may not bear.
async fn served_by(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    use sqlx::Row as _;
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
