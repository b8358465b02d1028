//! `millstream user add`: an account that reads the views and can change nothing.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use millstream_postgres::settings::Roles;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::database::{Database, Expect};
use super::screen;
use crate::config::Config;

/// 62 to the 28th is more than 160 bits: nobody guesses it, and it is still one word.
const PASSWORD_CHARACTERS: usize = 28;

/// What to do with accounts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes an account, and prints how to connect with psql, DuckDB and Metabase. The password is shown once.
    Add {
        /// Its name: lower-case letters, digits and `_`.
        name: String,
        /// What it may do: `analyst` reads the views of schema analytics.
        #[arg(long, value_enum)]
        role: Role,
    },
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Reads the views of schema analytics; every transaction is read-only and every statement ends within a minute.
    Analyst,
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let Command::Add { name, role: Role::Analyst } = command;
    check_name(name)?;
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let password: String = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_CHARACTERS).map(char::from).collect();
    if config.postgres.roles == Roles::Existing {
        let script = script(&mut connection, name, &password).await;
        database.close(connection).await?;
        screen::print(&script?);
        return Ok(ExitCode::SUCCESS);
    }
    let added = add(&mut connection, name, &password).await;
    if added.is_ok() {
        print(config, &database, name, &password);
    }
    database.close(connection).await?;
    added.map(|()| ExitCode::SUCCESS)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !first || !name.bytes().all(plain) || name.len() > 63 {
        bail!(
            "{name:?} cannot name an account: use 1 to 63 lower-case letters, digits and `_`, beginning with a letter"
        );
    }
    if name.starts_with("pg_") || name.starts_with("millstream") {
        bail!("names that begin with pg_ or millstream are taken: choose another than {name}");
    }
    Ok(())
}

/// Makes the role of analysts if it is not there, in the same transaction as the account.
async fn add(connection: &mut PgConnection, name: &str, password: &str) -> anyhow::Result<()> {
    // So that the password does not reach the server's log. Only a superuser may, and only there it is logged at all.
    sqlx::raw_sql("SET log_statement = 'none'").execute(&mut *connection).await.ok();
    let mut transaction = connection.begin().await?;
    grant_analyst(&mut transaction).await?;
    let statements = statements(&mut transaction, name, password).await?;
    let made = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await;
    made.map_err(|error| explain(error, name))?;
    transaction.commit().await.map_err(|error| explain(error, name))
}

/// The statements that make the account.
async fn statements(connection: &mut PgConnection, name: &str, password: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(include_str!("sql/analyst_user.sql")).bind(name).bind(password).fetch_one(connection).await
}

/// What would be done, for somebody else to do.
async fn script(connection: &mut PgConnection, name: &str, password: &str) -> anyhow::Result<String> {
    Ok(format!(
        "-- postgres.roles is \"existing\": nothing was done. Somebody who may make roles and owns the views runs this.\n{}\n{};",
        include_str!("sql/analyst_grant.sql").trim_end(),
        statements(connection, name, password).await?.replace("';", "';\n"),
    ))
}

/// Makes the role of analysts, or brings it up to date.
pub(super) async fn grant_analyst(connection: &mut PgConnection) -> anyhow::Result<()> {
    let granted = sqlx::raw_sql(include_str!("sql/analyst_grant.sql")).execute(connection).await;
    granted.map(drop).map_err(|error| explain(error, "millstream_analyst")).context("make the role millstream_analyst")
}

fn explain(error: sqlx::Error, name: &str) -> anyhow::Error {
    match error.as_database_error().and_then(|said| said.code()).as_deref() {
        Some("42710") => anyhow::anyhow!("there is a role {name} already: choose another name, or remove it with DROP ROLE {name}"),
        Some("42501") => anyhow::Error::new(error)
            .context("the account of postgres.url may not make roles: let its owner run ALTER ROLE .. CREATEROLE, or make the account there"),
        _ => error.into(),
    }
}

fn print(config: &Config, database: &Database, name: &str, password: &str) {
    let connect = &database.connect;
    let name_of_database = connect.get_database().unwrap_or("millstream");
    let private = database.cluster.is_some();
    let tcp = match (private, config.postgres.pg_port) {
        (true, port) => port.map(|port| ("127.0.0.1".to_owned(), port)),
        (false, _) => Some((connect.get_host().to_owned(), connect.get_port())),
    };
    let mut text =
        format!("made {name}, which reads the views of schema analytics.\npassword: {password}    (shown once)\n\n");
    match tcp {
        Some((host, port)) => {
            text += &format!(
                "psql      psql \"postgres://{name}:{password}@{host}:{port}/{name_of_database}\"\n\
                 DuckDB    ATTACH 'host={host} port={port} user={name} password={password} dbname={name_of_database}' AS millstream (TYPE postgres, READ_ONLY);\n          \
                 SELECT * FROM millstream.analytics.objects LIMIT 10;\n\
                 Metabase  PostgreSQL, host {host}, port {port}, database {name_of_database}, user {name}, schemas: only analytics\n",
            );
        }
        None => {
            let line = database.psql_line.replace("-U millstream", &format!("-U {name}"));
            text += &format!(
                "psql      {line}    (as root or the account that PostgreSQL runs as)\n\
                 DuckDB and Metabase need TCP, which the private PostgreSQL opens on 127.0.0.1 only when asked:\n          \
                 set postgres.pg_port = 5433 in millstream.toml, start `millstream run` again, then\n\
                 DuckDB    ATTACH 'host=127.0.0.1 port=5433 user={name} password={password} dbname={name_of_database}' AS millstream (TYPE postgres, READ_ONLY);\n\
                 Metabase  PostgreSQL, host 127.0.0.1, port 5433, database {name_of_database}, user {name}, schemas: only analytics\n",
            );
        }
    }
    text += "\ntry       SELECT bucket, objects, bytes FROM analytics.object_counts WHERE segment IS NULL;";
    screen::print(&text);
}
