//! `bench pace`: compares what millstream finds by itself with the best cell of a grid, and measures what a neighbour
//! on the same server keeps.
//!
//! Every run drains the same backlog into empty tables. Cells of the grid are drained for some seconds each, in random
//! order, so that a machine that slows down does not punish one corner. The best cell is then run for as long as
//! millstream itself, before and after it, and compared over the same rows: a larger table is slower to write.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use serde::Serialize;

use super::Common;
use super::backlog::Backlog;
use super::ground::Ground;
use super::ours::Setting;
use super::plot::Series;

mod curve;

mod drain;

mod neighbour;

mod report;

use curve::Curve;

/// Memory for records: enough not to limit the largest batches at the highest concurrency.
const MEMORY_BYTES: usize = 1 << 30;
/// The topic that every run reads.
const TOPIC: &str = "pace";
/// Seconds at the start of a cell that are not measured: the first transactions load code and fill caches.
const SETTLE: f64 = 1.5;
/// Seconds over which a rate is measured: a few transactions of the largest batches.
const WINDOW: f64 = 4.0;
/// Plots show the rate over this number of seconds before and after.
const AROUND: f64 = 1.0;
/// Share of the best rate that counts as equally good.
const CLOSE: f64 = 0.9;

/// Options of `bench pace`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Processors for PostgreSQL, separated by commas; one round each.
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = at_least_one)]
    cores: Vec<usize>,
    /// Rows per transaction in the grid, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "500,2000,5000,10000", value_parser = at_least_one)]
    batches: Vec<usize>,
    /// Concurrent transactions in the grid, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4,6,8", value_parser = at_least_one)]
    concurrency: Vec<usize>,
    /// How long each cell of the grid is measured.
    #[arg(long, default_value = "10s", value_parser = crate::config::some_time)]
    cell: Duration,
    /// How long millstream itself runs, and the best cell before and after it.
    #[arg(long, default_value = "30s", value_parser = crate::config::some_time)]
    hold: Duration,
    /// How long the neighbour runs; 0s skips it.
    #[arg(long, default_value = "30s", value_parser = crate::config::duration::parse)]
    neighbour: Duration,
    /// Connections of the neighbour.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Events in the backlog, which must last longer than the longest run.
    #[arg(long, default_value_t = 8_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Folder for plots over time; created if missing.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err(format!("`{text}` is no number from 1 to 100000")),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    events: u64,
    seed: u64,
    rounds: Vec<Round>,
}

/// All results for one number of processors.
#[derive(Debug, Serialize)]
struct Round {
    cores: usize,
    /// Whether the client has a processor that PostgreSQL does not use.
    client_apart: bool,
    grid: Vec<Cell>,
    best: Cell,
    itself: Itself,
    neighbour: Option<neighbour::Visit>,
}

/// One fixed setting.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cell {
    records: usize,
    concurrency: usize,
    events_per_second: f64,
}

/// What millstream does without a setting, from a cold start.
#[derive(Debug, Serialize)]
struct Itself {
    /// Its rate in the last third of its run.
    events_per_second: f64,
    /// The rate of the best cell over the same rows, before and after.
    best_events_per_second: [f64; 2],
    /// Its rate divided by that of the best cell.
    ratio: f64,
    /// Seconds until it is within a tenth of the best, and stays so on the whole to its end; `None` if it never is.
    seconds_until_close: Option<f64>,
    /// Its rate divided by that of the best cell, from each second on.
    ratios: Vec<f64>,
    #[serde(flatten)]
    ended: drain::Ended,
    /// Events per second over time, beside the best cell.
    #[serde(skip)]
    lines: Vec<Series>,
}

/// Runs all rounds and prints them.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.plots {
        // Fails before minutes of measuring, not after them.
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    // A round can also use fewer of these.
    let most = args.cores.iter().max().copied().context("name a number of cores")?;
    let mut ground = Ground::open(&args.common.work_dir, &[], most).await?;
    let start_ms = millstream_engine::clock::now_ms() - 3_600_000;
    Backlog::of(args.events, args.common.seed, start_ms)
        .append(&ground.config_on(TOPIC))
        .await
        .context("make the backlog")?;
    let mut rounds = Vec::new();
    for cores in &args.cores {
        ground.bind(*cores)?;
        rounds.push(round(&args, &mut ground).await.with_context(|| format!("with {cores} cores"))?);
    }
    let report = Report { machine: ground.describe().await?, events: args.events, seed: args.common.seed, rounds };
    ground.close().await?;
    if let Some(folder) = &args.plots {
        report::plot(&report, folder)?;
    }
    super::print(&if args.common.json { serde_json::to_string_pretty(&report)? } else { report::text(&report) });
    let is_whole = args.neighbour.is_zero() || report.rounds.iter().all(|round| round.neighbour.is_some());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn round(args: &Args, ground: &mut Ground) -> anyhow::Result<Round> {
    let grid = grid(args, ground).await?;
    let best = grid.iter().copied().max_by(|a, b| a.events_per_second.total_cmp(&b.events_per_second));
    let best = best.context("an empty grid")?;
    let fixed = Setting::Fixed { records: best.records, concurrency: best.concurrency };
    // It may use the same concurrency as the grid.
    let free = Setting::Itself { concurrency_max: args.concurrency.iter().max().copied() };
    let (before, _) = drain::run(ground, fixed, args.hold, args.events).await.context("the best cell")?;
    let (itself, ended) = drain::run(ground, free, args.hold, args.events).await.context("by itself")?;
    let (after, _) = drain::run(ground, fixed, args.hold, args.events).await.context("the best cell again")?;
    let itself = compare(&itself, [&before, &after], args.hold.as_secs_f64(), ended);
    tracing::info!(ratio = itself.ratio, close_after = itself.seconds_until_close, "millstream by itself");
    let neighbour = match args.neighbour {
        Duration::ZERO => None,
        stays => match neighbour::visit(ground, free, stays, args.clients, args.hold, args.events).await {
            Ok(visit) => Some(visit),
            // Keeps what was measured for minutes before this failure.
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "what a neighbour keeps was not measured");
                None
            }
        },
    };
    Ok(Round { cores: ground.cores.len(), client_apart: ground.is_apart(), grid, best, itself, neighbour })
}

async fn grid(args: &Args, ground: &mut Ground) -> anyhow::Result<Vec<Cell>> {
    let mut cells: Vec<(usize, usize)> = Vec::new();
    for records in &args.batches {
        cells.extend(args.concurrency.iter().map(|concurrency| (*records, *concurrency)));
    }
    cells.shuffle(&mut SmallRng::seed_from_u64(args.common.seed));
    let measured = args.cell.as_secs_f64();
    ensure!(measured > 0.0, "nothing can be measured in no time");
    let mut grid = Vec::new();
    for (records, concurrency) in cells {
        let setting = Setting::Fixed { records, concurrency };
        let whole = Duration::from_secs_f64(SETTLE + measured);
        let (curve, _) = drain::run(ground, setting, whole, args.events).await?;
        let events_per_second = curve.rate(SETTLE, SETTLE + measured);
        tracing::info!(records, concurrency, events_per_second = events_per_second.round(), "cell");
        grid.push(Cell { records, concurrency, events_per_second });
    }
    grid.sort_by_key(|cell| (cell.records, cell.concurrency));
    Ok(grid)
}

/// Compares a run with the best cell, over the same rows.
fn compare(itself: &Curve, best: [&Curve; 2], seconds: f64, ended: drain::Ended) -> Itself {
    let [before, after] = best;
    let steady = seconds * 2.0 / 3.0;
    let against = |from: f64, to: f64| {
        let rows = (itself.records_at(from), itself.records_at(to));
        best.map(|best| best.rate_over(rows.0, rows.1))
    };
    let ratio = |from: f64, to: f64| {
        let [before, after] = against(from, to);
        let best = f64::midpoint(before, after);
        if best > 0.0 { itself.rate(from, to) / best } else { 0.0 }
    };
    let starts = (0..).map(f64::from).take_while(|from| from + WINDOW <= seconds);
    let ratios: Vec<f64> = starts.map(|from| ratio(from, from + WINDOW)).collect();
    Itself {
        events_per_second: itself.rate(steady, seconds),
        best_events_per_second: against(steady, seconds),
        ratio: ratio(steady, seconds),
        seconds_until_close: close_from(&ratios).map(|second| second as f64),
        ratios,
        ended,
        lines: [("best cell, before", before), ("best cell, after", after), ("millstream", itself)]
            .map(|(name, curve)| Series { name: name.to_owned(), points: curve.rates(AROUND) })
            .to_vec(),
    }
}

/// The first ratio that is close and from which on the mean is close: one stall later does not count.
fn close_from(ratios: &[f64]) -> Option<usize> {
    let is_close = |from: &usize| {
        let rest = ratios.get(*from..).unwrap_or_default();
        rest.first().is_some_and(|ratio| *ratio >= CLOSE) && rest.iter().sum::<f64>() / rest.len() as f64 >= CLOSE
    };
    (0..ratios.len()).find(is_close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::ours::Found;

    #[test]
    fn close_is_where_it_stays() {
        assert_eq!(close_from(&[0.5, 0.8, 0.95, 0.97, 0.7, 1.1]), Some(2));
        // Passed by on the way to somewhere else.
        assert_eq!(close_from(&[0.95, 0.5, 0.5, 0.6]), None);
        assert_eq!(close_from(&[]), None);
    }

    #[test]
    fn itself_is_held_against_the_best_over_the_same_rows() {
        // The table gets slower to write for both; it has four fifths of the best everywhere.
        let curve = |seconds: f64, share: f64| {
            let mut curve = Curve::default();
            let mut records = 0.0;
            for at in 0..=(seconds as u32 * 10) {
                curve.push(f64::from(at) / 10.0, records as u64);
                records += share * if records < 20_000.0 { 1_000.0 } else { 500.0 };
            }
            curve
        };
        let nothing = Found { concurrency: 1, records: 1, decisions: Vec::new() };
        let ended = drain::Ended { transactions: 1, batch_records_p50: 1, found: nothing };
        let itself = compare(&curve(12.0, 0.8), [&curve(12.0, 1.0), &curve(12.0, 1.0)], 12.0, ended);
        assert!((itself.ratio - 0.8).abs() < 0.02, "{itself:?}");
        assert!(itself.ratios.iter().all(|ratio| (ratio - 0.8).abs() < 0.06), "{itself:?}");
        assert_eq!(itself.seconds_until_close, None);
    }
}
