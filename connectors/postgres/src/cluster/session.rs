//! The few statements that the cluster itself needs.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::name::NAME;
use crate::Error;

/// A server that takes longer to accept does not answer; the caller retries.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Refuses variables that the driver reads and that no option overrules. All others are overruled.
pub(crate) fn environment() -> Result<(), Error> {
    match std::env::var_os("PGOPTIONS") {
        // It may hold `synchronous_commit=off`, which would lose rows unnoticed.
        Some(value) if !value.is_empty() => Err(Error::Environment { name: "PGOPTIONS" }),
        _ => Ok(()),
    }
}

/// Whether the server accepts connections. An error is one that waiting does not fix.
pub(crate) async fn answers(options: &PgConnectOptions) -> Result<bool, Error> {
    let options = options.clone().database("postgres");
    let connect = PgConnection::connect_with(&options);
    let Ok(connected) = tokio::time::timeout(CONNECT_WITHIN, connect).await else { return Ok(false) };
    match connected {
        Ok(connection) => {
            // It answered; whether closing works does not matter.
            connection.close().await.ok();
            Ok(true)
        }
        Err(error) => later(error, "let us in"),
    }
}

/// Creates the database, and sets the verifier of the TCP password, if there is one. False if the server went away
/// meanwhile.
pub(crate) async fn prepare(options: &PgConnectOptions, verifier: Option<&str>) -> Result<bool, Error> {
    match prepared(options, verifier).await {
        Ok(()) => Ok(true),
        Err(error) => later(error, "make the database"),
    }
}

async fn prepared(options: &PgConnectOptions, verifier: Option<&str>) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    let there =
        sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(NAME).fetch_optional(&mut connection).await?;
    if there.is_none() {
        sqlx::query("CREATE DATABASE millstream").execute(&mut connection).await?;
    }
    if let Some(verifier) = verifier {
        // ALTER ROLE takes no parameters. A verifier has no character that would need quoting.
        let alter = format!("ALTER ROLE {NAME} PASSWORD '{verifier}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&mut connection).await?;
    }
    connection.close().await
}

/// `Ok(false)` if waiting may help: the server is absent, starting, stopping or recovering.
fn later(error: sqlx::Error, doing: &'static str) -> Result<bool, Error> {
    match &error {
        sqlx::Error::Io(io) if io.kind() == ErrorKind::PermissionDenied => Err(Error::Refused { doing, source: error }),
        sqlx::Error::Io(_) => Ok(false),
        // admin_shutdown, crash_shutdown, cannot_connect_now.
        sqlx::Error::Database(database) if matches!(database.code().as_deref(), Some("57P01" | "57P02" | "57P03")) => {
            Ok(false)
        }
        // too_many_connections: so it accepts connections.
        sqlx::Error::Database(database) if database.code().as_deref() == Some("53300") => Ok(true),
        _ => Err(Error::Refused { doing, source: error }),
    }
}
