//! A topic as seen from outside of a pipeline: for commands that show or move positions, or show records.

use anyhow::{Context as _, bail};
use millstream_engine::Record;
use millstream_log::{Log, Topic};

use super::running::Running;
use crate::config::{Config, Pipeline, StreamKind};
use crate::http::damage::Damaged;

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;
/// How long a read of Kafka waits for its first record, unless Kafka reports the end before that.
#[cfg(feature = "kafka")]
const READ_WAIT: std::time::Duration = std::time::Duration::from_millis(200);

/// An open topic.
#[derive(Debug)]
pub(crate) enum Visit {
    /// Of the embedded log, which no other process may have open.
    Log { log: Log, topic: Topic },
    /// Of the embedded log of a process that runs.
    Running(Box<Running>),
    /// Of Kafka.
    #[cfg(feature = "kafka")]
    Kafka { inquirer: std::sync::Arc<millstream_connectors::sources::kafka::Inquirer>, incarnation: String },
}

impl Visit {
    /// Opens the topic of a pipeline, which must exist: none is created.
    pub(crate) async fn open(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Self> {
        match config.stream.kind {
            StreamKind::Log => {
                let opened = open_topic(config, pipeline);
                if matches!(&opened, Err(error) if is_locked(error))
                    && let Some(running) = Running::find(config, pipeline).await?
                {
                    return Ok(Visit::Running(Box::new(running)));
                }
                let (log, topic) = opened?;
                Ok(Visit::Log { log, topic })
            }
            StreamKind::Kafka => open_kafka(config, pipeline).await,
            StreamKind::Kinesis => bail!(
                "this command does not know Kinesis: `millstream positions reset --to earliest` reads everything again"
            ),
        }
    }

    /// The identity of the stream.
    pub(crate) fn incarnation(&self) -> &str {
        match self {
            Visit::Log { topic, .. } => topic.id(),
            Visit::Running(running) => running.incarnation(),
            #[cfg(feature = "kafka")]
            Visit::Kafka { incarnation, .. } => incarnation,
        }
    }

    /// The number of partitions, which are numbered from 0.
    pub(crate) async fn partitions(&self) -> anyhow::Result<u32> {
        match self {
            Visit::Log { topic, .. } => Ok(topic.partitions()),
            Visit::Running(running) => Ok(running.partitions()),
            #[cfg(feature = "kafka")]
            Visit::Kafka { inquirer, .. } => ask(inquirer, |inquirer| inquirer.partitions()).await,
        }
    }

    /// The first offset of a partition, and the one after its last.
    pub(crate) async fn range(&self, partition: u32) -> anyhow::Result<(u64, u64)> {
        match self {
            Visit::Log { topic, .. } => {
                let range = topic.range(partition);
                Ok((range.start, range.end))
            }
            Visit::Running(running) => running.range(partition).await,
            #[cfg(feature = "kafka")]
            Visit::Kafka { inquirer, .. } => ask(inquirer, move |inquirer| inquirer.range(partition)).await,
        }
    }

    /// The era of an offset, to be stored with it: see `Source::era`.
    pub(crate) async fn era(&self, partition: u32, next: u64) -> anyhow::Result<Option<i64>> {
        match self {
            Visit::Log { topic, .. } => Ok(topic.opening_before(partition, next)),
            Visit::Running(running) => running.era(partition, next).await,
            // Not known without reading the record before it: what is compared then is the range.
            #[cfg(feature = "kafka")]
            Visit::Kafka { .. } => Ok(None),
        }
    }

    /// The first offset stored at or after a time, in milliseconds since 1970; the end if there is none.
    pub(crate) async fn offset_at(&self, partition: u32, ms: i64) -> anyhow::Result<u64> {
        match self {
            Visit::Log { topic, .. } => {
                topic.offset_at(partition, ms).with_context(|| format!("look for the time in partition {partition}"))
            }
            Visit::Running(running) => running.offset_at(partition, ms).await,
            #[cfg(feature = "kafka")]
            Visit::Kafka { inquirer, .. } => ask(inquirer, move |inquirer| inquirer.offset_at(partition, ms)).await,
        }
    }

    /// Records from an offset on, and the offset after them; none at the end.
    pub(crate) async fn read(&self, partition: u32, from: u64) -> anyhow::Result<(Vec<Record>, u64)> {
        match self {
            Visit::Log { topic, .. } => {
                if topic.range(partition).end == from {
                    return Ok((Vec::new(), from));
                }
                let read = topic.read(partition, from, READ_BYTES)?;
                let record = |record: millstream_log::Record| Record {
                    position: millstream_engine::Position::Offset(record.offset),
                    published_at_ms: record.timestamp_ms,
                    key: record.key,
                    headers: record.headers,
                    payload: record.payload,
                };
                Ok((read.records.into_iter().map(record).collect(), read.next))
            }
            Visit::Running(running) => running.read(partition, from).await,
            #[cfg(feature = "kafka")]
            Visit::Kafka { inquirer, .. } => {
                ask(inquirer, move |inquirer| inquirer.read(partition, from, READ_BYTES, READ_WAIT)).await
            }
        }
    }

    /// The damage at an offset, once a read has met it.
    pub(crate) async fn damage_at(&self, partition: u32, offset: u64) -> anyhow::Result<Option<Damaged>> {
        match self {
            Visit::Log { topic, .. } => {
                let damages = topic.damages(partition);
                let met = damages.iter().find(|damage| (damage.from..damage.to).contains(&offset));
                Ok(met.map(Damaged::from))
            }
            Visit::Running(running) => running.damage_at(partition, offset).await,
            #[cfg(feature = "kafka")]
            Visit::Kafka { .. } => Ok(None),
        }
    }

    /// Whether there is a record at every offset that was not set aside; Kafka has offsets without one.
    pub(crate) fn is_dense(&self) -> bool {
        match self {
            Visit::Log { .. } | Visit::Running(_) => true,
            #[cfg(feature = "kafka")]
            Visit::Kafka { .. } => false,
        }
    }

    /// Reads a whole partition; returns what cannot be read.
    pub(crate) async fn damages(&self, partition: u32) -> anyhow::Result<Vec<Damaged>> {
        match self {
            Visit::Log { topic, .. } => Ok(topic.check(partition)?.iter().map(Damaged::from).collect()),
            Visit::Running(running) => running.damages(partition).await,
            #[cfg(feature = "kafka")]
            Visit::Kafka { .. } => bail!("only the embedded stream is checked here: Kafka looks after its own files"),
        }
    }

    /// Gives up damaged records, so that reading goes on after them.
    pub(crate) async fn set_aside(&self, partition: u32, from: u64) -> anyhow::Result<()> {
        match self {
            Visit::Log { topic, .. } => Ok(topic.set_aside(partition, from).map(drop)?),
            Visit::Running(running) => running.set_aside(partition, from).await,
            #[cfg(feature = "kafka")]
            Visit::Kafka { .. } => bail!("only the embedded stream has damage to set aside"),
        }
    }

    /// The offsets that another consumer of the group committed to the broker, by partition.
    pub(crate) async fn committed(&self) -> anyhow::Result<Vec<(u32, u64)>> {
        match self {
            Visit::Log { .. } | Visit::Running(_) => {
                bail!("the embedded stream has no groups: nothing else has read it")
            }
            #[cfg(feature = "kafka")]
            Visit::Kafka { inquirer, .. } => ask(inquirer, |inquirer| inquirer.committed()).await,
        }
    }

    /// Closes it, so that others can open it.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        match self {
            Visit::Log { log, topic } => {
                drop(topic);
                log.close().context("close the stream")
            }
            Visit::Running(_) => Ok(()),
            #[cfg(feature = "kafka")]
            Visit::Kafka { .. } => Ok(()),
        }
    }
}

/// Opens the embedded stream and a pipeline's topic.
pub(crate) fn open_topic(config: &Config, pipeline: &Pipeline) -> anyhow::Result<(Log, Topic)> {
    let path = config.data_dir.join("stream/topics").join(pipeline.topic());
    if !path.exists() {
        bail!("there is no topic {} in {}: `millstream run` makes it", pipeline.topic(), config.data_dir.display());
    }
    let log = super::open_log(config)?;
    let known = log.topics().into_iter().find(|(name, _)| name == pipeline.topic());
    let partitions = known.map_or(config.stream.partitions, |(_, partitions)| partitions);
    let topic = log.topic(pipeline.topic(), partitions)?;
    Ok((log, topic))
}

/// Whether another process has the stream open.
fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(millstream_log::Error::Locked { .. }))
}

#[cfg(feature = "kafka")]
async fn open_kafka(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Visit> {
    use millstream_connectors::sources::kafka::Inquirer;
    let cluster = super::kafka::cluster(&config.stream.kafka);
    let topic = pipeline.topic().to_owned();
    let group = pipeline.group().into_owned();
    tokio::task::spawn_blocking(move || {
        let inquirer = Inquirer::new(&cluster, &topic, &group)?;
        let incarnation = inquirer.incarnation()?;
        Ok(Visit::Kafka { inquirer: std::sync::Arc::new(inquirer), incarnation })
    })
    .await?
}

#[cfg(not(feature = "kafka"))]
async fn open_kafka(_: &Config, _: &Pipeline) -> anyhow::Result<Visit> {
    bail!("this build is without Kafka: build it with `--features kafka`, or take a release")
}

/// Asks the brokers without keeping the caller's thread.
#[cfg(feature = "kafka")]
async fn ask<T: Send + 'static>(
    inquirer: &std::sync::Arc<millstream_connectors::sources::kafka::Inquirer>,
    question: impl FnOnce(
        &millstream_connectors::sources::kafka::Inquirer,
    ) -> Result<T, millstream_connectors::sources::kafka::OpenError>
    + Send
    + 'static,
) -> anyhow::Result<T> {
    let inquirer = std::sync::Arc::clone(inquirer);
    Ok(tokio::task::spawn_blocking(move || question(&inquirer)).await??)
}
