//! Streams of Amazon Kinesis.

use millstream_postgres::Connector;

use super::Opened;
use crate::config::{Config, Pipeline};

#[cfg(feature = "aws")]
pub(super) async fn topic(config: &Config, pipeline: &Pipeline, connector: &Connector) -> anyhow::Result<Opened> {
    use std::sync::Arc;

    use millstream_connectors::assignment::{Timing, unique_owner};
    use millstream_connectors::sinks::stream::kinesis::KinesisProducer;
    use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource, Sharing};

    let address = address(config, pipeline.topic());
    let sharing = Sharing {
        pipeline: pipeline.name.clone(),
        connect: connector.clone().application_name("millstream leases"),
        owner: unique_owner(),
        timing: Timing::default(),
    };
    let options = KinesisOptions { sharing: Some(sharing), ..KinesisOptions::new(address.clone()) };
    let source = KinesisSource::open(options).await?;
    Ok(Opened { source, append: Some(Arc::new(KinesisProducer::new(address))), topic: None })
}

/// How a stream is reached.
#[cfg(feature = "aws")]
pub(crate) fn address(config: &Config, stream: &str) -> millstream_connectors::kinesis::Address {
    let kinesis = &config.stream.kinesis;
    millstream_connectors::kinesis::Address {
        stream: stream.to_owned(),
        region: kinesis.region.clone(),
        endpoint: kinesis.endpoint.clone(),
        config: None,
    }
}

/// Creates a stream with `stream.partitions` shards, to be appended to.
#[cfg(feature = "aws")]
pub(crate) async fn make_kinesis(
    config: &Config,
    stream: &str,
) -> anyhow::Result<std::sync::Arc<dyn millstream_connectors::sinks::stream::Append>> {
    use millstream_connectors::sinks::stream::kinesis::{KinesisProducer, create_stream};
    let address = address(config, stream);
    create_stream(&address, config.stream.partitions).await?;
    Ok(std::sync::Arc::new(KinesisProducer::new(address)))
}

#[cfg(not(feature = "aws"))]
pub(crate) async fn make_kinesis(
    _: &Config,
    _: &str,
) -> anyhow::Result<std::sync::Arc<dyn millstream_connectors::sinks::stream::Append>> {
    anyhow::bail!("this build is without Kinesis: build it with `--features aws`, or take a release")
}

/// A producer for an existing stream.
#[cfg(feature = "aws")]
pub(crate) fn kinesis_producer(
    config: &Config,
    stream: &str,
) -> anyhow::Result<std::sync::Arc<dyn millstream_connectors::sinks::stream::Append>> {
    use millstream_connectors::sinks::stream::kinesis::KinesisProducer;
    Ok(std::sync::Arc::new(KinesisProducer::new(address(config, stream))))
}

#[cfg(not(feature = "aws"))]
pub(crate) fn kinesis_producer(
    _: &Config,
    _: &str,
) -> anyhow::Result<std::sync::Arc<dyn millstream_connectors::sinks::stream::Append>> {
    anyhow::bail!("this build is without Kinesis: build it with `--features aws`, or take a release")
}

#[cfg(not(feature = "aws"))]
pub(super) async fn topic(_: &Config, _: &Pipeline, _: &Connector) -> anyhow::Result<Opened> {
    anyhow::bail!("this build is without Kinesis: build it with `--features aws`, or take a release")
}
