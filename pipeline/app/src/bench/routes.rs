//! `bench routes`: from the event that a task runs to its first request, and what a follower costs.

pub(super) mod alone;
mod beside;
mod event;
pub(super) mod exchange;
mod first;
mod follower;
pub(super) mod spread;
mod store;

use std::net::SocketAddr;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::time::Instant;

use super::Common;
use super::{ingest, machine};
use crate::cli::client;
use crate::config::{Config, Pipeline};
use crate::http;
use crate::node::Node;
use follower::Follower;
use spread::{p50_p99, rounded};

/// How long the pipeline may take for what was stored: far more than it needs.
const STORED_WITHIN: Duration = Duration::from_secs(600);

/// Options of `bench routes`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Tasks that are stored before, a thousand of a service.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    tasks: u32,
    /// Other events of tasks a second, while first requests are measured.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=100_000))]
    rate: u32,
    /// Tasks whose first request is measured: with notices, without, beside an open transaction, beside a backlog.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    measured: u32,
    /// Services among which is looked up.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    services: u32,
    /// Events of objects that wait in the stream while a last series is measured; 0: no such series.
    #[arg(long, default_value_t = 0)]
    backlog: u64,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_directory, mut config) = ingest::scratch(&args.common.work_dir)?;
    configure(&mut config)?;
    let (node, server) = open(config.clone()).await?;
    let measured = measure(&args, &node, server.address).await;
    server.stop().await;
    node.drain().await;
    let mut report = measured?;
    drop(node);
    if args.backlog > 0 {
        let beside = beside::measure(&args, config, args.measured * 3..args.measured * 4).await?;
        if let (Some(report), Value::Object(beside)) = (report.as_object_mut(), beside) {
            report.extend(beside);
        }
    }
    super::print(&if args.common.json { serde_json::to_string_pretty(&report)? } else { table(&report) });
    Ok(ExitCode::SUCCESS)
}

/// Starts a node, and its HTTP server.
async fn open(config: Config) -> anyhow::Result<(Arc<Node>, http::Server)> {
    let node = Arc::new(Node::start(config).await?);
    let server = http::serve(Arc::clone(&node), http::open(&node.config)?).await?;
    client::note_address(&node.config.data_dir, server.address);
    Ok((node, server))
}

fn configure(config: &mut Config) -> anyhow::Result<()> {
    let source = json!({
        "name": event::SOURCE, "kind": "ecs", "clusters": [event::CLUSTER], "network": event::SOURCE,
        "cidrs": [event::RANGE],
    });
    config.task_source = vec![serde_json::from_value(source).context("read the source of the benchmark")?];
    config.pipeline = vec![Pipeline::tasks()];
    Ok(())
}

async fn measure(args: &Args, node: &Node, api: SocketAddr) -> anyhow::Result<Value> {
    super::note(&format!("storing {} tasks", args.tasks));
    let began = Instant::now();
    store::fill(api, args.tasks).await?;
    caught_up(node).await?;
    let stored_seconds = began.elapsed().as_secs_f64();

    super::note("a follower of its own process: snapshot, memory, lookup, one change");
    let alone = alone::start(&node.connect, args.services).await?;
    ensure!(alone.facts >= args.tasks as usize, "{} facts of {} tasks were read", alone.facts, args.tasks);

    super::note(&format!("making {} services, one for each measured task", args.measured * 3));
    first::prepare(api, 0..args.measured * 3).await?;
    let others = store::Others::start(api, args.tasks, args.rate);
    super::note(&format!("event to first request, {} times", args.measured));
    let mut to_request = series(node, api, true, 0..args.measured).await?;
    super::note("the same without notices");
    let mut lost = series(node, api, false, args.measured..args.measured * 2).await?;
    super::note("the same with notices, beside a transaction that stays open");
    let open = beside::open_transaction(&node.connect).await?;
    let mut transaction = series(node, api, true, args.measured * 2..args.measured * 3).await?;
    open.close().await?;
    let others_per_second = others.end().await?;
    Ok(json!({
        "event_to_request_ms": p50_p99(&mut to_request),
        "notify_lost_ms": p50_p99(&mut lost),
        "open_transaction_ms": p50_p99(&mut transaction),
        "snapshot_seconds": rounded(alone.snapshot_seconds),
        "resident_bytes": alone.resident_bytes,
        "lookup_ns": rounded(alone.lookup_ns),
        "apply_us": { "p50": rounded(alone.apply_us_p50), "p99": rounded(alone.apply_us_p99) },
        "tasks": args.tasks,
        "rate": args.rate,
        "others_per_second": rounded(others_per_second),
        "measured": args.measured,
        "services": args.services,
        "stored_per_second": rounded(f64::from(args.tasks) / stored_seconds),
        "machine": machine::processor(),
    }))
}

/// Measures with a gateway that follows only for that: beside the node's own follower there is one at a time.
async fn series(node: &Node, api: SocketAddr, listen: bool, numbers: Range<u32>) -> anyhow::Result<Vec<f64>> {
    let mut follower = Follower::start(node.connector.clone(), listen)?;
    follower.loaded().await?;
    let gateway = follower.serve(if listen { "bench-told" } else { "bench-untold" }).await?;
    // The first changes after a start are not measured.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let times = first::measure(api, gateway, numbers).await?;
    let snapshots = follower.standing().snapshots;
    ensure!(snapshots == 1, "the follower read all tables {snapshots} times instead of once");
    follower.end().await?;
    Ok(times)
}

async fn caught_up(node: &Node) -> anyhow::Result<()> {
    let began = Instant::now();
    while !node.is_caught_up() {
        ensure!(began.elapsed() < STORED_WITHIN, "the tables do not catch up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn table(report: &Value) -> String {
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    let pair = |name: &str| format!("{:.2} / {:.2}", number(&format!("/{name}/p50")), number(&format!("/{name}/p99")));
    let mut text = format!(
        "{} tasks stored, {:.0} other events/s, {} first requests of each kind\n{}\n\nevent to first request p50 / p99 ms   {}\n  every notice lost                   {}\n  beside an open transaction          {}\n",
        number("/tasks"),
        number("/others_per_second"),
        number("/measured"),
        report.get("machine").and_then(Value::as_str).unwrap_or_default(),
        pair("event_to_request_ms"),
        pair("notify_lost_ms"),
        pair("open_transaction_ms"),
    );
    if report.get("beside_backlog_ms").is_some() {
        text += &format!("  beside a backlog of objects         {}\n", pair("beside_backlog_ms"));
        text += "    objects/s beside, and alone       ";
        text += &format!("{:.0} / {:.0}\n", number("/objects_per_second/beside"), number("/objects_per_second/alone"));
    }
    text + &format!(
        "snapshot s                            {:.2}\nresident MiB                          {:.1}\nlookup among {} services ns       {:.0}\none change of 1000 tasks p50 / p99 us {}",
        number("/snapshot_seconds"),
        number("/resident_bytes") / 1048576.0,
        number("/services"),
        number("/lookup_ns"),
        pair("apply_us"),
    )
}
