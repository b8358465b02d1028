//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

mod run;

/// Every state change is a stream event; millstream turns those events into Postgres tables that are always right.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, propagate_version = true)]
pub struct Cli {
    /// Changes one setting, such as `http.listen=127.0.0.1:9000`; may be given several times.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// The configuration file; without it ./millstream.toml, if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// Where everything lies that millstream keeps by itself.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<std::path::PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the stream, the pipelines and the HTTP endpoint until SIGTERM or Ctrl-C.
    Run,
    /// Measures; see the README for what the figures mean.
    Bench(crate::bench::Args),
}

/// Runs the program; returns its exit code: 0 all committed, 78 configuration error, 1 other.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("MILLSTREAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let mut config = Config::default();
        if let Some(data_dir) = cli.data_dir {
            config.data_dir = data_dir;
        }
        match cli.command {
            Command::Run => run::run(config).await,
            Command::Bench(args) => crate::bench::run(args).await,
        }
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
