//! A PostgreSQL that is not ours: the connection to it, what our account may do there, and what it sees.

use millstream_postgres::settings::Roles;
use millstream_postgres::{Connection, Postgres, pooler};
use sqlx::Row as _;
use sqlx::postgres::PgSslMode;

use super::Check;
use crate::{elsewhere, grants};

/// Checks that apply to a server elsewhere and not to a private one.
pub(super) async fn look(postgres: &Postgres) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut connection = match postgres.connector().connect().await {
        Ok(connection) => connection,
        Err(error) => {
            let mend = "see the setting that is named; `millstream config show` tells where it was set";
            return vec![Check::bad("writers", format!("{:#}", anyhow::Error::from(error)), mend)];
        }
    };
    checks.extend(pooled(postgres).await);
    // Behind a pooler every query runs in a transaction.
    match ask(&mut connection).await {
        Ok((encrypted, signals)) => checks.extend([tls(postgres, encrypted), signals]),
        Err(error) => checks.push(Check::bad("writers", error.to_string(), "look at the server's log")),
    }
    connection.close().await.ok();
    checks.push(roles(postgres).await);
    checks
}

async fn pooled(postgres: &Postgres) -> Option<Check> {
    let name = "pooler";
    if !postgres.pgbouncer {
        // An undeclared pooler was refused before this.
        return None;
    }
    let options = postgres.connect_options().ok()?;
    Some(match pooler::shares_connections(&options).await {
        Ok(true) => Check::good(name, "transactions share server connections; no statement has a name"),
        Ok(false) => Check::note(
            name,
            "none seen that shares server connections",
            "if there never is one, postgres.pgbouncer = false saves planning each statement anew",
        ),
        Err(error) => Check::bad(name, error.to_string(), "look at the log of the pooler"),
    })
}

/// Whether the connection is encrypted, and the load of other sessions if they can be seen.
async fn ask(connection: &mut Connection) -> Result<(Option<String>, Check), sqlx::Error> {
    sqlx::raw_sql("BEGIN READ ONLY").execute(&mut *connection).await?;
    let row = sqlx::query(include_str!("../sql/doctor_session.sql")).fetch_one(&mut *connection).await?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    let role: String = row.try_get("role_name")?;
    // Null without the privilege: other sessions would look idle, although they are only not seen.
    let active: Option<i64> = row.try_get("active")?;
    let waiting: Option<i64> = row.try_get("waiting")?;
    let signals = match (active, waiting) {
        (Some(active), Some(waiting)) => {
            Check::good("signals", format!("{active} other sessions at work, {waiting} of them waiting for a lock"))
        }
        _ => Check::note(
            "signals",
            "the load of other sessions is unknown, which is not the same as none",
            format!("only needed to see it: GRANT pg_monitor TO {}", millstream_schemas::grants::quoted(&role)),
        ),
    };
    Ok((row.try_get("tls")?, signals))
}

fn tls(postgres: &Postgres, encrypted: Option<String>) -> Check {
    let options = postgres.connect_options();
    let verified = options.is_ok_and(|options| matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    match encrypted {
        _ if postgres.pgbouncer && verified => Check::good("tls", "the pooler is verified by certificate and name"),
        Some(version) if verified => Check::good("tls", format!("{version}; server verified by certificate and name")),
        Some(version) => Check::note("tls", format!("{version}, but the server is not verified by name"), VERIFY),
        None => match postgres.is_local() {
            true => Check::good("tls", "not used: the server is on this machine"),
            false => Check::note("tls", "not used, so passwords and events can be read on the way", VERIFY),
        },
    }
}

const VERIFY: &str = "postgres.tls = { mode = \"verify-full\", ca = \"..\" }";

async fn roles(postgres: &Postgres) -> Check {
    let name = "grants";
    match elsewhere::lacking(postgres).await {
        Ok(lacking) if lacking.is_empty() => {
            let who = match postgres.roles {
                Roles::Create => "roles = create",
                Roles::Existing => "roles = existing: nothing is made or granted by millstream",
            };
            Check::good(name, format!("the account of postgres.url has what it needs ({who})"))
        }
        Ok(lacking) => Check::bad(name, format!("{} missing", lacking.len()), lacking.join("\n")),
        Err(error) => Check::bad(name, format!("{error:#}"), "look at the server's log"),
    }
}

/// The grants that may be missing, for an account that may not even look at the tables.
pub(super) fn script(postgres: &Postgres) -> Option<String> {
    postgres.connect_options().ok().map(|account| grants::script(&account))
}
