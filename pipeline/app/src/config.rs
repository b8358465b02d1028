//! `millstream.toml`: all settings, with a default for everything.
//!
//! This file defines the settings. `config/` reads them, from the template over the file to the flags: [`load`] merges
//! the values and knows where each was set. All mistakes are reported at once, with line and column.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod advice;
pub use advice::{Said, from_anywhere, quoted};

mod template;
pub use template::TEMPLATE;

mod http;
pub use http::Http;

mod checker;
pub use checker::Checker;

mod gateway;
pub use gateway::Gateway;

mod file;

mod renamed;

mod overrides;

mod check;

mod load;
pub use load::{FILE_NAME, Layers, Loaded, load};

mod bounds;
pub use bounds::{at_least_one, some_time};

mod explain;

pub mod duration;

mod problem;
pub use problem::{Origin, Problem, Problems};

mod secret;

/// Consumer group of the pipeline `objects`, if it names none; other pipelines append a hyphen and their name.
pub const DEFAULT_GROUP: &str = "millstream";

/// Maximum number of mistakes reported at once: more than fit on a screen help nobody.
const MISTAKES_MAX: usize = 50;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of everything that millstream stores itself.
    pub data_dir: PathBuf,
    /// The database.
    pub postgres: millstream_postgres::Postgres,
    /// The stream.
    pub stream: Stream,
    /// The HTTP endpoint.
    pub http: Http,
    /// The pipelines, from sources to tables.
    pub pipeline: Vec<Pipeline>,
    /// Queues whose messages are appended to the stream.
    pub bridge: Vec<Bridge>,
    /// Who may emit events of tasks. With one there is a pipeline of tasks, unless one is configured.
    pub task_source: Vec<millstream_schemas::tasks::Source>,
    /// The gateway.
    pub gateway: Gateway,
    /// The checker of tasks.
    pub checker: Checker,
    /// How batch size and concurrency are found.
    pub controller: Controller,
    /// Limits of the process.
    pub limits: Limits,
    /// Options that, with the data directory, let a command use the same configuration.
    #[serde(skip)]
    pub said: Said,
}

/// The stream between producers and tables.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// Which stream: `log` is the embedded one.
    pub kind: StreamKind,
    /// Number of partitions of a new topic; later changes are refused.
    pub partitions: u32,
    /// Seconds after which whole segments may be removed; 0 keeps them for ever.
    pub retention_seconds: u64,
    /// Bytes per partition beyond which the oldest segments may be removed; 0 keeps them all.
    pub retention_bytes: u64,
    /// The cluster, if the stream is Kafka.
    pub kafka: Kafka,
    /// The account, if the stream is Kinesis.
    pub kinesis: Kinesis,
}

/// The location of Amazon Kinesis streams; credentials come from where the AWS tools look for them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kinesis {
    /// The region; `None` takes that of the AWS configuration.
    pub region: Option<String>,
    /// The endpoint of Kinesis; `None` is AWS.
    pub endpoint: Option<String>,
}

/// A Kafka cluster, and this process's membership in its groups.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Some of its brokers, as `host:port,host:port`.
    pub brokers: String,
    /// How long a group waits for a process that is gone, such as `6s`.
    #[serde(with = "duration")]
    pub session: Duration,
    /// The name of this process in its groups; `None` derives one from the machine and the data directory.
    pub instance: Option<String>,
    /// A file that holds `sasl.password`.
    pub password_file: Option<PathBuf>,
    /// Other settings of librdkafka, by their names.
    pub settings: BTreeMap<String, String>,
}

/// The kinds of stream.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Own segment files under the data directory.
    Log,
    /// Topics of an Apache Kafka.
    Kafka,
    /// Streams of Amazon Kinesis: a topic is the name of one.
    Kinesis,
}

/// One pipeline.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Its name, under which leases and positions are stored.
    pub name: String,
    /// Where it reads.
    pub source: PipelineSource,
    /// What it writes.
    #[serde(default)]
    pub sink: SinkKind,
    /// The store of records that carry none.
    #[serde(default = "default_store")]
    pub store: String,
    /// Freshness goal of batching: how old an event may be when it is committed, such as `250ms`.
    #[serde(default = "default_freshness", with = "duration")]
    pub freshness: Duration,
    /// Maximum number of records in a transaction.
    #[serde(default = "default_batch_records")]
    pub batch_records_max: usize,
    /// Maximum bytes of records in a transaction.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes_max: usize,
    /// Number of concurrent transactions.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// Maximum number of records written per second; 0 for no cap.
    #[serde(default)]
    pub rows_per_second_max: u64,
    /// Freezes batch size and concurrency of all pipelines, which share one controller.
    #[serde(default)]
    pub freeze: bool,
}

/// Bounds of the number of concurrent transactions of a pipeline; the controller chooses within them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Concurrency {
    /// The minimum.
    pub min: usize,
    /// The maximum, which is the number of lanes.
    pub max: usize,
}

/// What the controller needs to know, and its recording.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Controller {
    /// How long a transaction may take, such as `2s`.
    #[serde(with = "duration")]
    pub transaction_max: Duration,
    /// Maximum concurrent transactions of all processes that write to this database; each takes an equal part.
    pub concurrency_max: Option<usize>,
    /// Processors of the database's machine; `None` means those of this machine for a private cluster, else unknown.
    pub processors: Option<u32>,
    /// File that records everything the controller is told and decides, for a replay.
    pub record: Option<PathBuf>,
    /// Maximum bytes of that file.
    pub record_bytes_max: u64,
}

/// Where a pipeline reads.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PipelineSource {
    /// A topic of the stream.
    Stream {
        /// The topic.
        topic: String,
        /// The consumer group; `None` means that of [`Pipeline::group`]. Not used by the embedded stream.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    /// A queue of Amazon SQS, straight to the sink.
    Sqs(Queue),
}

/// A queue of Amazon SQS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Its name, or its URL.
    pub queue: String,
    /// Its region; `None` takes that of the URL, else that of the AWS configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The endpoint of SQS; `None` is AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How long a received message is hidden from other readers unless extended, such as `60s`.
    #[serde(default = "default_visibility", with = "duration")]
    pub visibility: Duration,
    /// Straight to a sink only: the name of this process among the readers of the queue; `None` generates one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// Straight to a sink only: whether messages may be lost when the database is restored to an older state.
    #[serde(default)]
    pub accept_loss_on_restore: bool,
}

/// A queue whose messages are appended to the stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// The queue.
    pub from: Queue,
    /// The topic; a pipeline must read it.
    pub topic: String,
    /// The store of its events, if not the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
}

/// What a pipeline writes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// `millstream.objects` and its counters.
    #[default]
    Metadata,
    /// The fact tables of tasks, and the log that gateways follow.
    Routing,
}

/// Limits of the process; those of a batch belong to the pipeline.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory for the backlogs of all pipelines: waiting records, and records being written.
    pub memory_bytes: usize,
    /// Maximum bytes of one record.
    pub record_bytes_max: usize,
    /// Maximum seconds between attempts while the database is away.
    pub retry_seconds_max: u64,
    /// Seconds without progress, although there is work, after which a lane is restarted.
    pub stall_seconds: u64,
    /// Seconds that a shutdown may take; batches still in flight are then left to the next start.
    pub drain_seconds: u64,
    /// Maximum number of first path segments counted per bucket.
    pub segments_max: i32,
    /// Seconds that a transaction may hold a lease lock that another writer waits for; then its session is ended.
    pub lease_lock_seconds_max: u64,
    /// Maximum share of the window below that may be quarantined; beyond it the store is paused, or the pipeline if it
    /// has only one store. 1 turns this off.
    pub quarantine_share_max: f64,
    /// Number of latest records in the window; while there are fewer, the missing ones count as good.
    pub quarantine_window_records: u64,
    /// Maximum age in seconds of records in the window.
    pub quarantine_window_seconds: u64,
    /// Maximum number of rows of one store in quarantine.
    pub quarantine_rows_max: u64,
    /// Maximum bytes that these rows keep.
    pub quarantine_bytes_max: u64,
    /// Days after which a row of the quarantine is removed.
    pub quarantine_days: u32,
    /// Hours after which entries of the route log are removed.
    pub route_log_hours: u32,
}

fn default_store() -> String {
    "default".to_owned()
}

fn default_freshness() -> Duration {
    Duration::from_millis(250)
}

fn default_visibility() -> Duration {
    Duration::from_secs(60)
}

fn default_batch_records() -> usize {
    millstream_engine::BatchLimits::default().records_max
}

fn default_batch_bytes() -> usize {
    millstream_engine::BatchLimits::default().bytes_max
}

impl Default for Concurrency {
    fn default() -> Self {
        let limits = millstream_engine::Limits::default();
        Concurrency { min: limits.writers_min, max: limits.writers }
    }
}

impl Default for Controller {
    fn default() -> Self {
        Controller {
            transaction_max: millstream_engine::Limits::default().transaction_max,
            concurrency_max: None,
            processors: None,
            record: None,
            record_bytes_max: 256 << 20,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: default_data_dir(),
            postgres: millstream_postgres::Postgres::default(),
            stream: Stream::default(),
            http: Http::default(),
            pipeline: vec![Pipeline::objects()],
            bridge: Vec::new(),
            task_source: Vec::new(),
            gateway: Gateway::default(),
            checker: Checker::default(),
            controller: Controller::default(),
            limits: Limits::default(),
            said: Said::default(),
        }
    }
}

impl Config {
    /// The memory that a pipeline may take for its backlog: an equal part of [`Limits::memory_bytes`].
    pub fn memory_bytes_each(&self) -> usize {
        self.limits.memory_bytes / self.pipeline.len().max(1)
    }

    /// The first pipeline that writes to this sink.
    pub fn pipeline_into(&self, sink: SinkKind) -> Option<&Pipeline> {
        self.pipeline.iter().find(|pipeline| pipeline.sink == sink)
    }
}

impl Pipeline {
    /// The pipeline of object events that is used when the file names none.
    pub fn objects() -> Self {
        Pipeline {
            name: "objects".to_owned(),
            source: PipelineSource::Stream { topic: "objects".to_owned(), group: None },
            sink: SinkKind::Metadata,
            store: default_store(),
            freshness: default_freshness(),
            batch_records_max: default_batch_records(),
            batch_bytes_max: default_batch_bytes(),
            concurrency: Concurrency::default(),
            rows_per_second_max: 0,
            freeze: false,
        }
    }

    /// The pipeline of tasks that is used when there are task sources and no pipeline of tasks.
    pub fn tasks() -> Self {
        Pipeline {
            name: "tasks".to_owned(),
            source: PipelineSource::Stream { topic: "tasks".to_owned(), group: None },
            sink: SinkKind::Routing,
            // A task must be routable in milliseconds, and there are few events to share a transaction.
            freshness: Duration::from_millis(4),
            // All changes are in one order, so a second writer would wait for the first.
            concurrency: Concurrency { min: 1, max: 1 },
            ..Pipeline::objects()
        }
    }

    /// The age from which an event that waits is late, for the verdict. Tasks have a goal of some milliseconds, which
    /// any pause of the machine exceeds.
    pub fn late(&self) -> Duration {
        match self.sink {
            SinkKind::Metadata => self.freshness * 4,
            SinkKind::Routing => Duration::from_millis(250).max(self.freshness * 4),
        }
    }

    /// The topic it reads, or the queue.
    pub fn topic(&self) -> &str {
        match &self.source {
            PipelineSource::Stream { topic, .. } => topic,
            PipelineSource::Sqs(queue) => &queue.queue,
        }
    }

    /// The consumer group it reads in. Each pipeline has its own, so that two may each read all of one topic.
    pub fn group(&self) -> Cow<'_, str> {
        match &self.source {
            PipelineSource::Stream { group: Some(group), .. } => Cow::Borrowed(group),
            _ if self.name == Pipeline::objects().name => Cow::Borrowed(DEFAULT_GROUP),
            PipelineSource::Stream { group: None, .. } | PipelineSource::Sqs(_) => {
                Cow::Owned(format!("{DEFAULT_GROUP}-{}", self.name))
            }
        }
    }

    /// Whether it reads the stream, and not a queue.
    pub fn reads_stream(&self) -> bool {
        matches!(self.source, PipelineSource::Stream { .. })
    }
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            kind: StreamKind::Log,
            partitions: 12,
            retention_seconds: 7 * 86_400,
            retention_bytes: 0,
            kafka: Kafka::default(),
            kinesis: Kinesis::default(),
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: "127.0.0.1:9092".to_owned(),
            session: Duration::from_secs(6),
            instance: None,
            password_file: None,
            settings: BTreeMap::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let flood = millstream_engine::FloodLimits::default();
        Limits {
            memory_bytes: 256 << 20,
            record_bytes_max: 1 << 20,
            retry_seconds_max: 10,
            stall_seconds: 30,
            drain_seconds: 25,
            segments_max: 10_000,
            lease_lock_seconds_max: 20,
            quarantine_share_max: flood.share_max,
            quarantine_window_records: flood.records,
            quarantine_window_seconds: flood.time.as_secs(),
            quarantine_rows_max: flood.share_rows_max,
            quarantine_bytes_max: flood.share_bytes_max,
            quarantine_days: 30,
            route_log_hours: 168,
        }
    }
}

/// `/var/lib/millstream` for root, because PostgreSQL runs as another account that must reach it; else `./.millstream`.
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() { "/var/lib/millstream".into() } else { "./.millstream".into() }
}
