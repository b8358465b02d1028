//! The stream of the configuration: where pipelines read, and what `POST /v1/events` appends to.

use std::sync::Arc;

use anyhow::Context as _;
use millstream_connectors::sinks::stream::Append;
use millstream_connectors::sources::log::LogSource;
use millstream_engine::Source;
use millstream_log::{Log, Topic};
use millstream_postgres::Connector;

use crate::config::{Config, Kafka, Pipeline, PipelineSource, StreamKind};

mod kinesis;
#[cfg(feature = "aws")]
pub(crate) use kinesis::address as kinesis_address;
pub(crate) use kinesis::{kinesis_producer, make_kinesis};

mod log;
pub(crate) use log::open_log;

mod queue;
pub(crate) use queue::make_queue;
pub use queue::{Carried, Carrier, carry};

mod running;

mod visit;
pub(crate) use visit::{Visit, open_topic};

/// The stream, open.
#[derive(Debug)]
pub enum Stream {
    /// The embedded log.
    Log(Log),
    /// A Kafka cluster: each pipeline and producer has a connection of its own.
    Kafka,
    /// Streams of Kinesis, divided among processes by a table of the database.
    Kinesis,
}

/// A topic of the stream for one pipeline.
#[derive(Debug)]
pub struct Opened {
    /// To read.
    pub source: Arc<dyn Source>,
    /// To append to, unless it is a queue.
    pub append: Option<Arc<dyn Append>>,
    /// The topic itself, if it is of the embedded log.
    pub topic: Option<Topic>,
}

impl Stream {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// If the embedded log cannot be opened, or this build lacks the configured stream.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        match config.stream.kind {
            StreamKind::Log => Ok(Stream::Log(open_log(config)?)),
            StreamKind::Kafka => Ok(Stream::Kafka),
            StreamKind::Kinesis => Ok(Stream::Kinesis),
        }
    }

    /// Opens a pipeline's topic.
    ///
    /// # Errors
    /// Names what is missing: the topic, the brokers.
    pub async fn topic(&self, config: &Config, pipeline: &Pipeline, connector: &Connector) -> anyhow::Result<Opened> {
        let opening = || format!("open {}", pipeline.topic());
        if let PipelineSource::Sqs(queue) = &pipeline.source {
            return queue::straight(config, queue).await.with_context(opening);
        }
        match self {
            Stream::Log(log) => {
                let topic = log.topic(pipeline.topic(), config.stream.partitions).with_context(opening)?;
                let source = Arc::new(LogSource::new(topic.clone()));
                let append = Arc::new(topic.clone());
                Ok(Opened { source, append: Some(append), topic: Some(topic) })
            }
            Stream::Kafka => kafka::topic(config, pipeline).await.with_context(opening),
            Stream::Kinesis => kinesis::topic(config, pipeline, connector).await.with_context(opening),
        }
    }

    /// The embedded log, if it is the stream.
    pub fn log(&self) -> Option<&Log> {
        match self {
            Stream::Log(log) => Some(log),
            Stream::Kafka | Stream::Kinesis => None,
        }
    }
}

/// A producer for an existing topic.
pub(crate) fn kafka_producer(config: &Config, topic: &str) -> anyhow::Result<Arc<dyn Append>> {
    kafka::producer(config, topic)
}

/// Lets the client check the settings of a cluster, without connecting.
pub(crate) fn check_kafka(config: &Kafka) -> Result<(), String> {
    kafka::check(config)
}

#[cfg(feature = "kafka")]
pub(crate) mod kafka {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    use std::sync::Arc;

    use millstream_connectors::sinks::stream::kafka::KafkaTopic;
    use millstream_connectors::sources::kafka::{self, Cluster, KafkaOptions, KafkaSource};

    use super::Opened;
    use crate::config::{Config, Kafka, Pipeline};

    pub(crate) fn cluster(config: &Kafka) -> Cluster {
        Cluster {
            brokers: config.brokers.clone(),
            settings: config.settings.clone(),
            password_file: config.password_file.clone(),
        }
    }

    pub(super) fn check(config: &Kafka) -> Result<(), String> {
        // The password file may exist only on the machine where millstream runs.
        kafka::check(&Cluster { password_file: None, ..cluster(config) })
    }

    pub(super) fn producer(config: &Config, topic: &str) -> anyhow::Result<Arc<dyn super::Append>> {
        let memory_bytes = config.memory_bytes_each() / 8;
        Ok(Arc::new(KafkaTopic::open(&cluster(&config.stream.kafka), topic, memory_bytes)?))
    }

    pub(super) async fn topic(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Opened> {
        let cluster = cluster(&config.stream.kafka);
        // In addition to what waits in the engine and what is being written.
        let memory_bytes = config.memory_bytes_each() / 8;
        let append = producer(config, pipeline.topic())?;
        let options = KafkaOptions {
            cluster,
            topic: pipeline.topic().to_owned(),
            group: pipeline.group().into_owned(),
            instance: Some(instance(config, pipeline)),
            session: config.stream.kafka.session,
            memory_bytes,
        };
        let source = tokio::task::spawn_blocking(move || KafkaSource::open(options)).await??;
        Ok(Opened { source: Arc::new(source), append: Some(append), topic: None })
    }

    /// A name that this process keeps over restarts and shares with no other: machine and data directory, which only
    /// one process at a time may use.
    fn instance(config: &Config, pipeline: &Pipeline) -> String {
        let name = config.stream.kafka.instance.clone().unwrap_or_else(|| {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let directory = std::fs::canonicalize(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(directory);
            format!("{host}-{hash:016x}")
        });
        format!("{name}-{}", pipeline.name)
    }
}

#[cfg(not(feature = "kafka"))]
mod kafka {
    use super::Opened;
    use crate::config::{Config, Kafka, Pipeline};

    const MISSING: &str = "this build is without Kafka: build it with `--features kafka`, or take a release";

    pub(super) fn check(_: &Kafka) -> Result<(), String> {
        Err(MISSING.to_owned())
    }

    pub(super) fn producer(_: &Config, _: &str) -> anyhow::Result<std::sync::Arc<dyn super::Append>> {
        anyhow::bail!(MISSING)
    }

    pub(super) async fn topic(_: &Config, _: &Pipeline) -> anyhow::Result<Opened> {
        anyhow::bail!(MISSING)
    }
}
