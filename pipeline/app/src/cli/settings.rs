//! `millstream validate` and `millstream config show`.

use std::path::PathBuf;
use std::process::ExitCode;

use millstream_postgres::{Cluster, POOLER_MEND};
use toml::Value;

use super::screen;
use crate::config::{self, Layers, Loaded, Origin};

/// Options of `validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// File to check (default: that of --config, or ./millstream.toml if it exists).
    file: Option<PathBuf>,
}

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Config {
    /// Prints settings and where each comes from; passwords and tokens are masked.
    Show {
        /// Print every setting that has a value, including defaults; without it, only what was set.
        #[arg(long)]
        effective: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Checks the file together with the environment and the command line.
pub(super) fn validate(args: ValidateArgs, layers: Layers) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.file.is_none() || layers.file.is_none(),
        "two files are named: leave out --config, or the file after `validate`"
    );
    let file = args.file.or(layers.file);
    let loaded = config::load(&Layers { file, ..layers })?;
    if loaded.config.postgres.is_embedded() && !loaded.config.postgres.settings.is_empty() {
        let home = loaded.config.data_dir.join("postgres");
        Cluster::check_settings(&loaded.config.postgres.cluster_options(&home)?)?;
    }
    screen::print(&match &loaded.file {
        Some(path) => format!("ok: {}", path.display()),
        None => format!("ok: no {} here; the environment and the command line are fine", config::FILE_NAME),
    });
    if loaded.config.postgres.may_be_pooler() {
        screen::print(&format!(
            "note: postgres.url names port 6432, where PgBouncer usually is; if it pools transactions, {POOLER_MEND} \
             (`{}` finds out)",
            loaded.config.command("doctor")
        ));
    }
    for setting in loaded.config.postgres.unsafe_settings() {
        screen::print(&format!(
            "note: postgres.settings.{setting} is off: when the power fails, the tables may be lost"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows settings.
pub(super) fn show(command: &Config, loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let Config::Show { effective, json } = command;
    let settings: Vec<(String, Value, Origin)> = if *effective { loaded.settings() } else { set(loaded).collect() };
    if *json {
        let settings: Vec<serde_json::Value> = settings
            .iter()
            .map(|(name, value, origin)| {
                serde_json::json!({ "name": name, "value": value, "origin": origin.to_string() })
            })
            .collect();
        screen::print_json(&serde_json::json!({ "file": loaded.file, "settings": settings }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if settings.is_empty() {
        let all = loaded.config.command("config show --effective");
        screen::print(&format!("everything is at its default; `{all}` lists it"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["setting", "value", "from"].map(str::to_owned).to_vec()];
    let row = |(name, value, origin): &(String, Value, Origin)| {
        vec![name.clone(), screen::escape(&value.to_string()), screen::escape(&origin.to_string())]
    };
    rows.extend(settings.iter().map(row));
    screen::print(&screen::table(&rows));
    Ok(ExitCode::SUCCESS)
}

fn set(loaded: &Loaded) -> impl Iterator<Item = (String, Value, Origin)> {
    loaded.settings().into_iter().filter(|(_, _, origin)| *origin != Origin::Default)
}
