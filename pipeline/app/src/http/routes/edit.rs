//! Changes of routes and deploys: each is one transaction, with the generation that it replaces.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use millstream_connectors::sinks::routing::edit::{Edit, Edited, How, edit};
use millstream_connectors::sinks::routing::purge;
use millstream_schemas::tasks::Fact;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::asked::{Asked, Named};
use super::super::problem::Problem;
use super::super::shared::Shared;
use super::ask::{self, AliasBody, DeployBody, Whole};
use crate::config::StreamKind;

/// The largest body: an alias of 64 targets has a few kilobytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// A purge spares what was told within a day, however short the stream's memory is.
const DAY_SECONDS: u64 = 86_400;
/// The most time of a change: it waits for the turn for 2 s at most.
const EDIT_WITHIN: Duration = Duration::from_secs(10);

/// Parameters of every change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Does everything but commit.
    #[serde(default)]
    dry_run: bool,
    /// Identifies the request of a change without a body.
    change_id: Option<String>,
}

type Path = Named<(String, String)>;

pub(super) async fn put_route(
    State(app): State<Shared>,
    _: Whole,
    Named((service, alias)): Path,
    Asked(parameters): Asked<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    ask::names(&service, &alias)?;
    let expected = ask::expected(&headers)?;
    let asked: AliasBody = ask::body(&receive(body).await?)?;
    let (alias, change_id, allow_pending) = asked.alias(service, alias)?;
    change(&app, Edit::Alias(alias), How { expected, change_id, allow_pending, dry_run: parameters.dry_run }).await
}

pub(super) async fn delete_route(
    State(app): State<Shared>,
    _: Whole,
    Named((service, alias)): Path,
    Asked(parameters): Asked<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    ask::names(&service, &alias)?;
    change(&app, Edit::DeleteAlias { service, alias }, how(&headers, parameters)?).await
}

pub(super) async fn roll_back(
    State(app): State<Shared>,
    _: Whole,
    Named((service, alias)): Path,
    Asked(parameters): Asked<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    ask::names(&service, &alias)?;
    change(&app, Edit::Rollback { service, alias }, how(&headers, parameters)?).await
}

pub(super) async fn put_deploy(
    State(app): State<Shared>,
    _: Whole,
    Named((service, revision)): Path,
    Asked(parameters): Asked<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    ask::names(&service, &revision)?;
    let how = how(&headers, parameters)?;
    let asked: DeployBody = ask::body(&receive(body).await?)?;
    change(&app, Edit::Deploy(asked.deploy(service, revision)?), how).await
}

pub(super) async fn retire(
    State(app): State<Shared>,
    _: Whole,
    Named((service, revision)): Path,
    Asked(parameters): Asked<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    ask::names(&service, &revision)?;
    change(&app, Edit::Retire { service, revision }, how(&headers, parameters)?).await
}

/// Parameters of a purge.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeAsked {
    older_than_seconds: u64,
    #[serde(default)]
    dry_run: bool,
}

/// Removes a part of the tasks that are long gone; to be asked again until none is left.
pub(super) async fn purge(
    State(app): State<Shared>,
    _: Whole,
    Asked(asked): Asked<PurgeAsked>,
) -> Result<Json<Value>, Problem> {
    let stream = &app.node.config.stream;
    let least = if stream.kind == StreamKind::Log { stream.retention_seconds.max(DAY_SECONDS) } else { DAY_SECONDS };
    if asked.older_than_seconds < least {
        let detail = format!("older_than_seconds: at least {least}, as long as events may come again from the stream");
        return Err(ask::unprocessable(detail));
    }
    let age_ms = i64::try_from(asked.older_than_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let before_ms = millstream_engine::clock::now_ms().saturating_sub(age_ms);
    let set_local = app.node.config.postgres.set_local();
    let connector = app.node.connector.clone().application_name("millstream routes");
    let mut connection = connector.connect().await.map_err(|error| unavailable(&error))?;
    let purged = purge::purge(&mut connection, before_ms, &set_local, asked.dry_run).await;
    let removed = purged.map_err(|fault| unavailable(&fault.into_sink_error("purge tasks")))?;
    Ok(Json(json!({ "removed": removed, "dry_run": asked.dry_run })))
}

fn how(headers: &HeaderMap, parameters: Parameters) -> Result<How, Problem> {
    let Parameters { dry_run, change_id } = parameters;
    if change_id.as_ref().is_some_and(|id| id.len() > ask::CHANGE_ID_BYTES_MAX || id.contains('\0')) {
        let detail = format!("change_id: at most {} bytes, and no NUL", ask::CHANGE_ID_BYTES_MAX);
        return Err(Problem::bad_request(detail));
    }
    Ok(How { expected: ask::expected(headers)?, change_id, allow_pending: true, dry_run })
}

async fn receive(body: Body) -> Result<Bytes, Problem> {
    let received = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let too_large = |_| Problem::too_large(format!("it has at most {BODY_BYTES_MAX} bytes"));
    received.map(|body| body.to_bytes()).map_err(too_large)
}

async fn change(app: &Shared, wanted: Edit, how: How) -> Result<Response, Problem> {
    let set_local = app.node.config.postgres.set_local();
    let connector = app.node.connector.clone().application_name("millstream routes");
    let dry_run = how.dry_run;
    let changing = async move {
        let mut connection = connector.connect().await.map_err(|error| unavailable(&error))?;
        let edited = edit(&mut connection, wanted, &how, &set_local).await;
        edited.map_err(|fault| unavailable(&fault.into_sink_error("change a route")))
    };
    let edited = tokio::time::timeout(EDIT_WITHIN, changing).await.map_err(|_| {
        let detail = format!(
            "the database did not answer within {} s; look whether it changed, then ask again",
            EDIT_WITHIN.as_secs()
        );
        Problem::unavailable("database", "the database does not answer", detail)
    })??;
    Ok(match edited {
        Edited::Done { fact, seq } => answer(made(&fact), &fact, json!({ "seq": seq, "dry_run": dry_run })),
        // The first answer again, but for the number in the log.
        Edited::Same { fact } => answer(made(&fact), &fact, json!({ "dry_run": dry_run })),
        Edited::Conflict(current) => {
            let now = current.as_ref().map_or_else(
                || "there is none".to_owned(),
                |fact| format!("it has generation {} now", generation(fact)),
            );
            let detail = format!("{now}: look at it, then ask again with If-Match");
            let title = "it has changed meanwhile";
            let current = current.as_ref().map(shown);
            Problem::new(StatusCode::PRECONDITION_FAILED, "conflict", title, detail).with(json!({ "current": current }))
        }
        Edited::UnknownRevisions(revisions) => {
            let detail = format!(
                "no deploy tells of {}; `allow_pending` takes them before they are deployed",
                revisions.join(", ")
            );
            ask::unprocessable(detail).into_response()
        }
        Edited::Missing => missing().into_response(),
    })
}

fn made(fact: &Fact) -> StatusCode {
    if generation(fact) == 1 { StatusCode::CREATED } else { StatusCode::OK }
}

pub(super) fn missing() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "there is no such thing",
        "GET /v1/routes and /v1/deploys list what there is",
    )
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    let detail = format!("{}; nothing was changed unless it shows: look, then ask again", causes(error));
    Problem::unavailable("database", "the database does not answer", detail)
}

/// An error with its causes, in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn answer(status: StatusCode, fact: &Fact, more: Value) -> Response {
    let mut body = shown(fact);
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    let mut response = (status, Json(body)).into_response();
    tagged(&mut response, fact);
    response
}

/// Adds the generation as ETag.
pub(super) fn tagged(response: &mut Response, fact: &Fact) {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", generation(fact))) {
        response.headers_mut().insert(header::ETAG, tag);
    }
}

pub(super) fn shown(fact: &Fact) -> Value {
    serde_json::to_value(fact).unwrap_or_default()
}

pub(super) fn generation(fact: &Fact) -> i64 {
    match fact {
        Fact::Alias(alias) => alias.generation,
        Fact::Deploy(deploy) => deploy.generation,
        _ => 0,
    }
}
