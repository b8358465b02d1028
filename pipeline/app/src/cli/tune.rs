//! `millstream tune`: simulates or replays the controller of concurrency and batch size, without a database.

use std::path::PathBuf;
use std::process::ExitCode;

mod replay;
mod simulate;

/// Options of `tune`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["simulate", "replay"])))]
pub struct Args {
    /// Run the controller and published ones against simulated databases, beside the best fixed setting of each.
    #[arg(long)]
    simulate: bool,
    /// Feed a recording of `run --record` to a new controller, and compare its decisions; exit 1 if they differ.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Number of runs of each, with different random numbers.
    #[arg(long, default_value_t = 20, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// First seed of these runs. The controller was tuned on seeds 1 to 20, and is not to be judged by those.
    #[arg(long, default_value_t = 1001, value_name = "N", conflicts_with = "replay")]
    first_seed: u64,
    /// Only this simulated database.
    #[arg(long, value_name = "NAME", conflicts_with = "replay")]
    plant: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.replay {
        Some(path) => replay::run(path, args.json),
        None => simulate::run(args),
    }
}
