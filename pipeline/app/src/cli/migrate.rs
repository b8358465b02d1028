//! `millstream migrate`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use millstream_schemas::migrations::{Form, Migration};

use super::database::{Database, Expect, has_cluster};
use super::screen;
use crate::config::Config;
use crate::migrate::{TRY_FOR, apply, pending, script};
use crate::{elsewhere, grants};

/// Options of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the SQL of the missing steps, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the grants that the account of postgres.url needs, from the configuration alone.
    #[arg(long, conflicts_with = "dry_run")]
    grants: bool,
    /// Seconds to wait for locks of other sessions, for each step; each attempt lets others pass after two.
    #[arg(long, value_name = "SECONDS", default_value_t = TRY_FOR.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    if args.grants {
        if config.postgres.is_embedded() {
            bail!("the private cluster belongs to the account that millstream uses: there is nothing to grant");
        }
        screen::print(&grants::script(&config.postgres.connect_options()?));
        return Ok(ExitCode::SUCCESS);
    }
    // A dry run must not make a cluster just to look into it.
    if args.dry_run && config.postgres.is_embedded() && !has_cluster(&config.data_dir) {
        for step in millstream_schemas::migrations::MIGRATIONS {
            print_step(step);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (database, mut connection) = Database::open(config, Expect::Nothing).await?;
    if args.dry_run {
        let steps = pending(&mut connection).await?;
        for step in &steps {
            print_step(step);
        }
        if steps.is_empty() {
            screen::print("-- nothing to do: the schema is up to date");
        }
    } else {
        let connector = database.migrate_connector(config);
        let steps = apply(&connector, Duration::from_secs(args.wait)).await?;
        for step in &steps {
            screen::print(&format!("applied {} {}", step.number, step.name));
        }
        if steps.is_empty() {
            screen::print("nothing to do: the schema is up to date");
        }
        elsewhere::give(&config.postgres, &mut connection).await?;
    }
    database.close(connection).await?;
    Ok(ExitCode::SUCCESS)
}

/// A step as a transaction of its own, unless it has to run outside of one.
fn print_step(step: &Migration) {
    let script = script(step);
    let body = match step.form {
        Form::Transaction => format!("BEGIN;\n{script}\nCOMMIT;"),
        Form::Concurrently { .. } => script,
    };
    screen::print(&format!("-- {} {}\n{body}\n", step.number, step.name));
}
