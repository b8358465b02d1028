//! `/v1/pipelines/{pipeline}/resume`: resumes after a flood of bad events, for `millstream resume`.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use millstream_connectors::sinks::tables::shares;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::access::Access;
use super::asked::{Asked, Named};
use super::problem::{Problem, shortened};
use super::query;
use super::shared::Shared;
use crate::tokens::{Duty, Thing};

/// Parameters of the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    store: Option<String>,
}

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Resumed {
    pipeline: String,
    /// The store that was resumed, if one was named.
    store: Option<String>,
    /// Whether it was paused.
    was_paused: bool,
    /// Quarantined records of the store that are written from now on.
    rows: u64,
}

/// Resumes a pipeline, and lets the flood that paused it pass; or resumes a paused store, whose quarantined records are
/// then written. Doing so twice changes nothing more.
pub(super) async fn resume(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named(pipeline): Named<String>,
    Asked(parameters): Asked<Parameters>,
) -> Result<Json<Resumed>, Problem> {
    let store = match parameters.store {
        None => access.every_store().map(|()| None)?,
        asked => access.store(asked)?,
    };
    if let Some(store) = &store {
        access.check(Duty::Operate, Thing::Store(store))?;
    }
    let running = app.node.pipelines.iter().find(|running| running.config.name == pipeline).ok_or_else(|| {
        let detail = format!("there is no pipeline {:?}; /v1/status lists them", shortened(&pipeline));
        Problem::new(StatusCode::NOT_FOUND, "no-pipeline", "no such pipeline", detail)
    })?;
    let Some(store) = store else {
        return Ok(Json(Resumed { pipeline, store: None, was_paused: running.progress.resume(), rows: 0 }));
    };
    let mut was_paused = resume_share(&app.node.pool, &pipeline, &store).await?;
    let left = left(&app.node.pool, &pipeline, &store).await;
    running.progress.resume_share(&store, left);
    app.node.resumed.notify_one();
    // If it is the only store, the pipeline itself is paused.
    if running.progress.only_share().is_some_and(|only| only.as_str() == store) {
        was_paused |= running.progress.resume();
    }
    let pause = running.progress.standing(&store).and_then(|standing| standing.pause);
    let rows = left.unwrap_or_else(|| pause.map_or(0, |pause| pause.rows));
    Ok(Json(Resumed { pipeline, store: Some(store), was_paused, rows }))
}

async fn resume_share(pool: &PgPool, pipeline: &str, store: &str) -> Result<bool, Problem> {
    let resumed = async {
        let mut connection = pool.acquire().await?;
        shares::resume(&mut connection, pipeline, store).await
    };
    match tokio::time::timeout(query::TIMEOUT, resumed).await {
        Ok(Ok(resumed)) => Ok(resumed),
        Ok(Err(error)) => Err(query::failed(&error)),
        Err(_) => {
            let detail = format!("no answer within {} s; nothing was resumed, ask again", query::TIMEOUT.as_secs());
            Err(Problem::unavailable("database", "the database does not answer", detail))
        }
    }
}

/// The number of the store's quarantined records: commands beside this process may have written some. `None` if the
/// database does not answer; then the last known number holds.
async fn left(pool: &PgPool, pipeline: &str, store: &str) -> Option<u64> {
    let counted = async {
        let mut connection = pool.acquire().await?;
        shares::left(&mut connection, pipeline, store).await
    };
    tokio::time::timeout(query::TIMEOUT, counted).await.ok()?.ok()
}
