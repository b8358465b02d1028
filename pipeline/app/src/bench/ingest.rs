//! `bench ingest --events N`: a backlog in a stream into empty tables, then the same events again.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::Common;
use super::backlog::{Appended, Backlog};
use super::{machine, source};
use crate::config::{Config, SinkKind};
use crate::node::Node;

/// Options of `bench ingest`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Number of events.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Events per second (default: full speed).
    #[arg(long, conflicts_with_all = ["events", "statements", "source", "endpoint"], value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: Option<u64>,
    /// How long to run, with --rate.
    #[arg(long = "for", default_value = "60s", requires = "rate", value_parser = crate::config::some_time)]
    pub(super) duration: Duration,
    /// Events per POST request, with --rate.
    #[arg(long, default_value_t = 10, requires = "rate", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) post: u64,
    /// Maximum rows per transaction.
    #[arg(long, value_parser = crate::config::at_least_one)]
    batch: Option<usize>,
    /// Maximum number of concurrent transactions.
    #[arg(long, value_parser = crate::config::at_least_one)]
    concurrency: Option<usize>,
    /// Also print PostgreSQL's time by statement, which itself takes a little time.
    #[arg(long)]
    statements: bool,
    #[command(flatten)]
    pub(super) stream: source::Args,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Args {
    /// Applies these options to a configuration.
    pub(super) fn adjust(&self, config: &mut Config) {
        for pipeline in &mut config.pipeline {
            pipeline.batch_records_max = self.batch.unwrap_or(pipeline.batch_records_max);
            pipeline.concurrency.max = self.concurrency.unwrap_or(pipeline.concurrency.max);
        }
    }
}

/// What one pass cost.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pass {
    pub(super) events_per_second: f64,
    pub(super) seconds: f64,
    wal_bytes_per_event: f64,
    client_cpu_seconds: f64,
    postgres_cpu_seconds: f64,
    cpu_seconds_per_million: f64,
    peak_resident_bytes: u64,
    pub(super) transactions: u64,
    pub(super) written: u64,
    pub(super) filtered: u64,
    pub(super) quarantined: u64,
    /// What was in the stream for this pass.
    #[serde(skip)]
    pub(super) appended: Appended,
    #[serde(skip)]
    pub(super) isolating_tries: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    source: source::Kind,
    first_pass: Pass,
    second_pass: Pass,
    events: u64,
    seed: u64,
    batch_records_max: usize,
    concurrency_max: usize,
    partitions: u32,
    postgres_version: String,
    machine: String,
    index_bytes: Vec<(String, i64)>,
}

/// A fresh configuration under a directory of its own, which PostgreSQL's account can enter.
pub(super) fn scratch(work_dir: &Path) -> anyhow::Result<(tempfile::TempDir, Config)> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new()
        .prefix("millstream-bench-")
        .tempdir_in(work_dir)
        .with_context(|| format!("make a directory in {}", work_dir.display()))?;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
    let mut config = Config { data_dir: directory.path().to_owned(), ..Config::default() };
    config.http.listen.set_port(0);
    Ok((directory, config))
}

/// Runs both passes and prints them.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(ended) = args.stream.with_a_part(&args.common.work_dir).await? {
        return Ok(ended);
    }
    let (_directory, mut config) = scratch(&args.common.work_dir)?;
    args.adjust(&mut config);
    args.stream.set_up(&mut config).await?;
    if args.statements {
        config.postgres.settings.insert("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned());
    }
    let start_ms = millstream_engine::clock::now_ms() - 3_600_000;
    // The cluster stays up between the passes, so that they meet the same server.
    let keep = Node::start(Config { pipeline: Vec::new(), ..config.clone() }).await?;
    keep.close_log()?;
    let mut connection = PgConnection::connect_with(&keep.connect).await?;
    if args.statements {
        sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&mut connection).await?;
    }
    let backlog = Backlog::of(args.events, args.common.seed, start_ms);
    let first_pass = pass(&backlog, &config).await.context("first pass")?;
    let second_pass = pass(&backlog, &config).await.context("second pass")?;

    if args.statements {
        print_statements(&mut connection).await?;
    }
    let report = Report {
        source: args.stream.source,
        first_pass,
        second_pass,
        events: args.events,
        seed: args.common.seed,
        batch_records_max: config.pipeline_into(SinkKind::Metadata).map_or(0, |pipeline| pipeline.batch_records_max),
        concurrency_max: config.pipeline_into(SinkKind::Metadata).map_or(0, |pipeline| pipeline.concurrency.max),
        partitions: config.stream.partitions,
        postgres_version: sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?,
        machine: machine::processor(),
        index_bytes: sqlx::query_as(
            "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = 'millstream.objects'::regclass ORDER BY 1",
        )
        .fetch_all(&mut connection)
        .await?,
    };
    connection.close().await?;
    keep.drain().await;
    super::print(&if args.common.json { serde_json::to_string_pretty(&report)? } else { table(&report) });
    Ok(ExitCode::SUCCESS)
}

/// Prints the statements of both passes together, the most expensive first.
async fn print_statements(connection: &mut PgConnection) -> anyhow::Result<()> {
    let rows: Vec<(f64, i64, i64, i64, String)> = sqlx::query_as(
        "SELECT total_exec_time, calls, rows, wal_bytes::bigint, query FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 12",
    )
    .fetch_all(connection)
    .await?;
    for (ms, calls, rows, wal, query) in rows {
        let lines = query.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
        let text: String = lines.collect::<Vec<_>>().join(" ").chars().take(90).collect();
        super::print(&format!(
            "{:>8.2} s {calls:>7} calls {rows:>9} rows {:>7.1} MiB WAL  {text}",
            ms / 1000.0,
            wal as f64 / 1048576.0
        ));
    }
    Ok(())
}

/// Appends a backlog and measures until it is in the tables.
pub(super) async fn pass(backlog: &Backlog, config: &Config) -> anyhow::Result<Pass> {
    let appended = backlog.append(config).await?;
    let before = prepare(config).await?;
    machine::reset_peak();
    let cpu = (machine::own_cpu_seconds(), machine::family_cpu_seconds(before.postmaster));
    let began = Instant::now();
    let node = Node::start(config.clone()).await?;
    let progress = node.pipeline_into(SinkKind::Metadata).map(|pipeline| std::sync::Arc::clone(&pipeline.progress));
    let progress = progress.context("no pipeline")?;
    // A pipeline that halts or stands still would make this wait for ever.
    let mut last = (0, Instant::now());
    while progress.snapshot().records < appended.events {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let records = progress.snapshot().records;
        if records > last.0 {
            last = (records, Instant::now());
        }
        ensure!(
            last.1.elapsed() < Duration::from_secs(60),
            "no progress for 60 s at {records} of {} events",
            appended.events
        );
    }
    let seconds = began.elapsed().as_secs_f64();
    let counts = progress.snapshot();
    let client_cpu_seconds = machine::own_cpu_seconds() - cpu.0;
    let postgres_cpu_seconds = machine::family_cpu_seconds(before.postmaster) - cpu.1;
    let peak_resident_bytes = machine::peak_resident_bytes();
    let mut connection = PgConnection::connect_with(&node.connect).await?;
    let wal: i64 = sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)::bigint")
        .bind(&before.lsn)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    let summary = node.drain().await;
    ensure!(summary.drained && summary.halted.is_empty(), "the pipeline ended with {summary:?}");
    Ok(Pass {
        events_per_second: appended.events as f64 / seconds,
        seconds,
        wal_bytes_per_event: wal as f64 / appended.events as f64,
        client_cpu_seconds,
        postgres_cpu_seconds,
        cpu_seconds_per_million: (client_cpu_seconds + postgres_cpu_seconds) * 1e6 / appended.events as f64,
        peak_resident_bytes,
        transactions: counts.transactions,
        written: counts.written,
        filtered: counts.filtered.values().sum(),
        quarantined: counts.quarantined,
        appended,
        isolating_tries: counts.isolating_tries,
    })
}

pub(super) struct Before {
    lsn: String,
    pub(super) postmaster: u32,
}

/// VACUUM and CHECKPOINT, so that a pass does not pay for what came before it.
pub(super) async fn prepare(config: &Config) -> anyhow::Result<Before> {
    let node = Node::start(Config { pipeline: Vec::new(), ..config.clone() }).await?;
    let mut connection = PgConnection::connect_with(&node.connect).await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
    let lsn = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&mut connection).await?;
    let postmaster = postmaster(&mut connection).await?;
    connection.close().await?;
    node.drain().await;
    Ok(Before { lsn, postmaster })
}

/// The first process of the server: the parent of our session.
pub(crate) async fn postmaster(connection: &mut PgConnection) -> anyhow::Result<u32> {
    let session: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?;
    let stat = std::fs::read_to_string(format!("/proc/{session}/stat"))?;
    let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
    parent.context("PostgreSQL does not run on this machine: its CPU cannot be read")
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "{} events from {}, seed {}, {} partitions, batches of {} records, {} transactions at a time at most\n{}, PostgreSQL {}\n\n{:<28}{:>16}{:>16}\n",
        report.events,
        report.source.name(),
        report.seed,
        report.partitions,
        report.batch_records_max,
        report.concurrency_max,
        report.machine,
        report.postgres_version,
        "",
        "first pass",
        "second pass",
    );
    let mut line = |name: &str, pick: &dyn Fn(&Pass) -> String| {
        text.push_str(&format!("{name:<28}{:>16}{:>16}\n", pick(&report.first_pass), pick(&report.second_pass)));
    };
    line("events/s", &|pass| format!("{:.0}", pass.events_per_second));
    line("seconds", &|pass| format!("{:.2}", pass.seconds));
    line("WAL bytes/event", &|pass| format!("{:.1}", pass.wal_bytes_per_event));
    line("client CPU s", &|pass| format!("{:.2}", pass.client_cpu_seconds));
    line("Postgres CPU s", &|pass| format!("{:.2}", pass.postgres_cpu_seconds));
    line("CPU s per million events", &|pass| format!("{:.2}", pass.cpu_seconds_per_million));
    line("peak resident MiB", &|pass| format!("{:.1}", pass.peak_resident_bytes as f64 / 1048576.0));
    line("transactions", &|pass| pass.transactions.to_string());
    line("written", &|pass| pass.written.to_string());
    line("filtered", &|pass| pass.filtered.to_string());
    line("quarantined", &|pass| pass.quarantined.to_string());
    for (name, bytes) in &report.index_bytes {
        text.push_str(&format!("{:<44}{:>12.1} MiB\n", name, *bytes as f64 / 1048576.0));
    }
    text
}
