//! What is done to the quarantine while the process runs: records of stores that were resumed are written, and rows
//! that are too old are removed, some in each transaction, so that no writer waits for it.
//!
//! What is left to do stands in the tables. On a crash, or in another process, it goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use millstream_connectors::sinks::metadata;
use millstream_connectors::sinks::tables::redrive::Redriven;
use millstream_connectors::sinks::tables::rewrite::Rewrite;
use millstream_connectors::sinks::tables::{quarantine, shares};
use millstream_engine::Progress;
use millstream_postgres::{Connection, Connector};
use sqlx::AssertSqlSafe;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::tables::Tables;

/// How often it is looked whether a store was resumed by another process; this one is told at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often rows that are too old are looked for. They are days old: it only bounds how many come together.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long a start waits for the database to say which stores are put aside.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long a failed attempt is followed by none.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What was done since the process began, of one pipeline.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rows that were put aside and are written again, or stay with a reason of their own.
    pub redriven: AtomicU64,
    /// Rows that were too old.
    pub expired: AtomicU64,
}

/// One pipeline whose quarantine is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) progress: Arc<Progress>,
    pub(crate) counts: Arc<Counts>,
}

/// Keeps the quarantine of all pipelines of a process.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) pipelines: Vec<Kept>,
    pub(crate) connect: Connector,
    pub(crate) limits: millstream_schemas::Limits,
    pub(crate) segments_max: i32,
    pub(crate) set_local: String,
    pub(crate) set_session: String,
    pub(crate) days: u32,
    /// Whether the tables can be written.
    pub(crate) tables: watch::Receiver<Tables>,
    /// Told when a store was resumed here.
    pub(crate) wake: Arc<Notify>,
    pub(crate) stop: CancellationToken,
}

impl Keeper {
    /// The keeper of a configuration.
    pub(crate) fn new(
        config: &Config,
        connect: &Connector,
        tables: watch::Receiver<Tables>,
        pipelines: Vec<Kept>,
        stop: CancellationToken,
    ) -> Self {
        Keeper {
            pipelines,
            connect: connect.clone().application_name("millstream quarantine"),
            limits: millstream_schemas::Limits {
                record_bytes_max: config.limits.record_bytes_max,
                ..millstream_schemas::Limits::default()
            },
            segments_max: config.limits.segments_max,
            set_local: config.postgres.set_local(),
            set_session: config.postgres.set_session(),
            days: config.limits.quarantine_days,
            tables,
            wake: Arc::default(),
            stop,
        }
    }

    /// Reads which stores are put aside before the endpoint takes anything; lanes read it for themselves. A database that
    /// is away keeps nothing from beginning.
    pub(crate) async fn look(&self) {
        if *self.tables.borrow() != Tables::Ready {
            return;
        }
        let look = async {
            let mut connection = self.connect.connect().await?;
            for kept in &self.pipelines {
                let standings = shares::read(&mut connection, &kept.progress.pipeline).await?;
                kept.progress.begin_with(standings);
            }
            connection.close().await?;
            anyhow::Ok(())
        };
        match tokio::time::timeout(LOOK_WITHIN, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = %format!("{error:#}"), "it is not known yet which stores are put aside")
            }
            Err(_) => tracing::debug!("it is not known yet which stores are put aside"),
        }
    }

    /// Works until it is told to stop; a transaction under way is finished.
    pub(crate) async fn run(mut self) {
        tokio::select! {
            ready = self.tables.wait_for(|tables| *tables == Tables::Ready) => if ready.is_err() { return },
            () = self.stop.cancelled() => return,
        }
        let mut expired: Option<Instant> = None;
        let mut failed = false;
        while !self.stop.is_cancelled() {
            let is_due = expired.is_none_or(|at| at.elapsed() >= EXPIRE_EVERY);
            let done = if is_due || self.resumed().next().is_some() { self.work(is_due).await } else { Ok(()) };
            match done {
                Ok(()) if is_due => expired = Some(Instant::now()),
                Ok(()) => {}
                Err(ref error) if failed => {
                    tracing::debug!(error = %format!("{error:#}"), "the quarantine still waits")
                }
                Err(ref error) => {
                    // The writers tell of a database that is away; this only says what else waits for it.
                    tracing::info!(error = %format!("{error:#}"), "the quarantine is kept once the database answers");
                }
            }
            failed = done.is_err();
            let wait = if failed { RETRY_AFTER } else { LOOK_EVERY };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Pipelines and their stores that were resumed and have records left.
    fn resumed(&self) -> impl Iterator<Item = (&Kept, String)> {
        self.pipelines.iter().flat_map(|kept| {
            let is_resumed =
                |standing: &millstream_engine::Standing| standing.pause.as_ref().is_some_and(|pause| pause.is_resumed);
            let standings = kept.progress.standings().into_iter().filter(is_resumed);
            standings.map(move |standing| (kept, standing.share.as_str().to_owned()))
        })
    }

    /// A connection whose statements end when others keep what they need locked.
    async fn open(&self) -> anyhow::Result<Connection> {
        let mut connection = self.connect.connect().await?;
        if !connection.is_pooled() {
            sqlx::raw_sql(AssertSqlSafe(self.set_session.clone())).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    async fn work(&self, expire: bool) -> anyhow::Result<()> {
        let mut connection = self.open().await?;
        // One store's rows may be locked, or be refused: nothing else waits for them.
        let mut failed = Ok(());
        if expire {
            failed = self.expire(&mut connection).await;
            if failed.is_err() {
                connection = self.open().await?;
            }
        }
        let resumed: Vec<(&Kept, String)> = self.resumed().collect();
        for (kept, store) in resumed {
            if let Err(error) = self.redrive(&mut connection, kept, &store).await {
                failed = Err(error.context(format!("the store {store}")));
                connection = self.open().await?;
            }
        }
        connection.close().await?;
        failed
    }

    /// Writes what was put aside of a store, until there is no more or it is time to stop.
    async fn redrive(&self, connection: &mut Connection, kept: &Kept, store: &str) -> anyhow::Result<()> {
        let pipeline = &kept.progress.pipeline;
        let redrive = metadata::redrive(self.limits.clone(), self.segments_max, self.set_local.clone(), false);
        let mut rewrite = Rewrite::new(pipeline, store, redrive);
        let mut sum = Redriven::default();
        let mut rows = 0;
        let mut stays = 0;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let Some(done) = rewrite.step(connection).await? else {
                let written = sum.outcome.written;
                let filtered = sum.outcome.filtered.values().sum::<u64>();
                tracing::info!(
                    pipeline,
                    store,
                    rows,
                    written,
                    filtered,
                    kept = stays,
                    "the store is resumed: what was put aside is written"
                );
                kept.progress.share_resumed(store);
                return Ok(());
            };
            // A record that was put aside has one row, and may come to several.
            rows += done.rows;
            kept.counts.redriven.fetch_add(done.rows, Relaxed);
            kept.progress.rewrote(store, done.rows);
            tracing::debug!(pipeline, store, rows, "records that were put aside are written");
            stays += done.kept.len();
            // Counted alone: a store may have a million of them.
            sum.add(Redriven { kept: Vec::new(), ..done });
            // As long as it took: half of the time is left to those who write what comes now.
            tokio::select! {
                () = tokio::time::sleep(began.elapsed()) => {}
                () = self.stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn expire(&self, connection: &mut Connection) -> anyhow::Result<()> {
        for kept in &self.pipelines {
            let own = kept.progress.pipeline.clone();
            // What `millstream replay` of this pipeline set aside, too.
            let mut names = vec![format!("{own}.replay"), own];
            while let Some(pipeline) = names.last() {
                let gone = quarantine::expire(connection, pipeline, self.days).await?;
                if self.stop.is_cancelled() {
                    return Ok(());
                }
                if gone.is_empty() {
                    names.pop();
                    continue;
                }
                for (store, rows) in gone {
                    kept.counts.expired.fetch_add(u64::try_from(rows).unwrap_or_default(), Relaxed);
                    tracing::warn!(
                        pipeline,
                        store,
                        rows,
                        days = self.days,
                        "rows of the quarantine were older than limits.quarantine_days and are removed for good"
                    );
                }
            }
        }
        quarantine::fold(connection).await?;
        Ok(())
    }
}
