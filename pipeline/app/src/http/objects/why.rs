//! `/v1/why`: the events of one object in the stream. `millstream why` cannot open a stream that is open here.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::cli::why::stream::{Scan, Wanted, scan};
use crate::http::access::Access;
use crate::http::asked::Asked;
use crate::http::problem::{Problem, shortened};
use crate::http::shared::Shared;
use crate::tokens::{Duty, Thing};

/// One at a time: a scan keeps a processor busy, and appends need it more.
static SCANS: Semaphore = Semaphore::const_new(1);
/// Maximum time to look back: two days show everything about an object whose events go wrong today.
const SINCE_MAX: Duration = Duration::from_secs(2 * 86_400);

/// Parameters of the query.
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
    Asked(parameters): Asked<Parameters>,
) -> Result<Json<Scan>, Problem> {
    let Parameters { pipeline, bucket, key, store, since_seconds } = parameters;
    let store = access.store(store)?;
    access.check(Duty::Read, Thing::Keys(store.as_deref().unwrap_or(app.store()), &bucket, &key))?;
    let running = app.node.pipelines.iter().find(|running| running.config.name == pipeline).ok_or_else(|| {
        let detail = format!("there is no pipeline {:?}; /v1/status lists them", shortened(&pipeline));
        Problem::new(StatusCode::NOT_FOUND, "no-pipeline", "no such pipeline", detail)
    })?;
    let Ok(permit) = SCANS.try_acquire() else {
        return Err(Problem::too_many("another scan of the stream is under way; ask again"));
    };
    let Some(topic) = running.topic.clone() else {
        let detail = "only the embedded stream can be searched; the tables are searched all the same";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no-scan", "this stream is not searched", detail));
    };
    let store_default = running.config.store.clone();
    let record_bytes_max = app.node.config.limits.record_bytes_max;
    let since = Duration::from_secs(since_seconds).min(SINCE_MAX);
    // Dropped with the request, which ends the scan soon after; the permit belongs to the scan.
    let asked = Arc::new(());
    let wanted_by = Arc::downgrade(&asked);
    let scanned = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let is_wanted = || wanted_by.strong_count() > 0;
        let wanted = Wanted {
            bucket: &bucket,
            key: &key,
            store: store.as_deref(),
            store_default: &store_default,
            since,
            is_wanted: &is_wanted,
        };
        scan(&topic, &wanted, record_bytes_max)
    });
    let unreadable = |detail: String| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "stream-unreadable", "the stream cannot be read", detail)
    };
    let scanned = scanned.await;
    drop(asked);
    match scanned {
        Ok(Ok(scan)) => Ok(Json(scan)),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}
