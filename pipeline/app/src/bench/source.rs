//! The stream that a benchmark reads: the embedded one, or a service at an address, or one started for it.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};

use crate::config::{self, Config, PipelineSource, StreamKind};
use crate::stream;

/// Environment for a stand-in of AWS: no real credentials.
const STAND_IN: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "000000000000"),
    ("AWS_SECRET_ACCESS_KEY", "bench"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// Source of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The embedded stream.
    Log,
    /// A topic of Apache Kafka.
    Kafka,
    /// A stream of Amazon Kinesis; without --endpoint, of kinesalite.
    Kinesis,
    /// A queue of Amazon SQS, straight into the tables; without --endpoint, of ElasticMQ.
    Sqs,
}

impl Kind {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Log => "the embedded stream",
            Kind::Kafka => "Kafka",
            Kind::Kinesis => "Kinesis",
            Kind::Sqs => "SQS",
        }
    }

    /// The script that starts the service.
    fn script(self) -> Option<&'static str> {
        match self {
            Kind::Log => None,
            Kind::Kafka => Some("kafka.sh"),
            Kind::Kinesis => Some("kinesalite.sh"),
            Kind::Sqs => Some("elasticmq.sh"),
        }
    }
}

/// Options that select the stream.
#[derive(Clone, Debug, ClapArgs)]
#[group(skip)]
pub(crate) struct Args {
    /// Source of the events.
    #[arg(long, value_enum, default_value_t = Kind::Log)]
    pub(super) source: Kind,
    /// Address of the service (default: one is started and stopped; only inside a checkout). Credentials for AWS come
    /// from where the AWS tools look for them.
    #[arg(long)]
    endpoint: Option<String>,
}

/// A service that was started for the benchmark. It ends with this process, however this ends.
#[derive(Debug)]
struct Part {
    holder: Child,
    /// Closing it tells the holder to stop the service.
    lease: Option<ChildStdin>,
}

impl Args {
    /// If a service has to be started, starts it and runs this benchmark once more in a process of its own, which finds
    /// the service and its credentials in the environment. Returns the exit code of that process.
    pub(super) async fn with_a_part(&self, work_dir: &Path) -> anyhow::Result<Option<ExitCode>> {
        let (Some(script), None) = (self.source.script(), &self.endpoint) else { return Ok(None) };
        let (part, endpoint) = Part::start(script, work_dir)?;
        let mut again = tokio::process::Command::new(std::env::current_exe()?);
        again.args(std::env::args_os().skip(1)).args(["--endpoint", &endpoint]);
        for (name, value) in STAND_IN {
            again.env(name, value);
        }
        let status = again.status().await.context("run the benchmark again")?;
        drop(part);
        Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
    }

    /// Creates a topic, stream or queue, and points the configuration at it.
    pub(super) async fn set_up(&self, config: &mut Config) -> anyhow::Result<()> {
        let name = format!("millstream-bench-{}", std::process::id());
        let endpoint = self.endpoint.clone();
        match self.source {
            Kind::Log => {
                ensure!(endpoint.is_none(), "the embedded stream has no endpoint: name another --source");
                return Ok(());
            }
            Kind::Kafka => {
                config.stream.kind = StreamKind::Kafka;
                config.stream.kafka.brokers = endpoint.unwrap_or_default();
                make_topic(config, &name).await.with_context(|| format!("make topic {name}"))?;
            }
            Kind::Kinesis => {
                config.stream.kind = StreamKind::Kinesis;
                config.stream.kinesis.endpoint = endpoint;
                stream::make_kinesis(config, &name).await.with_context(|| format!("make stream {name}"))?;
            }
            Kind::Sqs => {
                let queue = queue(&name, endpoint);
                stream::make_queue(config, &queue).await.with_context(|| format!("make queue {}", queue.queue))?;
                for pipeline in &mut config.pipeline {
                    pipeline.source = PipelineSource::Sqs(queue.clone());
                }
                return Ok(());
            }
        }
        for pipeline in &mut config.pipeline {
            pipeline.source = PipelineSource::Stream { topic: name.clone(), group: Some(name.clone()) };
        }
        Ok(())
    }
}

/// A queue as the benchmark reads it.
pub(super) fn queue(name: &str, endpoint: Option<String>) -> config::Queue {
    config::Queue {
        queue: name.to_owned(),
        region: None,
        endpoint,
        visibility: Duration::from_secs(60),
        consumer: None,
        accept_loss_on_restore: true,
    }
}

#[cfg(feature = "kafka")]
async fn make_topic(config: &Config, topic: &str) -> anyhow::Result<()> {
    use millstream_connectors::sinks::stream::kafka::create_topic;
    let cluster = crate::stream::kafka::cluster(&config.stream.kafka);
    Ok(create_topic(&cluster, topic, config.stream.partitions).await?)
}

#[cfg(not(feature = "kafka"))]
async fn make_topic(_: &Config, _: &str) -> anyhow::Result<()> {
    bail!("this build is without Kafka: build it with `--features kafka`")
}

impl Part {
    /// Starts a service by its script; returns its address.
    fn start(script: &str, work_dir: &Path) -> anyhow::Result<(Self, String)> {
        use std::io::{BufRead as _, BufReader};
        let path = find(script)?;
        let directory = work_dir.join(format!("millstream-part-{}", std::process::id()));
        let mut holder = Command::new(&path)
            .arg("hold")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", path.display()))?;
        let lease = holder.stdin.take();
        let output = holder.stdout.take();
        let mut address = String::new();
        BufReader::new(output.context("its output")?).read_line(&mut address)?;
        let part = Part { holder, lease };
        if address.trim().is_empty() {
            bail!("{} did not start its service: see above", path.display());
        }
        Ok((part, address.trim().to_owned()))
    }
}

/// The script of a service, in the checkout that we are in.
fn find(script: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found =
        here.ancestors().map(|parent| parent.join("tests/harness/parts").join(script)).find(|path| path.is_file());
    found.with_context(|| {
        format!("there is no tests/harness/parts/{script} here: run this inside of a checkout, or name an --endpoint")
    })
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.lease.take());
        if let Err(error) = self.holder.wait() {
            tracing::warn!(%error, "the service of the benchmark was not waited for");
        }
    }
}
