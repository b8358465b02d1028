//! `bench append`: events through HTTP into the embedded stream, acknowledged once they are on disk.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args as ClapArgs;
use serde_json::json;

use super::Common;
use super::{client, ingest, machine};
use crate::config::{Concurrency, Config};
use crate::http;
use crate::node::Node;

/// Options of `bench append`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Number of events.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Events per POST request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    post: u64,
    /// Number of concurrent connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    connections: u64,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_directory, config) = ingest::scratch(&args.common.work_dir)?;
    // No writers: what is measured ends with the acknowledgement.
    let mut config = Config { ..config };
    for pipeline in &mut config.pipeline {
        pipeline.concurrency = Concurrency { min: 0, max: 0 };
    }
    let node = Arc::new(Node::start(config).await?);
    let server = http::serve(Arc::clone(&node), http::open(&node.config)?).await?;
    let cpu = machine::own_cpu_seconds();
    let seen = client::start(server.address, args.events, args.post, args.connections, 0, args.common.seed).await?;
    let cpu = machine::own_cpu_seconds() - cpu;
    server.stop().await;
    node.drain().await;
    let report = json!({
        "events_per_second": seen.events as f64 / seen.seconds,
        "acknowledge_ms": { "p50": seen.p50_ms, "p99": seen.p99_ms, "max": seen.max_ms },
        "server_cpu_seconds_per_million": cpu * 1e6 / seen.events as f64,
        "events": seen.events,
        "post": args.post,
        "connections": args.connections,
        "seed": args.common.seed,
        "machine": machine::processor(),
    });
    super::print(&if args.common.json {
        serde_json::to_string_pretty(&report)?
    } else {
        format!(
            "{} events in posts of {} over {} connections, seed {}\n{}\n\nevents/s acknowledged on disk  {:>12.0}\nacknowledge p50 / p99 / max ms {:>12}\nserver CPU s per million       {:>12.2}",
            seen.events,
            args.post,
            args.connections,
            args.common.seed,
            machine::processor(),
            seen.events as f64 / seen.seconds,
            format!("{:.1} / {:.1} / {:.1}", seen.p50_ms, seen.p99_ms, seen.max_ms),
            cpu * 1e6 / seen.events as f64,
        )
    });
    Ok(ExitCode::SUCCESS)
}
