//! `bench memory`: a backlog far larger than memory in the embedded stream, and the memory that draining it takes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde_json::json;
use tokio::time::Instant;

use super::Common;
use super::backlog::Backlog;
use super::ingest::{prepare, scratch};
use super::machine;
use crate::config::SinkKind;
use crate::node::Node;

/// Options of `bench memory`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Bytes of records as accepted; on disk they are compressed.
    #[arg(long, default_value = "4GB", value_parser = parse_bytes, value_name = "BYTES")]
    backlog: u64,
    /// Maximum time to drain the backlog.
    #[arg(long = "for", default_value = "5m", value_parser = crate::config::some_time)]
    duration: Duration,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (directory, config) = scratch(&args.common.work_dir)?;
    let start_ms = millstream_engine::clock::now_ms() - 3_600_000;
    let backlog = Backlog { bytes: args.backlog, ..Backlog::of(u64::MAX, args.common.seed, start_ms) };
    let appended = backlog.append(&config).await?;
    let disk_bytes = bytes_under(&directory.path().join("stream"))?;
    // Creates the tables, so that only the draining is measured.
    prepare(&config).await?;
    let idle_bytes = machine::resident_bytes();
    machine::reset_peak();
    let budget_bytes = config.limits.memory_bytes;
    let began = Instant::now();
    let node = Node::start(config).await?;
    let progress =
        std::sync::Arc::clone(&node.pipeline_into(SinkKind::Metadata).context("no pipeline of objects")?.progress);
    let mut last = (0, Instant::now());
    let drained = loop {
        let records = progress.snapshot().records;
        if records >= appended.events || began.elapsed() >= args.duration {
            break records;
        }
        if records > last.0 {
            last = (records, Instant::now());
        }
        ensure!(last.1.elapsed() < Duration::from_secs(60), "no progress for 60 s at {records} records");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let seconds = began.elapsed().as_secs_f64();
    let peak_bytes = machine::peak_resident_bytes();
    let summary = node.drain().await;
    ensure!(summary.halted.is_empty(), "the pipeline ended with {summary:?}");
    let report = json!({
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
            "{} events, {:.0} MiB as accepted, {:.0} MiB on disk, seed {}\n{}\n\ndrained events                 {drained:>12}\nseconds                        {seconds:>12.1}\npeak resident MiB              {:>12.1}\nresident before MiB            {:>12.1}\nlimits.memory_bytes MiB        {:>12.1}",
            appended.events,
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
