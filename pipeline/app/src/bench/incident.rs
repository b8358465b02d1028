//! `bench incident`: the incident of 2019 again, against a PostgreSQL that has one core.
//!
//! A customer uploaded 200 files a second; a function was invoked for each message, connected, ran a handful of
//! statements and left; PostgreSQL stood at 100 % and the queue fell hours behind. Here the same events are written in
//! that shape, over kept connections, in fixed batches, and by millstream as it is. The server is on this machine, over
//! a socket, without TLS and without a password: each of the new connections costs less here than it did there.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde::Serialize;

use super::Common;
use super::ground::Ground;
use super::ours::Setting;

mod load;
pub(super) use load::Load;

mod course;

mod row;

mod by_row;

mod batched;

mod report;

use by_row::Shape;
use course::{Course, Plan};

/// Sessions that the server allows in addition to those of the functions.
const CONNECTIONS_BESIDE: usize = 50;
/// Events per second that arrive while a backlog of hours is drained: the rate of the incident.
const BACKLOG_RATE: f64 = 200.0;

/// Options of `bench incident`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Events per second, separated by commas; one run each.
    #[arg(long, value_delimiter = ',', default_value = "20,200,2000,20000", value_parser = rate)]
    rates: Vec<f64>,
    /// How long each run is measured.
    #[arg(long = "for", default_value = "20s", value_parser = crate::config::some_time)]
    duration: Duration,
    /// How long each run warms up before it is measured.
    #[arg(long, default_value = "3s", value_parser = crate::config::duration::parse)]
    warm: Duration,
    /// Events waiting at the start of the last runs, while 200 more arrive per second (default: two hours of them); 0
    /// skips these runs.
    #[arg(long, default_value_t = 1_440_000)]
    backlog: u64,
    /// Maximum time for a run to drain its backlog.
    #[arg(long, default_value = "90s", value_parser = crate::config::duration::parse)]
    drain: Duration,
    /// Number of concurrent functions.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    invocations: u32,
    /// Kept connections of the shape that writes one row per transaction.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kept: u32,
    /// Rows per transaction of the shape with fixed batches.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Concurrent transactions of the shape with fixed batches.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    concurrency: u32,
    /// Folder for plots over time, one SVG per measure; created if missing.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().map_err(|_| format!("`{text}` is no number of events per second"))?;
    if (0.1..=1e6).contains(&rate) { Ok(rate) } else { Err(format!("{text} events/s: 0.1 to 1000000 can be had")) }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    seed: u64,
    invocations: u32,
    kept_connections: u32,
    fixed_batch: u32,
    fixed_concurrency: u32,
    runs: Vec<Course>,
}

/// Runs every shape under every load, and prints and plots the results.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.plots {
        // Fails before minutes of measuring, not after them.
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let connections = args.invocations as usize + CONNECTIONS_BESIDE;
    let settings = [("max_connections", connections.to_string())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut ground = Ground::open(&args.common.work_dir, &settings, 1).await?;
    let mut runs = Vec::new();
    for plan in plans(&args) {
        for contender in contenders(&args) {
            let course = contender.run(&mut ground, plan, args.common.seed).await;
            let course = course.with_context(|| format!("{} at {}", contender.name(), plan.load.name()))?;
            tracing::info!(
                shape = course.shape,
                load = plan.load.name(),
                events_per_second = course.events_per_second.round(),
                database_cpu_share = (course.database_cpu_share * 1000.0).round() / 1000.0,
                "measured"
            );
            runs.push(course);
        }
    }
    let report = Report {
        machine: ground.describe().await?,
        seed: args.common.seed,
        invocations: args.invocations,
        kept_connections: args.kept,
        fixed_batch: args.batch,
        fixed_concurrency: args.concurrency,
        runs,
    };
    ground.close().await?;
    if let Some(folder) = &args.plots {
        report::plot(&report, folder)?;
    }
    super::print(&if args.common.json { serde_json::to_string_pretty(&report)? } else { report::table(&report) });
    Ok(ExitCode::SUCCESS)
}

/// The loads, the lightest first; the backlog last.
fn plans(args: &Args) -> Vec<Plan> {
    let steady = |rate: &f64| Plan { load: Load { rate: *rate, backlog: 0 }, warm: args.warm, duration: args.duration };
    let mut plans: Vec<Plan> = args.rates.iter().map(steady).collect();
    if args.backlog > 0 {
        let load = Load { rate: BACKLOG_RATE, backlog: args.backlog };
        plans.push(Plan { load, warm: Duration::ZERO, duration: args.drain });
    }
    plans
}

/// One shape of writing.
#[derive(Clone, Copy, Debug)]
enum Contender {
    ByRow(Shape, Duration),
    Batched(&'static str, Setting),
}

fn contenders(args: &Args) -> [Contender; 4] {
    let fixed = Setting::Fixed { records: args.batch as usize, concurrency: args.concurrency as usize };
    [
        Contender::ByRow(Shape::Invocations(args.invocations as usize), args.duration),
        Contender::ByRow(Shape::Kept(args.kept as usize), args.duration),
        Contender::Batched("fixed batches", fixed),
        Contender::Batched("millstream", Setting::Itself { concurrency_max: None }),
    ]
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Contender::ByRow(shape, _) => shape.name(),
            Contender::Batched(name, _) => name,
        }
    }

    async fn run(self, ground: &mut Ground, plan: Plan, seed: u64) -> anyhow::Result<Course> {
        ensure!(plan.duration > Duration::ZERO, "nothing can be measured in no time");
        match self {
            // Row by row a backlog of hours takes hours: a part of it shows how many.
            Contender::ByRow(shape, duration) => {
                let duration = if plan.load.backlog > 0 { plan.duration.min(duration) } else { plan.duration };
                by_row::run(ground, shape, Plan { duration, ..plan }, seed).await
            }
            Contender::Batched(name, setting) => batched::run(ground, name, setting, plan, seed).await,
        }
    }
}
