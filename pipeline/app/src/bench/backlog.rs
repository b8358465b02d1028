//! Fills a stream before a measurement begins, by a process of its own.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::config::{Config, PipelineSource, SinkKind, StreamKind};

/// What to append: as many events as fit under both limits.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// Good events.
    pub(super) events: u64,
    /// Bytes of keys and payloads, as they are accepted.
    pub(super) bytes: u64,
    /// Events that the database refuses under [`REFUSING`], per thousand good events.
    pub(super) bad_per_thousand: u32,
    pub(super) seed: u64,
    pub(super) start_ms: i64,
}

/// What was appended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Appended {
    pub(super) events: u64,
    pub(super) bad: u64,
    pub(super) bytes: u64,
}

/// Makes the database refuse the planted events, which no decoder can foresee.
pub(super) const REFUSING: &str = "ALTER TABLE millstream.objects ADD CONSTRAINT bench_poison CHECK (size < 4000000)";
/// Good objects are smaller than this.
pub(super) const GOOD_SIZE_MAX: u64 = 4_000_000;

impl Backlog {
    /// Only this number of good events.
    pub(super) fn of(events: u64, seed: u64, start_ms: i64) -> Self {
        Backlog { events, bytes: u64::MAX, bad_per_thousand: 0, seed, start_ms }
    }

    /// Appends them to the stream of the first pipeline. If it is the embedded one, no process may have it open.
    pub(super) async fn append(&self, config: &Config) -> anyhow::Result<Appended> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["bench", "generate"]);
        let pipeline = config.pipeline_into(SinkKind::Metadata).context("no pipeline of objects")?;
        let directory = config.data_dir.join("stream").display().to_string();
        let (source, to) = match (&pipeline.source, config.stream.kind) {
            (PipelineSource::Sqs(queue), _) => ("sqs", queue.endpoint.clone().unwrap_or_default()),
            (_, StreamKind::Log) => ("log", directory),
            (_, StreamKind::Kafka) => ("kafka", config.stream.kafka.brokers.clone()),
            (_, StreamKind::Kinesis) => ("kinesis", config.stream.kinesis.endpoint.clone().unwrap_or_default()),
        };
        let output = command
            .args(["--source", source, "--to", &to, "--topic", pipeline.topic()])
            .args(["--events", &self.events.to_string(), "--bytes", &self.bytes.to_string()])
            .args(["--bad-per-thousand", &self.bad_per_thousand.to_string(), "--seed", &self.seed.to_string()])
            .args(["--partitions", &config.stream.partitions.to_string(), "--start-ms", &self.start_ms.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()
            .await?;
        ensure!(output.status.success(), "the generator ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("read what the generator appended")
    }
}
