//! `millstream psql`: the database in a terminal, whichever server it is on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use millstream_postgres::cluster::Binaries;
use millstream_postgres::settings::Roles;
use millstream_postgres::{Connection, scram};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::database::{Database, Expect};
use super::user::{Role, TURN_WITHIN, grant_analyst, password};
use crate::config::Config;
use crate::{grants, migrate};

/// Options of `psql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Role to log in with: `analyst` logs in as millstream_analyst, which reads the views of schema analytics.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Arguments for psql, such as `-- -c 'SELECT ..'`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let (database, mut connection) = Database::open(config, Expect::Server).await?;
    let program = program(&config.data_dir)?;
    let mut psql = command(&program, &database);
    if args.role.is_some() {
        let prepared = as_analyst(config, &database, &mut connection, &mut psql).await;
        if prepared.is_err() {
            database.close(connection).await?;
            return prepared.map(|()| ExitCode::FAILURE);
        }
    }
    psql.args(&args.arguments).kill_on_drop(true);
    // Ctrl-C is for psql, which cancels a statement with it; this process only waits.
    let _interrupts = signal(SignalKind::interrupt())?;
    let status = psql.status().await.with_context(|| format!("start {}", program.display()));
    database.close(connection).await?;
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// Lets psql log in as the role of analysts: a session that only changed to it could change back.
async fn as_analyst(
    config: &Config,
    database: &Database,
    connection: &mut Connection,
    psql: &mut Command,
) -> anyhow::Result<()> {
    if config.postgres.roles == Roles::Existing {
        bail!(
            "postgres.roles is \"existing\", so nobody is let in as an analyst: have an owner run what \
             `millstream user add NAME --role analyst` prints, and connect as NAME"
        );
    }
    psql.env("PGUSER", "millstream_analyst").env_remove("PGPASSWORD");
    // A private server's socket asks for no password; other servers do. This one is valid for a minute, and only to log
    // in.
    let mut statement: Option<String> = None;
    if database.cluster.is_none() {
        let password = password();
        let made = sqlx::query_scalar(include_str!("sql/analyst_session.sql")).bind(scram::verifier(&password)?);
        statement = Some(made.fetch_one(&mut *connection).await?);
        psql.env("PGPASSWORD", password);
    }
    let connector = database.migrate_connector(config).application_name("millstream command");
    let let_in = migrate::in_turn(&connector, connection, TURN_WITHIN, async |connection| {
        grant_analyst(connection).await?;
        if let Some(statement) = &statement {
            sqlx::raw_sql(AssertSqlSafe(&**statement)).execute(&mut *connection).await?;
        }
        Ok(())
    });
    let_in.await.context("let the role millstream_analyst log in")
}

/// psql with its connection and environment. The password is in its environment, where other users cannot read it.
fn command(program: &Path, database: &Database) -> Command {
    let connect = &database.connect;
    let host =
        connect.get_socket().map_or_else(|| connect.get_host().to_owned(), |socket| socket.display().to_string());
    let mut psql = Command::new(program);
    psql.env("PGHOST", host)
        .env("PGPORT", connect.get_port().to_string())
        .env("PGUSER", connect.get_username())
        .env("PGDATABASE", connect.get_database().unwrap_or(connect.get_username()))
        .env("PGAPPNAME", "millstream psql")
        .env_remove("PGOPTIONS")
        .env_remove("PGSERVICE")
        .env_remove("PGPASSWORD");
    if let Some(password) = grants::password(connect) {
        psql.env("PGPASSWORD", password);
    }
    let url = connect.to_url_lossy();
    if connect.get_socket().is_none() {
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "sslmode" | "ssl-mode" => drop(psql.env("PGSSLMODE", value.to_lowercase())),
                "sslrootcert" | "ssl-root-cert" => drop(psql.env("PGSSLROOTCERT", value.as_ref())),
                _ => {}
            }
        }
    }
    psql
}

/// psql of the PATH, else the one beside the server's programs.
fn program(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join("psql")).find(|file| file.is_file());
    if let Some(program) = in_path {
        return Ok(program);
    }
    let beside = Binaries::find(None, &data_dir.join("postgres/postgres")).ok().map(|found| found.dir.join("psql"));
    beside.filter(|program| program.is_file()).context("there is no psql in PATH: apt-get install postgresql-client")
}
