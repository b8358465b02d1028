//! A running millstream: stream, database, pipelines, HTTP, started in the order in which an event meets them.
//!
//! On a crash nothing is lost: the stream has what was acknowledged, the database has the positions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use millstream_connectors::sinks::metadata::{Decoder, Metadata};
use millstream_connectors::sinks::tables::Options;
use millstream_engine::{
    BatchLimits, FloodLimits, Gate, Irrefusable, Limits, Pipeline, Progress, Share, Sink, Source, Summary, run, task,
};
use millstream_log::Log;
use millstream_postgres::{Cluster, Connector};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, StreamKind};
use crate::data_dir;
use crate::pace::{self, Recording, Sampler};
use crate::postgres;
use crate::quarantine::{self, Keeper};
use crate::running::{Recent, Running};
use crate::stream::{Carrier, Opened, Stream, carry};
use crate::tables::{self, Tables};

/// How long the farewell of idle connections may take at the end: a round trip each, where there is somebody to answer.
const POOL_CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How old a password may be that a query is made with. A small file is read so often.
const SECRETS_EVERY: Duration = Duration::from_secs(1);

/// Everything that runs, for the HTTP endpoint and the demo to look at.
#[derive(Debug)]
pub struct Node {
    /// The configuration it runs with.
    pub config: Config,
    /// The stream.
    pub stream: Stream,
    /// How to reach the database.
    pub connect: PgConnectOptions,
    /// Makes connections to it.
    pub connector: Connector,
    /// Connections for queries; writers have their own.
    pub pool: PgPool,
    /// How the tables are.
    pub tables: watch::Receiver<Tables>,
    /// What moves.
    pub pipelines: Vec<Running>,
    /// Where all writers ask for a turn, with the controller.
    pub gate: Arc<Gate>,
    /// Queues that are carried into the stream.
    pub bridges: Vec<Carrier>,
    /// The private server, if there is one.
    pub cluster: Option<Arc<tokio::sync::Mutex<Option<Cluster>>>>,
    /// How to open a psql, as a line to paste.
    pub psql_line: String,
    /// Woken when a store was resumed.
    pub resumed: Arc<Notify>,
    stop: CancellationToken,
    /// When set, `/readyz` answers 503; events are still taken.
    pub draining: CancellationToken,
    /// When set, no event is taken any more.
    pub closing: CancellationToken,
    /// Counts how often a person asked to read again what can be read again. Who holds something of a file subscribes.
    pub reloads: watch::Sender<u64>,
    tasks: Mutex<Vec<JoinHandle<Summary>>>,
    recording: Mutex<Option<Recording>>,
}

impl Node {
    /// Starts all parts.
    ///
    /// # Errors
    /// Says which part could not be started, and why.
    pub async fn start(config: Config) -> anyhow::Result<Node> {
        data_dir::prepare(&config)?;

        let stream = Stream::open(&config)?;

        let (cluster, connector, psql_line) = postgres::open(&config).await?;

        let stop = CancellationToken::new();
        let tables = tables::prepare(&config, &connector, stop.child_token()).await?;
        let connect = connector.options()?;
        let pool = config.postgres.pool_options().connect_lazy_with(connect.clone());

        let (gate, recording) = pace::open(&config).await?;

        let mut pipelines = Vec::new();
        let mut tasks = Vec::new();
        for pipeline in &config.pipeline {
            // The clients of AWS make large futures.
            let opened = Box::pin(stream.topic(&config, pipeline, &connector)).await?;
            let (running, task) = start_pipeline(&config, pipeline, opened, &gate, &connector, &tables, &stop);
            pipelines.push(running);
            tasks.push(task);
        }

        let mut bridges = Vec::new();
        for bridge in &config.bridge {
            let of_topic = |running: &&Running| running.config.reads_stream() && running.config.topic() == bridge.topic;
            let stream = pipelines.iter().find(of_topic).and_then(|running| running.stream.clone());
            let stream = stream.with_context(|| format!("no pipeline reads topic {}", bridge.topic))?;
            let opened = Box::pin(carry(&config, bridge, stream, stop.child_token())).await;
            bridges.push(opened.with_context(|| format!("open queue {}", bridge.from.queue))?);
        }

        let kept = pipelines.iter().map(|running| quarantine::Kept {
            progress: Arc::clone(&running.progress),
            counts: Arc::clone(&running.quarantine),
        });
        let keeper = Keeper::new(&config, &connector, tables.clone(), kept.collect(), stop.child_token());
        let resumed = Arc::clone(&keeper.wake);
        keeper.look().await;
        // Ends with the process; its result says nothing that was not logged.
        drop(task::spawn("keep quarantine", keeper.run()));

        let cluster = cluster.map(|cluster| Arc::new(tokio::sync::Mutex::new(Some(cluster))));
        let node = Node {
            config,
            stream,
            connect,
            connector: connector.clone(),
            pool,
            tables,
            pipelines,
            gate,
            bridges,
            cluster,
            psql_line,
            resumed,
            stop,
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            reloads: watch::Sender::new(0),
            tasks: Mutex::new(tasks),
            recording: Mutex::new(recording),
        };
        node.keep_postgres();
        node.keep_looking(&connector);
        node.keep_secrets(connector);
        Ok(node)
    }

    /// Starts the private server again when it died.
    fn keep_postgres(&self) {
        let Some(cluster) = self.cluster.clone() else { return };
        let stop = self.stop.clone();
        // Ends with the process; its result says nothing that was not logged.
        drop(task::spawn("keep postgres", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = stop.cancelled() => return,
                }
                if let Some(cluster) = cluster.lock().await.as_mut()
                    && let Err(error) = cluster.ensure().await
                {
                    tracing::error!(%error, "the private PostgreSQL does not start");
                }
            }
        }));
    }

    /// Lets the controller know how busy the database is.
    fn keep_looking(&self, connector: &Connector) {
        if self.pipelines.is_empty() {
            return;
        }
        let sampler = Sampler::new(connector, pace::processors(&self.config));
        // Ends with the process; its result says nothing that was not told.
        drop(task::spawn("controller signals", sampler.run(Arc::clone(&self.gate), self.stop.clone())));
    }

    /// Lets the pool's next connections use what the files of secrets say now. Writers read them by themselves.
    fn keep_secrets(&self, connector: Connector) {
        if !connector.reads_files() {
            return;
        }
        let stop = self.stop.clone();
        let pool = self.pool.clone();
        let mut reloads = self.reloads.subscribe();
        // Ends with the process; its result says nothing that was not logged.
        drop(task::spawn("keep secrets", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SECRETS_EVERY) => {}
                    Ok(()) = reloads.changed() => {}
                    () = stop.cancelled() => return,
                }
                match connector.options() {
                    Ok(options) => pool.set_connect_options(options),
                    // In the middle of being replaced, or gone: the old ones may still do.
                    Err(error) => tracing::debug!(%error, "the files of secrets were not read"),
                }
            }
        }));
    }

    /// Has everything read again that can be: tokens, and the passwords of connections that are made from now on.
    pub fn reload(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    /// The pipeline that reads a topic.
    pub fn pipeline_of(&self, topic: &str) -> Option<&Running> {
        self.pipelines.iter().find(|pipeline| pipeline.config.topic() == topic)
    }

    /// Whether every pipeline has written all that its stream holds.
    pub fn is_caught_up(&self) -> bool {
        self.pipelines.iter().all(|pipeline| pipeline.lag_records(&pipeline.progress.snapshot()) == 0)
    }

    /// Stops taking in, finishes what is in flight, commits, and closes what was opened.
    pub async fn drain(&self) -> Summary {
        self.drain_by(self.drain_deadline()).await
    }

    /// When a drain that begins now leaves what is not finished to the next start.
    pub fn drain_deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_secs(self.config.limits.drain_seconds)
    }

    /// The same with a deadline that was set when the drain began.
    pub async fn drain_by(&self, deadline: tokio::time::Instant) -> Summary {
        self.draining.cancel();
        self.closing.cancel();
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let mut summary = Summary { drained: true, halted: Vec::new() };
        for bridge in &self.bridges {
            if tokio::time::timeout_at(deadline, bridge.ended()).await.is_err() {
                summary.drained = false;
            }
        }
        for task in tasks {
            match tokio::time::timeout_at(deadline, task).await {
                Ok(Ok(ended)) => {
                    summary.drained &= ended.drained;
                    summary.halted.extend(ended.halted);
                }
                Ok(Err(error)) => summary.halted.push(error.to_string()),
                Err(_) => summary.drained = false,
            }
        }
        let recording = self.recording.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(recording) = recording {
            recording.close().await;
        }
        // A database that does not answer does not say goodbye either; the kernel closes what is left.
        if tokio::time::timeout(POOL_CLOSE_WITHIN, self.pool.close()).await.is_err() {
            tracing::debug!("connections for queries were not closed in time");
        }
        if let Some(cluster) = &self.cluster
            && let Some(cluster) = cluster.lock().await.take()
            && let Err(error) = cluster.close().await
        {
            tracing::warn!(%error, "the private PostgreSQL was not stopped");
        }
        if let Err(error) = self.close_log() {
            tracing::warn!(%error, "the stream was not closed");
        }
        summary
    }
}

impl Node {
    /// Lets others open the embedded stream, if that is what the stream is.
    pub(crate) fn close_log(&self) -> Result<(), millstream_log::Error> {
        self.stream.log().map_or(Ok(()), Log::close)
    }
}

fn start_pipeline(
    config: &Config,
    pipeline: &config::Pipeline,
    opened: Opened,
    gate: &Arc<Gate>,
    connector: &Connector,
    tables: &watch::Receiver<Tables>,
    stop: &CancellationToken,
) -> (Running, JoinHandle<Summary>) {
    let Opened { source, append, topic } = opened;
    let parts = parts(config, pipeline, Arc::clone(&source), gate, connector);
    let progress = Arc::clone(&parts.progress);
    let flood = parts.limits.flood.clone();
    let tables = tables.clone();
    let stop = stop.clone();
    let waiting = Arc::clone(&progress);
    let task = task::spawn("pipeline", async move {
        if tables::ready(tables, &waiting, &stop).await {
            return run(parts, stop).await;
        }
        // Nothing was read, so nothing is in flight.
        parts.source.close().await;
        Summary { drained: true, halted: Vec::new() }
    });
    let running = Running {
        config: pipeline.clone(),
        stream: append,
        topic,
        source,
        progress,
        quarantine: Arc::default(),
        flood,
        recent: Recent::default(),
    };
    (running, task)
}

/// The stores whose events come by another way than our endpoint: any where others write to the stream, and those of
/// bridged queues.
fn irrefusable(config: &Config, pipeline: &config::Pipeline) -> Irrefusable {
    if config.stream.kind != StreamKind::Log || !pipeline.reads_stream() {
        return Irrefusable::All;
    }
    let bridges = config.bridge.iter().filter(|bridge| bridge.topic == pipeline.topic());
    Irrefusable::Only(bridges.map(|bridge| Share::new(bridge.store.as_deref().unwrap_or(&pipeline.store))).collect())
}

/// A pipeline as it is configured, from a source into the tables.
pub(crate) fn parts(
    config: &Config,
    pipeline: &config::Pipeline,
    source: Arc<dyn Source>,
    gate: &Arc<Gate>,
    connector: &Connector,
) -> Pipeline<<Metadata as Sink>::Columns> {
    let progress = Arc::new(Progress::new(&pipeline.name, pipeline.concurrency.max));
    let limits = Limits {
        batch: BatchLimits {
            records_max: pipeline.batch_records_max,
            bytes_max: pipeline.batch_bytes_max,
            // At most: the gate makes it as short as the controller says. The rest of the goal is for the transaction.
            linger: pipeline.freshness * 7 / 10,
        },
        writers: pipeline.concurrency.max,
        writers_min: pipeline.concurrency.min,
        transaction_max: config.controller.transaction_max,
        records_per_second_max: pipeline.rows_per_second_max,
        memory_bytes: config.limits.memory_bytes,
        retry_cap: Duration::from_secs(config.limits.retry_seconds_max),
        stall: Duration::from_secs(config.limits.stall_seconds),
        flood: FloodLimits {
            share_max: config.limits.quarantine_share_max,
            records: config.limits.quarantine_window_records,
            time: Duration::from_secs(config.limits.quarantine_window_seconds),
            pauses_alone: Some(Share::new(&pipeline.store)),
            share_rows_max: config.limits.quarantine_rows_max,
            share_bytes_max: config.limits.quarantine_bytes_max,
            irrefusable: irrefusable(config, pipeline),
        },
        ..Limits::default()
    };
    let options = Options {
        pipeline: pipeline.name.clone(),
        incarnation: source.incarnation().to_owned(),
        connect: connector.clone().application_name("millstream writer"),
        set_local: config.postgres.set_local(),
        lease_lock_max: Duration::from_secs(config.limits.lease_lock_seconds_max),
    };
    let writers = Metadata::several(options, config.limits.segments_max, pipeline.concurrency.max);
    let sinks = writers.map(|writer| Box::new(writer) as Box<dyn Sink<Columns = _>>).collect();
    let limits_in = millstream_schemas::Limits {
        record_bytes_max: config.limits.record_bytes_max,
        ..millstream_schemas::Limits::default()
    };
    let decoder = Arc::new(Decoder { store: pipeline.store.clone(), limits: limits_in });
    Pipeline { source, decoder, sinks, limits, gate: Arc::clone(gate), progress }
}
