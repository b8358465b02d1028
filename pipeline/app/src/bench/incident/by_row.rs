//! The shapes that write each event by itself: an invocation with a connection of its own, and kept connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use millstream_engine::histogram::Histogram;
use millstream_engine::task;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;

use super::Load;
use super::course::{self, Counts, Course, Plan};
use super::row::{ON_CONFLICT, Row};
use crate::bench::generate::{Event, Generator};
use crate::bench::ground::Ground;

/// Delay until a failed message comes back. The visibility timeout of a real queue is 30 s or more.
const COMES_BACK_AFTER: Duration = Duration::from_secs(1);

/// How events are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A new connection and a handful of statements for each message, with this number of invocations at once.
    Invocations(usize),
    /// One statement and one transaction for each message, over this number of kept connections.
    Kept(usize),
}

impl Shape {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::Invocations(_) => "connection per message",
            Shape::Kept(_) => "row per transaction",
        }
    }

    fn workers(self) -> usize {
        let (Shape::Invocations(workers) | Shape::Kept(workers)) = self;
        workers
    }
}

/// The queue, and what became of its messages.
struct Queue {
    load: Load,
    began: Instant,
    /// The next event and its number.
    next: Mutex<(Generator, u64)>,
    committed: AtomicU64,
    refused: AtomicU64,
    freshness: Histogram,
}

impl Queue {
    fn take(&self) -> (Event, f64) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = next.1;
        next.1 += 1;
        (next.0.next_event(), self.load.at(number))
    }

    fn counts(&self) -> Counts {
        let committed = self.committed.load(Relaxed);
        Counts {
            committed,
            transactions: committed,
            refused: self.refused.load(Relaxed),
            freshness: self.freshness.read(),
        }
    }
}

/// Runs a shape under a load.
pub(super) async fn run(ground: &mut Ground, shape: Shape, plan: Plan, seed: u64) -> anyhow::Result<Course> {
    ground.fresh().await?;
    let connect = ground.keep.connect.clone();
    let mut connection = PgConnection::connect_with(&connect).await?;
    sqlx::raw_sql(include_str!("table.sql")).execute(&mut connection).await.context("make the tables of 2019")?;
    connection.close().await?;
    let start_ms = millstream_engine::clock::now_ms() - 1000;
    let began = Instant::now();
    let queue = Arc::new(Queue {
        load: plan.load,
        began,
        next: Mutex::new((Generator::new(seed, start_ms), 0)),
        committed: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        freshness: Histogram::default(),
    });
    let worker = || task::spawn("worker", work(Arc::clone(&queue), shape, connect.clone()));
    let workers: Vec<_> = (0..shape.workers()).map(|_| worker()).collect();
    let course = course::watch(ground, shape.name(), plan, began, || queue.counts()).await;
    for worker in &workers {
        worker.abort();
    }
    for worker in workers {
        // It was aborted in the middle of its work, so an error is expected.
        worker.await.ok();
    }
    Ok(course)
}

async fn work(queue: Arc<Queue>, shape: Shape, connect: PgConnectOptions) {
    let mut kept = None;
    loop {
        let (event, at) = queue.take();
        tokio::time::sleep_until(queue.began + Duration::from_secs_f64(at.max(0.0))).await;
        loop {
            let written = match shape {
                Shape::Invocations(_) => invoke(&connect, &event).await,
                Shape::Kept(_) => insert(&mut kept, &connect, &event).await,
            };
            let Err(error) = written else { break };
            if queue.refused.fetch_add(1, Relaxed) == 0 {
                tracing::info!(error = format!("{error:#}"), "the first message that was refused; all are counted");
            }
            kept = None;
            tokio::time::sleep(COMES_BACK_AFTER).await;
        }
        queue.committed.fetch_add(1, Relaxed);
        let age = queue.began.elapsed().as_secs_f64() - at;
        queue.freshness.record((age * 1000.0) as u64, 1);
    }
}

/// One invocation: connects, reads, writes, counts, leaves.
async fn invoke(connect: &PgConnectOptions, event: &Event) -> anyhow::Result<()> {
    let row = Row::of(event)?;
    let mut connection = PgConnection::connect_with(connect).await.context("connect")?;
    for statement in row.statements() {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

/// One prepared statement, which is a transaction of its own.
async fn insert(kept: &mut Option<PgConnection>, connect: &PgConnectOptions, event: &Event) -> anyhow::Result<()> {
    let row = Row::of(event)?;
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(PgConnection::connect_with(connect).await.context("connect")?),
    };
    let statement = format!(
        "INSERT INTO incident.objects (bucket, key, size, etag, removed, sequencer, event_time, metadata) VALUES \
         ($1, $2, $3, $4, $5, $6, $7::text::timestamptz, $8::text::jsonb) {ON_CONFLICT}"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(row.bucket)
        .bind(row.key)
        .bind(row.size)
        .bind(row.etag)
        .bind(row.removed)
        .bind(row.sequencer)
        .bind(row.time)
        .bind(row.metadata)
        .execute(connection)
        .await?;
    Ok(())
}
