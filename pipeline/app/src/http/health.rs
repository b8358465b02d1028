//! Whether the process lives, and whether it can do its work.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Shared;

/// Load balancers ask every few seconds and give up after about one.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    checks: BTreeMap<&'static str, Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    ok: bool,
    detail: String,
}

/// Answers as long as the process runs its tasks.
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok", checks: BTreeMap::new() })
}

/// Each check by name; 503 when one fails.
pub(super) async fn ready(State(app): State<Shared>) -> (StatusCode, Json<Health>) {
    let node = &app.node;
    let draining = node.draining.is_cancelled();
    let stopped = node.stream.log().map(|log| log.stopped()).unwrap_or_default();
    let stream = match stopped.first() {
        None => "takes appends".to_owned(),
        Some((topic, partition, cause)) => format!("topic {topic}, partition {partition}: {cause}"),
    };
    let asked = tokio::time::timeout(DATABASE_TIMEOUT, sqlx::raw_sql("SELECT 1").execute(&node.pool)).await;
    let database = match &asked {
        Ok(Ok(_)) => "answers".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", DATABASE_TIMEOUT.as_secs()),
    };
    let lifecycle = if draining { "draining: what is in flight is finished, nothing new is taken" } else { "running" };
    let checks = BTreeMap::from([
        ("lifecycle", Check { ok: !draining, detail: lifecycle.to_owned() }),
        ("stream", Check { ok: stopped.is_empty(), detail: stream }),
        ("database", Check { ok: matches!(asked, Ok(Ok(_))), detail: database }),
    ]);
    let ok = checks.values().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { status: if ok { "ok" } else { "unavailable" }, checks }))
}
