//! The topic of the embedded stream that a pipeline reads.

use axum::http::StatusCode;
use millstream_log::Topic;

use super::problem::{Problem, shortened};
use super::shared::Shared;

/// A pipeline's topic, checked to have this partition.
pub(super) fn topic_of(app: &Shared, pipeline: &str, partition: u32) -> Result<Topic, Problem> {
    let topic = topic(app, pipeline)?;
    if partition >= topic.partitions() {
        let detail = format!("partition {partition}: the topic has {}, from 0", topic.partitions());
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-partition", "no such partition", detail));
    }
    Ok(topic)
}

/// A pipeline's topic, if the embedded stream has it.
pub(super) fn topic(app: &Shared, pipeline: &str) -> Result<Topic, Problem> {
    let running = app.node.pipelines.iter().find(|running| running.config.name == pipeline).ok_or_else(|| {
        let detail = format!("there is no pipeline {:?}; /v1/status lists them", shortened(pipeline));
        Problem::new(StatusCode::NOT_FOUND, "no-pipeline", "no such pipeline", detail)
    })?;
    running.topic.clone().ok_or_else(|| {
        let detail = "only the embedded stream is read through its process; commands ask Kafka themselves";
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no-stream", "this stream is not read here", detail)
    })
}
