//! The controller of this process: its bounds, its signals from the database, and its recording.

mod recording;

mod signals;

mod use_of_processors;

use std::sync::Arc;

use millstream_engine::Gate;
use millstream_engine::concurrency::Settings;

use crate::config::{Config, Pipeline, SinkKind};

pub(crate) use recording::Recording;
pub(crate) use signals::{Sampler, processors};

/// Opens the gate that pipelines of one database share, and its recording if one is configured.
///
/// # Errors
/// If the file of the recording cannot be created.
pub(crate) async fn open(config: &Config) -> anyhow::Result<(Arc<Gate>, Option<Recording>)> {
    let (recording, recorder) = match &config.controller.record {
        Some(path) => {
            let (recording, recorder) = Recording::begin(path, config.controller.record_bytes_max).await?;
            (Some(recording), Some(recorder))
        }
        None => (None, None),
    };
    let shared: Vec<Pipeline> = config.pipeline.iter().filter(|pipeline| !is_alone(pipeline)).cloned().collect();
    Ok((Gate::recorded(settings(config, &shared), recorder), recording))
}

/// Whether a pipeline has a gate of its own: what is routed must not wait behind a backlog of objects, and few small
/// transactions of one writer say nothing about what the database can bear.
pub(crate) fn is_alone(pipeline: &Pipeline) -> bool {
    pipeline.sink == SinkKind::Routing
}

/// The gate of one pipeline that runs by itself.
pub(crate) fn alone(config: &Config, pipeline: &Pipeline) -> Arc<Gate> {
    Gate::new(settings(config, std::slice::from_ref(pipeline)))
}

/// The bounds of all pipelines together.
fn settings(config: &Config, pipelines: &[Pipeline]) -> Settings {
    let objects = Pipeline::objects();
    let lanes = pipelines.iter().map(|pipeline| pipeline.concurrency.max).sum::<usize>();
    let caps = pipelines.iter().map(|pipeline| pipeline.rows_per_second_max);
    // A pipeline without a cap writes as much as the database bears.
    let capped = caps.clone().all(|cap| cap > 0);
    Settings {
        concurrency_min: pipelines.iter().map(|pipeline| pipeline.concurrency.min).max().unwrap_or(1),
        concurrency_max: lanes.max(1),
        concurrency_max_together: config.controller.concurrency_max.unwrap_or(0),
        records_max: pipelines
            .iter()
            .map(|pipeline| pipeline.batch_records_max)
            .max()
            .unwrap_or(objects.batch_records_max),
        bytes_max: pipelines.iter().map(|pipeline| pipeline.batch_bytes_max).max().unwrap_or(objects.batch_bytes_max),
        // The shortest goal of all pipelines.
        freshness: pipelines.iter().map(|pipeline| pipeline.freshness).min().unwrap_or(objects.freshness),
        transaction_max: config.controller.transaction_max,
        records_per_second_max: if capped { caps.sum() } else { 0 },
        freeze: pipelines.iter().any(|pipeline| pipeline.freeze),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pipelines_of_one_database_share_what_they_may() {
        let mut one = Pipeline::objects();
        let mut other = Pipeline::objects();
        one.concurrency.max = 4;
        other.concurrency.max = 3;
        other.concurrency.min = 2;
        other.freshness = Duration::from_millis(100);
        one.rows_per_second_max = 1_000;
        other.freeze = true;
        let both = settings(&Config::default(), &[one.clone(), other.clone()]);
        assert_eq!((both.concurrency_min, both.concurrency_max, both.freeze), (2, 7, true));
        assert_eq!((both.freshness, both.records_per_second_max), (Duration::from_millis(100), 0));
        other.rows_per_second_max = 500;
        assert_eq!(settings(&Config::default(), &[one, other]).records_per_second_max, 1_500);
        assert_eq!(settings(&Config::default(), &[]).concurrency_max, 1, "of a process that writes nothing");
    }
}
