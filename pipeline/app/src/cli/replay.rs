//! `millstream replay`: reads a range of time once more into the tables, beside the pipeline and without moving it.
//!
//! What the tables know already changes nothing, so a replay does no harm; it brings back what was lost with a restored
//! database, and what a decoder could not read before. It has leases of its own, which are removed at the end.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressStyle};
use millstream_engine::{
    Checkpoint, Irrefusable, Partition, Pipeline, Position, RecordBatch, Source, SourceError, Summary, Want, run, task,
};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::database::{Database, Expect};
use super::positions::time_ms;
use super::screen;
use crate::config::Config;
use crate::node;
use crate::pace;
use crate::stream::Visit;

/// How long to wait when no partition has anything to give.
const WAIT: Duration = Duration::from_millis(200);
/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(100);

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose stream; without it that of the first pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// The first record stored then or later, as `@2026-11-23T12:00Z` or `@1764000000`.
    #[arg(long, value_name = "@TIME")]
    from: String,
    /// Up to the first record stored then or later; without it up to the present end.
    #[arg(long, value_name = "@TIME")]
    to: Option<String>,
    /// Says what would be read, and reads nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A range of each partition.
#[derive(Debug)]
struct Ranges {
    visit: Mutex<Visit>,
    incarnation: String,
    ranges: Vec<(u64, u64)>,
}

pub(super) async fn run_replay(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let mut pipeline = match &args.pipeline {
        Some(name) => config.pipeline.iter().find(|pipeline| pipeline.name == *name),
        None => config.pipeline.first(),
    }
    .with_context(|| format!("there is no pipeline {:?}", args.pipeline.as_deref().unwrap_or("at all")))?
    .clone();
    ensure!(pipeline.reads_stream(), "pipeline {} reads a queue, which cannot be read again", pipeline.name);
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let from_ms = time_ms(&mut connection, time(&args.from)?).await?;
    let to_ms = match &args.to {
        Some(to) => Some(time_ms(&mut connection, time(to)?).await?),
        None => None,
    };
    let visit = Visit::open(config, &pipeline).await?;
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
    pipeline.name = format!("{}.replay", pipeline.name);
    forget(&mut connection, &pipeline.name).await?;
    let incarnation = visit.incarnation().to_owned();
    let source = Arc::new(Ranges { visit: Mutex::new(visit), incarnation, ranges });
    let connector = database.connector(config);
    let gate = pace::alone(config, &pipeline);
    let mut parts = node::parts(config, &pipeline, Arc::clone(&source) as Arc<dyn Source>, &gate, &connector);
    // A person reads how many events were bad; nobody could resume what paused here.
    parts.limits.flood.share_max = 1.0;
    parts.limits.flood.irrefusable = Irrefusable::Only(BTreeSet::new());
    let progress = Arc::clone(&parts.progress);
    let summary = until_done(parts, &source).await?;
    let counts = progress.snapshot();
    let done = source.is_done(&counts.positions);
    forget(&mut connection, &pipeline.name).await?;
    drop(progress);
    if let Some(source) = Arc::into_inner(source) {
        source.visit.into_inner().close()?;
    }
    database.close(connection).await?;
    screen::print(&format!(
        "read {} records again: {} events written, {} filtered, {} set aside",
        screen::grouped(counts.records),
        screen::grouped(counts.written),
        screen::grouped(counts.filtered.values().sum()),
        screen::grouped(counts.quarantined),
    ));
    if let Some(reason) = summary.halted.first() {
        bail!("the replay halted: {reason}");
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs it, and stops it at the end of every range.
async fn until_done<C: millstream_engine::decode::Columns + 'static>(
    parts: Pipeline<C>,
    source: &Ranges,
) -> anyhow::Result<Summary> {
    let (progress, stop) = (Arc::clone(&parts.progress), CancellationToken::new());
    let mut running = task::spawn("replay", run(parts, stop.clone()));
    let total = source.ranges.iter().map(|(from, to)| to - from).sum();
    let style = "{wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left";
    let bar = ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?);
    let summary = loop {
        tokio::select! {
            ended = &mut running => break ended?,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                stop.cancel();
            }
            () = tokio::time::sleep(LOOK) => {
                let snapshot = progress.snapshot();
                bar.set_position(snapshot.records);
                if source.is_done(&snapshot.positions) {
                    stop.cancel();
                }
            }
        }
    };
    bar.finish_and_clear();
    Ok(summary)
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

impl Ranges {
    fn range(&self, partition: &Partition) -> Option<(u32, u64, u64)> {
        let number: u32 = partition.as_str().parse().ok()?;
        let (from, to) = self.ranges.get(usize::try_from(number).ok()?)?;
        Some((number, *from, *to))
    }

    /// Whether every partition is at the end of its range.
    fn is_done(&self, positions: &std::collections::BTreeMap<Partition, Position>) -> bool {
        let is_done = |(number, (_, to)): (usize, &(u64, u64))| {
            positions.get(&Partition::new(number.to_string())) == Some(&Position::Offset(*to))
        };
        self.ranges.iter().enumerate().all(is_done)
    }
}

#[async_trait]
impl Source for Ranges {
    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    fn assignment(&self) -> watch::Receiver<Vec<Partition>> {
        let mut names: Vec<Partition> =
            (0..self.ranges.len()).map(|number| Partition::new(number.to_string())).collect();
        names.sort();
        watch::Sender::new(names).subscribe()
    }

    async fn confirm(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn revive(&self) {}

    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        _: Option<i64>,
    ) -> Result<Position, SourceError> {
        let begin = self.range(partition).map_or(0, |(_, from, _)| from);
        Ok(stored.cloned().unwrap_or(Position::Offset(begin)))
    }

    /// Positions are those of the replay alone.
    fn era(&self, _: &Partition, _: &Position) -> Option<i64> {
        None
    }

    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError> {
        let mut batches = Vec::new();
        for want in wants {
            let (Some((number, _, to)), Position::Offset(from)) = (self.range(&want.partition), &want.from) else {
                continue;
            };
            if *from >= to {
                continue;
            }
            let read = self.visit.lock().await.read(number, *from).await;
            let (mut records, next) = read.map_err(|error| match error.downcast::<millstream_log::ReadError>() {
                // Damage does not go away by waiting.
                Ok(error) => SourceError::Broken(Box::new(error)),
                Err(error) => SourceError::Unavailable(error.into()),
            })?;
            let within = records.iter().take_while(|record| record.position < Position::Offset(to)).count();
            let mut bytes = 0;
            let fits = |record: &&millstream_engine::Record| {
                bytes += record.cost_bytes();
                bytes <= want.bytes_max
            };
            let count = records.iter().take(within).take_while(fits).count().max(within.min(1));
            let rest = records.split_off(count);
            let next = rest.first().map_or(Position::Offset(next), |first| first.position.clone());
            let next = next.min(Position::Offset(to));
            if next != want.from {
                batches.push(RecordBatch { partition: want.partition.clone(), records, next });
            }
        }
        if batches.is_empty() {
            tokio::time::sleep(wait.min(WAIT)).await;
        }
        Ok(batches)
    }

    async fn commit(&self, _: &Checkpoint) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&self) {}

    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64> {
        let ((_, _, to), Position::Offset(next)) = (self.range(partition)?, next) else { return None };
        Some(to.saturating_sub(*next))
    }
}
