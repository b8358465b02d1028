//! `millstream tune`: looks into the controller of concurrency and batch size, without a database.

use std::process::ExitCode;

mod simulate;

/// Options of `tune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs the controller and published ones against simulated databases, beside the best fixed setting of each.
    #[arg(long, required = true)]
    simulate: bool,
    /// How many runs of each, with other random numbers.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Only this simulated database.
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    simulate::run(args)
}
