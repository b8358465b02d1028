//! `millstream migrate`.

use std::process::ExitCode;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use super::database::{Database, Expect, has_cluster};
use super::screen;
use crate::config::Config;
use crate::migrate::{apply, pending};

/// Options of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints the SQL of the steps that are missing, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    // A dry run must not make a cluster just to look into it.
    if args.dry_run && config.postgres.is_embedded() && !has_cluster(&config.data_dir) {
        for step in millstream_schemas::migrations::MIGRATIONS {
            screen::print(&format!("-- {} {}\n{}", step.number, step.name, step.sql));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (database, mut connection) = Database::open(config, Expect::Nothing).await?;
    if !config.postgres.is_embedded() {
        let connect = config.postgres.migrate_options()?.application_name("millstream migrate");
        connection = PgConnection::connect_with(&connect).await.context("connect to postgres.migrate_url")?;
    }
    if args.dry_run {
        let steps = pending(&mut connection).await?;
        for step in &steps {
            screen::print(&format!("-- {} {}\n{}", step.number, step.name, step.sql));
        }
        if steps.is_empty() {
            screen::print("-- nothing to do: the schema is up to date");
        }
    } else {
        let steps = apply(&mut connection).await?;
        for step in &steps {
            screen::print(&format!("applied {} {}", step.number, step.name));
        }
        if steps.is_empty() {
            screen::print("nothing to do: the schema is up to date");
        }
    }
    database.close(connection).await?;
    Ok(ExitCode::SUCCESS)
}
