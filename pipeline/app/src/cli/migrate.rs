//! `millstream migrate`.

use std::process::ExitCode;

use anyhow::bail;
use millstream_schemas::migrations::Migration;

use super::database::{Database, Expect, has_cluster};
use super::screen;
use crate::config::Config;
use crate::migrate::{apply, pending, script};
use crate::{elsewhere, grants};

/// Options of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints the SQL of the steps that are missing, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Prints what the account of postgres.url has to be granted, and looks at nothing but the configuration.
    #[arg(long, conflicts_with = "dry_run")]
    grants: bool,
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
        let steps = apply(&mut connection).await?;
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

/// A step as a transaction of its own.
fn print_step(step: &Migration) {
    screen::print(&format!("-- {} {}\nBEGIN;\n{}\nCOMMIT;\n", step.number, step.name, script(step)));
}
