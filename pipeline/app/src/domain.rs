//! Builds the pipelines of each domain: the one place that distinguishes domains.
//!
//! A new domain has an arm in [`pipeline`], and a file of its own that alone names its rows and its decoder.

pub(crate) mod objects;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millstream_connectors::sinks::tables::Options;
use millstream_engine::decode::Columns;
use millstream_engine::{
    BatchLimits, FloodLimits, Gate, Irrefusable, Limits, Pipeline, Progress, Share, Source, Summary, run,
};
use millstream_postgres::Connector;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, SinkKind, StreamKind};

/// A pipeline that can be run, whatever its rows are.
pub(crate) struct Ready {
    /// Where it reads.
    pub(crate) source: Arc<dyn Source>,
    /// Its counters.
    pub(crate) progress: Arc<Progress>,
    /// All limits; may be changed until it runs.
    pub(crate) limits: Limits,
    run: Box<dyn FnOnce(Limits, CancellationToken) -> Running + Send>,
}

type Running = Pin<Box<dyn Future<Output = Summary> + Send>>;

impl Ready {
    fn new<C: Columns + 'static>(pipeline: Pipeline<C>) -> Self {
        Ready {
            source: Arc::clone(&pipeline.source),
            progress: Arc::clone(&pipeline.progress),
            limits: pipeline.limits.clone(),
            run: Box::new(|limits, stop| Box::pin(run(Pipeline { limits, ..pipeline }, stop))),
        }
    }

    /// Runs it until `stop`, then finishes the batches in flight.
    pub(crate) fn run(self, stop: CancellationToken) -> Running {
        (self.run)(self.limits, stop)
    }
}

/// Builds a configured pipeline, from a source into the tables.
pub(crate) fn pipeline(
    config: &Config,
    pipeline: &config::Pipeline,
    source: Arc<dyn Source>,
    gate: &Arc<Gate>,
    connector: &Connector,
) -> Ready {
    let options = Options {
        pipeline: pipeline.name.clone(),
        incarnation: source.incarnation().to_owned(),
        connect: connector.clone().application_name("millstream writer"),
        set_local: config.postgres.set_local(),
        lease_lock_max: Duration::from_secs(config.limits.lease_lock_seconds_max),
    };
    let limits = limits(config, pipeline);
    let gate = Arc::clone(gate);
    let progress = Arc::new(Progress::new(&pipeline.name, pipeline.concurrency.max));
    match pipeline.sink {
        SinkKind::Metadata => {
            let sinks = objects::sinks(config, options, pipeline.concurrency.max);
            let decoder = Arc::new(objects::decoder(config, &pipeline.store));
            Ready::new(Pipeline { source, decoder, sinks, limits, gate, progress })
        }
    }
}

/// The bounds of a pipeline.
fn limits(config: &Config, pipeline: &config::Pipeline) -> Limits {
    Limits {
        batch: BatchLimits {
            records_max: pipeline.batch_records_max,
            bytes_max: pipeline.batch_bytes_max,
            // A maximum: the gate shortens it as the controller decides. The rest of the goal is for the transaction.
            linger: pipeline.freshness * 7 / 10,
        },
        writers: pipeline.concurrency.max,
        writers_min: pipeline.concurrency.min,
        transaction_max: config.controller.transaction_max,
        records_per_second_max: pipeline.rows_per_second_max,
        memory_bytes: config.memory_bytes_each(),
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
    }
}

/// The stores whose events may come by another way than our endpoint: all stores if others write to the stream, and
/// those of bridged queues.
fn irrefusable(config: &Config, pipeline: &config::Pipeline) -> Irrefusable {
    if config.stream.kind != StreamKind::Log || !pipeline.reads_stream() {
        return Irrefusable::All;
    }
    let bridges = config.bridge.iter().filter(|bridge| bridge.topic == pipeline.topic());
    Irrefusable::Only(bridges.map(|bridge| Share::new(bridge.store.as_deref().unwrap_or(&pipeline.store))).collect())
}
