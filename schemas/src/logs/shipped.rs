//! One line as shippers write it: a JSON object with the text in one member, and what they know beside it in others.
//!
//! | shipper | text | time | stream |
//! |---|---|---|---|
//! | Fluent Bit (`out_kafka`) | `log` or `message` | `@timestamp`, in seconds or RFC 3339 | `kubernetes` |
//! | Fluentd (`out_kafka2`) | `message` or `log` | `time`, where it is injected | the key |
//! | Vector (`kafka`) | `message` | `timestamp`, RFC 3339 | `kubernetes`, or the key |
//! | Docker (`json-file`) | `log`, with its newline | `time`, RFC 3339 | the key |

use bytes::Bytes;
use serde_json::{Map, Value};

use super::decoded::{Part, entries_of};
use super::entry::{Flags, Level};
use super::key::Place;
use super::packed::Line;
use super::time::Time;
use crate::refusal::Refusal;
use crate::time;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// Members of the object, in the order of trying; a dot goes into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The text.
    pub text: Vec<String>,
    /// The time, as RFC 3339 or as seconds since 1970.
    pub time: Vec<String>,
    /// The level.
    pub level: Vec<String>,
    /// `stderr`, where it was written there.
    pub output: Vec<String>,
    /// `P`, where the line goes on in the next record (CRI).
    pub part: Vec<String>,
    /// What makes the name of the stream, all of them joined by `/`; the key, where one is absent.
    pub stream: Vec<String>,
}

impl Default for Paths {
    fn default() -> Self {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Paths {
            text: of(&["log", "message"]),
            time: of(&["@timestamp", "timestamp", "time"]),
            level: of(&["level", "severity"]),
            output: of(&["stream"]),
            part: of(&["logtag"]),
            stream: of(&["kubernetes.namespace_name", "kubernetes.pod_name", "kubernetes.container_name"]),
        }
    }
}

/// The line of an object; `None` for what is not one object with a text, which is plain text.
pub(super) fn decode(
    payload: &[u8],
    key: &[u8],
    paths: &Paths,
    place: Place,
    published_at_ms: i64,
) -> Result<Option<Part>, Refusal> {
    // A file of such lines is plain text: its newlines are part of it.
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(payload) else { return Ok(None) };
    if payload.last() == Some(&b'\n') {
        return Ok(None);
    }
    let Some(Value::String(text)) = first(&object, &paths.text) else { return Ok(None) };
    let names: Option<Vec<&str>> = paths.stream.iter().map(|path| find(&object, path)?.as_str()).collect();
    let stream = match names.filter(|names| !names.is_empty()) {
        Some(names) => names.join("/"),
        None if key.is_empty() => return Ok(None),
        None => super::name::check(key)?.to_owned(),
    };
    super::name::check(stream.as_bytes())?;
    let time = Time::of(first(&object, &paths.time).and_then(nanoseconds), published_at_ms);
    let level = first(&object, &paths.level).and_then(Value::as_str).and_then(Level::of);
    let mut flags = Flags::of_level(level);
    if first(&object, &paths.output).and_then(Value::as_str) == Some("stderr") {
        flags = flags.and(Flags::STDERR);
    }
    if first(&object, &paths.part).and_then(Value::as_str) == Some("P") {
        flags = flags.and(Flags::OPEN);
    }
    let text = Bytes::copy_from_slice(text.strip_suffix('\n').unwrap_or(text).as_bytes());
    let line = Line { time_ns: None, flags, extra: None, text };
    Ok(Some(Part { stream, owner: None, entries: entries_of(line, time, place, 0).collect() }))
}

fn first<'a>(object: &'a Map<String, Value>, paths: &[String]) -> Option<&'a Value> {
    paths.iter().find_map(|path| find(object, path))
}

fn find<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    // A member whose own name has dots comes first, as of `log.level`.
    object.get(path).or_else(|| {
        let (outer, inner) = path.split_once('.')?;
        find(object.get(outer)?.as_object()?, inner)
    })
}

/// A time as RFC 3339, or as seconds since 1970: a number of Fluent Bit is exact to a quarter of a microsecond.
fn nanoseconds(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let moment = time::parse(text).ok()?;
            let part = (i64::from(moment.fraction) * 1_000_000_000 + (1 << 31)) >> 32;
            Some(moment.seconds.saturating_mul(1_000_000_000).saturating_add(part))
        }
        // Seconds and their part one by one: their product has more digits than a double. Casts end at the largest.
        Value::Number(seconds) => seconds.as_f64().map(|seconds| {
            let part = (seconds.fract() * SECOND).round() as i64;
            (seconds.trunc() as i64).saturating_mul(1_000_000_000).saturating_add(part)
        }),
        _ => None,
    }
}
