//! `millstream tune`: looks into the controller of concurrency and batch size, without a database.

use std::path::PathBuf;
use std::process::ExitCode;

mod replay;
mod simulate;

/// Options of `tune`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["simulate", "replay"])))]
pub struct Args {
    /// Runs the controller and published ones against simulated databases, beside the best fixed setting of each.
    #[arg(long)]
    simulate: bool,
    /// Plays a recording of `run --record` to a new controller, and compares what it decides; exits 1 where they differ.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// How many runs of each, with other random numbers.
    #[arg(long, default_value_t = 20, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first of these random numbers. The controller was tuned on 1 to 20, and is not to be judged by those.
    #[arg(long, default_value_t = 1001, value_name = "N", conflicts_with = "replay")]
    first_seed: u64,
    /// Only this simulated database.
    #[arg(long, value_name = "NAME", conflicts_with = "replay")]
    plant: Option<String>,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.replay {
        Some(path) => replay::run(path, args.json),
        None => simulate::run(args),
    }
}
