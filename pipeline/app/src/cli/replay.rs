//! `millstream replay`: reads a time range into the tables again, alongside the pipeline and without moving it.
//!
//! What the tables already hold changes nothing, so a replay does no harm; it brings back what a restored database
//! lost, and what a decoder could not read before. It has leases of its own, which are removed at the end.
//!
//! If a partition cannot be read further, the others go on, and the replay fails at the end. Records that were set
//! aside are skipped, and reported.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use millstream_engine::{Irrefusable, Snapshot, Source};

use super::database::{Database, Expect};
use super::positions::time_ms;
use super::screen;
use crate::config::{Config, Pipeline, SinkKind};
use crate::domain;
use crate::pace;
use crate::stream::Visit;

mod ranges;
use ranges::{Gone, Left, Ranges};

mod watching;
use watching::{telling, until_done};

/// Maximum number of partitions named one by one.
const NAMED_MAX: usize = 20;

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline whose stream is read (default: the first pipeline of objects).
    #[arg(long)]
    pipeline: Option<String>,
    /// Start with the first record stored at this time or later: `@2026-11-23T12:00Z` or `@1764000000`.
    #[arg(long, value_name = "@TIME")]
    from: String,
    /// Stop before the first record stored at this time or later (default: the present end).
    #[arg(long, value_name = "@TIME")]
    to: Option<String>,
    /// Print what would be read, and read nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Result of a replay.
#[derive(Debug)]
struct Ended {
    counts: Snapshot,
    /// The reasons of lanes that halted.
    halted: Vec<String>,
    /// What was not read again.
    left: Vec<Left>,
    /// Records that were set aside.
    gone: BTreeSet<Gone>,
}

pub(super) async fn run_replay(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let pipeline = match &args.pipeline {
        Some(name) => config.pipeline.iter().find(|pipeline| pipeline.name == *name),
        None => config.pipeline_into(SinkKind::Metadata),
    }
    .with_context(|| format!("there is no pipeline {:?}", args.pipeline.as_deref().unwrap_or("at all")))?;
    ensure!(pipeline.reads_stream(), "pipeline {} reads a queue, which cannot be read again", pipeline.name);
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let from_ms = time_ms(&mut connection, time(&args.from)?).await?;
    let to_ms = match &args.to {
        Some(to) => Some(time_ms(&mut connection, time(to)?).await?),
        None => None,
    };
    let visit = Visit::open(config, pipeline).await?;
    let mut ranges = Vec::new();
    for partition in 0..visit.partitions().await? {
        let from = visit.offset_at(partition, from_ms).await?;
        let to = match to_ms {
            Some(ms) => visit.offset_at(partition, ms).await?,
            None => visit.range(partition).await?.1,
        };
        ranges.push((from, to.max(from)));
    }
    if args.dry_run {
        print_ranges(&ranges);
        visit.close()?;
        database.close(connection).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let source = Arc::new(Ranges::new(config, &pipeline.name, visit, ranges));
    let ended = read_again(config, pipeline, source, &database, &mut connection).await;
    database.close(connection).await?;
    report(&ended?)
}

async fn read_again(
    config: &Config,
    pipeline: &Pipeline,
    source: Arc<Ranges>,
    database: &Database,
    connection: &mut sqlx::PgConnection,
) -> anyhow::Result<Ended> {
    let mut pipeline = pipeline.clone();
    pipeline.name = format!("{}{}", pipeline.name, domain::REPLAY_SUFFIX);
    let leases = format!("the leases of {}, which another replay keeps locked", pipeline.name);
    telling(forget(connection, &pipeline.name), &leases).await?;
    let connector = database.connector(config);
    let gate = pace::alone(config, &pipeline);
    let mut ready = domain::pipeline(config, &pipeline, Arc::clone(&source) as Arc<dyn Source>, &gate, &connector);
    // A person reads the number of bad events; a pause here could not be resumed.
    ready.limits.flood.share_max = 1.0;
    ready.limits.flood.irrefusable = Irrefusable::Only(BTreeSet::new());
    let progress = Arc::clone(&ready.progress);
    let summary = until_done(ready, &source).await?;
    let counts = progress.snapshot();
    telling(forget(connection, &pipeline.name), &leases).await?;
    let left = source.left(&counts.positions);
    let gone = source.gone().await;
    drop(progress);
    if let Some(source) = Arc::into_inner(source) {
        source.into_visit().close()?;
    }
    Ok(Ended { counts, halted: summary.halted, left, gone })
}

/// Prints what was read again and what was not.
fn report(ended: &Ended) -> anyhow::Result<ExitCode> {
    let Ended { counts, halted, left, gone } = ended;
    screen::print(&format!(
        "read {} records again: {} events written, {} filtered, {} set aside",
        screen::grouped(counts.records),
        screen::grouped(counts.written),
        screen::grouped(counts.filtered.values().sum()),
        screen::grouped(counts.quarantined),
    ));
    for Gone { partition, from, to } in gone {
        let offsets = offsets(*from, *to);
        screen::print(&format!(
            "partition {partition}: {offsets} are gone: they could not be read and were set aside; what is behind them was read on"
        ));
    }
    for Left { partition, from, next, to } in left.iter().take(NAMED_MAX) {
        let read = if next > from { format!("; {} were", offsets(*from, *next)) } else { String::new() };
        screen::print(&format!("partition {partition}: {} were not read again{read}", offsets(*next, *to)));
    }
    if left.len() > NAMED_MAX {
        screen::print(&format!("and of {} more partitions not all was read again", left.len() - NAMED_MAX));
    } else if !left.is_empty() {
        screen::print("every other partition was read to the end of its range");
    }
    let of_partitions = counts.halted.iter().map(|(partition, reason)| format!("partition {partition}: {reason}"));
    let mut reasons: Vec<String> = of_partitions.collect();
    if reasons.is_empty() {
        reasons = counts.paused.iter().chain(halted).take(1).cloned().collect();
    }
    if !reasons.is_empty() {
        bail!("the replay halted: {}", screen::escape(&reasons.join("; ")));
    }
    if left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    screen::complain("the replay was stopped before its end: run it again to read everything");
    Ok(ExitCode::FAILURE)
}

fn offsets(from: u64, to: u64) -> String {
    format!("offsets {from} to {}", to.saturating_sub(1))
}

fn print_ranges(ranges: &[(u64, u64)]) {
    let mut rows = vec![["partition", "from", "to", "records"].map(str::to_owned).to_vec()];
    rows.extend(ranges.iter().enumerate().map(|(number, (from, to))| {
        [number.to_string(), from.to_string(), to.to_string(), screen::grouped(to - from)].to_vec()
    }));
    let total: u64 = ranges.iter().map(|(from, to)| to - from).sum();
    screen::print(&screen::table(&rows));
    screen::print(&format!("dry run: {} records would be read again", screen::grouped(total)));
}

fn time(text: &str) -> anyhow::Result<&str> {
    text.strip_prefix('@').with_context(|| format!("{text}: write @2026-11-23T12:00Z or @1764000000"))
}

/// Removes the leases of a replay.
async fn forget(connection: &mut sqlx::PgConnection, pipeline: &str) -> anyhow::Result<()> {
    sqlx::query(include_str!("sql/lease_forget.sql")).bind(pipeline).execute(connection).await?;
    Ok(())
}
