//! `millstream bench`: what it costs, measured on this machine from bytes in segments to rows in tables.
//!
//! The generator is a process of its own, so that its CPU is not counted. fsync and synchronous_commit are on.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

pub mod generate;

mod append;
mod backlog;
pub(crate) mod client;
mod ground;
mod incident;
mod ingest;
pub(crate) mod machine;
mod memory;
mod ours;
mod pace;
mod pin;
mod plot;
mod poison;
mod rate;
mod source;

/// Options of every benchmark.
#[derive(Clone, Debug, ClapArgs)]
#[group(skip)]
struct Common {
    /// The seed of the events.
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Where to work; a directory that PostgreSQL's account may enter. Removed afterwards.
    #[arg(long, default_value = "/var/tmp")]
    work_dir: PathBuf,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What to measure.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Events from a stream into PostgreSQL: as fast as it goes, or at a rate.
    Ingest(ingest::Args),
    /// Events through HTTP into the embedded stream.
    Append(append::Args),
    /// Events that the database refuses among good ones: what finding them costs.
    Poison(poison::Args),
    /// A backlog far larger than memory: how much of it the process takes.
    Memory(memory::Args),
    /// The incident of 2019 again, on a PostgreSQL with one core: a new connection per message, a row per transaction,
    /// fixed batches, and millstream as it is.
    Incident(incident::Args),
    /// Batch sizes and numbers of transactions at a time on a PostgreSQL with one core, then two, beside what millstream
    /// finds by itself; then with a noisy neighbour.
    Pace(pace::Args),
    /// The generator: a process of its own, started by the others.
    #[command(hide = true)]
    Generate(generate::Args),
    /// The HTTP client: a process of its own, started by the others.
    #[command(hide = true)]
    Client(client::Args),
}

pub(crate) use ingest::postmaster;

/// Runs a benchmark and prints its table.
///
/// # Errors
/// Says which part failed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Ingest(args) if args.rate.is_some() => rate::run(args).await,
        What::Ingest(args) => ingest::run(args).await,
        What::Append(args) => append::run(args).await,
        What::Poison(args) => poison::run(args).await,
        What::Memory(args) => memory::run(args).await,
        What::Incident(args) => Box::pin(incident::run(args)).await,
        What::Pace(args) => Box::pin(pace::run(args)).await,
        What::Generate(args) => generate::run(args).await,
        What::Client(args) => client::run(args).await,
    }
}

/// Prints to standard output: the result of a command, not a log line.
pub(crate) fn print(text: &str) {
    crate::cli::screen::print(text);
}
