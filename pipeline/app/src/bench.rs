//! `millstream bench`: what millstream costs, measured on this machine from bytes in segments to rows in tables.
//!
//! The generator is a process of its own, so that its CPU is not counted. fsync and synchronous_commit are on.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

pub mod generate;

mod append;
mod backlog;
mod checks;
pub(crate) mod client;
mod flips;
mod gateway;
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
mod routes;
mod source;

/// Options of every benchmark.
#[derive(Clone, Debug, ClapArgs)]
#[group(skip)]
struct Common {
    /// Seed of the events.
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Parent of the temporary directory of the run; PostgreSQL's account must be able to enter it.
    #[arg(long, default_value = "/var/tmp")]
    work_dir: PathBuf,
    /// Print one JSON object.
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
    /// Measures events from a stream into PostgreSQL, at full speed or at a fixed rate.
    Ingest(ingest::Args),
    /// Measures events through HTTP into the embedded stream.
    Append(append::Args),
    /// Measures the cost of finding events that the database refuses among good ones.
    Poison(poison::Args),
    /// Measures how much memory the process takes to drain a backlog far larger than memory.
    Memory(memory::Args),
    /// Repeats the incident of 2019 on a PostgreSQL with one core: a new connection per message, a row per transaction,
    /// fixed batches, and millstream with its defaults.
    Incident(incident::Args),
    /// Compares fixed batch sizes and concurrencies with what millstream finds by itself, on a PostgreSQL with one
    /// core, then two; then with a noisy neighbour.
    Pace(pace::Args),
    /// Measures the time from the event that a task runs to its first request, and what a follower costs.
    Routes(routes::Args),
    /// Measures what it costs to forward a request, beside a bare forwarder, nginx and HAProxy.
    Gateway(gateway::Args),
    /// Moves an alias to and fro under load while tasks are killed, and counts what failed.
    Flips(flips::Args),
    /// Measures what it costs to check the health of tasks.
    Checks(checks::Args),
    /// Follows the routing tables; `bench routes` starts it as a process of its own.
    #[command(hide = true)]
    Follow(routes::alone::Args),
    /// Is one of the processes that `bench gateway` compares.
    #[command(hide = true)]
    Peer(gateway::peer::Args),
    /// Asks one of them.
    #[command(hide = true)]
    Load(gateway::load::Args),
    /// Runs the generator; the other benchmarks start it as a process of its own.
    #[command(hide = true)]
    Generate(generate::Args),
    /// Runs the HTTP client; the other benchmarks start it as a process of its own.
    #[command(hide = true)]
    Client(client::Args),
}

pub(crate) use ingest::postmaster;

/// Runs a benchmark and prints its table.
///
/// # Errors
/// Names the part that failed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Ingest(args) if args.rate.is_some() => rate::run(args).await,
        What::Ingest(args) => Box::pin(ingest::run(args)).await,
        What::Append(args) => append::run(args).await,
        What::Poison(args) => Box::pin(poison::run(args)).await,
        What::Memory(args) => memory::run(args).await,
        What::Incident(args) => Box::pin(incident::run(args)).await,
        What::Pace(args) => Box::pin(pace::run(args)).await,
        What::Routes(args) => Box::pin(routes::run(args)).await,
        What::Gateway(args) => Box::pin(gateway::run(args)).await,
        What::Flips(args) => Box::pin(flips::run(args)).await,
        What::Checks(args) => checks::run(args).await,
        What::Follow(args) => routes::alone::run(args).await,
        What::Peer(args) => gateway::peer::run(args).await,
        What::Load(args) => gateway::load::run(args).await,
        What::Generate(args) => generate::run(args).await,
        What::Client(args) => client::run(args).await,
    }
}

/// Prints to standard output: the result of a command, not a log line.
pub(crate) fn print(text: &str) {
    crate::cli::screen::print(text);
}

/// Says on standard error what is being done. If even that cannot be written, nobody can be told.
fn note(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
