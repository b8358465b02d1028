//! `POST /v1/events`: bytes -> body -> records -> stream -> answer.
//!
//! 202 is sent only after the stream has synced every accepted record. When the connection breaks before, the client
//! does not know, and sends the same again: tables take every event once.

pub(super) mod body;

mod paused;

mod records;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use millstream_connectors::sinks::stream::{Append, AppendError, NewRecord};
use millstream_schemas::Domain;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::asked::Asked;
use super::problem::{Problem, shortened};
use super::shared::{App, Shared};
use crate::domain;
use crate::running::Running;
pub(super) use records::memory_bytes_max;
use records::{Refused, Request};

/// Timeout of an append: a sync of a healthy disk takes milliseconds; behind a full queue seconds.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Parameters of the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    store: Option<String>,
    topic: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    accepted: usize,
    refused: Vec<Refused>,
    /// Number of refused ones that are not listed, because there are too many.
    #[serde(skip_serializing_if = "is_zero")]
    refused_more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Accepts events.
pub(super) async fn events(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Asked(parameters): Asked<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if app.node.closing.is_cancelled() {
        return Err(draining());
    }
    let store = access.store(parameters.store)?;
    let streams = streams(&app, parameters.topic.as_deref())?;
    let named = store.clone().unwrap_or_else(|| app.store().to_owned());
    if let Some((running, _)) = streams.get(&Domain::Objects) {
        paused::refuse(running, store.as_deref())?;
    }
    let domains = streams.keys().copied().collect();
    let request = Request::new(&headers, store.clone(), app.node.config.limits.record_bytes_max, domains)?;
    let request = request.held_to(&access.scope, &named);
    let wants_no_body = request.is_one_cloud_event();

    let received = body::receive(&app, &headers, body).await?;

    let body_bytes = received.bytes.len() as u64;
    let taken = records::split(request, received).await?;

    if let Some([only]) = taken.records.get(&Domain::Objects).map(Vec::as_slice) {
        app.subscriptions.look(&headers, &only.payload, &named);
    }
    app.counts.body_bytes.inc_by(body_bytes);
    let accepted: usize = taken.records.values().map(Vec::len).sum();
    let refused = taken.refused.len() + taken.refused_more;
    app.counts.refused.inc_by(refused as u64);
    app.counts.of_store(&named, 0, refused as u64);
    if accepted > 0 {
        append_all(&app, &streams, taken.records, store.as_deref()).await.inspect_err(|_| {
            app.counts.refused.inc_by(accepted as u64);
            app.counts.of_store(&named, 0, accepted as u64);
        })?;
    }
    app.counts.accepted.inc_by(accepted as u64);
    app.counts.of_store(&named, accepted as u64, 0);
    let answer = Answer { accepted, refused: taken.refused, refused_more: taken.refused_more };
    if accepted == 0 {
        let detail = "nothing was stored; `refused` says why, event by event";
        let title = "no event was accepted";
        return Ok(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing-accepted", title, detail).with(answer));
    }
    // To a sender of CloudEvents a body is an event in return, which this would be a broken one of.
    if wants_no_body && accepted == 1 && refused == 0 {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Appends records; returns once they are on disk.
async fn append(app: &App, stream: &dyn Append, records: Vec<NewRecord>) -> Result<(), Problem> {
    let Ok(_permit) = app.appends.try_acquire() else {
        let detail =
            format!("{} requests append already (http.appends_max); send again", app.node.config.http.appends_max);
        return Err(Problem::too_many(detail));
    };
    match tokio::time::timeout(APPEND_TIMEOUT, stream.append(records)).await {
        Ok(Ok(())) => {
            app.appends_ended.ended(None);
            Ok(())
        }
        Ok(Err(error)) => {
            // The refusal of a record does not concern others.
            if !matches!(error, AppendError::Refused(_)) {
                app.appends_ended.ended(Some(&error.to_string()));
            }
            Err(not_stored(&error))
        }
        Err(_) => {
            app.appends_ended.ended(Some("an append was not confirmed in time"));
            Err(too_slow())
        }
    }
}

/// A pipeline, and its stream to append to.
type Entry<'a> = (&'a Running, &'a dyn Append);

/// The stream for events of each domain: with a topic that one for all, else the first of each domain that reads the
/// stream.
fn streams<'a>(app: &'a Shared, topic: Option<&str>) -> Result<BTreeMap<Domain, Entry<'a>>, Problem> {
    let mut streams = app.node.pipelines.iter().filter_map(|running| Some((running, running.stream.as_deref()?)));
    let Some(wanted) = topic else {
        let mut found = BTreeMap::new();
        for (running, stream) in streams {
            found.entry(domain::of(running.config.sink)).or_insert((running, stream));
        }
        return Ok(found);
    };
    if let Some(entry) = streams.find(|(running, _)| running.config.topic() == wanted) {
        return Ok(Domain::ALL.iter().map(|domain| (*domain, entry)).collect());
    }
    let known = app.node.pipelines.iter().filter(|running| running.stream.is_some());
    let topics: Vec<&str> = known.map(|running| running.config.topic()).collect();
    let detail = format!("no pipeline reads topic {:?}; there are: {}", shortened(wanted), topics.join(", "));
    Err(Problem::new(StatusCode::NOT_FOUND, "no-topic", "no such topic", detail))
}

/// Appends the records of each domain to its stream; returns once all are on disk.
async fn append_all(
    app: &App,
    streams: &BTreeMap<Domain, Entry<'_>>,
    records: BTreeMap<Domain, Vec<NewRecord>>,
    store: Option<&str>,
) -> Result<(), Problem> {
    for (domain, records) in records {
        let Some((running, stream)) = streams.get(&domain) else { continue };
        if domain != Domain::Objects {
            paused::refuse(running, store)?;
        }
        append(app, *stream, records).await?;
    }
    Ok(())
}

fn draining() -> Problem {
    Problem::unavailable(
        "draining",
        "shutting down",
        "this process is shutting down and takes nothing new; send again to the next one",
    )
}

fn too_slow() -> Problem {
    let detail = format!(
        "the disk did not confirm within {} s; events may be stored or not: send all of them again, that does no harm",
        APPEND_TIMEOUT.as_secs()
    );
    Problem::unavailable("stream-slow", "the stream does not keep up", detail)
}

fn not_stored(error: &AppendError) -> Problem {
    // A stream that is stopped is logged elsewhere, once for all requests.
    tracing::debug!(%error, "an append failed");
    let again = "send all events again once it is mended: those that were stored already do no harm";
    match error {
        AppendError::Closed => draining(),
        // The limits of a request are below those of the stream, so this never happens unless we made a mistake.
        AppendError::Refused(reason) => Problem::too_large(reason.as_str()),
        AppendError::Full(reason) => {
            let detail =
                format!("{reason}; free some space under the data directory, appends go on by themselves; {again}");
            Problem::unavailable("disk-full", "the disk is full", detail)
        }
        AppendError::NotDurable(reason) => {
            Problem::unavailable("stream-stopped", "the stream takes no appends", format!("{reason}; {again}"))
        }
    }
}
