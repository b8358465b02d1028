//! Maintains the quarantine while the process runs: writes the records of resumed stores, and removes rows that are too
//! old, some in each transaction, so that no writer waits for it.
//!
//! The work that is left is stored in the tables. After a crash, or in another process, it goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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
use crate::domain;
use crate::tables::Tables;

/// Interval of the check whether another process resumed a store; this process is notified at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Interval of the search for rows that are too old. They are days old: it only bounds how many expire together.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long a start waits for the database to report which stores are paused.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Pause after a failed attempt.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Counters of one pipeline since the process started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rows of paused stores that were written again, or stay with a reason of their own.
    pub redriven: AtomicU64,
    /// Rows that were removed because of their age.
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
    pub(crate) config: Config,
    /// Whether the tables can be written.
    pub(crate) tables: watch::Receiver<Tables>,
    /// Notified when this process resumes a store.
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
            config: config.clone(),
            tables,
            wake: Arc::default(),
            stop,
        }
    }

    /// Reads which stores are paused before the endpoint accepts anything; lanes read it for themselves. If the
    /// database is away, the start goes on.
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
                tracing::debug!(error = %format!("{error:#}"), "it is not known yet which stores are paused")
            }
            Err(_) => tracing::debug!("it is not known yet which stores are paused"),
        }
    }

    /// Works until told to stop; finishes a transaction under way.
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
                    // The writers report that the database is away; this line only adds what else waits for it.
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

    /// Resumed stores that have records left, with their pipelines.
    fn resumed(&self) -> impl Iterator<Item = (&Kept, String)> {
        self.pipelines.iter().flat_map(|kept| {
            let is_resumed =
                |standing: &millstream_engine::Standing| standing.pause.as_ref().is_some_and(|pause| pause.is_resumed);
            let standings = kept.progress.standings().into_iter().filter(is_resumed);
            standings.map(move |standing| (kept, standing.share.as_str().to_owned()))
        })
    }

    /// A connection whose statements fail if they wait too long for a lock.
    async fn open(&self) -> anyhow::Result<Connection> {
        let mut connection = self.connect.connect().await?;
        if !connection.is_pooled() {
            sqlx::raw_sql(AssertSqlSafe(self.config.postgres.set_session())).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    async fn work(&self, expire: bool) -> anyhow::Result<()> {
        let mut connection = self.open().await?;
        // If the rows of one store are locked or refused, the others do not wait for them.
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

    /// Writes the quarantined records of a paused store, until none is left or it is time to stop.
    async fn redrive(&self, connection: &mut Connection, kept: &Kept, store: &str) -> anyhow::Result<()> {
        let pipeline = &kept.progress.pipeline;
        let redrive = domain::redrive(&self.config, pipeline, false);
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
                    "the store is resumed: what was kept is written"
                );
                kept.progress.share_resumed(store);
                return Ok(());
            };
            // A record of a paused store has one row in quarantine, and may decode to several.
            rows += done.rows;
            kept.counts.redriven.fetch_add(done.rows, Relaxed);
            kept.progress.rewrote(store, done.rows);
            tracing::debug!(pipeline, store, rows, "records that were kept are written");
            stays += done.kept.len();
            // Only counted: a store may have a million of them.
            sum.add(Redriven { kept: Vec::new(), ..done });
            // Rests for as long as that took: half of the time is left to the writers of new records.
            tokio::select! {
                () = tokio::time::sleep(began.elapsed()) => {}
                () = self.stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn expire(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let days = self.config.limits.quarantine_days;
        for kept in &self.pipelines {
            let own = kept.progress.pipeline.clone();
            // Includes what `millstream replay` of this pipeline quarantined.
            let mut names = vec![format!("{own}{}", domain::REPLAY_SUFFIX), own];
            while let Some(pipeline) = names.last() {
                let gone = quarantine::expire(connection, pipeline, days).await?;
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
                        days,
                        "rows of the quarantine were older than limits.quarantine_days and are removed for good"
                    );
                }
            }
        }
        quarantine::fold(connection).await?;
        Ok(())
    }
}
