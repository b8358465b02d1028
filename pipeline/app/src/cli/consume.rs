//! `millstream consume`: shows the records of a topic, as stored in the stream. It joins no group and moves no
//! position.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use millstream_engine::{Position, Record};
use serde_json::json;

use super::screen;
use crate::config::{Config, PipelineSource, SinkKind, StreamKind};
use crate::stream::Visit;

#[cfg(feature = "aws")]
mod shards;

/// How long to wait when no partition has anything new.
const WAIT: Duration = Duration::from_millis(200);

/// Options of `consume`; those that kcat has use its letters.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topic (default: that of the first pipeline of objects).
    #[arg(short, long)]
    topic: Option<String>,
    /// Only this partition (not with Kinesis).
    #[arg(short, long)]
    partition: Option<u32>,
    /// Where to start (not with Kinesis): `beginning`, `end`, an offset, `-N` (the last N of each partition) or
    /// `@SECONDS` since 1970.
    #[arg(short, long, default_value = "beginning", allow_hyphen_values = true)]
    offset: String,
    /// Stop after this number of records.
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop at the end of every partition instead of waiting for more.
    #[arg(short, long)]
    exit: bool,
    /// Format of a record: `%k` key, `%s` value, `%p` partition, `%o` offset, `%T` time in ms, `%h` headers, `\n`,
    /// `\t`.
    #[arg(short, long, default_value = "%s\\n")]
    format: String,
    /// Print one JSON object per line.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let objects = config.pipeline_into(SinkKind::Metadata);
    let mut pipeline = objects.context("the configuration has no pipeline of objects")?.clone();
    if let Some(wanted) = &args.topic {
        pipeline.source = PipelineSource::Stream { topic: wanted.clone(), group: None };
    }
    if config.stream.kind == StreamKind::Kinesis {
        let read = tokio::select! {
            read = shards(args, config, pipeline.topic()) => read,
            stopped = tokio::signal::ctrl_c() => Ok(stopped?),
        };
        return read.map(|()| ExitCode::SUCCESS);
    }
    let visit = Visit::open(config, &pipeline).await?;
    let count = visit.partitions().await?;
    let mut places = Vec::new();
    for partition in (0..count).filter(|partition| args.partition.is_none_or(|only| only == *partition)) {
        places.push((partition, begin(&visit, partition, &args.offset).await?));
    }
    if places.is_empty() {
        bail!("topic {} has partitions 0 to {}", pipeline.topic(), count.saturating_sub(1));
    }
    let read = tokio::select! {
        read = read(&visit, args, places) => read,
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    };
    visit.close()?;
    read.map(|()| ExitCode::SUCCESS)
}

#[cfg(feature = "aws")]
async fn shards(args: &Args, config: &Config, stream: &str) -> anyhow::Result<()> {
    shards::run(args, config, stream).await
}

#[cfg(not(feature = "aws"))]
async fn shards(_: &Args, _: &Config, _: &str) -> anyhow::Result<()> {
    bail!("this build is without Kinesis: build it with `--features aws`, or take a release")
}

async fn begin(visit: &Visit, partition: u32, text: &str) -> anyhow::Result<u64> {
    let (start, end) = visit.range(partition).await?;
    match text {
        "beginning" => return Ok(start),
        "end" => return Ok(end),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: f64 = seconds.parse().with_context(|| format!("-o {text}: write @1764000000"))?;
        return visit.offset_at(partition, (seconds * 1000.0) as i64).await;
    }
    let wrong = || format!("-o {text}: write beginning, end, an offset, -N or @SECONDS");
    match text.strip_prefix('-') {
        Some(last) => Ok(end.saturating_sub(last.parse().with_context(wrong)?).max(start)),
        None => Ok(text.parse().with_context(wrong)?),
    }
}

/// Reads the partitions in turn, until the end or the requested number of records.
async fn read(visit: &Visit, args: &Args, mut places: Vec<(u32, u64)>) -> anyhow::Result<()> {
    let mut left = args.count.unwrap_or(u64::MAX);
    loop {
        let mut some = false;
        for (partition, next) in &mut places {
            let (records, after) = visit.read(*partition, *next).await?;
            some |= !records.is_empty();
            *next = after;
            for record in &records {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                screen::print_part(&shown_as_asked(args, &partition.to_string(), record));
            }
        }
        if left == 0 || (args.exit && !some && at_end(visit, &places).await?) {
            return Ok(());
        }
        if !some {
            tokio::time::sleep(WAIT).await;
        }
    }
}

async fn at_end(visit: &Visit, places: &[(u32, u64)]) -> anyhow::Result<bool> {
    for (partition, next) in places {
        if visit.range(*partition).await?.1 > *next {
            return Ok(false);
        }
    }
    Ok(true)
}

fn offset(record: &Record) -> String {
    match &record.position {
        Position::Offset(offset) => offset.to_string(),
        Position::Sequence(text) => text.to_string(),
    }
}

fn shown_as_asked(args: &Args, partition: &str, record: &Record) -> String {
    if args.json { as_json(partition, record) } else { shown(&args.format, partition, record) }
}

/// The record as JSON; the partition is a number if it has one.
fn as_json(partition: &str, record: &Record) -> String {
    let partition = partition.parse::<u32>().map_or_else(|_| json!(partition), |number| json!(number));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
    let line = json!({
        "partition": partition, "offset": offset(record), "published_at_ms": record.published_at_ms,
        "key": text(&record.key), "headers": headers, "payload": text(&record.payload),
    });
    format!("{line}\n")
}

fn shown(format: &str, partition: &str, record: &Record) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut line = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '%' || letter == '\\') {
            (_, false) => line.push(letter),
            (kind, true) => match (kind, letters.next()) {
                ('%', Some('k')) => line += &text(&record.key),
                ('%', Some('s')) => line += &text(&record.payload),
                ('%', Some('p')) => line += partition,
                ('%', Some('o')) => line += &offset(record),
                ('%', Some('T')) => line += &record.published_at_ms.to_string(),
                ('%', Some('h')) => {
                    let headers = record.headers.iter().map(|(name, value)| format!("{name}={}", text(value)));
                    line += &headers.collect::<Vec<_>>().join(",");
                }
                ('\\', Some('n')) => line.push('\n'),
                ('\\', Some('t')) => line.push('\t'),
                (kind, Some(other)) => line.extend([kind, other]),
                (kind, None) => line.push(kind),
            },
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_record_is_shown_as_asked_for() {
        let record = Record {
            position: Position::Offset(7),
            published_at_ms: 1_764_000_000_000,
            key: Bytes::from_static(b"k"),
            headers: vec![("a".into(), Bytes::from_static(b"1")), ("b".into(), Bytes::new())],
            payload: Bytes::from_static(b"v"),
        };
        assert_eq!(shown("%p/%o %T\\t%k=%s [%h]\\n%x%", "3", &record), "3/7 1764000000000\tk=v [a=1,b=]\n%x%");
    }
}
