//! Splits a body into records of the stream: slices of the body, keyed by entity.
//!
//! Whatever a body holds, memory stays within the share granted to the request: records are counted against it as they
//! are made, and of refused parts only the first are kept.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use millstream_connectors::sinks::stream::NewRecord;
use millstream_schemas::objects::decode_with_entities;
use millstream_schemas::{Domain, Input, Limits, Piece, RefusalReason, STORE_HEADER, is_structured, split_binary};
use serde::Serialize;

use super::super::access::forbidden;
use super::super::problem::{Problem, shortened};
use super::body::{Memory, Received};
use crate::tokens::{Duty, Scope, Thing};

/// Larger bodies take about a millisecond to split, so another thread splits them while requests go on.
const INLINE_BYTES_MAX: usize = 512 << 10;
/// Maximum number of refused parts listed: a body of 16 MiB can hold millions.
const REFUSED_MAX: usize = 1000;
/// Memory of a record besides its bytes in the body: itself, its header, its place in vectors that grow by doubling.
const RECORD_BYTES: usize = 256;
/// Number of records that memory is requested for at a time: one request for a usual post.
const RECORDS_GRANTED: usize = 64;
/// Maximum bytes of all attributes of an event in binary mode. The stream leaves 64 KiB for them and the key.
const ATTRIBUTE_BYTES_MAX: usize = 32 << 10;

/// What the head of a request says about its body.
#[derive(Debug)]
pub(super) struct Request {
    content_type: String,
    /// `ce-*` of binary mode, and the content type, which there describes the data.
    attributes: Vec<(String, Bytes)>,
    store: Option<Bytes>,
    limits: Limits,
    /// The domains whose events are taken; those of others are refused one by one.
    domains: Vec<Domain>,
    /// The limits of the token, and the store, if events may be outside of them.
    held_to: Option<(Scope, String)>,
}

/// A body, taken apart.
#[derive(Debug)]
pub(super) struct Taken {
    /// The records of each domain, in their order.
    pub(super) records: BTreeMap<Domain, Vec<NewRecord>>,
    pub(super) refused: Vec<Refused>,
    pub(super) refused_more: usize,
    /// Held as long as the records.
    _memory: Memory,
}

/// A part of the body that can never be a record.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// Which part of the body, counted from zero.
    index: usize,
    reason: &'static str,
    detail: String,
}

impl Refused {
    /// An event of a domain that no pipeline of this process takes.
    fn of_no_pipeline(index: usize, domain: Domain) -> Self {
        let next = match domain {
            Domain::Tasks => "configure a task_source, as `millstream init` shows",
            Domain::Objects => "configure a pipeline with sink = \"metadata\"",
        };
        let detail = format!("it is an event of {}, and no pipeline takes those: {next}", domain.as_str());
        Refused { index, reason: "no_pipeline", detail }
    }
}

impl Request {
    /// Reads the head.
    pub(super) fn new(
        headers: &HeaderMap,
        store: Option<String>,
        record_bytes_max: usize,
        domains: Vec<Domain>,
    ) -> Result<Self, Problem> {
        let content_type =
            headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
        if !is_supported(content_type) {
            let detail = format!(
                "content-type {:?}: send application/json, application/x-ndjson or application/cloudevents+json, as in `curl -H 'content-type: application/json'`",
                shortened(content_type)
            );
            let title = "the media type is not supported";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, detail));
        }
        let mut attributes = Vec::new();
        if headers.contains_key("ce-specversion") && !is_structured(content_type) {
            let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-"));
            attributes.extend(own.map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))));
            if !content_type.is_empty() {
                attributes.push(("content-type".to_owned(), Bytes::copy_from_slice(content_type.as_bytes())));
            }
        }
        if attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > ATTRIBUTE_BYTES_MAX {
            let detail = format!(
                "the ce-* headers have more than {ATTRIBUTE_BYTES_MAX} bytes together; send them in the body, as application/cloudevents+json"
            );
            return Err(Problem::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "the head is too large",
                detail,
            ));
        }
        Ok(Request {
            content_type: content_type.to_owned(),
            attributes,
            store: store.map(Bytes::from),
            limits: Limits { record_bytes_max, ..Limits::default() },
            domains,
            held_to: None,
        })
    }

    /// Refuses events outside of the token's bucket and prefix.
    pub(super) fn held_to(mut self, scope: &Scope, store: &str) -> Self {
        let can_be_outside = scope.bucket.is_some() || scope.prefix.is_some();
        self.held_to = can_be_outside.then(|| (scope.clone(), store.to_owned()));
        self
    }

    /// Whether the body is one CloudEvent by its own protocol, in binary or structured mode.
    pub(super) fn is_one_cloud_event(&self) -> bool {
        let media_type = self.content_type.split(';').next().unwrap_or_default().trim();
        !self.attributes.is_empty() || media_type.eq_ignore_ascii_case("application/cloudevents+json")
    }

    /// Decodes each record as the pipeline will, so that nothing means one thing here and another there. A refused or
    /// filtered event that names an object is checked, too: it is kept, or counted.
    fn check(&self, records: &BTreeMap<Domain, Vec<NewRecord>>) -> Result<(), Problem> {
        let Some((scope, store)) = &self.held_to else { return Ok(()) };
        // Only objects have a bucket and a key.
        if records.keys().any(|domain| *domain != Domain::Objects) {
            return Err(forbidden());
        }
        let published_at_ms = millstream_engine::clock::now_ms();
        let mut is_outside = false;
        for record in records.values().flatten() {
            let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let input = Input { payload: &record.payload, headers: &headers, published_at_ms };
            decode_with_entities(input, &self.limits, &mut |_, entity| {
                is_outside |= !entity.is_unknown()
                    && !scope.allows(Duty::Ingest, Thing::Keys(store, &entity.bucket, &entity.key));
            });
        }
        if is_outside { Err(forbidden()) } else { Ok(()) }
    }

    /// The headers that every record of the request carries.
    fn headers(&self) -> Vec<(Box<str>, Bytes)> {
        let attributes = self.attributes.iter().map(|(name, value)| (name.as_str().into(), value.clone()));
        attributes.chain(self.store.iter().map(|store| (STORE_HEADER.into(), store.clone()))).collect()
    }
}

/// Everything that is called JSON, and text, which is how SNS and plain webhooks call theirs.
fn is_supported(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
    matches!(media_type.as_str(), "" | "application/json" | "text/json" | "text/plain" | "application/octet-stream")
        || lines.contains(&media_type.as_str())
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Bytes that all requests may hold together: four of the largest bodies or thousands of usual ones, and in any case
/// one body with as many records as one may have.
pub(in crate::http) fn memory_bytes_max(body_bytes_max: usize) -> usize {
    let records = Limits::default().parts_per_body_max.saturating_mul(RECORD_BYTES);
    body_bytes_max.saturating_mul(4).max(body_bytes_max.saturating_add(records))
}

/// Takes a body apart.
pub(super) async fn split(request: Request, received: Received) -> Result<Taken, Problem> {
    if received.bytes.len() <= INLINE_BYTES_MAX {
        return split_now(&request, received);
    }
    let split = tokio::task::spawn_blocking(move || split_now(&request, received)).await;
    split.map_err(|error| Problem::bad_request(format!("the body could not be split: {error}")))?
}

fn split_now(request: &Request, received: Received) -> Result<Taken, Problem> {
    let Received { bytes: body, mut memory } = received;
    let mut records: Vec<(Domain, NewRecord)> = Vec::new();
    let mut refused = Vec::new();
    let mut refused_more = 0;
    let mut granted = 0;
    let mut problem = None;
    // All keys in one buffer: one allocation for a body instead of one for each record.
    let mut keys: Vec<u8> = Vec::new();
    let mut key_ranges: Vec<Range<usize>> = Vec::new();
    let attributes: Vec<(&str, &[u8])> =
        request.attributes.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    split_binary(&attributes, &body, &request.content_type, &request.limits, &mut |piece| match piece {
        // The whole body is refused already; the rest is read only because splitting cannot be stopped.
        _ if problem.is_some() => {}
        Piece::Record { index, subject, .. } if !request.domains.contains(&subject.domain()) => {
            if refused.len() < REFUSED_MAX {
                refused.push(Refused::of_no_pipeline(index, subject.domain()));
            } else {
                refused_more += 1;
            }
        }
        Piece::Record { payload, subject, .. } => {
            if records.len() >= granted {
                granted += RECORDS_GRANTED;
                problem = memory.grow(RECORDS_GRANTED * RECORD_BYTES).err();
            }
            let start = keys.len();
            subject.append_key(&mut keys);
            key_ranges.push(start..keys.len());
            let payload = match payload {
                std::borrow::Cow::Borrowed(slice) => body.slice_ref(slice),
                std::borrow::Cow::Owned(bytes) => {
                    problem = problem.take().or_else(|| memory.grow(bytes.len()).err());
                    bytes.into()
                }
            };
            records.push((subject.domain(), NewRecord { payload, headers: request.headers(), ..NewRecord::default() }));
        }
        Piece::Refused { reason: RefusalReason::TooManyParts, .. } => {
            let parts_max = request.limits.parts_per_body_max;
            problem = Some(Problem::too_large(format!("more than {parts_max} events; send fewer per request")));
        }
        Piece::Refused { .. } if refused.len() >= REFUSED_MAX => refused_more += 1,
        Piece::Refused { index, reason, detail } => refused.push(Refused { index, reason: reason.as_str(), detail }),
    });
    if let Some(problem) = problem {
        return Err(problem);
    }
    let keys = Bytes::from(keys);
    let mut of_domain: BTreeMap<Domain, Vec<NewRecord>> = BTreeMap::new();
    for ((domain, record), range) in records.into_iter().zip(key_ranges) {
        of_domain.entry(domain).or_default().push(NewRecord { key: keys.slice(range), ..record });
    }
    request.check(&of_domain)?;
    Ok(Taken { records: of_domain, refused, refused_more, _memory: memory })
}
