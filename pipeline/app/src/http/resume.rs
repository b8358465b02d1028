//! `/v1/pipelines/{pipeline}/resume`: goes on after a flood of bad events, for `millstream resume`.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::Shared;
use super::access::Access;
use super::asked::Named;
use super::problem::{Problem, shortened};

/// What it changed.
#[derive(Debug, Serialize)]
pub(super) struct Resumed {
    pipeline: String,
    /// Whether it was paused.
    was_paused: bool,
}

/// Lets a pipeline go on, and the flood that paused it pass. Doing so twice changes nothing more.
pub(super) async fn resume(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named(pipeline): Named<String>,
) -> Result<Json<Resumed>, Problem> {
    access.every_store()?;
    let running = app.node.pipelines.iter().find(|running| running.config.name == pipeline).ok_or_else(|| {
        let detail = format!("there is no pipeline {:?}; /v1/status lists them", shortened(&pipeline));
        Problem::new(StatusCode::NOT_FOUND, "no-pipeline", "no such pipeline", detail)
    })?;
    Ok(Json(Resumed { pipeline, was_paused: running.progress.resume() }))
}
