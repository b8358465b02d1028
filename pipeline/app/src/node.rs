//! A running millstream: stream, database, pipelines, HTTP, started in the order in which an event meets them.
//!
//! On a crash nothing is lost: the stream has what was acknowledged, the database has the positions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use millstream_engine::{Budget, Gate, Summary, task};
use millstream_log::Log;
use millstream_postgres::{Cluster, Connector};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, SinkKind};
use crate::data_dir;
use crate::domain;
use crate::pace::{self, Recording, Sampler};
use crate::postgres;
use crate::quarantine::{self, Keeper};
use crate::running::{Recent, Running};
use crate::serving::{Serving, Stamped, With};
use crate::stream::{Carrier, Opened, Stream, carry};
use crate::tables::{self, Tables};

/// How long closing idle connections may take at the end: a round trip each, if the server answers.
const POOL_CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Interval at which secret files are reread for pooled connections.
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
    /// State of the tables.
    pub tables: watch::Receiver<Tables>,
    /// The pipelines.
    pub pipelines: Vec<Running>,
    /// The gate, with the controller, where all writers wait for their turn.
    pub gate: Arc<Gate>,
    /// What follows the routing tables, if there are any to follow.
    pub serving: Option<Serving>,
    /// Queues that are carried into the stream.
    pub bridges: Vec<Carrier>,
    /// The private server, if there is one.
    pub cluster: Option<Arc<tokio::sync::Mutex<Option<Cluster>>>>,
    /// Command line that opens psql, to paste.
    pub psql_line: String,
    /// Woken when a store was resumed.
    pub resumed: Arc<Notify>,
    stop: CancellationToken,
    /// When set, `/readyz` answers 503; events are still taken.
    pub draining: CancellationToken,
    /// When set, no event is taken any more.
    pub closing: CancellationToken,
    /// Counts the requests to reload files. A task that holds contents of a file subscribes.
    pub reloads: watch::Sender<u64>,
    tasks: Mutex<Vec<JoinHandle<Summary>>>,
    recording: Mutex<Option<Recording>>,
}

impl Node {
    /// Starts all parts.
    ///
    /// # Errors
    /// Names the part that could not be started, and why.
    pub async fn start(config: Config) -> anyhow::Result<Node> {
        data_dir::prepare(&config)?;

        let stream = Stream::open(&config)?;

        let (cluster, connector, psql_line) = postgres::open(&config).await?;

        let stop = CancellationToken::new();
        let draining = CancellationToken::new();
        let tables = tables::prepare(&config, &connector, stop.child_token()).await?;
        let connect = connector.options()?;
        let pool = config.postgres.pool_options().connect_lazy_with(connect.clone());

        let (gate, recording) = pace::open(&config).await?;

        let budget = Budget::new(config.limits.memory_bytes);
        let mut pipelines = Vec::new();
        let mut tasks = Vec::new();
        for pipeline in &config.pipeline {
            // The clients of AWS make large futures.
            let opened = Box::pin(stream.topic(&config, pipeline, &connector)).await?;
            let parts = Parts { config: &config, gate: &gate, budget: &budget, connector: &connector, tables: &tables };
            let (running, task) = start_pipeline(&parts, pipeline, opened, &stop);
            pipelines.push(running);
            tasks.push(task);
        }

        let bridges = open_bridges(&config, &pipelines, &stop).await?;

        let serving = start_serving(&config, &connector, &pipelines, &tables, &draining, &stop).await?;

        let kept = pipelines.iter().map(|running| quarantine::Kept {
            progress: Arc::clone(&running.progress),
            counts: Arc::clone(&running.quarantine),
        });
        let keeper = Keeper::new(&config, &connector, tables.clone(), kept.collect(), stop.child_token());
        let resumed = Arc::clone(&keeper.wake);
        keeper.look().await;
        // Ends with the process; everything in its result is already logged.
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
            serving,
            bridges,
            cluster,
            psql_line,
            resumed,
            stop,
            draining,
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

    /// Restarts the private server when it has died.
    fn keep_postgres(&self) {
        let Some(cluster) = self.cluster.clone() else { return };
        let stop = self.stop.clone();
        // Ends with the process; everything in its result is already logged.
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

    /// Reports to the controller how busy the database is.
    fn keep_looking(&self, connector: &Connector) {
        if self.pipelines.is_empty() {
            return;
        }
        let sampler = Sampler::new(connector, pace::processors(&self.config));
        // Ends with the process; everything in its result is already reported.
        drop(task::spawn("controller signals", sampler.run(Arc::clone(&self.gate), self.stop.clone())));
    }

    /// Makes new connections of the pool use the present contents of secret files. Writers read these themselves.
    fn keep_secrets(&self, connector: Connector) {
        if !connector.reads_files() {
            return;
        }
        let stop = self.stop.clone();
        let pool = self.pool.clone();
        let mut reloads = self.reloads.subscribe();
        // Ends with the process; everything in its result is already logged.
        drop(task::spawn("keep secrets", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SECRETS_EVERY) => {}
                    Ok(()) = reloads.changed() => {}
                    () = stop.cancelled() => return,
                }
                match connector.options() {
                    Ok(options) => pool.set_connect_options(options),
                    // A file is being replaced, or gone: the old secrets may still work.
                    Err(error) => tracing::debug!(%error, "the files of secrets were not read"),
                }
            }
        }));
    }

    /// Reloads what can be reloaded: tokens, and the passwords of new connections.
    pub fn reload(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    /// The pipeline that reads a topic.
    pub fn pipeline_of(&self, topic: &str) -> Option<&Running> {
        self.pipelines.iter().find(|pipeline| pipeline.config.topic() == topic)
    }

    /// The first pipeline that writes to this sink.
    pub fn pipeline_into(&self, sink: SinkKind) -> Option<&Running> {
        self.pipelines.iter().find(|pipeline| pipeline.config.sink == sink)
    }

    /// Whether every pipeline has written all that its stream holds.
    pub fn is_caught_up(&self) -> bool {
        self.pipelines.iter().all(|pipeline| pipeline.lag_records(&pipeline.progress.snapshot()) == 0)
    }

    /// Stops intake, finishes what is in flight, commits, and closes what was opened.
    pub async fn drain(&self) -> Summary {
        self.drain_by(self.drain_deadline()).await
    }

    /// The deadline of a drain that begins now; what is unfinished then is left to the next start.
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
        if let Some(serving) = &self.serving {
            serving.end().await;
        }
        let recording = self.recording.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(recording) = recording {
            recording.close().await;
        }
        // A database that does not answer does not confirm a close either; the kernel closes what is left.
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
    /// Closes the embedded stream, if it is the stream, so that others can open it.
    pub(crate) fn close_log(&self) -> Result<(), millstream_log::Error> {
        self.stream.log().map_or(Ok(()), Log::close)
    }
}

async fn start_serving(
    config: &Config,
    connector: &Connector,
    pipelines: &[Running],
    tables: &watch::Receiver<Tables>,
    draining: &CancellationToken,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Serving>> {
    let routing = pipelines.iter().find(|running| running.config.sink == SinkKind::Routing);
    let with = With {
        stream: routing.and_then(|running| running.stream.clone()),
        is_writer: routing.is_some(),
        stamped: Stamped::of(pipelines),
        tables: tables.clone(),
        draining: draining.clone(),
        stop: stop.child_token(),
    };
    Serving::start(config, connector, with).await
}

async fn open_bridges(
    config: &Config,
    pipelines: &[Running],
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Carrier>> {
    let mut bridges = Vec::new();
    for bridge in &config.bridge {
        let of_topic = |running: &&Running| running.config.reads_stream() && running.config.topic() == bridge.topic;
        let stream = pipelines.iter().find(of_topic).and_then(|running| running.stream.clone());
        let stream = stream.with_context(|| format!("no pipeline reads topic {}", bridge.topic))?;
        let opened = Box::pin(carry(config, bridge, stream, stop.child_token())).await;
        bridges.push(opened.with_context(|| format!("open queue {}", bridge.from.queue))?);
    }
    Ok(bridges)
}

/// What all pipelines of a process share.
struct Parts<'a> {
    config: &'a Config,
    gate: &'a Arc<Gate>,
    budget: &'a Arc<Budget>,
    connector: &'a Connector,
    tables: &'a watch::Receiver<Tables>,
}

fn start_pipeline(
    parts: &Parts<'_>,
    pipeline: &config::Pipeline,
    opened: Opened,
    stop: &CancellationToken,
) -> (Running, JoinHandle<Summary>) {
    let Parts { config, gate, budget, connector, tables } = *parts;
    let Opened { source, append, topic } = opened;
    let own = pace::is_alone(pipeline).then(|| pace::alone(config, pipeline));
    let gate = own.as_ref().unwrap_or(gate);
    let mut ready = domain::pipeline(config, pipeline, Arc::clone(&source), gate, connector);
    ready.limits.budget = Some(Arc::clone(budget));
    let progress = Arc::clone(&ready.progress);
    let flood = ready.limits.flood.clone();
    let tables = tables.clone();
    let stop = stop.clone();
    let waiting = Arc::clone(&progress);
    let task = task::spawn("pipeline", async move {
        if tables::ready(tables, &waiting, &stop).await {
            return ready.run(stop).await;
        }
        // Nothing was read, so nothing is in flight.
        ready.source.close().await;
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
