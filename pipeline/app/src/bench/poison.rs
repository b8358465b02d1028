//! `bench poison`: events that the database refuses among good ones, compared with the same good ones alone.
//!
//! The bad events can be decoded, so only PostgreSQL can detect them, and only by refusing the whole statement: the
//! bench adds a constraint for that. All good events must be written, which is checked table against table.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::Common;
use super::backlog::{Backlog, REFUSING};
use super::ingest::{Pass, pass, scratch};
use super::machine;
use crate::config::{Config, SinkKind};
use crate::node::Node;

/// Options of `bench poison`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Number of good events.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Bad events per thousand good ones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    bad_per_thousand: u32,
    /// Maximum rows per transaction.
    #[arg(long, value_parser = crate::config::at_least_one)]
    batch: Option<usize>,
    /// Maximum number of concurrent transactions.
    #[arg(long, value_parser = crate::config::at_least_one)]
    concurrency: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// One run, and the contents of its tables.
struct Run {
    pass: Pass,
    /// Rows and counters without their slots, as numbers to compare.
    contents: Vec<(String, i64, String)>,
    batch_records_max: usize,
}

/// Runs both and prints them.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let start_ms = millstream_engine::clock::now_ms() - 3_600_000;
    let good = Backlog::of(args.events, args.common.seed, start_ms);
    let without = Box::pin(measure(&args, &good)).await.context("without bad events")?;
    let bad = Backlog { bad_per_thousand: args.bad_per_thousand, ..good };
    let with = Box::pin(measure(&args, &bad)).await.context("with bad events")?;
    let planted = with.pass.appended.bad;
    ensure!(with.pass.quarantined == planted, "{} events are in quarantine, {planted} are bad", with.pass.quarantined);
    ensure!(
        with.contents == without.contents,
        "not every good event has landed: {:?} beside {:?}",
        with.contents,
        without.contents
    );
    print(&args, &with, &without)?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args, backlog: &Backlog) -> anyhow::Result<Run> {
    let (_directory, mut config) = scratch(&args.common.work_dir)?;
    for pipeline in &mut config.pipeline {
        pipeline.batch_records_max = args.batch.unwrap_or(pipeline.batch_records_max);
        pipeline.concurrency.max = args.concurrency.unwrap_or(pipeline.concurrency.max);
    }
    // The cluster stays up until the tables are read.
    let keep = Node::start(Config { pipeline: Vec::new(), ..config.clone() }).await?;
    keep.close_log()?;
    let mut connection = PgConnection::connect_with(&keep.connect).await?;
    sqlx::raw_sql(REFUSING).execute(&mut connection).await?;
    let pass = pass(backlog, &config).await?;
    let contents = sqlx::query_as(include_str!("sql/contents_select.sql")).fetch_all(&mut connection).await?;
    connection.close().await?;
    keep.drain().await;
    let batch_records_max = config.pipeline_into(SinkKind::Metadata).map_or(0, |pipeline| pipeline.batch_records_max);
    Ok(Run { pass, contents, batch_records_max })
}

fn print(args: &Args, with: &Run, without: &Run) -> anyhow::Result<()> {
    let bad = with.pass.appended.bad;
    let tries = with.pass.isolating_tries;
    let batch = with.batch_records_max;
    // Halving a batch takes as many steps as its size has bits.
    let bound = bad * (u64::from(batch.max(1).next_power_of_two().trailing_zeros()) + 2);
    if args.common.json {
        let report = json!({
            "events": with.pass.appended.events,
            "bad": bad,
            "quarantined": with.pass.quarantined,
            "written": with.pass.written,
            "filtered": with.pass.filtered,
            "isolating_tries": tries,
            "isolating_tries_bound": bound,
            "transactions": with.pass.transactions,
            "events_per_second": with.pass.events_per_second,
            "events_per_second_without": without.pass.events_per_second,
            "batch_records_max": batch,
            "seed": args.common.seed,
            "machine": machine::processor(),
        });
        super::print(&serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    super::print(&format!(
        "{} events, {bad} of them bad, seed {}, batches of {batch} records\n{}\n\nall good events landed, tables equal those without the bad ones\nquarantined                    {:>12}\ntries spent on finding them    {tries:>12}\nbound, b (log2 n + 2)          {bound:>12}\nevents/s                       {:>12.0}\nevents/s without bad ones      {:>12.0}",
        with.pass.appended.events,
        args.common.seed,
        machine::processor(),
        with.pass.quarantined,
        with.pass.events_per_second,
        without.pass.events_per_second,
    ));
    Ok(())
}
