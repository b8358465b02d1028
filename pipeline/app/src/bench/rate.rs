//! `bench ingest --rate R --for T`: events through HTTP at a rate; the tables' freshness, and what that costs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::ingest::{Args, postmaster, scratch};
use super::{client, machine};
use crate::config::SinkKind;
use crate::http;
use crate::node::Node;

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let rate = args.rate.unwrap_or(200).max(1);
    let (_directory, mut config) = scratch(&args.common.work_dir)?;
    args.adjust(&mut config);
    let node = Arc::new(Node::start(config).await?);
    let server = http::serve(Arc::clone(&node), http::open(&node.config)?).await?;
    let mut connection = PgConnection::connect_with(&node.connect).await?;
    let postmaster = postmaster(&mut connection).await?;
    connection.close().await?;

    // The first seconds load code and make tables known; they are not measured.
    client::start(server.address, rate * 3, args.post, 1, rate, args.common.seed + 1).await?;
    let progress = Arc::clone(&node.pipeline_into(SinkKind::Metadata).context("no pipeline of objects")?.progress);
    let before = progress.snapshot();
    let began = Instant::now();
    let cpu = (machine::own_cpu_seconds(), machine::postgres_parts(postmaster));
    let events = rate * args.duration.as_secs().max(1);
    let seen = client::start(server.address, events, args.post, 1, rate, args.common.seed).await?;
    while !node.is_caught_up() {
        ensure!(began.elapsed() < args.duration + Duration::from_secs(60), "the tables do not catch up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let client_cpu = (machine::own_cpu_seconds() - cpu.0) / seconds;
    let mut parts = machine::postgres_parts(postmaster).since(&cpu.1);
    parts.values_mut().for_each(|part| *part /= seconds);
    let postgres_cpu: f64 = parts.values().sum();
    let after = progress.snapshot();
    let freshness = after.freshness.since(&before.freshness);
    let resident = machine::resident_bytes();
    server.stop().await;
    node.drain().await;
    let quantile = |share| freshness.quantile_ms(share).unwrap_or(0);
    let report = json!({
        "freshness_ms": { "p50": quantile(0.5), "p99": quantile(0.99), "max": quantile(1.0) },
        "cpu_share_of_one_core": client_cpu + postgres_cpu,
        "cpu_share_millstream": client_cpu,
        "cpu_share_postgres": postgres_cpu,
        "cpu_share_postgres_by_part": parts,
        "acknowledge_ms": { "p50": seen.p50_ms, "p99": seen.p99_ms },
        "resident_bytes": resident,
        "events": seen.events,
        "rate": rate,
        "post": args.post,
        "transactions_per_second": (after.transactions - before.transactions) as f64 / seconds,
        "machine": machine::processor(),
    });
    super::print(&if args.common.json {
        serde_json::to_string_pretty(&report)?
    } else {
        format!(
            "{} events at {rate}/s in posts of {}\n{}\n\nfreshness p50 / p99 / max ms   {} / {} / {}\nCPU, share of one core         {:.2} % (millstream {:.2} %, PostgreSQL {:.2} %)\n  of PostgreSQL                {}\nacknowledge p50 / p99 ms       {:.1} / {:.1}\ntransactions/s                 {:.1}\nresident MiB                   {:.1}",
            seen.events,
            args.post,
            machine::processor(),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            (client_cpu + postgres_cpu) * 100.0,
            client_cpu * 100.0,
            postgres_cpu * 100.0,
            by_part(&parts),
            seen.p50_ms,
            seen.p99_ms,
            (after.transactions - before.transactions) as f64 / seconds,
            resident as f64 / 1048576.0,
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// The parts that used anything, the largest first.
fn by_part(parts: &BTreeMap<&'static str, f64>) -> String {
    let mut parts: Vec<(&str, f64)> = parts.iter().map(|(name, share)| (*name, *share * 100.0)).collect();
    parts.retain(|(_, percent)| *percent >= 0.005);
    parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    parts.iter().map(|(name, percent)| format!("{name} {percent:.2} %")).collect::<Vec<_>>().join(", ")
}
