//! What may hold up a change on its way to a gateway: a transaction that somebody left open, and a backlog of objects.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::super::backlog::Backlog;
use super::spread::{p50_p99, rounded};
use super::{Args, first, open, series, store};
use crate::config::{Config, Pipeline};

/// How long objects are counted without anything beside them.
const ALONE: Duration = Duration::from_secs(10);

/// A transaction that has written, and does not end: whoever takes what is visible for what is committed waits for it.
pub(super) async fn open_transaction(connect: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(connect).await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS public.bench_open (n int); BEGIN; INSERT INTO public.bench_open VALUES (1)",
    )
    .execute(&mut connection)
    .await
    .context("open a transaction")?;
    Ok(connection)
}

/// Starts again with a backlog of objects, which the same process writes, and measures beside it.
pub(super) async fn measure(args: &Args, mut config: Config, numbers: Range<u32>) -> anyhow::Result<Value> {
    super::super::note(&format!("appending {} events of objects", args.backlog));
    config.pipeline.push(Pipeline::objects());
    Backlog::of(args.backlog, args.common.seed, 1_780_000_000_000).append(&config).await?;
    let (node, server) = open(config).await?;
    let mut connection = PgConnection::connect_with(&node.connect).await?;
    let measured = async {
        first::prepare(server.address, numbers.clone()).await?;
        let before = written(&mut connection).await?;
        let began = Instant::now();
        tokio::time::sleep(ALONE).await;
        let alone = (written(&mut connection).await? - before) as f64 / began.elapsed().as_secs_f64();

        super::super::note("the same with notices, beside the backlog");
        let others = store::Others::start(server.address, args.tasks, args.rate);
        let before = written(&mut connection).await?;
        let began = Instant::now();
        let mut times = series(&node, server.address, true, numbers).await?;
        let beside = (written(&mut connection).await? - before) as f64 / began.elapsed().as_secs_f64();
        others.end().await?;
        let left = args.backlog.saturating_sub(u64::try_from(written(&mut connection).await?).unwrap_or_default());
        ensure!(left > 0, "the backlog was written before the last request: take a larger --backlog");
        Ok(json!({
            "beside_backlog_ms": p50_p99(&mut times),
            "objects_per_second": { "beside": rounded(beside), "alone": rounded(alone) },
            "backlog_left": left,
        }))
    };
    let measured = measured.await;
    server.stop().await;
    node.drain().await;
    measured
}

/// Events of objects that are committed: the positions of the embedded stream count them.
async fn written(connection: &mut PgConnection) -> anyhow::Result<i64> {
    let query =
        "SELECT coalesce(sum(next_position::bigint), 0)::bigint FROM millstream.lease WHERE pipeline = 'objects'";
    sqlx::query_scalar(query).fetch_one(connection).await.context("count objects")
}
