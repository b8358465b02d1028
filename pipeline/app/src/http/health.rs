//! Whether the process lives, and whether it can do its work: one judge for probes, metrics and commands.
//!
//! Accepting events needs only the stream, so `/readyz` never asks the database: a load balancer that obeys it must not
//! take away the part that was built to outlive the database. Whether queries can be answered is another question.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::asked::Asked;
use super::judge;
use super::problem::Problem;
use super::shared::{App, Shared};

/// What the process is to be ready for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// `POST /v1/events`.
    #[default]
    Events,
    /// Everything that is answered from the tables.
    Queries,
}

/// Parameters of the query.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    r#for: Purpose,
}

/// The answer, and what it is made of.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#for: Option<Purpose>,
    /// The state, in the word of `/v1/status`; it decides nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<judge::State>,
    /// Whether no action is needed, as there.
    #[serde(skip_serializing_if = "Option::is_none")]
    well: Option<bool>,
    checks: BTreeMap<&'static str, Check>,
}

/// One part.
#[derive(Debug, Serialize)]
struct Check {
    ok: bool,
    /// Whether the answer depends on it.
    decides: bool,
    detail: String,
}

/// Answers as long as the process runs its tasks.
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok", r#for: None, state: None, well: None, checks: BTreeMap::new() })
}

/// Each check by name; 503 when one that decides fails.
pub(super) async fn ready(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Asked(Parameters { r#for: purpose }): Asked<Parameters>,
) -> Result<(StatusCode, Json<Health>), Problem> {
    if purpose == Purpose::Queries {
        app.looks.heard(app.probe.ask().await, app.transactions());
    }
    let mut health = checked(&app, purpose);
    if !access.sees_everything() {
        // Not every client may see names of servers, files and topics.
        for check in health.checks.values_mut() {
            check.detail = if check.ok { "ok" } else { "fails; `millstream status` says why" }.to_owned();
        }
    }
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)))
}

/// Whether it is ready, from what is known without a query.
pub(super) fn is_ready(app: &App, purpose: Purpose) -> bool {
    checked(app, purpose).status == "ok"
}

fn checked(app: &App, purpose: Purpose) -> Health {
    let node = &app.node;
    let draining = node.draining.is_cancelled();
    let lifecycle = if draining { "draining: what is in flight is finished, nothing new is taken" } else { "running" };
    let stopped = judge::stopped(app).map(|stopped| stopped.reason);
    let takes_appends = stopped.is_none();
    let stream = stopped.unwrap_or_else(|| "takes appends".to_owned());
    let database = app.looks.database();
    let unready = node.tables.borrow().reason().map(str::to_owned);
    let answers = match (&database.error, &unready) {
        (Some(error), _) => error.clone(),
        (None, Some(reason)) => reason.clone(),
        (None, None) if database.reachable => "answers".to_owned(),
        (None, None) => "not asked yet".to_owned(),
    };
    let events = purpose == Purpose::Events;
    let checks = BTreeMap::from([
        ("lifecycle", Check { ok: !draining, decides: true, detail: lifecycle.to_owned() }),
        ("stream", Check { ok: takes_appends, decides: events, detail: stream }),
        ("database", Check { ok: database.reachable && unready.is_none(), decides: !events, detail: answers }),
    ]);
    let ok = checks.values().all(|check| check.ok || !check.decides);
    let judged = judge::whole(app);
    Health {
        status: if ok { "ok" } else { "unavailable" },
        r#for: Some(purpose),
        state: Some(judged.state),
        well: Some(judged.well),
        checks,
    }
}
