//! The stream that a benchmark reads: the embedded one, or a service at an address, or one started for it.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};

use crate::config::{Config, PipelineSource, StreamKind};

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The embedded stream.
    Log,
    /// A topic of Apache Kafka.
    Kafka,
}

impl Kind {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Log => "the embedded stream",
            Kind::Kafka => "Kafka",
        }
    }
}

/// Options that say which stream.
#[derive(Clone, Debug, ClapArgs)]
#[group(skip)]
pub(crate) struct Args {
    /// Where events come from.
    #[arg(long, value_enum, default_value_t = Kind::Log)]
    pub(super) source: Kind,
    /// The address of the service; without it, inside of a checkout, one is started and ended.
    #[arg(long)]
    endpoint: Option<String>,
}

/// A service that is there for the benchmark. Ends with this, however this ends.
#[derive(Debug)]
pub(super) struct Part {
    holder: Child,
    /// Closed, it tells the holder to stop the service.
    lease: Option<ChildStdin>,
}

impl Args {
    /// Points the configuration at the stream, with a topic of its own. Keep what it gives for as long as it is read.
    pub(super) async fn set_up(&self, config: &mut Config, work_dir: &Path) -> anyhow::Result<Option<Part>> {
        if self.source == Kind::Log {
            ensure!(self.endpoint.is_none(), "the embedded stream has no endpoint: name another --source");
            return Ok(None);
        }
        let script = match self.source {
            Kind::Log | Kind::Kafka => "kafka.sh",
        };
        let (part, endpoint) = match self.endpoint.clone() {
            Some(endpoint) => (None, endpoint),
            None => Part::start(script, work_dir).map(|(part, endpoint)| (Some(part), endpoint))?,
        };
        let topic = format!("millstream-bench-{}", std::process::id());
        config.stream.kind = StreamKind::Kafka;
        config.stream.kafka.brokers = endpoint;
        make_topic(config, &topic).await.with_context(|| format!("make topic {topic}"))?;
        for pipeline in &mut config.pipeline {
            pipeline.source = PipelineSource::Stream { topic: topic.clone(), group: Some(topic.clone()) };
        }
        Ok(part)
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
    /// Starts a service by its script; gives its address.
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
        let (lease, output) = (holder.stdin.take(), holder.stdout.take());
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
