//! Logs of OpenTelemetry: the request of an exporter, as protocol buffers or as JSON. Format: OpenTelemetry Protocol 1.x,
//! `opentelemetry/proto/collector/logs/v1/logs_service.proto`.

mod bounds;
mod message;
mod value;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value};

use super::decoded::{Part, entries_of};
use super::entry::{Flags, Level};
use super::key::Place;
use super::name::Template;
use super::packed::Line;
use super::time::Time;
use crate::refusal::{Refusal, RefusalReason};
use message::{LogRecord, Request, ResourceLogs};
use value::{attributes, to_text};

/// Bytes of what is kept of a record beside its text. Attributes beyond it are counted.
const EXTRA_BYTES_MAX: usize = 64 << 10;
/// The attribute by which a record names itself.
const UID: &str = "log.record.uid";

/// Whether a JSON object may be a request.
pub(super) fn is_json(document: &[u8]) -> bool {
    memchr::memmem::find(document, b"\"resourceLogs\"").is_some()
}

/// Decodes a request in JSON.
pub(super) fn json(
    document: &[u8],
    template: &Template,
    place: Place,
    published_at_ms: i64,
) -> Result<Vec<Part>, Refusal> {
    bounds::check_json(document)?;
    let request: Request = serde_json::from_slice(document)
        .map_err(|error| Refusal::new(RefusalReason::NotJson, format!("OTLP: {error}")))?;
    parts(request, template, place, published_at_ms)
}

/// Decodes a request in protocol buffers, which cannot be told by its bytes: the endpoint knows by the content type.
///
/// # Errors
/// If it is none, or a resource has no name that a stream can have.
pub fn protobuf(bytes: &[u8], template: &Template, place: Place, published_at_ms: i64) -> Result<Vec<Part>, Refusal> {
    bounds::check_protobuf(bytes)?;
    let request =
        Request::decode(bytes).map_err(|error| Refusal::new(RefusalReason::BadRecord, format!("OTLP: {error}")))?;
    parts(request, template, place, published_at_ms)
}

/// The streams of a request, each once, in the order of their names.
fn parts(request: Request, template: &Template, place: Place, published_at_ms: i64) -> Result<Vec<Part>, Refusal> {
    let mut streams: BTreeMap<String, Part> = BTreeMap::new();
    let mut index = 0;
    for resource in request.resource_logs {
        let stream = stream(&resource, template)?;
        let part = streams.entry(stream).or_insert_with_key(|stream| Part {
            stream: stream.clone(),
            owner: None,
            entries: Vec::new(),
        });
        for scope in resource.scope_logs {
            let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
            for record in scope.log_records {
                let (line, time, counted) = line(record, &name, published_at_ms);
                let first = if counted.is_some() { 0 } else { index };
                let before = part.entries.len();
                part.entries.extend(entries_of(line, time, counted.unwrap_or(place), first));
                index += (part.entries.len() - before) as u64;
            }
        }
    }
    Ok(streams.into_values().collect())
}

/// The name that the template makes of the attributes of a resource.
fn stream(resource: &ResourceLogs, template: &Template) -> Result<String, Refusal> {
    let attributes = resource.resource.as_ref().map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let name = template.fill(|name| {
        let found = attributes.iter().find(|attribute| attribute.key == name)?;
        Some(to_text(found.value.as_ref()?)).filter(|text| !text.is_empty())
    });
    super::name::check(name.as_bytes()).map(str::to_owned)
}

/// A record as a line, its time, and the place that it names itself.
fn line(record: LogRecord, scope: &str, published_at_ms: i64) -> (Line, Time, Option<Place>) {
    // 0 is unknown; what a collector observed is the next best.
    let told = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|ns| *ns > 0);
    let time = Time::of(told.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX)), published_at_ms);
    let uid = record.attributes.iter().find(|attribute| attribute.key == UID).and_then(|uid| uid.value.as_ref());
    let counted = uid.filter(|_| time.is_own()).map(|uid| Place::uid(to_text(uid).as_bytes()));
    let level = level(record.severity_number).or_else(|| Level::of(&record.severity_text));
    let extra = extra(&record, scope);
    let text = record.body.map(value::into_bytes).unwrap_or_default();
    (Line { time_ns: None, flags: Flags::of_level(level), extra, text }, time, counted)
}

/// The level of a severity number: four of each, of which the second of `INFO` is what syslog calls notice.
fn level(severity: i32) -> Option<Level> {
    let level = match severity {
        1..=4 => Level::Trace,
        5..=8 => Level::Debug,
        9 => Level::Info,
        10..=12 => Level::Notice,
        13..=16 => Level::Warning,
        17..=20 => Level::Error,
        21..=24 => Level::Fatal,
        _ => return None,
    };
    Some(level)
}

fn extra(record: &LogRecord, scope: &str) -> Option<Bytes> {
    let mut extra = Map::new();
    let mut add = |name: &str, text: String| {
        if !text.is_empty() {
            extra.insert(name.to_owned(), Value::String(text));
        }
    };
    add("severity", record.severity_text.clone());
    add("event", record.event_name.clone());
    add("scope", scope.to_owned());
    add("trace_id", hex(&record.trace_id));
    add("span_id", hex(&record.span_id));
    let kept = attributes(&record.attributes, EXTRA_BYTES_MAX);
    let dropped = record.attributes.len() - kept.len();
    if !kept.is_empty() {
        extra.insert("attributes".to_owned(), Value::Object(kept));
    }
    if dropped > 0 || record.dropped_attributes_count > 0 {
        let dropped = dropped as u64 + u64::from(record.dropped_attributes_count);
        extra.insert("attributes_dropped".to_owned(), dropped.into());
    }
    (!extra.is_empty()).then(|| Value::Object(extra).to_string().into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
