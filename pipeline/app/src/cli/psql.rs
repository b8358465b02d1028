//! `millstream psql`: the database in a terminal, whichever server it is on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use millstream_postgres::cluster::Binaries;
use millstream_postgres::settings::Roles;
use sqlx::ConnectOptions as _;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::database::{Database, Expect};
use super::user::{Role, grant_analyst};
use crate::config::Config;
use crate::grants;

/// Options of `psql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As which role: `analyst` reads the views of schema analytics and can change nothing.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Arguments for psql, such as `-- -c 'SELECT ..'`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let (database, mut connection) = Database::open(config, Expect::Server).await?;
    let program = program(&config.data_dir)?;
    if args.role.is_some() && config.postgres.roles == Roles::Create {
        grant_analyst(&mut connection).await?;
    }
    let mut psql = command(&program, &database);
    if args.role.is_some() {
        // Settings of a role come with logging in, not with SET ROLE.
        psql.env(
            "PGOPTIONS",
            "-c role=millstream_analyst -c default_transaction_read_only=on -c statement_timeout=60s -c search_path=analytics",
        );
    }
    psql.args(&args.arguments);
    // Ctrl-C is for psql, which ends a statement with it; we only wait.
    let _interrupts = signal(SignalKind::interrupt())?;
    let status = psql.status().await.with_context(|| format!("start {}", program.display()));
    database.close(connection).await?;
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// psql with all that it needs to know. The password is in its environment, where other users cannot read it.
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
