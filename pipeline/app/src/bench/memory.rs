//! `bench memory`: backlogs far larger than memory in the embedded stream, and the memory that draining them takes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde_json::json;
use tokio::time::Instant;

use super::Common;
use super::backlog::{Appended, Backlog};
use super::ingest::{prepare, scratch};
use super::machine;
use crate::config::{Config, Pipeline, PipelineSource, SinkKind};
use crate::node::Node;

/// Options of `bench memory`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Bytes of records as accepted; on disk they are compressed.
    #[arg(long, default_value = "4GB", value_parser = parse_bytes, value_name = "BYTES")]
    backlog: u64,
    /// Pipelines, each with a topic and a backlog of its own; together they have `limits.memory_bytes`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pipelines: u16,
    /// Maximum time to drain the backlogs.
    #[arg(long = "for", default_value = "5m", value_parser = crate::config::some_time)]
    duration: Duration,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (directory, mut config) = scratch(&args.common.work_dir)?;
    let first = config.pipeline_into(SinkKind::Metadata).context("no pipeline of objects")?.clone();
    config.pipeline = (1..=args.pipelines).map(|number| numbered(&first, number)).collect();
    let appended = append(&args, &config).await?;
    let disk_bytes = bytes_under(&directory.path().join("stream"))?;
    // Creates the tables, so that only the draining is measured.
    prepare(&config).await?;
    let idle_bytes = machine::resident_bytes();
    machine::reset_peak();
    let budget_bytes = config.limits.memory_bytes;
    let began = Instant::now();
    let node = Node::start(config).await?;
    let drained = drained(&node, appended.events, args.duration).await?;
    let seconds = began.elapsed().as_secs_f64();
    let peak_bytes = machine::peak_resident_bytes();
    let summary = node.drain().await;
    ensure!(summary.halted.is_empty(), "the pipeline ended with {summary:?}");
    let report = json!({
        "pipelines": args.pipelines,
        "backlog_bytes": appended.bytes,
        "backlog_events": appended.events,
        "backlog_disk_bytes": disk_bytes,
        "drained_events": drained,
        "seconds": seconds,
        "peak_resident_bytes": peak_bytes,
        "idle_resident_bytes": idle_bytes,
        "budget_bytes": budget_bytes,
        "seed": args.common.seed,
        "machine": machine::processor(),
    });
    let mib = |bytes: u64| bytes as f64 / 1048576.0;
    super::print(&if args.common.json {
        serde_json::to_string_pretty(&report)?
    } else {
        format!(
            "{} events of {} pipelines, {:.0} MiB as accepted, {:.0} MiB on disk, seed {}\n{}\n\ndrained events                 {drained:>12}\nseconds                        {seconds:>12.1}\npeak resident MiB              {:>12.1}\nresident before MiB            {:>12.1}\nlimits.memory_bytes MiB        {:>12.1}",
            appended.events,
            args.pipelines,
            mib(appended.bytes),
            mib(disk_bytes),
            args.common.seed,
            machine::processor(),
            mib(peak_bytes),
            mib(idle_bytes),
            mib(budget_bytes as u64),
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// The pipeline of this number; each but the first has a topic that is named like it.
fn numbered(first: &Pipeline, number: u16) -> Pipeline {
    if number == 1 {
        return first.clone();
    }
    let name = format!("{}-{number}", first.name);
    Pipeline { source: PipelineSource::Stream { topic: name.clone(), group: None }, name, ..first.clone() }
}

/// Appends a backlog for each pipeline; returns the sums.
async fn append(args: &Args, config: &Config) -> anyhow::Result<Appended> {
    let start_ms = millstream_engine::clock::now_ms() - 3_600_000;
    let mut sum = Appended::default();
    for (pipeline, seed) in config.pipeline.iter().zip(args.common.seed..) {
        let backlog = Backlog { bytes: args.backlog, ..Backlog::of(u64::MAX, seed, start_ms) };
        let appended = backlog.append(&Config { pipeline: vec![pipeline.clone()], ..config.clone() }).await?;
        sum.events += appended.events;
        sum.bytes += appended.bytes;
    }
    Ok(sum)
}

/// Waits until this number of events is drained, or the time is over; returns how many are.
async fn drained(node: &Node, events: u64, within: Duration) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut last = (0, Instant::now());
    loop {
        let records = node.pipelines.iter().map(|pipeline| pipeline.progress.snapshot().records).sum();
        if records >= events || began.elapsed() >= within {
            return Ok(records);
        }
        if records > last.0 {
            last = (records, Instant::now());
        }
        ensure!(last.1.elapsed() < Duration::from_secs(60), "no progress for 60 s at {records} records");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Bytes of the files under a directory.
fn bytes_under(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_under(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

/// Parses a number of bytes with a unit.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("`{text}` is no size: write 500MB, 4GB or 4GiB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim() {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "MiB" => 1048576.0,
        "GiB" => 1073741824.0,
        _ => return Err(wrong()),
    };
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("4GB", 4_000_000_000), ("1.5MB", 1_500_000), ("2 GiB", 2 << 30), ("0kB", 0)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "4", "GB", "4TB", "-1GB", "4.5.6GB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
