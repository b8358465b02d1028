//! A PostgreSQL with processors of its own, and this process on the others: the common ground on which shapes of
//! writing are compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::ingest::{postmaster, scratch};
use super::{machine, pin};
use crate::config::{Config, Pipeline, PipelineSource};
use crate::node::Node;

/// How long sessions of an earlier run may take to end.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

/// The server, which stays up between runs.
pub(super) struct Ground {
    /// What every run begins with: no pipeline, a directory of its own.
    config: Config,
    /// Keeps the server up.
    pub(super) keep: Node,
    /// Its first process.
    pub(super) postmaster: u32,
    processors: Vec<usize>,
    /// The processors of the server.
    pub(super) cores: Vec<usize>,
    /// The machine, before this process was bound to a part of it.
    machine: String,
    runs: u32,
    _directory: tempfile::TempDir,
}

impl Ground {
    /// Starts a server with these settings on the first `cores` processors; this process moves to the others, if any.
    pub(super) async fn open(work_dir: &Path, settings: &[(&str, &str)], cores: usize) -> anyhow::Result<Ground> {
        let processors = pin::processors()?;
        let machine = machine::processor();
        // Checked before a server is started for nothing.
        split(&processors, cores)?;
        let (directory, mut config) = scratch(work_dir)?;
        config.pipeline.clear();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config.postgres.settings.extend(settings.collect::<BTreeMap<_, _>>());
        let keep = Node::start(config.clone()).await?;
        keep.close_log()?;
        let mut connection = PgConnection::connect_with(&keep.connect).await?;
        let postmaster = postmaster(&mut connection).await?;
        connection.close().await?;
        let mut ground =
            Ground { config, keep, postmaster, processors, cores: Vec::new(), machine, runs: 0, _directory: directory };
        ground.bind(cores)?;
        Ok(ground)
    }

    /// Gives the server the first `cores` processors, and this process the others; all, if none is left.
    pub(super) fn bind(&mut self, cores: usize) -> anyhow::Result<()> {
        let (theirs, ours) = split(&self.processors, cores)?;
        self.cores = theirs.to_vec();
        pin::process(std::process::id(), if ours.is_empty() { &self.processors } else { ours })?;
        pin::family(self.postmaster, &self.cores)
    }

    /// Whether this process has processors of its own.
    pub(super) fn is_apart(&self) -> bool {
        self.cores.len() < self.processors.len()
    }

    /// Empties the database: waits for the sessions of the last run to end, drops its tables, and flushes what is left,
    /// so that no run pays for the one before it. Returns a configuration with a pipeline on a topic of its own.
    pub(super) async fn fresh(&mut self) -> anyhow::Result<Config> {
        let mut connection = PgConnection::connect_with(&self.keep.connect).await?;
        ensure!(postmaster(&mut connection).await? == self.postmaster, "PostgreSQL was started again meanwhile");
        let began = Instant::now();
        let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await? > 0 {
            ensure!(began.elapsed() < LEAVE_WITHIN, "sessions of the last run do not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for statement in
            ["DROP SCHEMA IF EXISTS millstream CASCADE", "DROP SCHEMA IF EXISTS incident CASCADE", "CHECKPOINT"]
        {
            sqlx::raw_sql(statement).execute(&mut connection).await.context(statement)?;
        }
        connection.close().await?;
        pin::family(self.postmaster, &self.cores)?;
        self.runs += 1;
        Ok(self.config_on(&format!("run-{}", self.runs)))
    }

    /// A configuration with one pipeline that reads a topic.
    pub(super) fn config_on(&self, topic: &str) -> Config {
        let mut pipeline = Pipeline::objects();
        pipeline.source = PipelineSource::Stream { topic: topic.to_owned(), group: None };
        let mut config = Config { pipeline: vec![pipeline], ..self.config.clone() };
        // The controller would find this number itself if no process were bound to processors.
        config.controller.processors = u32::try_from(self.cores.len()).ok();
        config
    }

    /// CPU seconds that PostgreSQL has used.
    pub(super) fn cpu_seconds(&self) -> f64 {
        machine::family_cpu_seconds_exact(self.postmaster)
    }

    /// The machine and the server of the measurement, in one line.
    pub(super) async fn describe(&self) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect_with(&self.keep.connect).await?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(format!("{}, PostgreSQL {version}", self.machine))
    }

    /// Stops the server and gives this process its processors back.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.keep.drain().await;
        pin::process(std::process::id(), &self.processors)
    }
}

/// Splits the processors into the server's and the others.
fn split(processors: &[usize], cores: usize) -> anyhow::Result<(&[usize], &[usize])> {
    let there = processors.len();
    ensure!(there > 1, "one processor is not enough: the client needs one that the database does not use");
    ensure!((1..=there).contains(&cores), "PostgreSQL can have 1 to {there} of the processors, not {cores}");
    Ok(processors.split_at(cores))
}
