//! What a gateway says of itself, on an address of its own: whether it lives and is ready, its counters, and its table.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use millstream_gateway::follow::Standing;
use millstream_gateway::server::Gateway;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What it looks at.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    pub(super) gateway: Gateway,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) oldest: watch::Receiver<Option<super::Oldest>>,
    /// Set once the process is about to leave.
    pub(super) draining: CancellationToken,
}

/// Answers until `stop`.
pub(super) async fn serve(admin: Admin, listener: TcpListener, stop: CancellationToken) {
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/table/{service}", get(table))
        .with_state(Arc::new(admin));
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the gateway does not answer on its admin address");
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let standing = admin.standing.borrow().clone();
    let is_draining = admin.draining.is_cancelled();
    let is_ready = standing.identity.is_some() && !is_draining;
    // A database that hangs says nothing at all.
    let age = standing.in_step.map(|at| at.elapsed());
    let detail = standing.away.or_else(|| match age {
        None => Some("the routing tables were not read since the start".to_owned()),
        Some(age) if age > super::STALLED_AFTER => Some(format!("the route log was last read {} s ago", age.as_secs())),
        Some(_) => None,
    });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": is_ready, "draining": is_draining, "seq": standing.seq, "database": detail.is_none(), "detail": detail,
    });
    (status, axum::Json(body)).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let type_of = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (type_of, written(&admin)).into_response()
}

/// The counters in the text form of OpenMetrics. No label holds a name that others choose.
fn written(admin: &Admin) -> String {
    let mut text = String::new();
    let mut counter = |name: &str, help: &str, value: u64| {
        // Writing to a string does not fail.
        write!(text, "# TYPE {name} counter\n# HELP {name} {help}\n{name}_total {value}\n").ok();
    };
    let served = admin.gateway.snapshot();
    counter("millstream_gateway_requests", "Requests of clients", served.requests);
    counter("millstream_gateway_requests_refused", "Requests that were answered without asking a task", served.refused);
    counter("millstream_gateway_requests_failed", "Requests that no task answered", served.failed);
    counter("millstream_gateway_requests_retried", "Attempts after the first one of a request", served.retried);
    counter("millstream_gateway_retries_over_budget", "Attempts that were not made", served.over_budget);
    counter("millstream_gateway_responses_broken", "Responses that ended too early", served.broken);
    counter("millstream_gateway_upgrades", "Connections that became tunnels", served.upgrades);
    let chosen = admin.gateway.table().counters();
    for (name, help, value) in [
        ("redistributed", "Requests that were drawn again, as a revision had no task", &chosen.redistributed),
        ("panic", "Requests for which unhealthy tasks were used, too", &chosen.panic),
        ("draining", "Requests for which draining tasks were used", &chosen.draining),
        ("saturated", "Requests that found every task full", &chosen.saturated),
        ("no_routable_task", "Requests that found no task", &chosen.no_routable_task),
        ("breaker_openings", "Tasks that were left out for a while", &chosen.breaker_openings),
        ("hard_failures", "Tasks that could not be reached", &chosen.hard_failures),
    ] {
        counter(&format!("millstream_gateway_{name}"), help, value.load(Relaxed));
    }
    let standing = admin.standing.borrow().clone();
    counter("millstream_gateway_snapshots", "Times that all facts were read", standing.snapshots);
    counter("millstream_gateway_db_rewound", "Snapshots because the database went back", standing.db_rewound);
    counter("millstream_gateway_digest", "Snapshots because a digest differed", standing.digest_differed);
    counter("millstream_gateway_pruned", "Snapshots because the log was removed", standing.pruned);
    let age = standing.in_step.map(|at| Instant::now().saturating_duration_since(at).as_secs_f64());
    let unread = admin.oldest.borrow().as_ref().map(|oldest| oldest.age().as_secs_f64());
    for (name, help, value) in [
        ("millstream_gateway_applied_seq", "Number of the last change that is applied", standing.seq as f64),
        ("millstream_gateway_age_seconds", "Time since the log was last read to its end", age.unwrap_or(f64::NAN)),
        (
            "millstream_gateway_unread_age_seconds",
            "Time since each partition of the stream of tasks was read to its end",
            unread.unwrap_or(f64::NAN),
        ),
    ] {
        write!(text, "# TYPE {name} gauge\n# HELP {name} {help}\n{name} {value}\n").ok();
    }
    text.push_str("# EOF\n");
    text
}

/// A service as this gateway has it.
async fn table(State(admin): State<Arc<Admin>>, Path(service): Path<String>) -> Response {
    let Some(view) = admin.gateway.table().lookup(&service) else {
        return (StatusCode::NOT_FOUND, axum::Json(json!({ "title": "no such service here" }))).into_response();
    };
    let revisions: Vec<Value> = view
        .revisions
        .values()
        .map(|revision| {
            let members = &revision.current().members;
            let tasks: Vec<Value> = members
                .iter()
                .map(|member| {
                    json!({
                        "source": member.task.key().source, "id": member.task.key().id,
                        "address": member.task.address().to_string(), "state": super::state(member.standing),
                        "on_probation": member.is_on_probation(), "in_flight": member.task.in_flight(),
                    })
                })
                .collect();
            json!({ "revision": revision.revision, "tasks": tasks })
        })
        .collect();
    let aliases: Vec<Value> = view
        .aliases
        .iter()
        .map(|(name, alias)| {
            let reasons = alias.held.iter().flat_map(|held| &held.reasons).map(ToString::to_string);
            json!({
                "alias": name, "generation": alias.alias.generation, "newest": alias.newest,
                "served": alias.is_served, "held": reasons.collect::<Vec<_>>(),
            })
        })
        .collect();
    axum::Json(json!({ "service": service, "aliases": aliases, "revisions": revisions })).into_response()
}
