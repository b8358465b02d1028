//! Checks and prepares a PostgreSQL that is not ours, before anything is written to it.
//!
//! What would fail later, statement by statement and with unhelpful messages, fails here with the setting to change. A
//! crash may leave half of it done; the next start does the rest.

use anyhow::{Context as _, bail};
use millstream_postgres::settings::{Error, Roles};
use millstream_postgres::{Connection, Connector, Postgres, pooler};

use crate::tables::bring_up_to_date;
use crate::{grants, migrate};

/// Brings the tables up to date, and grants the writing account what it needs.
///
/// # Errors
/// Names the setting, or the owner of the grant, that is missing.
pub(crate) async fn prepare(postgres: &Postgres) -> anyhow::Result<()> {
    let connector = postgres.migrate_connector().application_name("millstream migrate");
    refuse_pooler(&connector, postgres, true).await?;
    bring_up_to_date(postgres, &connector).await.map_err(|error| explain(error, postgres))?;
    let mut owner = connector.connect().await.context("connect to PostgreSQL")?;
    give(postgres, &mut owner).await?;
    // The result of closing does not matter.
    owner.close().await.ok();
    refuse_pooler(&postgres.connector(), postgres, false).await?;
    let lacking = lacking(postgres).await?;
    if lacking.is_empty() {
        return Ok(());
    }
    bail!(
        "the account of postgres.url lacks what it needs. An owner of the tables runs:\n{}\n(`millstream migrate --grants` prints all that it needs)",
        lacking.join("\n")
    )
}

/// If the tables have an owner of their own: creates the writing account, and grants it what it lacks.
///
/// # Errors
/// Names what the owner's account may not do.
pub(crate) async fn give(postgres: &Postgres, owner: &mut Connection) -> anyhow::Result<()> {
    if postgres.roles == Roles::Existing || postgres.migrate_url.is_none() {
        return Ok(());
    }
    let account = postgres.connect_options()?;
    let connector = postgres.migrate_connector().application_name("millstream migrate");
    let given = async {
        migrate::begin(owner).await?;
        grants::give(owner, &account).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *owner).await?;
        anyhow::Ok(())
    };
    let given = migrate::name_blockers(&connector, given).await;
    if given.is_err() {
        // The session may be gone, and its transaction with it.
        sqlx::raw_sql("ROLLBACK").execute(&mut *owner).await.ok();
    }
    given.with_context(|| {
        format!(
            "make or grant the account {} as that of postgres.migrate_url, which must own the tables and have CREATEROLE \
             (or say postgres.roles = \"existing\", and have an owner run what `millstream migrate --grants` prints)",
            account.get_username()
        )
    })
}

/// The statements that give the account of `url` what it lacks, as the server sees it.
///
/// # Errors
/// Connection errors.
pub(crate) async fn lacking(postgres: &Postgres) -> anyhow::Result<Vec<String>> {
    let connector = postgres.connector();
    let account = connector.options()?;
    let mut connection = connector.connect().await.context("connect to PostgreSQL")?;
    sqlx::raw_sql("BEGIN READ ONLY").execute(&mut connection).await?;
    let missing = grants::missing(&mut connection, None).await?;
    connection.close().await.ok();
    Ok(missing.into_iter().map(|grant| grant.statement(account.get_username())).collect())
}

/// Refuses an undeclared pooler, and any pooler if a session is needed.
///
/// # Errors
/// [`Error::Pooler`], and connection errors.
pub(crate) async fn refuse_pooler(connector: &Connector, postgres: &Postgres, for_session: bool) -> anyhow::Result<()> {
    let setting = if for_session && postgres.migrate_url.is_some() { "migrate_url" } else { "url" };
    if postgres.pgbouncer && setting == "url" {
        return Ok(());
    }
    let options = connector.options()?;
    let shares = pooler::shares_connections(&options).await.with_context(|| format!("look at postgres.{setting}"))?;
    if shares {
        return Err(Error::Pooler { setting, host: options.get_host().to_owned(), port: options.get_port() }.into());
    }
    Ok(())
}

/// What to do when the account may not change tables.
fn explain(error: anyhow::Error, postgres: &Postgres) -> anyhow::Error {
    let code = |error: &sqlx::Error| error.as_database_error().and_then(|said| said.code().map(String::from));
    let refused = error.chain().any(|cause| cause.downcast_ref().and_then(code).is_some_and(|code| code == "42501"));
    if !refused {
        return error;
    }
    let setting = if postgres.migrate_url.is_some() { "migrate_url" } else { "url" };
    error.context(format!(
        "the account of postgres.{setting} may not look at the tables or change them: name an owner in postgres.migrate_url, \
         or have one run what `millstream migrate --dry-run` and `millstream migrate --grants` print"
    ))
}
