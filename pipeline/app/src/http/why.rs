//! `/v1/why`: the events of one object in the stream, for `millstream why`, which cannot open a stream that is open here.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::Shared;
use super::access::Access;
use super::problem::{Problem, shortened};
use crate::cli::why::stream::{Scan, Wanted, scan};

/// One at a time: a scan keeps a processor busy, and appends need it more.
static SCANS: Semaphore = Semaphore::const_new(1);
/// Two days tell everything about an object whose events go wrong today.
const SINCE_MAX: Duration = Duration::from_secs(2 * 86_400);

/// What the address says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    pipeline: String,
    bucket: String,
    key: String,
    store: Option<String>,
    since_seconds: u64,
}

/// Reads the stream from a time on.
pub(super) async fn why(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Scan>, Problem> {
    let Query(parameters) = parameters.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Parameters { pipeline, bucket, key, store, since_seconds } = parameters;
    let store = access.store(store)?;
    let running = app.node.pipelines.iter().find(|running| running.config.name == pipeline).ok_or_else(|| {
        let detail = format!("there is no pipeline {:?}; /v1/status lists them", shortened(&pipeline));
        Problem::new(StatusCode::NOT_FOUND, "no-pipeline", "no such pipeline", detail)
    })?;
    let Ok(_permit) = SCANS.try_acquire() else {
        return Err(Problem::too_many("another scan of the stream is under way; ask again"));
    };
    let Some(topic) = running.topic.clone() else {
        let detail = "only the embedded stream can be searched; the tables are searched all the same";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no-scan", "this stream is not searched", detail));
    };
    let store_default = running.config.store.clone();
    let record_bytes_max = app.node.config.limits.record_bytes_max;
    let since = Duration::from_secs(since_seconds).min(SINCE_MAX);
    let scanned = tokio::task::spawn_blocking(move || {
        let wanted =
            Wanted { bucket: &bucket, key: &key, store: store.as_deref(), store_default: &store_default, since };
        scan(&topic, &wanted, record_bytes_max)
    });
    let unreadable = |detail: String| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "stream-unreadable", "the stream cannot be read", detail)
    };
    match scanned.await {
        Ok(Ok(scan)) => Ok(Json(scan)),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}
