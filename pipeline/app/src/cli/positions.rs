//! `millstream positions`: shows where each pipeline stands in its stream, and moves it.
//!
//! Moving back reads records again, which changes nothing in the tables; moving forward skips records, which is
//! recorded as a gap. Either way the earlier holder of the partition is fenced.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};

use super::database::{Database, Expect};
use super::screen;
use crate::config::{Config, Pipeline, PipelineSource, StreamKind};
use crate::stream::Visit;

mod request;
use request::{Reset, goes_on, stored};

mod queue;

mod show;
use show::show;

#[cfg(feature = "aws")]
mod shards;

/// What to do with positions.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the stored positions, and ranges that were never read.
    Show {
        /// Only this pipeline.
        #[arg(long)]
        pipeline: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Moves positions, and ends the halt of a partition that lost records. A running process goes on from there.
    Reset(Reset),
    /// Takes over the offsets that another consumer committed to a Kafka group.
    Import(Import),
}

/// Options of `positions import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// Pipeline whose positions are moved.
    #[arg(long)]
    pipeline: String,
    /// Group that committed the offsets (default: the pipeline's own).
    #[arg(long)]
    group: Option<String>,
    /// Print what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The new position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Earliest,
    Latest,
    Time { ms: i64 },
    Offset(u64),
}

/// A partition that moves.
#[derive(Debug)]
struct Move {
    partition: u32,
    stored: Option<String>,
    to: u64,
    /// The era of `to`, see `Source::era`.
    era: Option<i64>,
    start: u64,
    end: u64,
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let done = match command {
        Command::Show { pipeline, json } => show(&mut connection, config, pipeline.as_deref(), json).await,
        Command::Reset(args) => reset(&mut connection, config, &args).await,
        Command::Import(args) => import(&mut connection, config, &args).await,
    };
    database.close(connection).await?;
    done
}

async fn reset(connection: &mut PgConnection, config: &Config, args: &Reset) -> anyhow::Result<ExitCode> {
    let pipeline = pipeline(config, &args.pipeline)?;
    if !pipeline.reads_stream() {
        return queue::reset(connection, pipeline, args).await;
    }
    if config.stream.kind == StreamKind::Kinesis {
        return reset_shards(connection, config, pipeline, args).await;
    }
    let target = target(connection, &args.to).await?;
    let visit = Visit::open(config, pipeline).await?;
    let partitions = visit.partitions().await?;
    let mut goals = Vec::new();
    let is_meant = |partition: &u32| args.partition.as_ref().is_none_or(|only| *only == partition.to_string());
    for partition in (0..partitions).filter(is_meant) {
        goals.push((partition, resolve(&visit, partition, target).await?));
    }
    if goals.is_empty() {
        bail!("topic {} has partitions 0 to {}", pipeline.topic(), partitions.saturating_sub(1));
    }
    go(connection, config, pipeline, visit, &goals, args.dry_run).await
}

#[cfg(feature = "aws")]
use shards::reset as reset_shards;

#[cfg(not(feature = "aws"))]
async fn reset_shards(_: &mut PgConnection, _: &Config, _: &Pipeline, _: &Reset) -> anyhow::Result<ExitCode> {
    bail!("this build is without Kinesis: build it with `--features aws`, or take a release")
}

/// Takes over the positions where another consumer of the group stopped.
async fn import(connection: &mut PgConnection, config: &Config, args: &Import) -> anyhow::Result<ExitCode> {
    let mut pipeline = pipeline(config, &args.pipeline)?.clone();
    if let (Some(from), PipelineSource::Stream { group, .. }) = (&args.group, &mut pipeline.source) {
        *group = Some(from.clone());
    }
    let visit = Visit::open(config, &pipeline).await?;
    let goals = visit.committed().await?;
    if goals.is_empty() {
        bail!("group {} has committed nothing in topic {}", pipeline.group(), pipeline.topic());
    }
    go(connection, config, &pipeline, visit, &goals, args.dry_run).await
}

/// Moves partitions to new positions, and prints the effect.
async fn go(
    connection: &mut PgConnection,
    config: &Config,
    pipeline: &Pipeline,
    visit: Visit,
    goals: &[(u32, u64)],
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    let stored = stored(connection, &pipeline.name).await?;
    let here: BTreeMap<&str, Option<&str>> = stored
        .iter()
        .filter(|(incarnation, _, _)| incarnation == visit.incarnation())
        .map(|(_, partition, next)| (&**partition, next.as_deref()))
        .collect();
    let mut moves = Vec::new();
    for (partition, to) in goals.iter().copied() {
        let (start, end) = visit.range(partition).await?;
        let stored = here.get(&*partition.to_string()).copied().flatten().map(str::to_owned);
        moves.push(Move { partition, stored, to, era: visit.era(partition, to).await?, start, end });
    }
    if here.is_empty() && !stored.is_empty() {
        screen::print(
            "the tables were filled from another stream: positions are set for this one, the old ones stay on record",
        );
    }
    print_moves(&moves);
    if dry_run {
        screen::print("dry run, nothing was changed");
    } else {
        commit(connection, &pipeline.name, visit.incarnation(), &moves).await?;
        screen::print(&goes_on(config, moves.len()));
    }
    visit.close()?;
    Ok(ExitCode::SUCCESS)
}

fn pipeline<'c>(config: &'c Config, name: &str) -> anyhow::Result<&'c Pipeline> {
    config.pipeline.iter().find(|pipeline| pipeline.name == name).with_context(|| {
        let known: Vec<&str> = config.pipeline.iter().map(|pipeline| &*pipeline.name).collect();
        format!("there is no pipeline {name:?}; known are {}", known.join(", "))
    })
}

async fn target(connection: &mut PgConnection, text: &str) -> anyhow::Result<Target> {
    match text.strip_prefix('@') {
        Some(time) => Ok(Target::Time { ms: time_ms(connection, time).await? }),
        None if text == "earliest" => Ok(Target::Earliest),
        None if text == "latest" => Ok(Target::Latest),
        None => match text.parse() {
            Ok(offset) => Ok(Target::Offset(offset)),
            Err(_) => bail!("--to {text}: write earliest, latest, @TIME or an offset"),
        },
    }
}

/// Parses seconds since 1970, or any time that PostgreSQL can read.
pub(super) async fn time_ms(connection: &mut PgConnection, text: &str) -> anyhow::Result<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds.saturating_mul(1000));
    }
    let ms = sqlx::query_scalar(include_str!("sql/time_parse.sql")).bind(text).fetch_one(connection).await;
    ms.map_err(|error| match error.as_database_error() {
        Some(said) => {
            anyhow::anyhow!("@{text} is no time ({}): write @2026-11-23T12:00Z or @1764000000", said.message())
        }
        None => error.into(),
    })
}

async fn resolve(visit: &Visit, partition: u32, target: Target) -> anyhow::Result<u64> {
    let (start, end) = visit.range(partition).await?;
    match target {
        Target::Earliest => Ok(start),
        Target::Latest => Ok(end),
        Target::Time { ms } => visit.offset_at(partition, ms).await,
        Target::Offset(offset) if (start..=end).contains(&offset) => Ok(offset),
        Target::Offset(offset) => bail!("partition {partition} has offsets {start} to {end}, not {offset}"),
    }
}

fn print_moves(moves: &[Move]) {
    let mut rows = vec![["partition", "stored", "new", "end", "effect"].map(str::to_owned).to_vec()];
    for one in moves {
        let stored = one.stored.as_deref().map_or("the beginning", |stored| stored);
        let effect = match one.stored.as_deref().and_then(|stored| stored.parse::<u64>().ok()) {
            Some(stored) if one.to < stored => format!("{} records are read again", stored - one.to),
            Some(stored) if one.to > stored => format!("{} records are never read", one.to - stored),
            Some(_) => "stays".to_owned(),
            None if one.to > one.start => format!("{} records are never read", one.to - one.start),
            None => format!("{} records are read", one.end.saturating_sub(one.to)),
        };
        let row = [one.partition.to_string(), screen::escape(stored), one.to.to_string(), one.end.to_string(), effect];
        rows.push(row.to_vec());
    }
    screen::print(&screen::table(&rows));
}

async fn commit(
    connection: &mut PgConnection,
    pipeline: &str,
    incarnation: &str,
    moves: &[Move],
) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query(include_str!("sql/position_reset.sql"))
        .bind(pipeline)
        .bind(incarnation)
        .bind(moves.iter().map(|one| one.partition.to_string()).collect::<Vec<_>>())
        .bind(moves.iter().map(|one| one.to.to_string()).collect::<Vec<_>>())
        .bind(moves.iter().map(|one| one.era).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
    for one in moves {
        let from = one.stored.as_deref().map_or(Some(one.start), |stored| stored.parse().ok());
        if let Some(from) = from.filter(|from| *from < one.to) {
            sqlx::query(include_str!("sql/gap_skip.sql"))
                .bind(pipeline)
                .bind(incarnation)
                .bind(one.partition.to_string())
                .bind(from.to_string())
                .bind(one.to.to_string())
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}
