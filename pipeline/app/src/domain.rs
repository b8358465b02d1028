//! Builds the pipelines of each domain: the one place that distinguishes domains.
//!
//! A new domain has an arm in [`pipeline`], and a file of its own that alone names its rows and its decoder.

pub(crate) mod objects;
pub(crate) mod tasks;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millstream_connectors::sinks::tables::redrive::Rewriter;
use millstream_connectors::sinks::tables::{Bound, Options};
use millstream_engine::decode::Columns;
use millstream_engine::{
    BatchLimits, FloodLimits, Gate, Irrefusable, Limits, OnFlood, OnGap, Pipeline, Progress, Share, Source, Summary,
    run,
};
use millstream_postgres::Connector;
use millstream_schemas::Domain;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, SinkKind, StreamKind};

/// A replay keeps its leases and its quarantine under the name of its pipeline with this suffix.
pub(crate) const REPLAY_SUFFIX: &str = ".replay";

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

/// The domain of the events that a sink takes.
pub(crate) fn of(sink: SinkKind) -> Domain {
    match sink {
        SinkKind::Metadata => Domain::Objects,
        SinkKind::Routing => Domain::Tasks,
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
    let limits = limits(config, pipeline);
    // Where a flood stops nothing, nothing else bounds what it leaves behind.
    let bound = Bound { rows: limits.flood.share_rows_max, bytes: limits.flood.share_bytes_max };
    let options = Options {
        pipeline: pipeline.name.clone(),
        incarnation: source.incarnation().to_owned(),
        connect: connector.clone().application_name("millstream writer"),
        set_local: config.postgres.set_local(),
        lease_lock_max: Duration::from_secs(config.limits.lease_lock_seconds_max),
        quarantine_max: (limits.flood.on_flood == OnFlood::GoOn).then_some(bound),
    };
    let gate = Arc::clone(gate);
    let progress = Arc::new(Progress::new(&pipeline.name, pipeline.concurrency.max));
    match pipeline.sink {
        SinkKind::Metadata => {
            let sinks = objects::sinks(config, options, pipeline.concurrency.max);
            let decoder = Arc::new(objects::decoder(config, &pipeline.store));
            Ready::new(Pipeline { source, decoder, sinks, limits, gate, progress })
        }
        SinkKind::Routing => {
            let sinks = tasks::sinks(options, pipeline.concurrency.max);
            let decoder = Arc::new(tasks::decoder(config, &pipeline.store));
            Ready::new(Pipeline { source, decoder, sinks, limits, gate, progress })
        }
    }
}

/// What writes quarantined records of a pipeline again; a dry run does everything but commit. Rows of a pipeline that is
/// not configured any more are taken for objects.
pub(crate) fn redrive(config: &Config, pipeline: &str, dry_run: bool) -> Box<dyn Rewriter> {
    let pipeline = pipeline.strip_suffix(REPLAY_SUFFIX).unwrap_or(pipeline);
    let known = config.pipeline.iter().find(|known| known.name == pipeline);
    match known.map(|known| (known.sink, &known.store)) {
        Some((SinkKind::Routing, store)) => Box::new(tasks::redrive(config, store, dry_run)),
        Some((SinkKind::Metadata, _)) | None => Box::new(objects::redrive(config, dry_run)),
    }
}

/// The bounds of a pipeline.
fn limits(config: &Config, pipeline: &config::Pipeline) -> Limits {
    // Who routes by the tables does more harm by standing still than by going on without some events.
    let (on_flood, on_gap) = match pipeline.sink {
        SinkKind::Metadata => (OnFlood::Pause, OnGap::Halt),
        SinkKind::Routing => (OnFlood::GoOn, OnGap::GoOn),
    };
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
            on_flood,
        },
        on_gap,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pipeline_of_tasks_goes_on_by_itself() {
        let of = |pipeline: &config::Pipeline| {
            let limits = limits(&Config::default(), pipeline);
            (limits.flood.on_flood, limits.on_gap)
        };
        assert_eq!(of(&config::Pipeline::objects()), (OnFlood::Pause, OnGap::Halt));
        assert_eq!(of(&config::Pipeline::tasks()), (OnFlood::GoOn, OnGap::GoOn));
    }

    #[test]
    fn a_pipeline_of_tasks_is_late_after_a_quarter_of_a_second() {
        assert_eq!(config::Pipeline::objects().late(), Duration::from_secs(1));
        assert_eq!(config::Pipeline::tasks().late(), Duration::from_millis(250));
    }
}
